"""What a trained model does to images: posteriors, ELBO terms, active units, the latent snapshot."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_core.checkpoint import LatentSnapshot
from vae_core.data import Split
from vae_core.model import VAE, ModelConfig
from vae_core.objective import kl_standard_normal, reparameterise

__all__ = [
    "ACTIVE_VARIANCE",
    "Evaluation",
    "active",
    "active_units",
    "binarise",
    "encode",
    "evaluate",
    "inference",
    "is_a_loss",
    "per_image_terms",
    "points_at_once",
    "rank",
    "snapshot",
    "to_unit",
]

ACTIVE_VARIANCE = 0.01
_BATCH = 500
_PIXELS_AT_ONCE = 2**20  # some 160 MB with the widest convolutions
_ACCELERATED = 2**22


@dataclass(frozen=True)
class Evaluation:
    """A model's averages over images, in nats, at β = 1: elbo = −(reconstruction + kl).

    active_units counts the dimensions whose posterior mean has a variance over 0.01 across the images.
    second_moment is that of the aggregate posterior, E[μ² + σ²] averaged over dimensions: the prior's is 1.
    """

    elbo: float
    reconstruction: float
    kl: float
    kl_per_dimension: tuple[float, ...]
    active_units: int
    second_moment: float

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        return asdict(self)


class _Encoded(NamedTuple):
    mu: np.ndarray
    logvar: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray


def to_unit(images: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 images (N, C, H, W) as float32 in [0, 1] on `device`."""
    return torch.as_tensor(images, device=device).float().div_(255)


def binarise(images: np.ndarray | Tensor, seed: int) -> np.ndarray:
    """Every pixel of uint8 images drawn once from Bernoulli(grey value / 255): 255 where it came up, else 0.

    The same seed draws the same pixels on every device, and the first n images as they are drawn among more.
    Source: Salakhutdinov & Murray 2008.
    """
    images = np.asarray(images)
    threshold = np.random.default_rng(seed).integers(0, 255, size=images.shape, dtype=np.uint8)
    return np.where(threshold < images, np.uint8(255), np.uint8(0))


def is_a_loss(model: ModelConfig, images: np.ndarray) -> bool:
    """Whether nats of these uint8 pictures are a loss, and no log-probability: pixels between black and white under a
    Bernoulli likelihood."""
    return model.likelihood == "bernoulli" and bool(((images > 0) & (images < 255)).any())


@contextmanager
def inference(model: VAE) -> Iterator[tuple[torch.device, VAE]]:
    """The model's device and the model in evaluation mode without gradients; its mode is put back after."""
    was_training = model.training
    try:
        with torch.inference_mode():
            yield next(model.parameters()).device, model.eval()
    finally:
        model.train(was_training)


def points_at_once(device: torch.device, image_shape: Sequence[int], pixels: int = _PIXELS_AT_ONCE) -> int:
    """How many latent points to decode at once: pictures of `pixels` in all on the CPU, of more on an accelerator."""
    most = pixels if device.type == "cpu" else max(pixels, _ACCELERATED)
    return max(1, most // math.prod(image_shape))


def _starts(images: np.ndarray | Tensor) -> range:
    return range(0, len(images), _BATCH)


def _columns(parts: list[tuple[Tensor, ...]]) -> list[np.ndarray]:
    return [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]


def encode(
    model: VAE, images: np.ndarray | Tensor, progress: Callable[[float], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and log-variances of uint8 images (N, C, H, W): two float32 arrays (N, d).

    `progress` is called with the fraction done; what it raises ends the computation.
    """
    parts = []
    with inference(model) as (device, _):
        for start in _starts(images):
            parts.append(model.encode(to_unit(images[start : start + _BATCH], device)))
            if progress:
                progress(min(1.0, (start + _BATCH) / len(images)))
    mu, logvar = _columns(parts)
    return mu, logvar


def _encode_and_decode(model: VAE, images: np.ndarray | Tensor, samples: int, seed: int) -> _Encoded:
    parts = []
    with inference(model) as (device, _):
        generator = torch.Generator(device=device).manual_seed(seed)
        for start in _starts(images):
            x = to_unit(images[start : start + _BATCH], device)
            mu, logvar = model.encode(x)
            draws = [
                -model.likelihood.log_prob(x, model.decode(reparameterise(mu, logvar, generator)))
                for _ in range(samples)
            ]
            parts.append((mu, logvar, torch.stack(draws).mean(0), kl_standard_normal(mu, logvar)))
    return _Encoded(*_columns(parts))


def per_image_terms(
    model: VAE, images: np.ndarray | Tensor, *, samples: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Both terms of the negative ELBO for each image, in nats.

    Shapes: images uint8 (N, C, H, W) → reconstruction (N,), averaged over `samples` posterior draws, and
    kl (N, d), exact.
    """
    encoded = _encode_and_decode(model, images, samples, seed)
    return encoded.reconstruction, encoded.kl


def active(mu: np.ndarray) -> np.ndarray:
    """Which latent dimensions are in use: Var_x(E_q[z_j|x]) > 0.01. mu (..., N, d) → bool (..., d).

    Source: Burda et al. 2016, section 5.
    """
    return mu.var(-2) > ACTIVE_VARIANCE


def active_units(mu: np.ndarray) -> int:
    """How many latent dimensions are `active`. mu (N, d)."""
    return int(active(mu).sum())


def evaluate(
    model: VAE, images: np.ndarray | Tensor, *, samples: int = 1, seed: int = 0, binarize: bool = False
) -> Evaluation:
    """ELBO and its terms, averaged over uint8 images (N, C, H, W); see `per_image_terms`.

    With `binarize`, pixels are first drawn by `binarise` with `seed`.
    """
    encoded = _encode_and_decode(model, binarise(images, seed) if binarize else images, samples, seed)
    per_dimension = encoded.kl.mean(0, dtype=np.float64)
    distortion, rate = float(encoded.reconstruction.mean(dtype=np.float64)), float(per_dimension.sum())
    return Evaluation(
        elbo=-(distortion + rate),
        reconstruction=distortion,
        kl=rate,
        kl_per_dimension=tuple(float(value) for value in per_dimension),
        active_units=active_units(encoded.mu),
        second_moment=float(np.mean(encoded.mu**2 + np.exp(encoded.logvar), dtype=np.float64)),
    )


def snapshot(model: VAE, split: Split, limit: int, *, seed: int = 0) -> LatentSnapshot:
    """The latent snapshot of the first `limit` images of `split`."""
    encoded = _encode_and_decode(model, split.images[:limit], samples=1, seed=seed)
    return LatentSnapshot(
        mu=encoded.mu,
        logvar=encoded.logvar,
        reconstruction=encoded.reconstruction,
        labels=None if split.labels is None else split.labels[:limit],
        factors=None if split.factors is None else split.factors[:limit],
    )


def rank(value: float, population: np.ndarray) -> float:
    """The fraction of `population` (N,) that lies above `value`: 0.99 for an ELBO lower than 99 % of the others."""
    return float((np.asarray(population) > value).mean())
