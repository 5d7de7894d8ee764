"""The latent plane of a model with one or two dimensions, kept for all visitors."""

import streamlit as st

from ui import caching
from ui.state import Entry
from vae_core.checkpoint import Checkpoint
from vae_core.evidence import LatentPlane, extent_of

__all__ = ["latent_plane"]


def latent_plane(entry: Entry, checkpoint: Checkpoint) -> LatentPlane:
    """The model's latent plane, decoded once. Raises UserError where it has more than two dimensions."""
    LatentPlane.check(checkpoint.model)
    return _plane(str(entry.path), caching.modified(entry.path), checkpoint.model.beta, checkpoint)


@st.cache_resource(max_entries=2, show_spinner="Decoding the latent plane …")
def _plane(path: str, modified: int, beta: float, _checkpoint: Checkpoint) -> LatentPlane:  # noqa: ARG001
    snapshot = _checkpoint.snapshot
    return LatentPlane(_checkpoint.model, extent_of(snapshot.mu, snapshot.logvar))
