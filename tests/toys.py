"""Small models and data sets that tests share."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vae_core.data import Dataset, Split
from vae_core.likelihood import Gaussian
from vae_core.model import VAE, ModelConfig

__all__ = ["LinearGaussian", "blobs", "build", "images"]


class _LinearMean(Gaussian):
    def mean(self, params: Tensor) -> Tensor:
        return params


class LinearGaussian(nn.Module):
    """x = zW + noise of standard deviation `sigma` over (1, 1, P) pixels in float64: everything is known.

    W is `weight` (d, P). The true posterior is N(xWᵀ/σ²/Λ, 1/Λ) with Λ = I + WWᵀ/σ². The encoder gives its mean, each
    dimension moved by `shift` standard deviations, with the variances 1/Λ_jj of the best diagonal Gaussian, their
    standard deviations times `width`.
    """

    def __init__(
        self,
        width: float = 1.0,
        shift: float = 0.0,
        weight: Sequence[Sequence[float]] = ((0.8, 0, 0), (0, 0.3, 0)),
        sigma: float = 0.5,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))
        self.likelihood = _LinearMean(sigma).double()
        self.likelihood.log_sigma.fill_(math.log(sigma))
        self.width, self.shift, self.sigma = width, shift, sigma

    @property
    def precision(self) -> Tensor:
        """Λ (d, d)."""
        weight = self.weight.detach()
        return torch.eye(len(weight), dtype=torch.float64) + weight @ weight.T / self.sigma**2

    def posterior_mean(self, x: Tensor) -> Tensor:
        """The mean of p(z|x). Shapes: x (N, 1, 1, P) → (N, d)."""
        return x.double().flatten(1) @ self.weight.detach().T / self.sigma**2 @ torch.linalg.inv(self.precision)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        variance = 1 / self.precision.diagonal()
        mu = self.posterior_mean(x) + self.shift * variance.sqrt()
        return mu, (2 * math.log(self.width) + variance.log()).expand_as(mu)

    def decode(self, z: Tensor) -> Tensor:
        return (z.double() @ self.weight)[:, None, None]

    def log_evidence(self, x: Tensor) -> Tensor:
        weight = self.weight.detach()
        covariance = weight.T @ weight + self.sigma**2 * torch.eye(weight.shape[1])
        mean = torch.zeros(weight.shape[1], dtype=torch.float64)
        return MultivariateNormal(mean, covariance).log_prob(x.double().flatten(1))

    def approximation_gap(self) -> float:
        """KL(q ‖ p(z|x)) of the best diagonal Gaussian, the same for every x: ½ (Σ log Λ_jj − log |Λ|)."""
        return float(0.5 * (self.precision.diagonal().log().sum() - torch.linalg.slogdet(self.precision)[1]))

    def gap(self) -> float:
        """KL(q(z|x) ‖ p(z|x)) of the encoder's q, the same for every x."""
        precision = self.precision
        moved = self.shift * precision.diagonal().rsqrt()
        widened = len(precision) * (0.5 * (self.width**2 - 1) - math.log(self.width))
        return self.approximation_gap() + widened + float(0.5 * moved @ precision @ moved)


def images(n: int, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> np.ndarray:
    """uint8 pictures (n, C, H, W): a bright rectangle each, over noise."""
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 60, (n, *shape), dtype=np.uint8)
    for picture in pictures:
        top, left = (int(random.integers(side - 1)) for side in shape[1:])
        picture[:, top : top + shape[1] // 2, left : left + shape[2] // 2] = 230
    return pictures


def blobs(train: int = 200, test: int = 60, shape: tuple[int, int, int] = (1, 8, 8)) -> Dataset:
    """A data set of such pictures, with two made-up classes."""
    labels = np.arange(train + test, dtype=np.int64) % 2
    pictures = images(train + test, shape)
    return Dataset(
        "blobs", Split(pictures[:train], labels[:train]), Split(pictures[train:], labels[train:]), ("even", "odd")
    )


def build(seed: int = 0, shape: tuple[int, int, int] = (1, 8, 8), **config: object) -> VAE:
    """A VAE with the weights that `seed` gives."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VAE(ModelConfig(shape, **config))
