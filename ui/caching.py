"""What is loaded once for all visitors: models and data sets, bounded, never changed in place."""

import functools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from vae_core import checkpoint, data, device
from vae_core.checkpoint import Checkpoint
from vae_core.errors import UserError

__all__ = ["compute_device", "load_checkpoint", "modified", "read_header", "test_images", "train_images"]


@st.cache_resource(show_spinner=False)
def compute_device() -> str:
    """The device that the pages compute on, for people: 'CPU, 2 threads'."""
    return device.describe(device.pick())


@st.cache_resource(max_entries=4, show_spinner="Loading the model …")
def _checkpoint(path: str, modified: int) -> Checkpoint:
    return checkpoint.load(Path(path), device.pick())


@functools.lru_cache(maxsize=512)  # asked for dozens of times a page, and a millisecond each from `st.cache_data`
def _header(path: str, modified: int) -> dict:
    return checkpoint.read_header(Path(path))


def modified(path: Path) -> int:
    """When the checkpoint at `path` was written, for caches. Raises UserError where it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"The checkpoint {path.stem} is gone. Choose another model.") from error


def load_checkpoint(path: str, modified: int) -> Checkpoint:
    """The checkpoint at `path` that was written at `modified`, read once. Raises UserError where it cannot be read."""
    return _checkpoint(path, modified)


def read_header(path: Path) -> dict:
    """The header of the checkpoint at `path`, read once a version; never change it. Raises UserError where it cannot be
    read."""
    return _header(str(path), modified(path))


def test_images(trained: dict[str, Any], image_shape: tuple[int, int, int]) -> np.ndarray | None:
    """The test images (N, C, H, W) uint8 that a model of this training record was shown, or None where they are not
    at hand: no data set, one of another shape, or a folder that has changed."""
    return _images(trained, image_shape, "test")


def train_images(trained: dict[str, Any], image_shape: tuple[int, int, int]) -> np.ndarray | None:
    """The images that a model of this training record was trained on, or None; see `test_images`."""
    return _images(trained, image_shape, "train")


@functools.lru_cache(maxsize=64)  # a page asks a dozen times
def _available(name: str, folder: str | None, second: int) -> bool:
    return data.available(name)


def _images(trained: dict[str, Any], image_shape: tuple[int, int, int], split: str) -> np.ndarray | None:
    name = trained.get("dataset", "")
    if not name or not _available(name, os.environ.get("VAE_DATA"), int(time.monotonic())):
        return None
    try:
        found = data.load(name)
    except UserError:
        return None
    same = found.image_shape == tuple(image_shape) and found.fingerprint == trained.get("pictures", "")
    return getattr(found, split).images if same else None
