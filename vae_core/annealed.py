"""log p(x) by annealed importance sampling: a second estimate, which owes nothing to the encoder's shape."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vae_core.bounds import LogLikelihood
from vae_core.errors import UserError
from vae_core.evaluate import points_at_once, to_unit
from vae_core.model import VAE
from vae_core.objective import log_prob_given

__all__ = ["annealed", "temperatures"]

_LEAPFROG = 3
_ACCEPTED = 0.65  # the share of proposals that is best accepted: Neal 2011, section 5.4.4
_FIRST_STEP, _ADAPTED = 0.5, 0.2
_JITTER = 0.2
_STEEPNESS = 4.0


def temperatures(count: int) -> np.ndarray:
    """0 = b_0 < … < b_count = 1, denser at both ends: (count + 1,). Source: Wu et al. 2017, section 4 (sigmoidal)."""
    place = 1 / (1 + np.exp(-_STEEPNESS * np.linspace(-1, 1, count + 1)))
    return (place - place[0]) / (place[-1] - place[0])


class _Chains:
    """C chains for each of N images: z (C, N, d) with log p(x|z) and its gradient there."""

    def __init__(self, model: VAE, x: Tensor, z: Tensor, generator: torch.Generator) -> None:
        self.model, self.x, self.z, self.generator = model, x, z, generator
        self.fit, self.slope = self._fit(z)

    def _fit(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            fit = log_prob_given(self.model, self.x, z)
            (slope,) = torch.autograd.grad(fit.sum(), z)
        return fit.detach(), slope

    def move(self, inverse_temperature: float, step: Tensor) -> Tensor:
        """One HMC transition that leaves p(z) p(x|z)^b unchanged, with steps (N, d): the acceptance (C, N)."""
        b = inverse_temperature
        jitter = 1 + _JITTER * (2 * self._uniform(self.fit.shape[:1])[:, None, None] - 1)
        step = step * jitter
        momentum = torch.randn(self.z.shape, generator=self.generator, device=self.z.device, dtype=self.z.dtype)
        z, fit, slope = self.z, self.fit, self.slope
        before = self._energy(b, z, fit, momentum)
        for _ in range(_LEAPFROG):
            momentum = momentum + 0.5 * step * (b * slope - z)
            z = z + step * momentum
            fit, slope = self._fit(z)
            momentum = momentum + 0.5 * step * (b * slope - z)
        acceptance = torch.exp((before - self._energy(b, z, fit, momentum)).clamp(max=0)).nan_to_num(0.0)
        taken = self._uniform(acceptance.shape) < acceptance
        self.z = torch.where(taken[..., None], z, self.z)
        self.slope = torch.where(taken[..., None], slope, self.slope)
        self.fit = torch.where(taken, fit, self.fit)
        return acceptance

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.z.device, dtype=self.z.dtype)

    @staticmethod
    def _energy(b: float, z: Tensor, fit: Tensor, momentum: Tensor) -> Tensor:
        return 0.5 * (z.square() + momentum.square()).sum(-1) - b * fit


def _prior_chains(model: VAE, x: Tensor, chains: int, like: Tensor, generator: torch.Generator) -> _Chains:
    z = torch.randn((chains, *like.shape), generator=generator, device=like.device, dtype=like.dtype)
    return _Chains(model, x, z, generator)


def _pilot(chains: _Chains, schedule: np.ndarray, widths: list[Tensor], report: Callable[[], None]) -> list[Tensor]:
    """Steps (N, d) for every temperature but the first and last, tuned on chains that are then thrown away."""
    log_step = torch.full_like(chains.fit[0], math.log(_FIRST_STEP))
    steps = []
    for b, width in zip(schedule[1:-1], widths, strict=True):
        steps.append(torch.exp(log_step)[:, None] * width)
        log_step = log_step + _ADAPTED * (chains.move(float(b), steps[-1]).mean(0) - _ACCEPTED)
        report()
    return steps


def _weigh(chains: _Chains, schedule: np.ndarray, steps: list[Tensor], report: Callable[[], None]) -> Tensor:
    """log w of every chain (C, N), float64: Σ_t (b_t − b_{t−1}) log p(x|z_{t−1})."""
    rises = np.diff(schedule)
    log_weights = rises[0] * chains.fit.cpu().double()
    for b, rise, step in zip(schedule[1:-1], rises[1:], steps, strict=True):
        chains.move(float(b), step)
        log_weights += rise * chains.fit.cpu().double()
        report()
    return log_weights


@torch.no_grad()
def annealed(
    model: VAE,
    images: np.ndarray,
    chains: int = 16,
    count: int = 400,
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> LogLikelihood:
    """log p(x) from `chains` chains an image that go from the prior to the true posterior in `count` temperatures.

    images uint8 (N, C, H, W); the model, of any latent size, is in eval mode. Chains start from N(0, I) and move by
    Hamiltonian Monte Carlo (3 leapfrog steps) that leaves p(z) p(x|z)^b unchanged, b rising from 0 to 1. The mean of
    their weights is p(x) without bias, so the estimate is on average below log p(x), as L_K is; its error comes from
    moving too fast, where L_K's comes from the encoder's shape. A pilot of its own, a quarter of the chains, tunes
    the step size of each image and temperature to an acceptance of 0.65; the chains that count then take these as
    they are, so that nothing is tuned on what is counted. Steps are measured in widths between the prior's and the
    encoder's σ, which speeds the chains and cannot bias them. `samples` of the result are chains. `progress` is called
    with the fraction done; what it raises ends the computation. Sources: Neal 2001; Neal 2011; Wu et al. 2017.
    """
    if chains < 2 or count < 2:
        raise UserError(f"{chains} chains over {count} temperatures estimate nothing. Take 2 or more of both.")
    schedule = temperatures(count)
    device = next(model.parameters()).device
    batch = max(1, points_at_once(device, images.shape[1:]) // chains)
    total, done = 2 * (count - 1) * math.ceil(len(images) / batch), 0

    def report() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done / total)

    found = []
    generator = torch.Generator(device=device).manual_seed(seed)
    for start in range(0, len(images), batch):
        x = to_unit(images[start : start + batch], device)
        mu, logvar = model.encode(x)
        widths = [(1 + float(b) * torch.expm1(-logvar).clamp(min=0)).rsqrt() for b in schedule[1:-1]]
        pilot = _prior_chains(model, x, max(2, chains // 4), mu, generator)
        steps = _pilot(pilot, schedule, widths, report)
        found.append(_weigh(_prior_chains(model, x, chains, mu, generator), schedule, steps, report))
    return LogLikelihood.of(torch.cat(found, dim=1))
