"""Observation models p(x|z): what the decoder's output means, and log p(x|z) in nats with every constant kept."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LIKELIHOODS", "Bernoulli", "Gaussian", "OptimalGaussian", "make"]

_PICTURE = (-3, -2, -1)
_SMALLEST_VARIANCE = 0.0025**2  # under one grey level of 255: keeps the optimal σ from running to zero


def _sum_log_factors(size: Tensor) -> Tensor:
    """Σ log(1 + e^−size) over the last dimension: (..., P) ≥ 0 → (...). `size` is overwritten.

    Up to sixteen factors in [1, 2] share one logarithm.
    """
    factor = size.neg_().exp_().add_(1)
    for _ in range(4):
        if factor.shape[-1] % 2:
            break
        factor = torch.mul(*factor.chunk(2, -1))
    return factor.log().sum(-1)


def _sum_softplus(params: Tensor) -> Tensor:
    """Σ log(1 + e^params) over the last dimension, float64: log(1 + e^a) = max(a, 0) + log(1 + e^−|a|).
    Shapes: (K, P) → (K,).
    """
    size = params.abs()
    positive = 0.5 * (params.sum(-1) + size.sum(-1))
    return positive.double() + _sum_log_factors(size)


class _BernoulliLogProb(torch.autograd.Function):
    """`Bernoulli.log_prob` on the CPU, where it takes half of the time of `F.softplus` and what belongs to it.

    What is linear in params is added up pixel by pixel, so that it cancels where a pixel is sure.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, params: Tensor) -> Tensor:
        ctx.save_for_backward(x, params)
        linear = (x * params).sub_(params.clamp_min(0)).sum(_PICTURE)
        return linear - _sum_log_factors(params.abs().flatten(-3))

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        x, params = ctx.saved_tensors
        each = gradient[..., None, None, None]
        by_x = (params * each).sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        return by_x, ((x - torch.sigmoid(params)) * each).sum_to_size(params.shape)


class Bernoulli(nn.Module):
    """p(x|z) = ∏ π^x (1 − π)^(1 − x) with π = sigmoid(params).

    On pixels in {0, 1} its negative logarithm is the binary cross-entropy. On grey pixels the same
    formula is used as a loss; it is then not a density.
    """

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """log p(x|z) in nats. Shapes: x and params (..., C, H, W), broadcast together → (...)."""
        if params.device.type == "cpu":
            return _BernoulliLogProb.apply(x, params)
        return (x * params - F.softplus(params)).sum(_PICTURE)

    def affine(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """slope (K, C·H·W) and offset (K,) of params (K, C, H, W), so that `from_affine` gives log p(x|z)."""
        return params.flatten(1), -_sum_softplus(params.flatten(1))

    def from_affine(self, x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
        """log p(x|z) of every image at every z, in nats, by one matrix product.

        Shapes: x (N, C, H, W), slope and offset as `affine` gives them → (N, K) float64.
        """
        return (x.to(slope.dtype).flatten(1) @ slope.T).double() + offset

    def mean(self, params: Tensor) -> Tensor:
        """E[x|z] in [0, 1], of the shape of params."""
        return torch.sigmoid(params)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw x ~ p(x|z), of the shape of params, in {0, 1}."""
        return torch.bernoulli(self.mean(params), generator=generator)


class Gaussian(nn.Module):
    """p(x|z) = N(x; m, σ² I) with m = sigmoid(params) and one fixed σ, in units of the pixel range [0, 1]."""

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("log_sigma", torch.tensor(math.log(sigma)))

    def _log_prob(self, x: Tensor, params: Tensor, log_sigma: Tensor) -> Tensor:
        error = (x - self.mean(params)) * torch.exp(-log_sigma)
        return -(0.5 * error.square() + log_sigma + 0.5 * math.log(2 * math.pi)).sum(_PICTURE)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """log p(x|z) in nats, a density. Shapes: x and params (..., C, H, W) → (...)."""
        return self._log_prob(x, params, self.log_sigma)

    def affine(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """slope (K, C·H·W) and offset (K,) of params (K, C, H, W), so that `from_affine` gives log p(x|z)."""
        mean = self.mean(params).flatten(1)
        return mean, -0.5 * mean.double().square().sum(1)

    def from_affine(self, x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
        """log p(x|z) of every image at every z, in nats, by one matrix product.

        Shapes: x (N, C, H, W), slope and offset as `affine` gives them → (N, K) float64.
        """
        x, log_sigma = x.double().flatten(1), self.log_sigma.to(offset)
        fit = x @ slope.double().T + offset - 0.5 * x.square().sum(1, keepdim=True)
        return fit * torch.exp(-2 * log_sigma) - x.shape[1] * (log_sigma + 0.5 * math.log(2 * math.pi))

    def mean(self, params: Tensor) -> Tensor:
        """E[x|z] in [0, 1], of the shape of params."""
        return torch.sigmoid(params)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw x ~ p(x|z), of the shape of params; not clipped to [0, 1]."""
        noise = torch.randn(params.shape, generator=generator, device=params.device, dtype=params.dtype)
        return self.mean(params) + self.log_sigma.exp() * noise


class OptimalGaussian(Gaussian):
    """The Gaussian whose shared σ² is the mean squared error, its maximum-likelihood value.

    In training mode σ is that of the batch, and gradients flow through it; a running mean of σ² is
    kept for evaluation, so that a reported log p(x|z) is a density with one σ. The first batches are averaged
    evenly, so that the mean forgets its start. Source: Rybkin et al. 2021.
    """

    _MOMENTUM = 0.02
    batch_mean = staticmethod(torch.mean)  # over all ranks, where a batch lies on several

    def __init__(self) -> None:
        super().__init__(sigma=1.0)
        self.register_buffer("batches", torch.zeros(()))

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """log p(x|z) in nats, a density. Shapes: x and params (..., C, H, W) → (...)."""
        if not self.training:
            return super().log_prob(x, params)
        variance = self.batch_mean((x - self.mean(params)).square()) + _SMALLEST_VARIANCE
        with torch.no_grad():
            kept = torch.exp(2 * self.log_sigma)
            self.batches += 1
            share = (1 / self.batches).clamp(min=self._MOMENTUM)
            self.log_sigma.copy_(0.5 * torch.log(kept.lerp(variance, share.to(variance.dtype))))
        return self._log_prob(x, params, 0.5 * torch.log(variance))


LIKELIHOODS = {
    "bernoulli": "Bernoulli",
    "gaussian": "Gaussian, fixed σ",
    "gaussian-optimal": "Gaussian, optimal σ",
}
"""What people call the likelihoods."""


def make(name: str, sigma: float) -> Bernoulli | Gaussian | OptimalGaussian:
    """The likelihood called `name`, one of LIKELIHOODS; `sigma` is used by 'gaussian' alone."""
    if name == "bernoulli":
        return Bernoulli()
    return Gaussian(sigma) if name == "gaussian" else OptimalGaussian()
