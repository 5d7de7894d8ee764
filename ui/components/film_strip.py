"""A slider that moves a picture while it is dragged, and tells Python where it was let go."""

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from ui.components.position import Position, current_index, settle_in_session
from ui.components.scripts import script, style
from ui.components.sheets import sheet
from vae_core.errors import UserError
from vae_core.imaging import Sheet

__all__ = ["film_strip", "film_strip_index", "film_strip_props"]

_component = st.components.v2.component(
    "vae_laboratory.film_strip", js=script("save", "strip", "film_strip"), css=style("strip", "film_strip", "save")
)


def film_strip(
    frames: np.ndarray,
    *,
    key: str,
    label: str,
    labels: Sequence[str],
    index: int | None = None,
    scale: int = 4,
    fps: int = 12,
    compact: bool = False,
    on_release: Callable[[], None] = lambda: None,
) -> int:
    """Draw a film strip and return the frame that Python and the browser agree on.

    frames: (F, C, H, W), uint8 or float in [0, 1], encoded once for each content; each may be a whole grid.
    labels: one text a frame, shown and read aloud while the thumb is on it.
    index: the frame to start with (the first if None). Later, a different one than in the run before moves
        the thumb there; new frames alone leave it where it is. A visitor's move that has just arrived wins.
    scale: screen pixels for a picture's pixel, or the largest whole number that fits.
    fps: frames a second while it plays.
    compact: one line, for lists of strips: label, slider, value, a small picture; no play button.
    on_release: called before the script runs again when a visitor has moved the thumb; `film_strip_index(key)` is
        then where it is.
    Raises UserError for frames that cannot be drawn, a label too many or too few, or an impossible index.
    """
    digest, picture = sheet(frames)
    _check(picture.count, labels, index, scale, fps)
    position = settle_in_session(key, "released", content=digest, count=picture.count, given=index, start=0, keep=True)
    props = film_strip_props(
        picture,
        position,
        key=key,
        label=label,
        labels=labels,
        scale=scale,
        fps=fps,
        compact=compact,
    )
    _component(key=key, data=props, on_released_change=on_release)
    return position.index


def film_strip_index(key: str) -> int:
    """Where the film strip `key` is, for what is drawn above it or decides its frames; 0 before it was first drawn."""
    return current_index(key, "released") or 0


def film_strip_props(
    picture: Sheet,
    position: Position,
    *,
    key: str,
    label: str,
    labels: Sequence[str],
    scale: int,
    fps: int,
    compact: bool,
) -> dict:
    """What the browser is given: the same bytes until frames, texts or Python's own index change."""
    return {
        "key": key,
        "label": label,
        "labels": list(labels),
        "content": position.content,
        "sprite": picture.url,
        "frame": picture.frame,
        "index": position.sent,
        "version": position.version,
        "scale": scale,
        "fps": fps,
        "compact": compact,
    }


def _check(count: int, labels: Sequence[str], index: int | None, scale: int, fps: int) -> None:
    if len(labels) != count:
        raise UserError(f"A film strip of {count} frames was given {len(labels)} labels. Give one a frame.")
    if index is not None and not 0 <= index < count:
        raise UserError(f"Frame {index} does not exist. Choose one from 0 to {count - 1}.")
    if scale < 1 or not 1 <= fps <= 60:
        raise UserError(f"Scale {scale} at {fps} frames a second cannot be shown. Scale starts at 1; fps is 1–60.")
