"""Where the rate goes: mutual information, total correlation and dimension-wise KL of the aggregate posterior."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_core.errors import UserError
from vae_core.objective import kl_standard_normal, log_normal, reparameterise

__all__ = ["AT_CEILING", "RateSplit", "log_aggregate", "log_density", "split_rate"]

AT_CEILING = 0.95
"""The share of log N from which on a mutual information is one that N images cannot exceed, not the model's."""

_PAIRS_AT_ONCE = 2**21  # of a draw and a posterior: 8 MB a tensor
_NUMBERS_DRAWN = 20  # for each posterior, draws times dimensions: I(x; z) of 1,000 images is then sure to 0.01 nats
_LEAST_DRAWS = 200  # in all, so that the fit of the control variates takes next to none of what chance does


@dataclass(frozen=True)
class RateSplit:
    """The rate R = E[KL(q(z|x) ‖ p(z))] of N images, split, in nats: R = mutual_information + aggregate_kl, and
    aggregate_kl = KL(q(z) ‖ p(z)) = total_correlation + Σ dimension_kl.

    dimension_kl (d,) is KL(q(z_j) ‖ p(z_j)). `rate` is exact; the rest is estimated, with the `standard_errors`
    (mutual_information, total_correlation, Σ dimension_kl). No mutual information is over `most` = log N; an estimate
    may be, by as much as its standard error allows.
    """

    rate: float
    mutual_information: float
    total_correlation: float
    dimension_kl: tuple[float, ...]
    standard_errors: tuple[float, float, float]
    images: int

    @property
    def aggregate_kl(self) -> float:
        """KL(q(z) ‖ p(z)), in nats."""
        return self.total_correlation + sum(self.dimension_kl)

    @property
    def most(self) -> float:
        """log N, in nats: what it takes to tell N images apart."""
        return math.log(self.images)

    @property
    def at_ceiling(self) -> bool:
        """Whether the mutual information is that of N images, not of the model: 95 % of log N or more. More images
        would move nats to it from the rest of the rate, which is then an upper bound."""
        return self.mutual_information > AT_CEILING * self.most


def log_aggregate(z: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log q(z) and log q(z_j) of the aggregate posterior of N images, the mixture of their N posteriors, in nats.

    Shapes: z (M, d), mu, logvar (N, d) → (M,), (M, d). Exact; in pieces, so that memory does not grow with M.
    """
    rows = max(1, _PAIRS_AT_ONCE // len(mu))
    centres, spreads = torch.as_tensor(mu), torch.as_tensor(logvar)
    parts = [_log_mixture(piece, centres, spreads) for piece in torch.as_tensor(z).split(rows)]
    joint, marginals = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return joint, marginals


def log_density(z: np.ndarray, mu: np.ndarray, logvar: np.ndarray, *, left_out: bool = False) -> np.ndarray:
    """log q(z) alone of `log_aggregate`, several times as fast: exponents are linear in z and z², one matrix product.

    left_out: z (N, d) has a row for each image, for which q(z) is that of all the other images.
    Shapes: z (M, d), mu, logvar (N, d) → (M,) float64, in nats.
    """
    points, centres, spreads = (torch.as_tensor(np.asarray(part, np.float64)) for part in (z, mu, logvar))
    precision = torch.exp(-spreads)
    linear = torch.cat([centres * precision, -0.5 * precision], dim=1)
    constant = -0.5 * (centres.square() * precision + spreads + math.log(2 * math.pi)).sum(1)
    sums, rows = [], max(1, _PAIRS_AT_ONCE // len(centres))
    for start, piece in zip(range(0, len(points), rows), points.split(rows), strict=True):
        pairs = torch.addmm(constant, torch.cat([piece, piece.square()], 1), linear.T)
        if left_out:
            pairs.diagonal(start).fill_(-math.inf)
        sums.append(_log_sum(pairs))
    return (torch.cat(sums) - math.log(len(centres) - left_out)).numpy()


def _log_sum(value: Tensor) -> Tensor:
    """log Σ exp over the last dimension (M, N) → (M,), six times as fast as `torch.logsumexp` where the terms lie far
    apart: none is left to be smaller than e^−50 of the largest, for numbers below 1e-308 are slow."""
    highest = value.amax(1, keepdim=True)
    return (value - highest).clamp_(min=-50.0).exp_().sum(1).log_() + highest[:, 0]


def _log_mixture(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z) (M,) and each log q(z_j) (M, d), one dimension after the other: a tensor (M, N) at a time."""
    joint, marginals = torch.zeros(()), []
    log_weight = torch.tensor(-math.log(len(mu)), dtype=z.dtype)
    for j in range(z.shape[1]):
        pairs = log_normal(z[:, j : j + 1], mu[:, j], logvar[:, j])
        marginals.append(_log_sum(pairs + log_weight))
        joint = joint + pairs
    return _log_sum(joint + log_weight), torch.stack(marginals, dim=1)


def split_rate(
    mu: np.ndarray,
    logvar: np.ndarray,
    *,
    draws: int | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> RateSplit:
    """The rate of N images, split, from their posteriors. Shapes: mu, logvar (N, d).

    The aggregate posterior is that of these N images, an exact mixture of N Gaussians, so that its density is known.
    Averages over it are taken over `draws` draws from each posterior, by default as many as have 20 numbers or more,
    and over more where they were under 200 in all. The same codes as float32 and as float64 have other draws.

    Part of what chance does to the terms is known, since log q(z|x) − log p(z) has a known mean, KL(q(z|x) ‖ p(z));
    that part is taken off each (a control variate). What is left has no bias to speak of (1/N of its size), and the
    terms add up to the rate.

    What holds for N images is not what holds for the distribution that they come from: on average, the mutual
    information is lower by what KL(q(z) ‖ p(z)) is higher, the more so the fewer they are and the nearer it is to
    log N.

    `progress` is called with the fraction done. Raises UserError where there are fewer than 2 images.
    Source: Hoffman & Johnson 2016, 'ELBO surgery'; Chen et al. 2018, 'Isolating sources of disentanglement'.
    """
    if len(mu) < 2:
        raise UserError("The rate of a single picture has no parts. Take 2 or more.")
    centres, spreads = torch.as_tensor(mu), torch.as_tensor(logvar)
    draws = max(draws or math.ceil(_NUMBERS_DRAWN / mu.shape[1]), math.ceil(_LEAST_DRAWS / len(mu)))
    generator = torch.Generator().manual_seed(seed)
    rate = kl_standard_normal(centres, spreads).sum(1, dtype=torch.float64)
    rows, columns = max(1, _PAIRS_AT_ONCE // len(mu)), []
    for draw in range(draws):
        z = reparameterise(centres, spreads, generator)
        for start in range(0, len(z), rows):
            piece = slice(start, start + rows)
            columns.append(_terms(z[piece], piece, centres, spreads, rate))
            if progress:
                progress((draw + min(1.0, (start + rows) / len(z))) / draws)
    terms, controls = (np.concatenate(column) for column in zip(*columns, strict=True))
    return _summed(terms, controls, float(rate.mean()), len(mu))


def _terms(z: Tensor, rows: slice, mu: Tensor, logvar: Tensor, rate: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each draw: total correlation and dimension-wise KL, (M, 1 + d); what chance and its image do to the rate."""
    joint, marginals = (part.double() for part in _log_mixture(z, mu, logvar))
    prior = log_normal(z, torch.zeros(()), torch.zeros(())).double()
    posterior = log_normal(z, mu[rows], logvar[rows]).double()
    terms = torch.cat([(joint - marginals.sum(1)).unsqueeze(1), marginals - prior], dim=1)
    controls = torch.stack([(posterior - prior).sum(1) - rate[rows], rate[rows] - rate.mean()], dim=1)
    return terms.numpy(), controls.numpy()


def _summed(terms: np.ndarray, controls: np.ndarray, rate: float, images: int) -> RateSplit:
    slopes = np.linalg.lstsq(controls - controls.mean(0), terms - terms.mean(0), rcond=None)[0]
    terms = terms - controls @ slopes
    correlation, *dimensions = terms.mean(0).tolist()
    parts = (terms.sum(1), terms[:, 0], terms[:, 1:].sum(1))
    free = len(terms) - 1 - controls.shape[1]
    errors = tuple(float(part.std() / math.sqrt(free)) for part in parts)
    return RateSplit(rate, rate - correlation - sum(dimensions), correlation, tuple(dimensions), errors, images)
