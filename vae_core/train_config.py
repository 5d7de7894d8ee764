"""How a model is trained, as a record that is checked when it is made."""

from dataclasses import asdict, dataclass
from typing import Any

from vae_core.errors import UserError, check_range
from vae_core.objective import OBJECTIVES

__all__ = ["TrainConfig"]

_DEFAULT_OBJECTIVE = "beta-vae"
_LATER = {"objective": _DEFAULT_OBJECTIVE, "importance_samples": 1, "bias_from_mean": False, "pictures": ""}


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    objective is one of OBJECTIVES. beta weighs the KL (0 is the plain autoencoder; 1 for a model with a beta_range,
    which draws a β for each image it is shown), for 'beta-tcvae' its total correlation alone; learning_rate is Adam's,
    which falls to zero over the last 30 % of the steps (layers that respond to β learn twice as fast, but no faster
    than at 2e-3 for it); kl_warmup, in epochs, is that of beta; free_bits in nats a dimension; binarize draws every
    pixel from Bernoulli(grey value) anew each time it is shown; importance_samples is the number K of posterior samples
    for each image in a step, those of the bound for 'iwae', averaged over for 'beta-vae'; bias_from_mean starts the
    decoder's last bias at the logit of the mean training picture; pictures is what a folder held when the training was
    planned (`Dataset.fingerprint`; '' asks for nothing). Raises UserError for a value out of range, and for values that
    do not go together.
    """

    dataset: str = "digits"
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 1e-3
    beta: float = 1.0
    kl_warmup: float = 0.0
    free_bits: float = 0.0
    binarize: bool = False
    seed: int = 0
    objective: str = _DEFAULT_OBJECTIVE
    importance_samples: int = 1
    bias_from_mean: bool = False
    pictures: str = ""

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise UserError(f"There is no objective {self.objective!r}. Choose one of {', '.join(OBJECTIVES)}.")
        for name, value, low, high in (
            ("number of epochs", self.epochs, 1, 100_000),
            ("batch size", self.batch_size, 1, 65_536),
            ("learning rate", self.learning_rate, 1e-6, 1.0),
            ("β", self.beta, 0.0, 1000.0),
            ("KL warm-up", self.kl_warmup, 0.0, 100_000.0),
            ("free bits", self.free_bits, 0.0, 100.0),
            ("seed", self.seed, 0, 2**31 - 1),
            ("number of importance samples", self.importance_samples, 1, 5000),
        ):
            check_range(name, value, low, high)
        for name in ("learning_rate", "beta", "kl_warmup", "free_bits"):  # 1 and 1.0 are the same run
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.objective == "beta-tcvae":
            self._check_tcvae()
        elif self.objective == "iwae":
            self._check_iwae()

    def _check_tcvae(self) -> None:
        if self.free_bits:
            raise UserError(
                f"Free bits of {self.free_bits:g} nats and β-TCVAE do not go together: free bits cut off the KL of a "
                "dimension, which β-TCVAE splits. Set them to 0, or choose β-VAE."
            )
        if self.batch_size < 2:
            raise UserError("β-TCVAE compares the codes of a batch, and 1 picture is none. Choose 2 or more.")
        if self.importance_samples > 1:
            raise UserError(
                f"β-TCVAE takes 1 posterior sample an image, not {self.importance_samples:,}. Leave out the importance "
                "samples, or choose IWAE."
            )

    def _check_iwae(self) -> None:
        if self.importance_samples == 1:
            raise UserError(
                "IWAE with 1 importance sample is the ELBO, which β-VAE trains with less noise at β = 1. Choose 2 or "
                "more, or β-VAE."
            )
        for name, value, without in (
            ("β", self.beta, 1.0),
            ("A KL warm-up", self.kl_warmup, 0.0),
            ("Free bits", self.free_bits, 0.0),
        ):
            if value != without:
                raise UserError(
                    f"{name} of {value:g} does not go with IWAE, whose bound has no KL of its own to weigh. Set it to "
                    f"{without:g}, or choose β-VAE."
                )

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON values; what came later than the first runs is left out where it is at its default."""
        return {name: value for name, value in asdict(self).items() if name not in _LATER or value != _LATER[name]}
