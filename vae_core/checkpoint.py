"""A checkpoint is one safetensors file: weights, a latent snapshot, and a header that rebuilds the model."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save as to_safetensors

from vae_core.errors import UserError, check_range
from vae_core.files import write_whole
from vae_core.model import VAE, ModelConfig
from vae_core.objective import kl_standard_normal
from vae_core.train_config import TrainConfig

__all__ = [
    "MAX_BYTES",
    "SNAPSHOT_IMAGES",
    "BetaSnapshot",
    "Checkpoint",
    "LatentSnapshot",
    "load",
    "read_header",
    "read_snapshots",
    "read_tensors",
    "save",
    "write_tensors",
]

MAX_BYTES = 512 * 2**20

SNAPSHOT_IMAGES = 5000
"""How many test images the latent snapshot of a finished run is of, where there are so many."""

_FORMAT = "vae-laboratory/1"
_MOST_CLASSES = 65_536
_UNKNOWN = {"train": {}, "test": None, "epoch": 0, "step": 0, "images_per_second": 0.0}
_UNKNOWN |= {"class_names": [], "factor_names": []}
_TESTED = ("elbo", "reconstruction", "kl", "active_units")
_FARTHEST, _LARGEST = 1e9, 1e30  # of codes, from 0, and of what a record says


@dataclass(frozen=True)
class LatentSnapshot:
    """What the encoder says of held-out images, so that latent pages work without the data set.

    mu, logvar (N, d) float32; reconstruction (N,) float32, −log p(x|z) in nats at one posterior sample; labels
    (N,) int64 and factors (N, F) float32 where the data set has them. Row i is the data set's test image i.
    """

    mu: np.ndarray
    logvar: np.ndarray
    reconstruction: np.ndarray
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.mu)

    @property
    def kl(self) -> np.ndarray:
        """KL(q(z_j|x) ‖ p(z_j)) of each image and latent dimension, (N, d) in nats."""
        return kl_standard_normal(torch.from_numpy(self.mu), torch.from_numpy(self.logvar)).numpy()


@dataclass(frozen=True)
class BetaSnapshot:
    """What a model of a range of β says of held-out images at several β, in a compact form; see `rate_distortion`.

    betas (K,) float64, rising, from one end of the range to the other; mu, logvar (K, N, d) float16; reconstruction
    (K, N) float32, −E_q[log p(x|z)] in nats. Image i is row i of the latent snapshot, which has its label.
    """

    betas: np.ndarray
    mu: np.ndarray
    logvar: np.ndarray
    reconstruction: np.ndarray


@dataclass(frozen=True)
class Checkpoint:
    """A model in evaluation mode, the JSON record of how it was trained, its latent snapshot, and, where it was
    trained for a range of β to the end, that of several β.

    The record always has "train" (the values of a TrainConfig), "beta", "epoch", "step", "class_names", one for each
    label of the snapshot, and "factor_names". Raises TypeError, ValueError or UserError where what is given is no such
    record.
    """

    model: VAE
    record: dict[str, Any] = field(default_factory=dict)
    snapshot: LatentSnapshot | None = None
    betas: BetaSnapshot | None = None

    def __post_init__(self) -> None:
        record = _whole(self.record)
        _name_all(self.snapshot, record)
        object.__setattr__(self, "record", record)


def _whole(record: dict[str, Any]) -> dict[str, Any]:
    record = _UNKNOWN | record
    train = TrainConfig(**{"dataset": ""} | record["train"])
    record |= {"train": train.to_dict(), "beta": record.get("beta", train.beta)}
    check_range("β", record["beta"], 0.0, 1000.0)
    for key in ("epoch", "step"):
        check_range(key, record[key], 0, 2**53)
    for key in ("class_names", "factor_names"):
        record[key] = [*record[key]]
    if not all(isinstance(name, str) for name in (train.dataset, *record["class_names"], *record["factor_names"])):
        raise TypeError(record)
    numbers = [record["images_per_second"], *(record["test"][name] for name in _TESTED if record["test"])]
    if not all(isinstance(number, int | float) and abs(number) < _LARGEST for number in numbers):
        raise TypeError(record)
    return record


def _name_all(snapshot: LatentSnapshot | None, record: dict[str, Any]) -> None:
    """Give every label a name, its number where it has no other.

    Raises ValueError where there are not as many factors as names of them.
    """
    if snapshot is None:
        return
    classes, factors = record["class_names"], record["factor_names"]
    if factors and (snapshot.factors is None or snapshot.factors.shape[1] != len(factors)):
        raise ValueError("other factors")
    if snapshot.labels is not None:
        classes += map(str, range(len(classes), int(snapshot.labels.max()) + 1))


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header as one safetensors file, whole."""
    metadata = {"format": _FORMAT, "header": json.dumps(header, ensure_ascii=False)}
    rows = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, to_safetensors(rows, metadata))


def _open(path: Path, most: int = MAX_BYTES) -> Any:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path.name}. It may have been moved or deleted; choose another.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}. Choose another checkpoint.") from error
    if size > most:
        raise UserError(f"{path.name} has {size / 2**20:.0f} MB; checkpoints of up to {most >> 20} MB are read.")
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:] != b"{"):  # 0x80 may begin a header's length, too
        raise UserError(
            f"{path.name} is a pickle (a .pt or .pth file), which can run code when it is opened, so it is refused. "
            "Use a .safetensors checkpoint written by this project."
        )
    try:
        return safetensors.safe_open(str(path), framework="pt")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path.name} is not a readable checkpoint: it is truncated, damaged or another kind of file. "
            "Download or train it again."
        ) from error


def _header(file: Any, path: Path) -> dict[str, Any]:
    metadata = file.metadata() or {}
    try:
        if metadata["format"] != _FORMAT:
            raise ValueError(metadata["format"])
        header = json.loads(metadata["header"])
        if not isinstance(header, dict):
            raise ValueError(header)
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(
            f"{Path(path).name} is a safetensors file, but not a checkpoint of this project. "
            "Use one that was trained here."
        ) from error
    return header


def read_header(path: Path) -> dict[str, Any]:
    """The header alone, {"model": {...}, "record": {...}}, both whole, without reading the weights."""
    with _open(path) as file:
        header = _header(file, path)
    return {"model": _config(header, path).to_dict(), "record": _record(header, path)}


def read_snapshots(path: Path) -> tuple[LatentSnapshot | None, BetaSnapshot | None]:
    """A checkpoint's snapshots, those that it has, without reading the weights."""
    tensors, header = read_tensors(path, but="model.")
    return _snapshots(_config(header, path), tensors, path)


def read_tensors(
    path: Path, most: int = MAX_BYTES, *, but: str | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Every tensor of a file that `write_tensors` wrote, of at most `most` bytes, and its header; `but` those whose
    names begin so."""
    with _open(path, most) as file:
        header = _header(file, path)
        try:
            names = [name for name in file.keys() if but is None or not name.startswith(but)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}, header
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise UserError(f"{Path(path).name} is damaged. Download or train it again.") from error


def _tensors_of(kind: str, snapshot: LatentSnapshot | BetaSnapshot | None) -> dict[str, torch.Tensor]:
    if snapshot is None:
        return {}
    rows = {part.name: getattr(snapshot, part.name) for part in fields(snapshot)}
    return {f"{kind}.{name}": torch.from_numpy(rows[name]) for name in rows if rows[name] is not None}


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint as one file, whole. Raises UserError where the disk is full."""
    weights = {f"model.{name}": tensor for name, tensor in checkpoint.model.state_dict().items()}
    header = {"model": checkpoint.model.config.to_dict(), "record": checkpoint.record}
    snapshots = _tensors_of("snapshot", checkpoint.snapshot) | _tensors_of("betas", checkpoint.betas)
    write_tensors(path, weights | snapshots, header)


def load(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint and rebuild its model, in evaluation mode, on `device`.

    Raises UserError for a missing, truncated, foreign or hostile file; nothing in the file is executed.
    """
    tensors, header = read_tensors(path)
    config = _config(header, path)
    model, record = _build(config, tensors, path), _record(header, path)
    snapshot, betas = _snapshots(config, tensors, path)
    try:
        return Checkpoint(model.to(device).eval(), record, snapshot, betas)
    except (TypeError, ValueError) as error:
        raise _damaged_snapshot(path) from error


def _record(header: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return _whole(header.get("record", {}))
    except (KeyError, TypeError, UserError) as error:
        raise UserError(
            f"{Path(path).name} does not say how its model was trained. Use a checkpoint that was trained here."
        ) from error


def _config(header: dict[str, Any], path: Path) -> ModelConfig:
    try:
        return ModelConfig.from_dict(header["model"])
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise _another_model(path) from error


def _damaged_snapshot(path: Path) -> UserError:
    return UserError(f"The latent snapshot in {Path(path).name} is damaged. Download or train it again.")


def _another_model(path: Path) -> UserError:
    return UserError(
        f"{Path(path).name} does not hold the model that its header describes. Use a checkpoint that was trained here."
    )


def _build(config: ModelConfig, tensors: dict[str, torch.Tensor], path: Path) -> VAE:
    weights = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
    try:
        with torch.device("meta"):  # shapes are compared before any memory is asked for
            expected = {key: (value.shape, value.dtype) for key, value in VAE(config).state_dict().items()}
        if expected != {key: (value.shape, value.dtype) for key, value in weights.items()}:
            raise ValueError("other shapes")
        if not all(torch.isfinite(value).all() for value in weights.values()):
            raise ValueError("weights that are not finite")
        model = VAE(config)
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _another_model(path) from error
    return model


_SNAPSHOT_ROWS = {  # name: type, dimensions
    "mu": (np.float32, 2),
    "logvar": (np.float32, 2),
    "reconstruction": (np.float32, 1),
    "labels": (np.int64, 1),
    "factors": (np.float32, 2),
}


def _rows(tensors: dict[str, torch.Tensor], kind: str) -> dict[str, np.ndarray]:
    prefix = f"{kind}."
    return {key.removeprefix(prefix): value.numpy() for key, value in tensors.items() if key.startswith(prefix)}


def _snapshots(
    config: ModelConfig, tensors: dict[str, torch.Tensor], path: Path
) -> tuple[LatentSnapshot | None, BetaSnapshot | None]:
    try:
        return _snapshot(config, _rows(tensors, "snapshot")), _beta_snapshot(config, _rows(tensors, "betas"))
    except (TypeError, ValueError) as error:
        raise _damaged_snapshot(path) from error


def _snapshot(config: ModelConfig, rows: dict[str, np.ndarray]) -> LatentSnapshot | None:
    """The latent snapshot of these rows. Raises TypeError or ValueError where they are none."""
    if not rows:
        return None
    snapshot = LatentSnapshot(**rows)
    shape = (len(snapshot), config.latent_dim)
    if not len(snapshot) or snapshot.mu.shape != shape or snapshot.logvar.shape != shape:
        raise ValueError("no rows, or another latent size")
    for key, row in rows.items():
        if (row.dtype, row.ndim, len(row)) != (*_SNAPSHOT_ROWS[key], len(snapshot)) or not np.isfinite(row).all():
            raise ValueError(f"rows of {key} that do not match")
    if max(np.abs(snapshot.mu).max(), np.abs(snapshot.logvar).max()) > _FARTHEST:
        raise ValueError("codes that cannot be squared")
    if snapshot.labels is not None and not 0 <= snapshot.labels.min() <= snapshot.labels.max() < _MOST_CLASSES:
        raise ValueError("labels of no class")
    return snapshot


def _beta_snapshot(config: ModelConfig, rows: dict[str, np.ndarray]) -> BetaSnapshot | None:
    """The snapshot at several β; raises as `_snapshot` does."""
    if not rows:
        return None
    found = BetaSnapshot(**rows)
    if found.betas.ndim != 1 or found.reconstruction.ndim != 2 or 0 in found.reconstruction.shape:
        raise ValueError("other dimensions")
    k, n = found.reconstruction.shape
    codes = ((k, n, config.latent_dim), np.float16)
    wanted = {"betas": ((k,), np.float64), "mu": codes, "logvar": codes, "reconstruction": ((k, n), np.float32)}
    if any((row.shape, row.dtype) != wanted[key] or not np.isfinite(row).all() for key, row in rows.items()):
        raise ValueError("rows that do not match")
    if config.beta_range is None or k < 2 or not (np.diff(found.betas) > 0).all():
        raise ValueError("no range of β")
    return found
