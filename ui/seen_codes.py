"""The posteriors of the images that a model was trained on: of what its decoder has seen codes."""

import math
from collections.abc import Callable

import numpy as np
import streamlit as st

from ui import caching, turns
from ui.state import Entry
from ui.stepwise import Tell
from vae_core.checkpoint import Checkpoint
from vae_core.evaluate import encode
from vae_core.model import VAE

__all__ = ["Codes", "encoding"]

Codes = tuple[np.ndarray, np.ndarray]
"""mu and logvar, (N, d) each."""

_MOST_PIXELS = 2**28  # five times MNIST's: some minutes on a slow machine


def encoding(entry: Entry, checkpoint: Checkpoint) -> Callable[[Tell], Codes] | None:
    """A step for `stepwise`: the codes of all images that the model was trained on, at its β, in 16 bits; kept for all
    visitors. None where these images are not at hand, or too many."""
    model = checkpoint.model
    images = caching.train_images(checkpoint.record["train"], model.config.image_shape)
    if images is None or math.prod(images.shape) > _MOST_PIXELS:
        return None
    return lambda tell: _codes(*entry.version, model.beta, model, images, tell)


@st.cache_resource(max_entries=24, show_spinner=False)  # 4 MB each for MNIST, d = 16
def _codes(
    path: str,  # noqa: ARG001
    modified: int,  # noqa: ARG001
    beta: float,  # noqa: ARG001
    _model: VAE,
    _images: np.ndarray,
    _tell: Tell,
) -> Codes:
    with turns.turn(lambda: _tell(0.0)):
        mu, logvar = encode(_model, _images, _tell)
    return mu.astype(np.float16), logvar.astype(np.float16)
