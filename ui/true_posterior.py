"""What is exact where a model has one or two latent dimensions, kept for the next run of the script."""

import numpy as np
import streamlit as st

from ui import caching
from ui.state import Entry
from vae_core.checkpoint import Checkpoint
from vae_core.derivation import Derivation, derive
from vae_core.evidence import LatentPlane, evidence, extent_of

__all__ = ["derived", "latent_plane"]


def latent_plane(entry: Entry, checkpoint: Checkpoint) -> LatentPlane:
    """The model's latent plane, decoded once. Raises UserError where it has more than two dimensions."""
    LatentPlane.check(checkpoint.model)
    return _plane(str(entry.path), caching.modified(entry.path), checkpoint.model.beta, checkpoint)


@st.cache_resource(max_entries=2, show_spinner="Decoding the latent plane …")
def _plane(path: str, modified: int, beta: float, _checkpoint: Checkpoint) -> LatentPlane:  # noqa: ARG001
    snapshot = _checkpoint.snapshot
    return LatentPlane(_checkpoint.model, extent_of(snapshot.mu, snapshot.logvar))


def derived(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> Derivation:
    """The derivation's numbers for one uint8 image (C, H, W): exact for one or two latent dimensions."""
    model = checkpoint.model
    return _derived(str(entry.path), caching.modified(entry.path), model.beta, image, entry, checkpoint)


@st.cache_resource(max_entries=64, show_spinner="Working out every line …")
def _derived(
    path: str,  # noqa: ARG001 (cache key)
    modified: int,  # noqa: ARG001 (cache key)
    beta: float,  # noqa: ARG001 (cache key)
    image: np.ndarray,
    _entry: Entry,
    _checkpoint: Checkpoint,
) -> Derivation:
    model = _checkpoint.model
    if model.config.latent_dim > 2:
        return derive(model, image)
    return derive(model, image, evidence(latent_plane(_entry, _checkpoint), image[None]))
