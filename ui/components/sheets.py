"""Arrays for the browser: sprite sheets, encoded once for each content, and numbers."""

import base64
import hashlib

import numpy as np
import streamlit as st

from vae_core import imaging

__all__ = ["content_digest", "packed", "sheet"]


def content_digest(frames: np.ndarray) -> str:
    """A name for exactly these pixels: equal for equal arrays, 32 hexadecimal digits."""
    digest = hashlib.blake2b(repr((frames.shape, frames.dtype.str)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


def packed(values: np.ndarray, dtype: str) -> str:
    """Numbers of any shape as `dtype` in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()


def sheet(frames: np.ndarray) -> tuple[str, imaging.Sheet]:
    """Frames (F, C, H, W), uint8 or float in [0, 1] → their digest and their sheet, cached."""
    frames = imaging.to_uint8(frames)
    digest = content_digest(frames)
    return digest, _encoded(digest, frames)


@st.cache_resource(max_entries=128, show_spinner=False)
def _encoded(digest: str, _frames: np.ndarray) -> imaging.Sheet:  # noqa: ARG001 (the digest is the cache's key)
    return imaging.sprite_sheet(_frames)
