"""The model: p(z) = N(0, I), p(x|z) by a decoder, q(z|x) = N(mu, diag exp(logvar)) by an encoder."""

import copy
import itertools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core import gates, likelihood
from vae_core.errors import UserError

__all__ = ["ACTIVATIONS", "ARCHITECTURES", "MAX_LATENT_DIM", "VAE", "ModelConfig", "count_parameters", "default_widths"]

ARCHITECTURES = ("mlp", "conv")
ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "tanh": torch.tanh}
MAX_LATENT_DIM = 128
_LOGVAR_BOUND = 10.0
_CONV_HIDDEN = 128
_CONV_BOTTLENECK = 32


def default_widths(arch: str, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Widths of the hidden layers ('mlp'), or channels of the stages, each of which halves the picture ('conv').

    Pictures of up to 256 values take layers half as wide; the convolutions stop halving at 8 pixels or fewer.
    """
    if arch == "mlp":
        return (256, 128) if math.prod(image_shape) <= 256 else (512, 256)
    stages = max(1, math.ceil(math.log2(max(image_shape[1:]) / 8)))
    return (32, *(64,) * (stages - 1))


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build the model anew.

    image_shape is (C, H, W); widths see `default_widths` (None takes that default); sigma is the fixed
    σ of the 'gaussian' likelihood, in units of the pixel range [0, 1]. beta_range is the lowest and highest β
    that the model is trained for; None is a model of one β, which does not know of it. activation is that of the
    hidden layers of an 'mlp', one of ACTIVATIONS, None being 'gelu'; convolutions have 'silu' and no choice.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int = 2
    arch: str = "mlp"
    likelihood: str = "bernoulli"
    widths: tuple[int, ...] | None = None
    sigma: float = 0.1
    beta_range: tuple[float, float] | None = None
    activation: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        _check_choice("network", self.arch, ARCHITECTURES)
        _check_choice("likelihood", self.likelihood, likelihood.LIKELIHOODS)
        choices = ("silu",) if self.arch == "conv" else tuple(ACTIVATIONS)
        if self.activation is None:
            object.__setattr__(self, "activation", choices[0])
        if self.arch == "conv" and self.activation in ACTIVATIONS:
            raise UserError(f"The activation {self.activation!r} is for MLPs. Leave it out, or choose the network mlp.")
        _check_choice("activation", self.activation, choices)
        shape = self.image_shape
        if len(shape) != 3 or shape[0] not in (1, 3) or not all(_is_whole(n, 1, 512) for n in shape):
            raise UserError(
                f"The picture shape {shape} is not (channels, height, width) with 1 or 3 channels "
                "and sides of 1 to 512 pixels."
            )
        if not _is_whole(self.latent_dim, 1, MAX_LATENT_DIM):
            raise UserError(f"The latent size {self.latent_dim!r} is not a whole number from 1 to {MAX_LATENT_DIM}.")
        if self.widths is None:
            object.__setattr__(self, "widths", default_widths(self.arch, shape))
        object.__setattr__(self, "widths", tuple(self.widths))
        if not 1 <= len(self.widths) <= 8 or not all(_is_whole(width, 1, 4096) for width in self.widths):
            raise UserError(f"The widths {self.widths!r} are not one to eight whole numbers from 1 to 4096.")
        if not 1e-3 <= self.sigma <= 10:
            raise UserError(f"σ = {self.sigma!r} is out of range. Choose a σ between 0.001 and 10.")
        object.__setattr__(self, "sigma", float(self.sigma))  # 1 and 1.0 are the same model
        if self.beta_range is not None:
            object.__setattr__(self, "beta_range", gates.check_beta_range(*self.beta_range))

    @property
    def default_beta(self) -> float:
        """The β that is meant where none is named: 1, or the nearest that the model was trained for."""
        return 1.0 if self.beta_range is None else gates.clip(1.0, self.beta_range)

    @property
    def smooth(self) -> bool:
        """Whether the network has no kinks: no ReLUs."""
        return self.activation != "relu"

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON values, from which `from_dict` makes it again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """The config that `to_dict` gave; the MLPs of files that name no activation have ReLUs."""
        values = dict(values)
        if values.get("arch") == "mlp":
            values.setdefault("activation", "relu")
        return cls(**values)


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise UserError(f"There is no {what} {value!r}. Choose one of {', '.join(choices)}.")


class _MLPEncoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = (math.prod(config.image_shape), *config.widths)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.gates = nn.ModuleList(gates.scale_shift(width, config.beta_range) for width in config.widths[1:])
        self.head = gates.to_posterior(sizes[-1], config.latent_dim, config.beta_range)
        self.activation = ACTIVATIONS[config.activation]

    def gated(self) -> Iterable[tuple[nn.Module, nn.Module]]:
        """The layers that respond to β, each with its response, in their order."""
        return zip(self.hidden[1:], self.gates, strict=True)

    def forward(self, x: Tensor, phi: Tensor | None) -> Tensor:
        h = self.activation(self.hidden[0](x.flatten(1)))
        for layer, gate in self.gated():
            h = self.activation(gate(layer(h), phi))
        return self.head(h, phi)


class _MLPDecoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.image_shape = config.image_shape
        first, *others = reversed(config.widths)
        self.hidden = nn.ModuleList([gates.from_latent(config.latent_dim, first, config.beta_range)])
        self.hidden.extend(nn.Linear(a, b) for a, b in itertools.pairwise((first, *others)))
        self.gates = nn.ModuleList(gates.scale_shift(width, config.beta_range) for width in others)
        self.head = nn.Linear(config.widths[0], math.prod(config.image_shape))
        self.activation = ACTIVATIONS[config.activation]

    def gated(self) -> Iterable[tuple[nn.Module, nn.Module]]:
        return zip(self.hidden[1:], self.gates, strict=True)

    def forward(self, z: Tensor, phi: Tensor | None) -> Tensor:
        h = self.activation(self.hidden[0](z, phi))
        for layer, gate in self.gated():
            h = self.activation(gate(layer(h), phi))
        return self.head(h).unflatten(-1, self.image_shape)


def _coarse_size(config: ModelConfig) -> tuple[int, int]:
    halvings = 2 ** len(config.widths)
    return math.ceil(config.image_shape[1] / halvings), math.ceil(config.image_shape[2] / halvings)


class _ConvEncoder(nn.Module):
    """Stages of a strided convolution; pictures are first padded to a multiple of the total stride."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = (config.image_shape[0], *config.widths)
        height, width = _coarse_size(config)
        stride = 2 ** len(config.widths)
        self.padding = (0, width * stride - config.image_shape[2], 0, height * stride - config.image_shape[1])
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(channels))
        self.gates = nn.ModuleList(gates.scale_shift(count, config.beta_range) for count in config.widths[1:])
        self.squeeze = nn.Conv2d(channels[-1], _CONV_BOTTLENECK, 1)
        self.squeeze_gate = gates.scale_shift(_CONV_BOTTLENECK, config.beta_range)
        self.hidden = nn.Linear(_CONV_BOTTLENECK * height * width, _CONV_HIDDEN)
        self.hidden_gate = gates.scale_shift(_CONV_HIDDEN, config.beta_range)
        self.head = gates.to_posterior(_CONV_HIDDEN, config.latent_dim, config.beta_range)

    def gated(self) -> Iterable[tuple[nn.Module, nn.Module]]:
        stages = zip(self.stages[1:], self.gates, strict=True)
        return [*stages, (self.squeeze, self.squeeze_gate), (self.hidden, self.hidden_gate)]

    def forward(self, x: Tensor, phi: Tensor | None) -> Tensor:
        *convolutions, (hidden, hidden_gate) = self.gated()
        h = F.silu(self.stages[0](F.pad(x, self.padding)))
        for layer, gate in convolutions:
            h = F.silu(gate(layer(h), phi))
        return self.head(F.silu(hidden_gate(hidden(h.flatten(1)), phi)), phi)


class _Upsample(nn.Conv2d):
    """Nearest-neighbour doubling, then a 3×3 convolution: every output pixel is covered alike, so that there is
    no checkerboard (Odena et al. 2016, 'Deconvolution and checkerboard artifacts').

    Both steps together are one transposed convolution, whose 4×4 kernel is the 3×3 kernel summed over 2×2
    windows: the same function with 4/9 of the multiplications.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3)

    def forward(self, h: Tensor) -> Tensor:
        kernel = F.avg_pool2d(F.pad(self.weight, (1, 1, 1, 1)), 2, stride=1, divisor_override=1)
        return F.conv_transpose2d(h, kernel.flip(-1, -2).transpose(0, 1), self.bias, stride=2, padding=1)


class _ConvDecoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.image_shape = config.image_shape
        self.coarse = (_CONV_BOTTLENECK, *_coarse_size(config))
        channels = (*reversed(config.widths), max(16, config.widths[0] // 2))
        self.hidden = gates.from_latent(config.latent_dim, _CONV_HIDDEN, config.beta_range)
        self.spread = nn.Linear(_CONV_HIDDEN, math.prod(self.coarse))
        self.spread_gate = gates.scale_shift(math.prod(self.coarse), config.beta_range)
        self.expand = nn.Conv2d(_CONV_BOTTLENECK, channels[0], 1)
        self.expand_gate = gates.scale_shift(channels[0], config.beta_range)
        self.stages = nn.ModuleList(_Upsample(a, b) for a, b in itertools.pairwise(channels))
        self.gates = nn.ModuleList(gates.scale_shift(width, config.beta_range) for width in channels[1:])
        self.head = nn.Conv2d(channels[-1], config.image_shape[0], 3, padding=1)

    def gated(self) -> Iterable[tuple[nn.Module, nn.Module]]:
        stages = zip(self.stages, self.gates, strict=True)
        return [(self.spread, self.spread_gate), (self.expand, self.expand_gate), *stages]

    def forward(self, z: Tensor, phi: Tensor | None) -> Tensor:
        (spread, spread_gate), *convolutions = self.gated()
        h = F.silu(spread_gate(spread(F.silu(self.hidden(z, phi))), phi)).unflatten(-1, self.coarse)
        for layer, gate in convolutions:
            h = F.silu(gate(layer(h), phi))
        return self.head(h)[..., : self.image_shape[1], : self.image_shape[2]]


_NETWORKS = {"mlp": (_MLPEncoder, _MLPDecoder), "conv": (_ConvEncoder, _ConvDecoder)}


def count_parameters(config: ModelConfig) -> int:
    """How many numbers the model would learn; takes no memory for them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in VAE(config).parameters())


class VAE(nn.Module):
    """A variational autoencoder with a diagonal Gaussian posterior and a standard normal prior.

    A model with a beta_range (see `gates`) serves every β of it: `encode` and `decode` take one β, or one for each
    row (B,), and that of `at` where none is named. Where it `trains_in_bf16`, its networks multiply so in
    training mode, and nothing else does. Source: Kingma & Welling 2014, Rezende et al. 2014.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.beta = config.default_beta
        self.trains_in_bf16 = False
        self._fixed: dict[str, nn.Module] | None = None  # after `at`: the networks that answer for `beta` alone
        encoder, decoder = _NETWORKS[config.arch]
        self.encoder = encoder(config)
        self.decoder = decoder(config)
        self.likelihood = likelihood.make(config.likelihood, config.sigma)
        self.to(memory_format=torch.channels_last)

    def at(self, beta: float) -> "VAE":
        """The same model, answering for `beta` where none is named, with the weights that it has when first asked.

        For use, not for training. Raises UserError where the model was not trained for this β.
        """
        gates.check_beta(beta, self.config.beta_range)
        other = copy.copy(self)
        other.beta = gates.clip(beta, self.config.beta_range)
        other._fixed = {}
        return other

    def encode(self, x: Tensor, beta: float | Tensor | None = None) -> tuple[Tensor, Tensor]:
        """q(z|x) = N(mu, diag exp(logvar)). Shapes: x (B, C, H, W) in [0, 1], beta () or (B,) → mu, logvar (B, d).

        logvar is bounded smoothly to ±10, so that neither σ nor 1/σ overflows. Raises UserError for a β that the
        model was not trained for.
        """
        mu, raw = self._answer("encoder", x, beta).chunk(2, dim=-1)
        return mu, _LOGVAR_BOUND * torch.tanh(raw / _LOGVAR_BOUND)

    def decode(self, z: Tensor, beta: float | Tensor | None = None) -> Tensor:
        """Parameters of p(x|z), before the likelihood's sigmoid. Shapes: z (B, d) → (B, C, H, W); see `encode`."""
        return self._answer("decoder", z, beta)

    def decode_mean(self, z: Tensor, beta: float | Tensor | None = None) -> Tensor:
        """The mean picture E[x|z] in [0, 1]. Shapes: z (B, d) → (B, C, H, W); see `encode`."""
        return self.likelihood.mean(self.decode(z, beta))

    def _answer(self, network: str, rows: Tensor, beta: float | Tensor | None) -> Tensor:
        if beta is not None or self._fixed is None:
            phi = self._features(beta, rows)
            if not (self.training and self.trains_in_bf16):
                return getattr(self, network)(rows, phi)
            with torch.autocast(rows.device.type, torch.bfloat16, cache_enabled=False):
                return getattr(self, network)(rows, phi).to(rows.dtype)
        if network not in self._fixed:
            self._fixed[network] = gates.fixed(getattr(self, network), self.beta, self.config.beta_range)
        return self._fixed[network](rows, None)

    def _features(self, beta: float | Tensor | None, rows: Tensor) -> Tensor | None:
        """What the responses to β take, (B, 4); None for a model of one β."""
        drawn = self.training and isinstance(beta, Tensor)  # within the range; to look would make a GPU wait
        if beta is not None and not drawn:
            gates.check_beta(beta, self.config.beta_range)
        if self.config.beta_range is None:
            return None
        beta = torch.as_tensor(self.beta if beta is None else beta, dtype=rows.dtype, device=rows.device)
        return gates.features(beta.expand(len(rows)), self.config.beta_range)
