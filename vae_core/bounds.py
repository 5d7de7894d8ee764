"""Bounds on log p(x): the importance-weighted estimate, for many images and samples in bounded memory."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_core.errors import UserError
from vae_core.evaluate import binarise, inference, to_unit
from vae_core.model import VAE
from vae_core.objective import log_prob_given

__all__ = ["LogLikelihood", "log_likelihood"]

_PIXELS_AT_ONCE = 2**20  # decoded at once: some 4 MB of output, 100 MB with the widest convolutions behind it


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

    @property
    def mean(self) -> float:
        """The estimate averaged over the images."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """The Monte Carlo standard error of `mean`, for these images."""
        return float(np.sqrt(np.square(self.standard_errors).sum()) / len(self.values))


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
    """log w = log p(x|z) + log p(z) − log q(z|x) for z ~ q(z|x): float64 pieces (k, n) that add up to `samples`.

    x (n, C, H, W); the pieces lie on the CPU, since not every accelerator has float64. With z = mu + σ ⊙ ε the
    densities' constants cancel: log p(z) − log q(z|x) = ½ Σ (ε² − z² + logvar).
    """
    mu, logvar = model.encode(x)
    for start in range(0, samples, at_once):
        shape = (min(at_once, samples - start), *mu.shape)
        noise = torch.randn(shape, generator=generator, device=mu.device, dtype=mu.dtype)
        z = torch.addcmul(mu, torch.exp(0.5 * logvar), noise)
        fit = log_prob_given(model, x, z)
        fit, noise, z, spread = (part.cpu().double() for part in (fit, noise, z, logvar))
        yield fit + 0.5 * (noise.square() - z.square() + spread).sum(-1)


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

    images uint8 (N, C, H, W); K = `samples`; with `binarize`, pixels are drawn as `per_image_terms` draws them for
    the same seed. `progress` is called with the fraction done. The network computes in its own precision, weights
    are summed in float64. Source: Burda et al. 2016, section 3.
    """
    if samples < 1:
        raise UserError(f"{samples} importance samples cannot be drawn. Take 1 or more.")
    images = binarise(images, seed) if binarize else images
    at_once = max(1, _PIXELS_AT_ONCE // math.prod(images.shape[1:]))
    batch = max(1, at_once // samples)
    parts = []
    with inference(model) as (device, _):
        generator = torch.Generator(device=device).manual_seed(seed)
        for start in range(0, len(images), batch):
            x = to_unit(images[start : start + batch], device)
            sums = _WeightSums(len(x))
            for log_weights in _log_weights(model, x, samples, at_once, generator):
                sums.add(log_weights)
            parts.append(torch.stack(sums.estimate(samples)))
            if progress:
                progress(min(1.0, (start + batch) / len(images)))
    values, errors, effective = torch.cat(parts, dim=1).numpy()
    return LogLikelihood(values, errors, effective, samples)
