"""Bounds on log p(x): the importance-weighted estimate and how it rises, for many images in bounded memory.

How far to trust it: L_K is too low where q(z|x) hardly reaches the true posterior's mass, since the few draws that do
outweigh all others. Over the first 64 MNIST test images, binarised, under the shipped `mnist-d2`, L_4096 meets the
exact log p(x) in 46 images, to 0.00 nats on average and 0.8 at most, and lies 0.6 to 109 nats below in the other 18. Of
these 17 have 1 to 26 effective samples, and standard errors of 0.2 to 1 that do not show how much is missing. A mode
that no draw reaches shows in nothing here: one image with 158 effective samples misses 10 nats. `annealed` starts from
the prior and may see it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_core.errors import UserError
from vae_core.evaluate import binarise, inference, points_at_once, to_unit
from vae_core.model import VAE
from vae_core.objective import drawn

__all__ = [
    "SIZES",
    "BoundCurve",
    "Draws",
    "LogLikelihood",
    "bound_curve",
    "draws",
    "effective_samples",
    "importance_weights",
    "log_likelihood",
]

SIZES = (1, 5, 10, 50, 100, 500, 1000, 5000)
"""Values of K for a curve; each divides the next, so that on one set of draws L_K can only rise."""

_FEWEST_GROUPS = 30  # whose spread tells a standard error
_PIXELS_AT_ONCE = 2**18  # decoded at once on the CPU: some 1 MB of output, which stays in its cache


@dataclass(frozen=True)
class LogLikelihood:
    """The importance-weighted estimate of log p(x) for N images from `samples` posterior samples each, in nats.

    values, standard_errors, effective_samples (N,), float64. Standard errors are those of the Monte Carlo sum, by
    the delta method (NaN for one sample); effective_samples is (Σw)² / Σw², and where it is far below `samples`
    the estimate is too low and its standard error too small.
    """

    values: np.ndarray
    standard_errors: np.ndarray
    effective_samples: np.ndarray
    samples: int

    @classmethod
    def of(cls, log_weights: Tensor) -> "LogLikelihood":
        """The estimate from log w of shape (K, N), float64."""
        sums = _WeightSums(log_weights.shape[1])
        sums.add(log_weights)
        return cls(*(part.numpy() for part in sums.estimate(len(log_weights))), len(log_weights))

    @property
    def mean(self) -> float:
        """The estimate averaged over the images."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """The Monte Carlo standard error of `mean`, for these images."""
        return float(np.sqrt(np.square(self.standard_errors).sum()) / len(self.values))


@dataclass(frozen=True)
class BoundCurve:
    """L_K, the importance-weighted bound on log p(x), for several K, from one set of draws for each of N images.

    sizes (S,), the values of K; values, standard_errors (S, N) float64, in nats. L_1 is the ELBO.
    """

    sizes: tuple[int, ...]
    values: np.ndarray
    standard_errors: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """L_K averaged over the images (S,)."""
        return self.values.mean(1)

    @property
    def mean_errors(self) -> np.ndarray:
        """The Monte Carlo standard errors of `means` (S,), for these images."""
        return np.sqrt(np.square(self.standard_errors).sum(1)) / self.values.shape[1]


class _WeightSums:
    """Running Σw and Σw² of weights given by their logarithms, relative to the greatest so far."""

    def __init__(self, images: int) -> None:
        self.greatest = torch.full((images,), -math.inf, dtype=torch.float64)
        self.first, self.second = torch.zeros_like(self.greatest), torch.zeros_like(self.greatest)

    def add(self, log_weights: Tensor) -> None:
        """Take in log w of shape (k, images), float64."""
        greatest = torch.maximum(self.greatest, log_weights.amax(0))
        shrink = torch.exp(self.greatest - greatest)
        weights = torch.exp(log_weights - greatest)
        self.first = self.first * shrink + weights.sum(0)
        self.second = self.second * shrink.square() + weights.square().sum(0)
        self.greatest = greatest

    def estimate(self, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """log mean w, its standard error, and the effective sample size."""
        effective = self.first.square() / self.second
        value = self.greatest + torch.log(self.first / samples)
        variance = (samples / effective - 1).clamp(min=0) / (samples - 1) if samples > 1 else effective * math.nan
        return value, variance.sqrt(), effective


def _log_weights(model: VAE, x: Tensor, samples: int, at_once: int, generator: torch.Generator) -> Iterator[Tensor]:
    """log w of z ~ q(z|x) (see `log_importance_weights`): float64 pieces (k, n) that add up to `samples`.

    x (n, C, H, W); the pieces lie on the CPU, since not every accelerator has float64. The sums over pixels and
    dimensions are the network's precision, about 1e-5 nats.
    """
    return (log_weights.cpu().double() for *_, log_weights in _drawn(model, x, samples, at_once, generator))


def _drawn(
    model: VAE, x: Tensor, samples: int, at_once: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Noise ε (k, n, d) of z = μ + σ ⊙ ε, log p(x|z) and log w (k, n), in pieces that add up to `samples`."""
    mu, logvar = model.encode(x)
    for start in range(0, samples, at_once):
        yield drawn(model, x, mu, logvar, min(at_once, samples - start), generator)


def _batches(model: VAE, images: np.ndarray, samples: int) -> tuple[list[np.ndarray], int]:
    """The images in pieces, and how many latent points of each are decoded at once."""
    if samples < 1:
        raise UserError(f"{samples} importance samples cannot be drawn. Take 1 or more.")
    at_once = points_at_once(next(model.parameters()).device, images.shape[1:], _PIXELS_AT_ONCE)
    batch = max(1, at_once // samples)
    return [images[start : start + batch] for start in range(0, len(images), batch)], at_once


def log_likelihood(
    model: VAE,
    images: np.ndarray,
    samples: int = 1000,
    *,
    seed: int = 0,
    binarize: bool = False,
    progress: Callable[[float], None] | None = None,
) -> LogLikelihood:
    """log (1/K Σ_k p(x, z_k) / q(z_k|x)) with z_k ~ q(z|x): on average below log p(x), and reaching it as K grows.

    images uint8 (N, C, H, W); K = `samples`; with `binarize`, pixels are drawn as `evaluate` draws them for
    the same seed. `progress` is called with the fraction done; what it raises ends the computation. The network
    computes in its own precision, weights are summed in float64. Source: Burda et al. 2016, section 3.
    """
    batches, at_once = _batches(model, binarise(images, seed) if binarize else images, samples)
    parts = []
    with inference(model) as (device, _):
        generator = torch.Generator(device=device).manual_seed(seed)
        for done, batch in enumerate(batches, start=1):
            sums = _WeightSums(len(batch))
            for log_weights in _log_weights(model, to_unit(batch, device), samples, at_once, generator):
                sums.add(log_weights)
            parts.append(torch.stack(sums.estimate(samples)))
            if progress:
                progress(done / len(batches))
    values, errors, effective = torch.cat(parts, dim=1).numpy()
    return LogLikelihood(values, errors, effective, samples)


def importance_weights(
    model: VAE,
    images: np.ndarray,
    samples: int = SIZES[-1],
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x) with z_k ~ q(z|x), in nats: float64 (N, samples).

    Their mean estimates the ELBO, and log mean exp log p(x): E_q[w] = p(x), and Jensen's inequality lies between.
    The draws are those of `log_likelihood`, and so is `progress`. Source: Burda et al. 2016, section 3.
    """
    batches, at_once = _batches(model, images, samples)
    total, done, rows = len(batches) * math.ceil(samples / at_once), 0, []
    with inference(model) as (device, _):
        generator = torch.Generator(device=device).manual_seed(seed)
        for batch in batches:
            pieces = []
            for piece in _log_weights(model, to_unit(batch, device), samples, at_once, generator):
                pieces.append(piece)
                done += 1
                if progress:
                    progress(done / total)
            rows.append(torch.cat(pieces).T.numpy())
    return np.concatenate(rows)


@dataclass(frozen=True, eq=False)
class Draws:
    """K draws of z = μ + σ ⊙ ε from one image's q(z|x): the first ε (d,), log p(x|z) and log w (K,), float64."""

    first_noise: np.ndarray
    fit: np.ndarray
    log_weights: np.ndarray


def draws(
    model: VAE,
    image: np.ndarray,
    samples: int = SIZES[-1],
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Draws:
    """The draws of `importance_weights` for one uint8 image (C, H, W). `progress` is called with the fraction done."""
    _, at_once = _batches(model, image[None], samples)
    pieces, done = [], 0
    with inference(model) as (device, _):
        generator = torch.Generator(device=device).manual_seed(seed)
        for piece in _drawn(model, to_unit(image[None], device), samples, at_once, generator):
            pieces.append(piece)
            done += len(piece[0])
            if progress:
                progress(done / samples)
    noise, fit, log_weights = (torch.cat(part)[:, 0].cpu().double().numpy() for part in zip(*pieces, strict=True))
    return Draws(noise[0].copy(), fit, log_weights)


def effective_samples(log_weights: np.ndarray) -> np.ndarray:
    """(Σw)² / Σw² of log w (N, K) → (N,), from 1 to K: how many equal weights would be as good an average."""
    weights = np.exp(log_weights - log_weights.max(1, keepdims=True))
    return weights.sum(1) ** 2 / np.square(weights).sum(1)


def bound_curve(log_weights: np.ndarray, sizes: Sequence[int] = SIZES) -> BoundCurve:
    """L_K = E[log (1/K Σ_k w_k)] for each K of `sizes`: the mean over disjoint groups of K draws, as many as there are.

    Shapes: log_weights (N, M). The standard error is that of the mean over 30 groups or more; of fewer, by the delta
    method, √((M/ESS − 1) / (M − 1)): both are too small where a few weights outweigh all others. Raises UserError
    where a K is none of 1 … M.
    """
    images, drawn = log_weights.shape
    if not sizes or not all(1 <= size <= drawn for size in sizes):
        raise UserError(f"L_K cannot be had from {drawn} draws for K = {', '.join(map(str, sizes))}. Draw more.")
    spread = (drawn / effective_samples(log_weights) - 1).clip(min=0)
    values, errors = [], []
    for size in sizes:
        groups = drawn // size
        grouped = log_weights[:, : groups * size].reshape(images, groups, size)
        each = np.logaddexp.reduce(grouped, axis=2) - math.log(size)
        values.append(each.mean(1))
        enough = groups >= _FEWEST_GROUPS
        errors.append(each.std(1, ddof=1) / groups**0.5 if enough else np.sqrt(spread / max(drawn - 1, 1)))
    return BoundCurve(tuple(sizes), np.stack(values), np.stack(errors))
