"""What commands on trained models are given: checkpoints, test images, pictures of one's own, and their codes."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vae_core import device as devices
from vae_core import evaluate, imaging, latent, pictures
from vae_core.checkpoint import SNAPSHOT_IMAGES, Checkpoint, load
from vae_core.data import Dataset, Split
from vae_core.errors import UserError
from vae_core.runs import runs_folder
from vae_core.terminal import load_dataset

__all__ = ["code_of", "codes", "load_checkpoint", "load_test_set", "load_with_codes", "read_pictures"]


def load_checkpoint(args: argparse.Namespace) -> Checkpoint:
    """The checkpoint that `args` name, by file or run, on --device and at --beta.

    Raises UserError where there is none, and for a β that its model was not trained for.
    """
    if not args.checkpoint:
        raise UserError("No checkpoint is named. Name a .safetensors file, or a run.")
    given = Path(args.checkpoint)
    places = (given, given / "checkpoint.safetensors", runs_folder() / given / "checkpoint.safetensors")
    checkpoint = load(next((place for place in places if place.is_file()), given), devices.pick(args.device))
    if args.beta is None:
        return checkpoint
    return replace(checkpoint, model=checkpoint.model.at(args.beta), snapshot=None)  # the file's is of another β


def load_with_codes(args: argparse.Namespace) -> Checkpoint:
    """The checkpoint with a latent snapshot at --beta: the file's own, or one made anew from its data set."""
    checkpoint = load_checkpoint(args)
    if args.beta is None or not isinstance(checkpoint.record.get("dataset"), str):
        return checkpoint
    test = load_test_set(checkpoint).test
    return replace(checkpoint, snapshot=evaluate.snapshot(checkpoint.model, test, SNAPSHOT_IMAGES))


def load_test_set(checkpoint: Checkpoint, name: str | None = None, limit: int | None = None) -> Dataset:
    """The data set that is named, or the checkpoint's own, its test images cut to `limit`.

    Raises UserError where it is not known, or has pictures of another shape than the model's.
    """
    name = checkpoint.record.get("dataset") if name is None else name
    if not isinstance(name, str):
        raise UserError("The checkpoint does not say what it was trained on. Name a data set with --dataset.")
    dataset = load_dataset(name)
    if dataset.image_shape != checkpoint.model.config.image_shape:
        raise UserError(
            f"{name} has pictures of shape {dataset.image_shape}, but this model takes "
            f"{checkpoint.model.config.image_shape}. Choose another data set or checkpoint."
        )
    test = dataset.test
    columns = (test.images, test.labels, test.factors)
    return replace(dataset, test=Split(*(column if column is None else column[:limit] for column in columns)))


def read_pictures(paths: Sequence[str], checkpoint: Checkpoint) -> np.ndarray:
    """Picture files as the model takes them, uint8 (n, C, H, W); dark on light is inverted where need be."""
    model, snapshot = checkpoint.model, checkpoint.snapshot
    points = snapshot.mu[:16] if snapshot else latent.sample_prior(16, model.config.latent_dim)
    examples = imaging.to_uint8(latent.decode(model, points))
    images = []
    for path in map(Path, paths):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"The picture {path} cannot be read: {error.strerror}.") from error
        image = pictures.read(content, path.name)
        images.append(pictures.fit(image, model.config.image_shape, invert=pictures.suggest_invert(image, examples)))
    return np.stack(images)


def code_of(text: str, checkpoint: Checkpoint) -> np.ndarray:
    """The posterior mean (d,) of a picture file, or of the test image with that number."""
    snapshot = checkpoint.snapshot
    if Path(text).is_file():
        return evaluate.encode(checkpoint.model, read_pictures([text], checkpoint))[0][0]
    if text.isdecimal() and snapshot and int(text) < len(snapshot):
        return snapshot.mu[int(text)]
    most = f", or the number of a test image from 0 to {len(snapshot) - 1}" if snapshot else ""
    raise UserError(f"There is no picture {text!r}. Name a picture file{most}.")


def codes(
    checkpoint: Checkpoint, name: str | None, limit: int | None
) -> tuple[np.ndarray, np.ndarray | None, Sequence[str]]:
    """Posterior means (N, d), labels and class names: from the snapshot where it is enough, else from the images."""
    snapshot = checkpoint.snapshot
    if snapshot and name is None and (limit is None or limit <= len(snapshot)):
        labels = None if snapshot.labels is None else snapshot.labels[:limit]
        return snapshot.mu[:limit], labels, checkpoint.record["class_names"]
    dataset = load_test_set(checkpoint, name, limit)
    return evaluate.encode(checkpoint.model, dataset.test.images)[0], dataset.test.labels, dataset.class_names
