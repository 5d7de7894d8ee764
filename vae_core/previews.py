"""What a run draws where it is tested: reconstructions of the same test images, samples from the same noise."""

from pathlib import Path

import numpy as np
import torch

from vae_core import imaging
from vae_core.checkpoint import read_tensors, write_tensors
from vae_core.data import Dataset
from vae_core.evaluate import encode, to_unit
from vae_core.files import write_whole
from vae_core.runs import Run
from vae_core.train import Trainer

__all__ = ["PREVIEW_POINTS", "read_given", "read_preview", "thin_previews", "write_given", "write_preview"]

PREVIEW_POINTS = 1000
"""The test images, the first of them, whose codes a run shows while it is trained."""

_IMAGES, _COLUMNS = 16, 8
_KEPT = 120  # about as many of a long run


@torch.inference_mode()
def write_preview(run: Run, trainer: Trainer, epoch: int) -> None:
    """Write previews/epoch_NNN.safetensors (reconstruction and samples, uint8 (16, C, H, W); mu (≤1000, d)) and the
    same pictures as epoch_NNN.png: test images, their reconstructions below, samples from fixed noise at the bottom.
    """
    model = trainer.model.eval()
    given = trainer.dataset.test.images[:_IMAGES]
    mu, _ = model.encode(to_unit(given, trainer.device))
    noise = torch.Generator().manual_seed(trainer.config.seed)
    z = torch.randn(_IMAGES, model.config.latent_dim, generator=noise).to(trainer.device)
    reconstruction, samples = (imaging.to_uint8(model.decode_mean(point).cpu().numpy()) for point in (mu, z))
    points, _ = encode(model, trainer.dataset.test.images[:PREVIEW_POINTS])
    model.train()
    starts = range(0, len(given), _COLUMNS)
    rows = [_full_row(pictures, start) for start in starts for pictures in (given, reconstruction)] + [samples]
    picture = imaging.grid(np.concatenate(rows), columns=_COLUMNS, scale=2, gap=2)
    write_whole(_path(run, epoch, ".png"), imaging.png_bytes(picture))
    arrays = {"reconstruction": reconstruction, "samples": samples, "mu": points}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    write_tensors(_path(run, epoch, ".safetensors"), tensors, {"epoch": epoch})


def thin_previews(run: Run) -> None:
    """Leave out every second preview of a run once there are over 240, but for the first and the latest."""
    found = run.previews()
    if len(found) > 2 * _KEPT:
        for path in found[1:-1:2]:
            for ending in (".png", ".safetensors"):
                path.with_suffix(ending).unlink(missing_ok=True)


def write_given(run: Run, dataset: Dataset) -> None:
    """Write previews/given.safetensors: the test images of every preview, images uint8 (16, C, H, W), and the labels
    (≤1000,) of the points in its mu, where there are any."""
    tensors = {"images": torch.from_numpy(dataset.test.images[:_IMAGES])}
    if dataset.test.labels is not None:
        tensors["labels"] = torch.from_numpy(dataset.test.labels[:PREVIEW_POINTS])
    write_tensors(run.path / "previews" / "given.safetensors", tensors, {"class_names": list(dataset.class_names)})


def read_given(run: Run) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """The images, labels and class names that `write_given` wrote."""
    tensors, header = read_tensors(run.path / "previews" / "given.safetensors")
    labels = tensors.get("labels")
    return tensors["images"].numpy(), None if labels is None else labels.numpy(), tuple(header["class_names"])


def read_preview(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `write_preview` wrote: reconstruction, samples, mu."""
    tensors, _ = read_tensors(path)
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _path(run: Run, epoch: int, ending: str) -> Path:
    return run.path / "previews" / f"epoch_{epoch:03d}{ending}"


def _full_row(pictures: np.ndarray, start: int) -> np.ndarray:
    """A row of the pictures (n, C, H, W) from `start` on, filled up with black ones."""
    row = pictures[start : start + _COLUMNS]
    return np.pad(row, ((0, _COLUMNS - len(row)), (0, 0), (0, 0), (0, 0)))
