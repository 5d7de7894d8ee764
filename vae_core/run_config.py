"""What makes a run: the model and the training, checked together, and the name that they give it."""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_core.checkpoint import MAX_BYTES
from vae_core.errors import UserError
from vae_core.model import ModelConfig, count_parameters
from vae_core.train_config import TrainConfig

__all__ = ["RunConfig", "check_new"]

_MOST_PAIRS = 2**25  # of codes times dimensions: some 130 MB a tensor
_MOST_PIXELS = 2**26  # decoded in a step: some 270 MB a tensor
_MOST_WEIGHTS = MAX_BYTES * 3 // 4  # of a checkpoint, which holds latent snapshots, too


@dataclass(frozen=True)
class RunConfig:
    """What makes a run: the model and the training. Equal configs are the same run.

    Raises UserError for one β beside a range of it, for β-TCVAE with a range or with too large a batch, and for
    several importance samples with a range or with too large a batch.
    """

    model: ModelConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        if self.model.beta_range is not None:
            self._check_range(*self.model.beta_range)
        if self.train.objective == "beta-tcvae":
            self._check_pairs()
        if self.train.importance_samples > 1:
            self._check_pixels()

    def _check_range(self, low: float, high: float) -> None:
        if self.train.objective == "beta-tcvae":
            raise UserError(
                f"β-TCVAE trains models of one β, not of β from {low:g} to {high:g}. Choose one β, or β-VAE."
            )
        if (samples := self.train.importance_samples) > 1:
            raise UserError(
                f"A model for β from {low:g} to {high:g} is trained with 1 posterior sample an image, not {samples:,}. "
                "Choose one β, or leave out the importance samples."
            )
        if self.train.beta != 1.0:
            raise UserError(
                f"A model for β from {low:g} to {high:g} is not trained at β = {self.train.beta:g} alone. "
                "Leave out the one or the other."
            )

    def _check_pairs(self) -> None:
        most = math.isqrt(_MOST_PAIRS // self.model.latent_dim)
        if self.train.batch_size > most:
            raise UserError(
                f"β-TCVAE compares every picture of a batch with every other, and {self.train.batch_size:,} are too "
                f"many with a latent size of {self.model.latent_dim}. Choose a batch of at most {most:,}."
            )

    def _check_pixels(self) -> None:
        samples, batch = self.train.importance_samples, self.train.batch_size
        most = _MOST_PIXELS // (samples * math.prod(self.model.image_shape))
        if batch > most:
            raise UserError(
                f"Each of {batch:,} pictures a batch is decoded {samples:,} times, more than fits the memory. "
                + (f"Choose a batch of at most {most:,}, or fewer samples." if most else "Choose fewer samples.")
            )

    @property
    def name(self) -> str:
        """A readable name that ends in a hash of everything in the config."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        data = re.sub(r"[^A-Za-z0-9-]+", "-", Path(self.train.dataset).name)[:24].strip("-") or "images"
        kind = "tc" if self.train.objective == "beta-tcvae" else "beta"
        beta = "-".join(f"{end:g}" for end in self.model.beta_range or (self.train.beta,))
        how = f"iwae{self.train.importance_samples}" if self.train.objective == "iwae" else f"{kind}{beta}"
        return f"{data}-{self.model.arch}-d{self.model.latent_dim}-{how}-{digest}"

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON values."""
        return {"model": self.model.to_dict(), "train": self.train.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """The config that `to_dict` wrote. Raises UserError where something is missing or out of range."""
        try:
            if not isinstance(values["train"]["dataset"], str):
                raise TypeError("the data set has no name")
            return cls(ModelConfig.from_dict(values["model"]), TrainConfig(**values["train"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"The run's config cannot be read: {error}. Delete the run and start it again.") from error


def check_new(config: RunConfig) -> None:
    """Raise UserError for a config of which nothing good can come: a KL warm-up that does not end, a network too large
    to be kept."""
    train = config.train
    if train.kl_warmup > train.epochs:
        raise UserError(
            f"A KL warm-up of {train.kl_warmup:g} epochs does not end within a training of {train.epochs}. "
            "Make it shorter, or train longer."
        )
    size = 4 * count_parameters(config.model)
    if size > _MOST_WEIGHTS:
        raise UserError(
            f"This network's weights take {size / 2**20:,.0f} MB, and {_MOST_WEIGHTS >> 20} MB is the most. "
            "Choose fewer or narrower layers."
        )
