"""The latent plane of a model with one or two dimensions, and the posteriors found in it, kept for all visitors."""

import functools

import numpy as np
import streamlit as st

from ui import turns
from ui.state import Entry
from vae_core.checkpoint import Checkpoint
from vae_core.evidence import LatentPlane, TruePosteriors, extent_of

__all__ = ["latent_plane", "true_posterior"]


class _Held:
    """A plane with the posteriors of the pictures that were looked at last. They need it, so they go when it goes: at
    once, as nothing in it refers back to this."""

    def __init__(self, plane: LatentPlane) -> None:
        self.plane = plane
        self.posterior = functools.lru_cache(maxsize=16)(functools.partial(_posterior, plane))


def _posterior(plane: LatentPlane, shape: tuple[int, int, int], pixels: bytes) -> TruePosteriors:
    with turns.turn():
        return plane.posteriors(np.frombuffer(pixels, np.uint8).reshape(1, *shape))


def latent_plane(entry: Entry, checkpoint: Checkpoint) -> LatentPlane:
    """The model's latent plane, decoded once. Raises UserError where it has more than two dimensions."""
    return _held(entry, checkpoint).plane


def true_posterior(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> TruePosteriors:
    """p(z|x) of one uint8 picture (C, H, W); see `latent_plane`."""
    held = _held(entry, checkpoint)
    with st.spinner("Integrating over the latent plane …"):
        return held.posterior(image.shape, image.tobytes())


def _held(entry: Entry, checkpoint: Checkpoint) -> _Held:
    LatentPlane.check(checkpoint.model)
    with turns.aside():
        return _plane(*entry.version, checkpoint.model.beta, checkpoint)


@st.cache_resource(max_entries=4, show_spinner="Decoding the latent plane …")
@turns.in_turn
def _plane(path: str, modified: int, beta: float, _checkpoint: Checkpoint) -> _Held:  # noqa: ARG001
    snapshot = _checkpoint.snapshot
    return _Held(LatentPlane(_checkpoint.model, extent_of(snapshot.mu, snapshot.logvar)))
