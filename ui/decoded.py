"""Pictures that a model decodes, kept for the next run of the script."""

import numpy as np
import streamlit as st

from ui.state import Entry
from vae_core import latent
from vae_core.checkpoint import Checkpoint
from vae_core.imaging import to_uint8

__all__ = ["decoded", "finer", "mosaics", "stacked"]

_FINE = 28  # pixels


def decoded(entry: Entry, checkpoint: Checkpoint, z: np.ndarray) -> np.ndarray:
    """Mean pictures of p(x|z), uint8, not to be changed in place. Shapes: z (..., d) → (..., C, H, W).

    Raises UserError where the decoder's pixels are not finite.
    """
    points = np.ascontiguousarray(z.reshape(-1, z.shape[-1]), np.float32)
    pictures = _decoded(*entry.version, checkpoint.model.beta, points, checkpoint)
    return pictures.reshape(*z.shape[:-1], *pictures.shape[1:])


@st.cache_resource(max_entries=48, show_spinner=False)
def _decoded(path: str, modified: int, beta: float, z: np.ndarray, _checkpoint: Checkpoint) -> np.ndarray:  # noqa: ARG001
    return to_uint8(latent.decode(_checkpoint.model, z))


def finer(pictures: np.ndarray) -> np.ndarray:
    """Small pictures (..., H, W) with each pixel a square of several, so that a gap of one pixel is no pixel of theirs.

    Wider ones stay as they are.
    """
    times = max(1, _FINE // pictures.shape[-1])
    return pictures.repeat(times, -2).repeat(times, -1)


def mosaics(frames: np.ndarray) -> np.ndarray:
    """Each frame's pictures side by side, a mid-grey pixel between neighbours.

    Shapes: uint8 (F, N, C, H, W) → (F, C, H, N·(W + 1) − 1).
    """
    padded = np.pad(frames, ((0, 0), (0, 0), (0, 0), (0, 0), (0, 1)), constant_values=128)
    rows = padded.transpose(0, 2, 3, 1, 4)
    return np.ascontiguousarray(rows.reshape(*rows.shape[:3], -1)[..., :-1])


def stacked(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of pictures (n, C, H, W) uint8 in one picture (C, height, width), a grey pixel between neighbours."""
    lines = mosaics(np.stack(rows))
    padded = np.pad(lines, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=128)
    return np.concatenate(padded, axis=1)[:, :-1]
