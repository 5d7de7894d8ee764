"""Every strip, grid and pad on one page, for the browser tests.

With `?beat` in the address the script runs every 0.4 s, each time with new frames.
"""

import time

import numpy as np
import streamlit as st

from ui.components.draw_pad import draw_pad
from ui.components.film_strip import film_strip, film_strip_index
from ui.components.picture_grid import picture_grid


def blobs(count: int, side: int = 28, turn: float = 0.0, channels: int = 1) -> np.ndarray:
    """(count, channels, side, side): a soft spot that wanders round a ring."""
    angle = np.linspace(0, 2 * np.pi, count)[:, None, None, None] + turn + np.arange(channels)[:, None, None]
    rows, columns = np.mgrid[:side, :side] / (side - 1) - 0.5
    distance = (rows - 0.3 * np.sin(angle)) ** 2 + (columns - 0.3 * np.cos(angle)) ** 2
    return np.round(255 * np.exp(-distance / 0.02)).astype(np.uint8)


st.set_page_config("Strips", layout="wide")
state = st.session_state
state.runs = state.get("runs", 0) + 1
beating = "beat" in st.query_params
if st.button("New frames") or beating:
    state.turn = state.get("turn", 0.0) + 0.5
turn = state.get("turn", 0.0)
index = 10
if st.button("To frame 3"):
    index = 3
st.button("Run again")
st.text(f"runs {state.runs}")
st.text(f"before: {film_strip_index('one')}")

left, right = st.columns(2)
with left:
    strip = film_strip(
        blobs(64, turn=turn),
        key="one",
        label="Interpolation",
        labels=[f"{i / 63:.2f}" for i in range(64)],
        index=index,
        scale=8,
    )
    st.text(f"one: {strip}")
with right:
    colour = film_strip(
        blobs(48, side=120, channels=3),
        key="two",
        label="β",
        labels=[f"{beta:.3g}" for beta in np.geomspace(0.01, 10, 48)],
        scale=3,
    )
    st.text(f"two: {colour}")

for dimension in range(16):
    film_strip(
        blobs(31, turn=dimension),
        key=f"z{dimension}",
        label=f"z{dimension} · {3 / (dimension + 1):.2f} nats",
        labels=[f"{value:.1f}" for value in np.linspace(-3, 3, 31)],
        index=15,
        scale=2,
        compact=True,
    )

drawing = draw_pad(key="pad")
st.text(f"drawing: {0 if drawing is None else len(drawing)} bytes")
if drawing:
    st.image(drawing, width=280)

chosen = picture_grid(blobs(60, turn=turn), key="grid", label="Samples", captions=[f"{0.1 * i:.1f}" for i in range(60)])
st.text(f"chosen: {chosen}")
plain = picture_grid(blobs(12, side=8), key="plain", label="Digits", scale=4, selected=2)
st.text(f"plain: {plain}")

if beating:
    time.sleep(0.4)
    st.rerun()
