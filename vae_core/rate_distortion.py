"""Rate and distortion as functions of β: what a model of a range of β pays for its codes, and what it gets.

Distortion D = −E_q[log p(x|z)] and rate R = KL(q(z|x) ‖ p(z)), in nats, averaged over held-out images. A model that
minimises D + βR lies where the curve D(R) has the slope −β. Source: Alemi et al. 2018, 'Fixing a broken ELBO'.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_core.checkpoint import BetaSnapshot, LatentSnapshot
from vae_core.evaluate import active, inference, to_unit
from vae_core.gates import clip
from vae_core.model import VAE, ModelConfig
from vae_core.objective import kl_standard_normal

__all__ = [
    "IMAGES",
    "Curve",
    "at_beta",
    "beta_grid",
    "beta_snapshot",
    "bits_per_dimension",
    "curve",
    "pixel_bits",
    "point",
    "steps",
]

IMAGES = 1000
"""The held-out images, the first of the test set, that every curve and every point beside it is measured on."""

_PER_DECADE = 6
_STEPS = 3
_SAMPLES = 4
_BATCH = 500


@dataclass(frozen=True)
class Curve:
    """What held-out images cost at K values of β, in nats, averaged over the images.

    betas (K,), rising; distortion (K,), one posterior draw or more an image; kl (K, d), exact, whose sum over
    dimensions is the rate (K,); active (K, d), whether a dimension's posterior mean has a variance over
    `evaluate.ACTIVE_VARIANCE` across the images.
    """

    betas: np.ndarray
    distortion: np.ndarray
    kl: np.ndarray
    active: np.ndarray
    images: int

    @property
    def rate(self) -> np.ndarray:
        """R (K,)."""
        return self.kl.sum(1)

    @property
    def active_units(self) -> np.ndarray:
        """How many dimensions are in use (K,)."""
        return self.active.sum(1)

    @property
    def objective(self) -> np.ndarray:
        """D + βR (K,), what training minimises."""
        return self.distortion + self.betas * self.rate

    def slope(self, beta: float) -> float:
        """dD/dR at `beta`, from the values of β on either side of it; −β where the model is at its best.

        NaN at the ends of the range, which have neighbours on one side alone, and where the rate does not change.
        """
        middles = np.log(self.betas[:-1] * self.betas[1:]) / 2
        d, r = (
            float(np.interp(math.log(beta), middles, np.diff(values), left=math.nan, right=math.nan))
            for values in (self.distortion, self.rate)
        )
        return d / r if r else math.nan

    def at(self, beta: float) -> "Curve":
        """The curve's one point at `beta`, between two neighbours in proportion to log β; the ends outside.

        A curve of one point alone is that point.
        """
        if len(self.betas) == 1:
            return self
        low, high, weight = _between(self.betas, beta)
        mixed = ((1 - weight) * row[low] + weight * row[high] for row in (self.distortion, self.kl))
        distortion, kl = (np.asarray(row)[None] for row in mixed)
        return Curve(np.array([beta]), distortion, kl, self.active[[high if weight > 0.5 else low]], self.images)


def beta_grid(beta_range: tuple[float, float]) -> np.ndarray:
    """Values of β from one end of the range to the other, evenly spaced in log β, about six for each power of ten."""
    low, high = beta_range
    return np.geomspace(low, high, max(7, 1 + round(_PER_DECADE * math.log10(high / low))))


def steps(beta_range: tuple[float, float]) -> list[float]:
    """Values of β for a slider: those of `beta_grid`, and two between each and the next, to four digits."""
    count = _STEPS * (len(beta_grid(beta_range)) - 1) + 1
    return [clip(float(f"{beta:.4g}"), beta_range) for beta in np.geomspace(*beta_range, count)]


def bits_per_dimension(nats: float | np.ndarray, image_shape: tuple[int, int, int]) -> float | np.ndarray:
    """Nats an image as bits for each of its pixels and channels."""
    return nats / (math.log(2) * math.prod(image_shape))


def pixel_bits(cost: float | np.ndarray, config: ModelConfig) -> float | np.ndarray:
    """−log p(x) or −log p(x|z), nats an image, as bits for each of its pixels and channels.

    A Gaussian's are those of pixels from 0 to 255, as the field reports them: log₂ 255 more than of pixels from 0 to 1.
    """
    wider = math.log2(255) if config.likelihood != "bernoulli" else 0.0
    return bits_per_dimension(cost, config.image_shape) + wider


def beta_snapshot(model: VAE, images: np.ndarray | Tensor, *, samples: int = _SAMPLES, seed: int = 0) -> BetaSnapshot:
    """What a model of a range of β says of the first `IMAGES` of uint8 images (N, C, H, W) at each β of `beta_grid`.

    The same noise (`samples` draws an image) is used at every β, so that differences between them are far more
    certain than each value. Kept in 16 bits, a mean KL is off by less than 0.001 nats a dimension; means beyond
    ±65,504, which 16 bits do not hold, are kept as that.
    """
    betas = beta_grid(model.config.beta_range)
    noise = torch.Generator().manual_seed(seed)
    batches = [
        _at_every_beta(model, part, betas, samples, noise) for part in torch.as_tensor(images[:IMAGES]).split(_BATCH)
    ]
    mu, logvar, reconstruction = (torch.cat(parts, dim=1).numpy() for parts in zip(*batches, strict=True))
    most = np.finfo(np.float16).max
    return BetaSnapshot(betas, mu.clip(-most, most).astype(np.float16), logvar.astype(np.float16), reconstruction)


def _at_every_beta(
    model: VAE, images: Tensor, betas: np.ndarray, samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """mu and logvar (K, B, d), and the reconstruction term (K, B), of images (B, C, H, W)."""
    shape = (samples, len(images), model.config.latent_dim)
    rows = []
    with inference(model) as (device, _):
        noise, x = torch.randn(shape, generator=generator).to(device), to_unit(images, device)
        for beta in betas.tolist():
            mu, logvar = model.encode(x, beta)
            codes = torch.addcmul(mu, torch.exp(0.5 * logvar), noise)
            draws = [-model.likelihood.log_prob(x, model.decode(z, beta)) for z in codes]
            rows.append((mu.cpu(), logvar.cpu(), torch.stack(draws).mean(0).cpu()))
    mu, logvar, reconstruction = (torch.stack(column) for column in zip(*rows, strict=True))
    return mu, logvar, reconstruction


def curve(taken: BetaSnapshot) -> Curve:
    """The curve through the values of β at which a model's snapshot was taken."""
    return _curve(taken.betas, taken.mu, taken.logvar, taken.reconstruction)


def point(snapshot: LatentSnapshot, beta: float) -> Curve:
    """The one point of a model of one β, on the same images as the curves."""
    rows = (snapshot.mu, snapshot.logvar, snapshot.reconstruction)
    return _curve(np.array([beta]), *(row[None, :IMAGES] for row in rows))


def _curve(betas: np.ndarray, mu: np.ndarray, logvar: np.ndarray, reconstruction: np.ndarray) -> Curve:
    mu, logvar = mu.astype(np.float64), logvar.astype(np.float64)
    kl = kl_standard_normal(torch.from_numpy(mu), torch.from_numpy(logvar)).mean(1).numpy()
    return Curve(betas, reconstruction.mean(1, dtype=np.float64), kl, active(mu), mu.shape[1])


def at_beta(snapshot: LatentSnapshot, taken: BetaSnapshot, beta: float) -> LatentSnapshot:
    """The latent snapshot at any `beta` of the range, between two neighbours in proportion to log β.

    Labels and factors are those of `snapshot`, whose first rows are the same images.
    """
    low, high, weight = _between(taken.betas, beta)
    mu, logvar, reconstruction = (
        ((1 - weight) * row[low].astype(np.float32) + weight * row[high].astype(np.float32)).astype(np.float32)
        for row in (taken.mu, taken.logvar, taken.reconstruction)
    )
    labels, factors = (None if row is None else row[: len(mu)] for row in (snapshot.labels, snapshot.factors))
    return LatentSnapshot(mu, logvar, reconstruction, labels, factors)


def _between(betas: np.ndarray, beta: float) -> tuple[int, int, float]:
    """The neighbours of `beta` in the grid, and how far it lies from the first to the second, in log β."""
    place = np.interp(math.log(beta), np.log(betas), np.arange(len(betas)))
    low = min(int(place), len(betas) - 2)
    return low, low + 1, float(place - low)
