"""A square to draw on with mouse, finger or pen."""

import base64
import binascii
import io

import streamlit as st
from PIL import Image

from ui.components.scripts import script, style

__all__ = ["SIDE", "decode_drawing", "draw_pad", "draw_pad_props"]

SIDE = 280
"""Pixels a side of a drawing: ten for each of MNIST's."""

_STROKE = 24  # pixels wide, 2.4 of MNIST's
_MAX_BYTES = 200_000
_PREFIX = "data:image/png;base64,"
_BOMBS = Image.DecompressionBombError, Image.DecompressionBombWarning  # see `pictures.read`

_component = st.components.v2.component("vae_laboratory.draw_pad", js=script("draw_pad"), css=style("draw_pad"))


def draw_pad(*, key: str, label: str = "Draw a digit") -> bytes | None:
    """Draw the pad and return what is drawn on it: a PNG of SIDE × SIDE pixels, light on dark; None if empty.

    The picture arrives 0.3 s after the last stroke. A pad that leaves the page and comes back, or comes to another
    page with the same key, has its strokes again. Whatever else a browser sends counts as empty.
    """
    held = decode_drawing((st.session_state.get(key) or {}).get("drawing"))
    _component(key=key, data=draw_pad_props(key, label, held is not None), on_drawing_change=lambda: None)
    return held


def draw_pad_props(key: str, label: str, held: bool) -> dict:
    """What the browser is given; held: Python has a drawing of this pad."""
    return {"key": key, "label": label, "side": SIDE, "stroke": _STROKE, "held": held}


def decode_drawing(url: object) -> bytes | None:
    """The PNG in a data URL from the browser, or None for anything but a whole PNG of SIDE × SIDE pixels, not all
    black."""
    if not isinstance(url, str) or not url.startswith(_PREFIX) or len(url) > _MAX_BYTES * 4 // 3:
        return None
    try:
        data = base64.b64decode(url[len(_PREFIX) :], validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.size != (SIDE, SIDE):
                return None
            if picture.convert("L").getbbox() is None:
                return None
    except (binascii.Error, OSError, SyntaxError, ValueError, *_BOMBS):
        return None
    return data
