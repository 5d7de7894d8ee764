"""Gradients of E_q[log p(x|z)] for one image: by the reparameterisation trick, and by the score function."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_core.errors import UserError
from vae_core.evaluate import points_at_once, to_unit
from vae_core.model import VAE
from vae_core.objective import kl_standard_normal, log_prob_given

__all__ = ["ESTIMATORS", "Ascent", "Moments", "ascend", "exact_moments", "gradient_draws"]

ESTIMATORS = ("reparameterised", "score", "score with baseline")
"""∇ through z = μ + σε; log p(x|z) ∇ log q(z); and the same, the average of the other draws' log p(x|z) taken off."""

_REACH = 7.5  # of the lattices of ε: beyond it lie 2e-12 of the mass
_STEPS = {1: (0.3, 0.15, 0.075, 0.0375, 0.01875, 0.01), 2: (0.3, 0.15, 0.075, 0.0375)}
_SAME = 0.005
_MU, _LOG_SIGMA = (-50.0, 50.0), (-7.0, 2.0)


def _fit_and_slope(model: VAE, x: Tensor, z: Tensor, slope: bool) -> tuple[Tensor, Tensor | None]:
    """log p(x|z) at z (K, d) → (K,), and its gradient by z (K, d) where asked for.

    Raises UserError where they are not finite.
    """
    fits, slopes = [], []
    for piece in z.split(points_at_once(x.device, x.shape[1:])):
        with torch.set_grad_enabled(slope):
            rows = piece.detach().requires_grad_(slope)
            fit = log_prob_given(model, x, rows[:, None])[:, 0]
            if slope:
                slopes.append(torch.autograd.grad(fit.sum(), rows)[0])
        fits.append(fit.detach())
        if not all(part[-1].isfinite().all() for part in (fits, slopes) if part):
            raise UserError("This model’s decoder gives numbers that are not finite. Choose another model.")
    return torch.cat(fits), torch.cat(slopes) if slope else None


def _of_draws(estimator: str, noise: Tensor, sigma: Tensor, fit: Tensor, slope: Tensor | None) -> Tensor:
    """One gradient a draw by (μ, log σ), (K, 2d), from ε (K, d), σ (d,), log p(x|z) (K,) and its slope by z (K, d)."""
    if estimator == "reparameterised":
        return torch.cat([slope, slope * sigma * noise], dim=1)
    if estimator == "score with baseline":
        fit = fit - (fit.sum() - fit) / (len(fit) - 1)
    return fit[:, None] * torch.cat([noise / sigma, noise.square() - 1], dim=1)


def _check_samples(samples: int) -> None:
    if samples < 2:
        raise UserError(f"{samples} draws have no spread. Take 2 or more.")


def _start(model: VAE, image: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    parameter = next(model.parameters())
    as_parameter = {"dtype": parameter.dtype, "device": parameter.device}
    log_sigma = torch.as_tensor(np.log(sigma), **as_parameter)
    return to_unit(image[None], parameter.device), torch.as_tensor(mu, **as_parameter), log_sigma


def gradient_draws(
    model: VAE, image: np.ndarray, mu: np.ndarray, sigma: np.ndarray, samples: int, *, seed: int = 0
) -> dict[str, np.ndarray]:
    """`samples` gradients of E_q[log p(x|z)] by (μ, log σ) by each of ESTIMATORS, one a draw of z ~ q.

    image uint8 (C, H, W), mu, sigma (d,) of q = N(mu, diag sigma²) → (samples, 2d) float64 each, nats per unit: the
    first d by μ, then by log σ. All are from the same draws and have the same mean. The baseline of a draw is the
    average log p(x|z) of the others, so it is independent of it and moves no mean. The model is in eval mode.
    Sources: Kingma & Welling 2014, section 2.4; Williams 1992 (score function); Mnih & Rezende 2016 (baseline from the
    other draws).
    """
    _check_samples(samples)
    x, mu, log_sigma = _start(model, image, mu, sigma)
    generator = torch.Generator(device=mu.device).manual_seed(seed)
    noise = torch.randn((samples, len(mu)), generator=generator, device=mu.device, dtype=mu.dtype)
    sigma = log_sigma.exp()
    found = _fit_and_slope(model, x, mu + sigma * noise, slope=True)
    return {one: _of_draws(one, noise, sigma, *found).cpu().double().numpy() for one in ESTIMATORS}


@dataclass(frozen=True)
class Moments:
    """Of a gradient by (μ, log σ): its mean (2d,), and by estimator the variance of one draw (2d,), float64."""

    mean: np.ndarray
    variance: dict[str, np.ndarray]


def exact_moments(model: VAE, image: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> Moments | None:
    """What `gradient_draws` estimate: the gradient of E_q[log p(x|z)], and how far each estimator's draws spread.

    By sums over ever finer lattices of ε in 1 or 2 dimensions, until two agree: variances to 0.5 %, means to 0.01 nats
    or 0.5 %. None where the finest do not, for a q that is wide beside what log p(x|z) does. The mean is that of values
    of log p(x|z) alone, E_q[log p(x|z) ∇ log q(z)]; the baseline is that of very many draws, E_q[log p(x|z)]. Raises
    UserError where d > 2.
    """
    if len(mu) > 2:
        raise UserError(f"{len(mu)} latent dimensions are too many for quadrature, which takes 1 or 2.")
    given, before = _start(model, image, mu, sigma), None
    for step in _STEPS[len(mu)]:
        found = _moments_by(model, *given, step)
        if before and _agree(before, found):
            return found
        before = found
    return None


def _agree(one: Moments, other: Moments) -> bool:
    variances = [[float(variance.sum()) for variance in found.variance.values()] for found in (one, other)]
    return np.allclose(*variances, rtol=_SAME, atol=0.0) and np.allclose(one.mean, other.mean, rtol=_SAME, atol=0.01)


def _moments_by(model: VAE, x: Tensor, mu: Tensor, log_sigma: Tensor, step: float) -> Moments:
    """By a sum over ε that lie one `step` apart: for smooth functions under a Gaussian, as good as any quadrature."""
    axis = torch.arange(-_REACH, _REACH + step, step, dtype=torch.float64)
    noise = torch.cartesian_prod(*[axis] * len(mu)).view(-1, len(mu))
    noise = noise[noise.square().sum(1) < _REACH**2]
    share = torch.softmax(-0.5 * noise.square().sum(1), 0)
    fit, slope = _fit_and_slope(model, x, mu + log_sigma.exp() * noise.to(mu), slope=True)
    fit, slope, sigma = (part.cpu().double() for part in (fit, slope, log_sigma.exp()))
    centred = fit - share @ fit
    at_points = {
        "reparameterised": _of_draws("reparameterised", noise, sigma, fit, slope),
        "score": _of_draws("score", noise, sigma, fit, None),
        "score with baseline": _of_draws("score", noise, sigma, centred, None),
    }
    mean = share @ at_points["score with baseline"]
    variance = {one: (share @ (values - mean).square()).numpy() for one, values in at_points.items()}
    return Moments(mean.numpy(), variance)


@dataclass(frozen=True)
class Ascent:
    """q = N(mu, diag sigma²) after `step` steps; elbo is a noisy estimate for the q before it (NaN at step 0)."""

    step: int
    mu: np.ndarray
    sigma: np.ndarray
    elbo: float


@torch.no_grad()
def ascend(
    model: VAE,
    image: np.ndarray,
    mu: np.ndarray,
    sigma: np.ndarray,
    estimator: str,
    *,
    steps: int = 40,
    samples: int = 4,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Iterator[Ascent]:
    """Plain gradient ascent on one image's ELBO at β = 1 by (μ, log σ): steps + 1 states, the start first.

    Each step takes the mean of `samples` gradients by `estimator`; the KL's gradient is exact, −μ and 1 − σ². No
    momentum and no clipping, so that a noisy estimator shows as what it is; but μ stays within ±50, and
    log σ between −7 and 2.
    """
    if estimator not in ESTIMATORS:
        raise UserError(f"There is no estimator {estimator!r}. Choose one of {', '.join(ESTIMATORS)}.")
    _check_samples(samples)
    x, mean, log_sigma = _start(model, image, mu, sigma)
    generator = torch.Generator(device=mean.device).manual_seed(seed)
    yield _state(0, mean, log_sigma, math.nan)
    for step in range(1, steps + 1):
        noise = torch.randn((samples, len(mean)), generator=generator, device=mean.device, dtype=mean.dtype)
        sigma = log_sigma.exp()
        fit, slope = _fit_and_slope(model, x, mean + sigma * noise, estimator == "reparameterised")
        draws = _of_draws(estimator, noise, sigma, fit, slope)
        kl = kl_standard_normal(mean, 2 * log_sigma).sum()
        by_mu, by_log_sigma = draws.mean(0).chunk(2)
        mean = (mean + learning_rate * (by_mu - mean)).clamp(*_MU)
        pull = 1 - torch.exp(2 * log_sigma)
        log_sigma = (log_sigma + learning_rate * (by_log_sigma + pull)).clamp(*_LOG_SIGMA)
        yield _state(step, mean, log_sigma, float(fit.mean() - kl))


def _state(step: int, mu: Tensor, log_sigma: Tensor, elbo: float) -> Ascent:
    return Ascent(step, mu.cpu().double().numpy(), log_sigma.exp().cpu().double().numpy(), elbo)
