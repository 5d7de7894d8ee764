"""Responses to β: how a network's layers change with the weight of the KL, so that one network serves every β.

Hidden layers are scaled and shifted unit by unit (Perez et al. 2018, 'FiLM'), and the two linear maps next to the
latent code, whose dimensions come and go with β, change weight by weight. All these changes are polynomials in s, the
place of log β in the trained range: −1 at its lower end, 0 in its (geometric) middle, 1 at its upper end; all are 0 in
the middle. The code itself starts from what is exact for a linear VAE, whose best posterior has the variance
σ² = β / (β + λ) in the direction of a principal component with signal-to-noise ratio λ, and whose best decoder weighs
it by √(1 − σ²): a dimension with λ < β fades out. Sources: one model for every β, Dosovitskiy & Djolonga 2020, 'You
only train once', and Bae et al. 2023, 'Multi-rate VAE', arXiv 2212.03905; the linear VAE, Lucas et al. 2019.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core.errors import UserError

__all__ = [
    "check_beta",
    "check_beta_range",
    "clip",
    "draw",
    "features",
    "fixed",
    "from_latent",
    "scale_shift",
    "to_posterior",
]

_SMALLEST, _LARGEST = 1e-4, 1000.0
_DEGREE = 4
_PARTS = (0.0, 0.05), (0.5, 0.44), (0.37, 0.2), (0.13, 0.16)  # of the range from its lower end, of the draws
_ROUNDING = 1e-5  # of float32 at the ends of the range


def check_beta_range(low: float, high: float) -> tuple[float, float]:
    """The range as floats. Raises UserError where it is none."""
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not (numbers and _SMALLEST <= low < high <= _LARGEST):
        raise UserError(
            f"β from {low!r} to {high!r} is no range. Give a smaller and a larger number, "
            f"between {_SMALLEST:g} and {_LARGEST:g}."
        )
    return float(low), float(high)


def check_beta(beta: float | Tensor, beta_range: tuple[float, float] | None) -> None:
    """Raise UserError where a model trained for `beta_range` (None: for one β alone) cannot take `beta`."""
    if beta_range is None:
        raise UserError(
            "This model was trained for one β alone and takes no other. Leave β out, "
            "or train a model for a range of β with --beta-range."
        )
    low, high = beta_range
    ends = torch.aminmax(beta) if isinstance(beta, Tensor) else (beta, beta)
    for end in map(float, ends):
        if not low * (1 - _ROUNDING) <= end <= high * (1 + _ROUNDING):
            raise UserError(f"β = {end:g} is out of range: this model was trained for β from {low:g} to {high:g}.")


def clip(beta: float, beta_range: tuple[float, float]) -> float:
    """The β of the range that is nearest to `beta`."""
    return min(max(beta, beta_range[0]), beta_range[1])


def draw(n: int, beta_range: tuple[float, float], generator: torch.Generator) -> Tensor:
    """n values of β (n,), in rising order, on the generator's device: for images in random order.

    Log-uniform within each of three parts of the range, of which the last, at the upper end, has the most draws for its
    length: models of a large β share the least with the others (see bench/README.md). Of all draws 5 % are the lower
    end itself and 15 % the upper: ends have neighbours on one side only. One value comes from each n-th of the draws,
    which leaves less to chance than independent ones.
    """
    low, high = map(math.log, beta_range)
    strata = torch.arange(n, device=generator.device)
    places = (strata + torch.rand(n, generator=generator, device=generator.device)) / n
    inside = torch.zeros_like(places)
    for length, share in _PARTS:
        inside += length * (places / share).clamp(0, 1)
        places = places - share
    return torch.exp(low + (high - low) * inside)


def features(beta: Tensor, beta_range: tuple[float, float]) -> Tensor:
    """Polynomials of s that are 0 at s = 0: the Chebyshev polynomials less their constants. (B,) → (B, 4)."""
    low, high = map(math.log, beta_range)
    s = (2 * (beta.log() - low) / (high - low) - 1).clamp(-1, 1)
    square = s.square()
    return torch.stack([s, 2 * square, s * (4 * square - 3), 8 * square * (square - 1)], dim=-1)


class _Same(nn.Module):
    """What stands for a response in a network of one β."""

    def forward(self, h: Tensor, _: None) -> Tensor:
        return h


class _ScaleShift(nn.Module):
    """h ↦ h·(1 + a(s)) + b(s), channel by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(_DEGREE, channels))
        self.shift = nn.Parameter(torch.zeros(_DEGREE, channels))

    def forward(self, h: Tensor, phi: Tensor | None) -> Tensor:
        """Shapes: h (B, channels, ...), phi (B, 4), or None where it is in the layer → the shape of h."""
        if phi is None:
            return h
        shape = (len(phi), -1, *(1,) * (h.ndim - 2))
        return torch.addcmul((phi @ self.shift).view(shape), h, (1 + phi @ self.scale).view(shape))

    def put_into(self, layer: nn.Linear | nn.Conv2d, phi: Tensor) -> None:
        """Let `layer` answer as it does with this response at phi (4,)."""
        scale = 1 + phi @ self.scale
        layer.weight.mul_(scale.view(-1, *(1,) * (layer.weight.ndim - 1)))
        layer.bias.mul_(scale).add_(phi @ self.shift)


class _Linear(nn.Linear):
    """A linear map of a network of one β."""

    def forward(self, h: Tensor, _: None) -> Tensor:
        return super().forward(h)


class _ChangingLinear(nn.Linear):
    """h ↦ W(s) h + b(s), each weight a polynomial of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.change = nn.Linear(_DEGREE * inputs, outputs, bias=False)
        self.shift = nn.Linear(_DEGREE, outputs, bias=False)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, h: Tensor, phi: Tensor | None) -> Tensor:
        """Shapes: h (B, inputs), phi (B, 4), or None after `fix` → (B, outputs)."""
        if phi is None:
            return super().forward(h)
        products = (phi.unsqueeze(-1) * h.unsqueeze(-2)).flatten(-2)
        return super().forward(h) + self.change(products) + self.shift(phi)

    def fix(self, phi: Tensor) -> None:
        """Answer as at phi (4,) from now on."""
        self.weight.add_(torch.einsum("p,opi->oi", phi, self.change.weight.unflatten(1, (_DEGREE, -1))))
        self.bias.add_(self.shift(phi))


class _ToPosterior(_ChangingLinear):
    """Hidden units to mu and log σ², with σ² = β / (β + λ) and log λ linear in the hidden units."""

    def __init__(self, inputs: int, latent_dim: int, beta_range: tuple[float, float]) -> None:
        super().__init__(inputs, 2 * latent_dim)
        self.beta_range = beta_range

    def forward(self, h: Tensor, phi: Tensor | None) -> Tensor:
        """Shapes: h (B, inputs), phi (B, 4), or None after `fix` → (B, 2d)."""
        mu, log_ratio = super().forward(h, phi).chunk(2, dim=-1)
        log_beta = 0.0 if phi is None else _log_beta(phi, self.beta_range)
        return torch.cat([mu, -F.softplus(log_ratio - log_beta)], dim=-1)

    def fix(self, phi: Tensor) -> None:
        """Answer as at phi (4,) from now on."""
        super().fix(phi)
        self.bias.chunk(2)[1].sub_(_log_beta(phi[None], self.beta_range)[0])


class _FromLatent(_ChangingLinear):
    """z to hidden units, each dimension first weighed by √(1 − σ²) = √(λ / (β + λ)) with a λ of its own."""

    def __init__(self, latent_dim: int, outputs: int, beta_range: tuple[float, float]) -> None:
        super().__init__(latent_dim, outputs)
        self.beta_range = beta_range
        self.log_ratio = nn.Parameter(torch.ones(latent_dim))

    def forward(self, z: Tensor, phi: Tensor | None) -> Tensor:
        """Shapes: z (B, d), phi (B, 4), or None after `fix` → (B, outputs)."""
        return super().forward(z if phi is None else z * self._share(phi), phi)

    def fix(self, phi: Tensor) -> None:
        """Answer as at phi (4,) from now on."""
        super().fix(phi)
        self.weight.mul_(self._share(phi[None]))

    def _share(self, phi: Tensor) -> Tensor:
        return (self.log_ratio - _log_beta(phi, self.beta_range)).sigmoid().sqrt()


def _log_beta(phi: Tensor, beta_range: tuple[float, float]) -> Tensor:
    """log β (B, 1) from its features, whose first is s."""
    low, high = map(math.log, beta_range)
    return 0.5 * (low + high) + 0.5 * (high - low) * phi[:, :1]


@torch.inference_mode(mode=False)  # gradients may be asked of it later
@torch.no_grad()
def fixed(network: nn.Module, beta: float, beta_range: tuple[float, float]) -> nn.Module:
    """A copy of `network` that is called without features and answers as at `beta`, its responses put into its layers:
    as quick as a network of one β. Its `gated()` yields the layers that respond, each with its response.
    """
    network = copy.deepcopy(network)
    like = next(network.parameters())
    phi = features(like.new_tensor([beta]), beta_range)[0]
    for layer, gate in network.gated():
        gate.put_into(layer, phi)
    for module in network.modules():
        if isinstance(module, _ChangingLinear):
            module.fix(phi)
    return network


def scale_shift(channels: int, beta_range: tuple[float, float] | None) -> nn.Module:
    """The response of a layer's pre-activation: a module of (h, features); the identity for a network of one β."""
    return _Same() if beta_range is None else _ScaleShift(channels)


def to_posterior(inputs: int, latent_dim: int, beta_range: tuple[float, float] | None) -> nn.Linear:
    """From hidden units to mu and log σ²: a module of (h, features); a plain linear map for a network of one β."""
    return _Linear(inputs, 2 * latent_dim) if beta_range is None else _ToPosterior(inputs, latent_dim, beta_range)


def from_latent(latent_dim: int, outputs: int, beta_range: tuple[float, float] | None) -> nn.Linear:
    """From z to hidden units: a module of (z, features); a plain linear map for a network of one β."""
    return _Linear(latent_dim, outputs) if beta_range is None else _FromLatent(latent_dim, outputs, beta_range)
