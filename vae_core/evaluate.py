"""What a trained model does to images: posteriors, ELBO terms, active units, the latent snapshot."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_core.checkpoint import LatentSnapshot
from vae_core.data import Split
from vae_core.model import VAE
from vae_core.objective import elbo_terms

__all__ = [
    "ACTIVE_VARIANCE",
    "Evaluation",
    "active_units",
    "encode",
    "evaluate",
    "per_image_terms",
    "rank",
    "snapshot",
    "to_unit",
]

ACTIVE_VARIANCE = 0.01
_BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """A model's averages over images, in nats, at β = 1: elbo = −(reconstruction + kl).

    active_units counts the dimensions whose posterior mean varies by more than 0.01 over the images.
    """

    elbo: float
    reconstruction: float
    kl: float
    kl_per_dimension: tuple[float, ...]
    active_units: int

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        return asdict(self)


def to_unit(images: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 images (N, C, H, W) as float32 in [0, 1] on `device`."""
    return torch.as_tensor(images, device=device).float().div_(255)


def _device(model: VAE) -> torch.device:
    return next(model.parameters()).device


def _generator(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


@torch.inference_mode()
def encode(model: VAE, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and log-variances of uint8 images (N, C, H, W): two float32 arrays (N, d)."""
    parts = [model.encode(to_unit(images[i : i + _BATCH], _device(model))) for i in _starts(images)]
    mu, logvar = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return mu, logvar


def _starts(images: np.ndarray | Tensor) -> range:
    return range(0, len(images), _BATCH)


@torch.inference_mode()
def per_image_terms(
    model: VAE, images: np.ndarray | Tensor, *, samples: int = 1, seed: int = 0, binarize: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Both terms of the negative ELBO for each image, in nats.

    Shapes: images uint8 (N, C, H, W) → reconstruction (N,), averaged over `samples` posterior draws, and
    kl (N, d), exact. With `binarize`, pixels are first drawn from Bernoulli(grey value) with `seed`.
    """
    was_training = model.training
    model.eval()
    device = _device(model)
    generator = _generator(device, seed)
    reconstruction, kl = [], []
    for start in _starts(images):
        x = to_unit(images[start : start + _BATCH], device)
        if binarize:
            x = torch.bernoulli(x, generator=generator)
        first = elbo_terms(model, x, generator)
        draws = [first.reconstruction] + [
            elbo_terms(model, x, generator).reconstruction for _ in range(samples - 1)
        ]
        reconstruction.append(torch.stack(draws).mean(0))
        kl.append(first.kl)
    model.train(was_training)
    return torch.cat(reconstruction).cpu().numpy(), torch.cat(kl).cpu().numpy()


def active_units(mu: np.ndarray) -> int:
    """Latent dimensions in use: Var_x(E_q[z_j|x]) > 0.01. mu (N, d). Source: Burda et al. 2016, section 5."""
    return int((mu.var(0) > ACTIVE_VARIANCE).sum())


def evaluate(
    model: VAE, images: np.ndarray | Tensor, *, samples: int = 1, seed: int = 0, binarize: bool = False
) -> Evaluation:
    """ELBO and its terms, averaged over uint8 images (N, C, H, W); see `per_image_terms`."""
    reconstruction, kl = per_image_terms(model, images, samples=samples, seed=seed, binarize=binarize)
    mu, _ = encode(model, images)
    per_dimension = kl.mean(0, dtype=np.float64)
    distortion, rate = float(reconstruction.mean(dtype=np.float64)), float(per_dimension.sum())
    return Evaluation(
        elbo=-(distortion + rate),
        reconstruction=distortion,
        kl=rate,
        kl_per_dimension=tuple(float(value) for value in per_dimension),
        active_units=active_units(mu),
    )


def snapshot(model: VAE, split: Split, limit: int, *, seed: int = 0) -> LatentSnapshot:
    """The latent snapshot of the first `limit` images of `split`."""
    images = split.images[:limit]
    reconstruction, _ = per_image_terms(model, images, seed=seed)
    mu, logvar = encode(model, images)
    return LatentSnapshot(
        mu=mu,
        logvar=logvar,
        reconstruction=reconstruction,
        labels=None if split.labels is None else split.labels[:limit],
        factors=None if split.factors is None else split.factors[:limit],
    )


def rank(value: float, population: np.ndarray) -> float:
    """The fraction of `population` (N,) that lies above `value`: 0.99 for an ELBO lower than 99 % of the others."""
    return float((np.asarray(population) > value).mean())
