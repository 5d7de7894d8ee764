"""Variational inference image by image, and what the encoder loses by answering for all images at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_core.errors import UserError
from vae_core.evaluate import points_at_once, to_unit
from vae_core.model import VAE
from vae_core.objective import log_prob_given

__all__ = [
    "FAMILIES",
    "Elbo",
    "GaussianPosterior",
    "Improvement",
    "InferenceGap",
    "elbo",
    "encoded",
    "improve",
    "starts",
]

FAMILIES = ("diagonal", "full")
"""Gaussians with independent dimensions, as the encoder gives them, and with any covariance."""

_LEARNING_RATE = 0.05  # of Adam, in units of σ for means, and of log σ
_CONSTANT = 0.5  # the share of the steps after which the learning rate falls, linearly to zero
_PRIOR_DRAWS = 2000


@dataclass(frozen=True)
class GaussianPosterior:
    """q(z|x) = N(mu, L Lᵀ) for each of N images.

    mu (N, d); scale_tril (N, d, d), the lower triangular L with a positive diagonal; of one dtype, on one device.
    """

    mu: Tensor
    scale_tril: Tensor

    @property
    def sigma(self) -> Tensor:
        """The standard deviations of each dimension (N, d)."""
        return self.scale_tril.square().sum(-1).sqrt()

    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) for each image (N,), in nats: ½ (‖mu‖² + ‖L‖² − d) − Σ log L_jj."""
        log_diagonal = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        squares = self.mu.square().sum(-1) + self.scale_tril.square().sum((-2, -1)) - self.mu.shape[-1]
        return 0.5 * squares - log_diagonal

    def at(self, noise: Tensor) -> Tensor:
        """z = mu + L ε. Shapes: noise (K, N, d) → (K, N, d)."""
        return self.mu + torch.einsum("nij,knj->kni", self.scale_tril, noise)


@dataclass(frozen=True)
class Elbo:
    """The ELBO of each of N images and its terms, in nats, at β = 1: values = −(reconstruction + kl).

    values, standard_errors (of the Monte Carlo reconstruction), reconstruction, kl (exact): (N,) float64.
    """

    reconstruction: np.ndarray
    kl: np.ndarray
    standard_errors: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """−(reconstruction + kl) (N,)."""
        return -(self.reconstruction + self.kl)


@dataclass(frozen=True)
class Improvement:
    """One step of `improve`: q after `step` of `total` steps; elbo (N,) float64, a noisy estimate of the ELBO of the
    q before this step, from the draws that made it (NaN at step 0)."""

    step: int
    total: int
    q: GaussianPosterior
    elbo: np.ndarray


@dataclass(frozen=True)
class InferenceGap:
    """How far the encoder's ELBO lies below log p(x), and why; all (N,) float64, in nats.

    log p(x) − ELBO(encoder) = amortisation + approximation. The first vanishes for an encoder that gives each image
    the best q of its family; the second only where that family holds the true posterior. Source: Cremer et al. 2018.
    """

    log_likelihood: np.ndarray
    elbo: np.ndarray
    best_elbo: np.ndarray

    @property
    def amortisation(self) -> np.ndarray:
        """ELBO(best q of the family) − ELBO(encoder)."""
        return self.best_elbo - self.elbo

    @property
    def approximation(self) -> np.ndarray:
        """log p(x) − ELBO(best q of the family)."""
        return self.log_likelihood - self.best_elbo


@torch.no_grad()
def encoded(model: VAE, images: np.ndarray) -> GaussianPosterior:
    """The encoder's q for uint8 images (N, C, H, W); the model is in eval mode."""
    mu, logvar = model.encode(to_unit(images, next(model.parameters()).device))
    return GaussianPosterior(mu, torch.diag_embed(torch.exp(0.5 * logvar)))


@torch.no_grad()
def starts(
    model: VAE, images: np.ndarray, begin: GaussianPosterior | None = None, *, seed: int = 0
) -> tuple[np.ndarray, GaussianPosterior]:
    """Where to begin the search for the best q of uint8 images (N, C, H, W): more than one place for some.

    `begin`, or the encoder's q, of every image; then, for each image that finds a code of greater p(x, z) than its mean
    among 2,000 draws of the prior, the same Gaussian moved there. Returns whose each is (N + M,), and all of them.
    An encoder may miss the true posterior by far more than `improve` climbs, and with few latent dimensions such draws
    do not. The model is in eval mode.
    """
    begin = begin or encoded(model, images)
    mu = begin.mu
    generator = torch.Generator(device=mu.device).manual_seed(seed)
    z = torch.randn((_PRIOR_DRAWS, mu.shape[1]), generator=generator, device=mu.device, dtype=mu.dtype)
    x = to_unit(images)
    params = torch.cat([model.decode(part).cpu() for part in z.split(points_at_once(z.device, images.shape[1:]))])
    joint = model.likelihood.from_affine(x, *model.likelihood.affine(params)) - 0.5 * z.cpu().square().sum(1)
    greatest, place = joint.max(1)
    own = log_prob_given(model, x.to(mu.device), mu[None])[0] - 0.5 * mu.square().sum(1)
    beaten = torch.where(greatest > own.cpu())[0]
    owner = torch.cat([torch.arange(len(mu)), beaten])
    found = torch.cat([mu, z[place[beaten].to(z.device)]])
    return owner.numpy(), GaussianPosterior(found, begin.scale_tril[owner.to(mu.device)])


def improve(
    model: VAE,
    images: np.ndarray,
    family: str = "diagonal",
    *,
    start: GaussianPosterior | None = None,
    steps: int = 300,
    samples: int = 16,
    seed: int = 0,
) -> Iterator[Improvement]:
    """Maximise the ELBO of each image over the q of `family`, one step at a time, from the encoder's q (or `start`).

    images uint8 (N, C, H, W). Yields steps + 1 times, the first with the start itself; so a caller draws the walk as
    it goes, and stops it by not asking for more. Reparameterised gradients from `samples` draws in antithetic pairs,
    taken in the coordinates of the current q (in units of its σ along its axes), so that narrow, wide and slanted
    posteriors are found alike; Adam, its rate falling to zero over the second half. The ELBO is that at β = 1, the
    model is in eval mode and is not changed. It climbs to a local optimum: a mode of the true posterior far from the
    start is not found, hence `starts`. Source: Cremer et al. 2018, section 4.
    """
    if family not in FAMILIES:
        raise UserError(f"There is no family {family!r}. Choose one of {', '.join(FAMILIES)}.")
    if steps < 1 or samples < 2 or samples % 2:
        raise UserError(f"{steps} steps of {samples} draws cannot be made. Take 1 step or more, and 2, 4, 6, … draws.")
    begin = encoded(model, images) if start is None else start
    return _climb(model, to_unit(images, begin.mu.device), begin, family, steps, samples, seed)


def _climb(
    model: VAE, x: Tensor, q: GaussianPosterior, family: str, steps: int, samples: int, seed: int
) -> Iterator[Improvement]:
    moves = [torch.zeros_like(q.mu), torch.zeros_like(q.mu), torch.zeros_like(q.scale_tril)]
    free = [move.requires_grad_() for move in moves[: 3 if family == "full" else 2]]
    adam = torch.optim.Adam(free)
    generator = torch.Generator(device=x.device).manual_seed(seed)
    yield Improvement(0, steps, q, np.full(len(x), np.nan))
    for step in range(1, steps + 1):
        adam.param_groups[0]["lr"] = _LEARNING_RATE * min(1.0, (1 - (step - 1) / steps) / (1 - _CONSTANT))
        with torch.enable_grad():
            moved = _moved(q, *moves)
            fit = log_prob_given(model, x, moved.at(_pairs(samples, q.mu, generator)))
            value = fit.mean(0) - moved.kl()
            gradients = torch.autograd.grad(-value.sum(), free)
        for move, gradient in zip(free, gradients, strict=True):
            move.grad = gradient
        adam.step()
        with torch.no_grad():
            q = _moved(q, *moves)
            for move in free:
                move.zero_()
        yield Improvement(step, steps, q, value.detach().cpu().double().numpy())


def _moved(q: GaussianPosterior, mean: Tensor, log_diagonal: Tensor, below: Tensor) -> GaussianPosterior:
    """q after a move that is given in its own coordinates: z = mu + L (mean + M ε), M lower triangular, 0 no move."""
    change = torch.diag_embed(log_diagonal.exp()) + below.tril(-1)
    return GaussianPosterior(q.mu + (q.scale_tril @ mean.unsqueeze(-1)).squeeze(-1), q.scale_tril @ change)


def _pairs(samples: int, mu: Tensor, generator: torch.Generator) -> Tensor:
    """Noise ε and −ε: (samples, N, d)."""
    half = torch.randn((samples // 2, *mu.shape), generator=generator, device=mu.device, dtype=mu.dtype)
    return torch.cat([half, -half])


@torch.no_grad()
def elbo(model: VAE, images: np.ndarray, q: GaussianPosterior, samples: int = 1000, *, seed: int = 0) -> Elbo:
    """The ELBO of uint8 images (N, C, H, W) under any Gaussian q: exact KL, reconstruction from `samples` draws.

    Draws come in antithetic pairs, an even number of 4 or more. The same seed takes the same noise, so that the ELBOs
    of two q differ with little of it. The model is in eval mode.
    """
    if samples < 4 or samples % 2:
        raise UserError(f"{samples} draws cannot be taken in pairs. Take an even number of 4 or more.")
    x = to_unit(images, q.mu.device)
    generator = torch.Generator(device=x.device).manual_seed(seed)
    pairs_at_once = max(1, points_at_once(x.device, x.shape[1:]) // (2 * len(x)))
    parts = []
    for begin in range(0, samples // 2, pairs_at_once):
        noise = _pairs(2 * min(pairs_at_once, samples // 2 - begin), q.mu, generator)
        fit = log_prob_given(model, x, q.at(noise)).cpu().double()
        parts.append(fit.unflatten(0, (2, -1)).mean(0))
    pairs = torch.cat(parts)
    errors = pairs.std(0) / len(pairs) ** 0.5
    return Elbo(-pairs.mean(0).numpy(), q.kl().cpu().double().numpy(), errors.numpy())
