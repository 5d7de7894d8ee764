"""Sprite sheets for the browser, encoded once for each content."""

import hashlib

import numpy as np
import streamlit as st

from vae_core import imaging

__all__ = ["content_digest", "sheet"]


def content_digest(frames: np.ndarray) -> str:
    """A name for exactly these pixels: equal for equal arrays, 32 hexadecimal digits."""
    digest = hashlib.blake2b(repr((frames.shape, frames.dtype.str)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


def sheet(frames: np.ndarray) -> tuple[str, imaging.Sheet]:
    """Frames (F, C, H, W), uint8 or float in [0, 1] → their digest and their sheet, cached."""
    frames = imaging.to_uint8(frames)
    digest = content_digest(frames)
    return digest, _encoded(digest, frames)


@st.cache_resource(max_entries=128, show_spinner=False)
def _encoded(digest: str, _frames: np.ndarray) -> imaging.Sheet:  # noqa: ARG001 (the digest is the cache's key)
    return imaging.sprite_sheet(_frames)
