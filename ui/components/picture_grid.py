"""A grid of pictures of which the visitor selects one."""

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from ui.components.position import Position, current_index, settle_in_session
from ui.components.scripts import script, style
from ui.components.sheets import sheet
from vae_core.errors import UserError
from vae_core.imaging import Sheet

__all__ = ["picture_grid", "picture_grid_index", "picture_grid_props"]

_component = st.components.v2.component(
    "vae_laboratory.picture_grid", js=script("picture_grid"), css=style("picture_grid")
)


def picture_grid(
    images: np.ndarray,
    *,
    key: str,
    label: str,
    captions: Sequence[str] | None = None,
    selected: int | None = None,
    scale: int = 2,
    columns: int | None = None,
    marked: Sequence[int] = (),
    on_pick: Callable[[], None] = lambda: None,
) -> int | None:
    """Draw a grid of pictures and return the index of the selected one, or None.

    images: (N, C, H, W), uint8 or float in [0, 1]; other images than in the run before clear the selection.
    label: what the grid is, read aloud. captions: one short text a picture.
    selected: the index selected at first; later, a different one than in the run before is selected.
    scale: screen pixels for a picture's pixel, or the largest whole number that fits.
    columns: pictures in a row; as many as fit if None. marked: the indices of pictures in a dashed frame.
    on_pick: called before the script runs again when a visitor has selected another picture;
        `picture_grid_index(key)` is then which.
    Raises UserError for images that cannot be drawn, a caption too many or too few, or an impossible index.
    """
    digest, picture = sheet(images)
    _check(picture.count, captions, selected, scale)
    position = settle_in_session(
        key, "picked", content=digest, count=picture.count, given=selected, start=None, keep=False
    )
    props = picture_grid_props(
        picture, position, key=key, label=label, captions=captions, scale=scale, columns=columns, marked=marked
    )
    _component(key=key, data=props, on_picked_change=lambda: _tell(key, on_pick))
    return position.index


def _tell(key: str, on_pick: Callable[[], None]) -> None:
    """Call `on_pick` unless the pick was of pictures that had been replaced by then."""
    if picture_grid_index(key) is not None:
        on_pick()


def picture_grid_index(key: str) -> int | None:
    """Which picture of the grid `key` is selected, for callbacks and for what is drawn above it."""
    return current_index(key, "picked")


def picture_grid_props(
    picture: Sheet,
    position: Position,
    *,
    key: str,
    label: str,
    captions: Sequence[str] | None,
    scale: int,
    columns: int | None = None,
    marked: Sequence[int] = (),
) -> dict:
    """What the browser is given: the same bytes until pictures, texts or Python's own selection change."""
    return {
        "key": key,
        "label": label,
        "captions": None if captions is None else list(captions),
        "content": position.content,
        "sprite": picture.url,
        "frame": picture.frame,
        "index": position.sent,
        "version": position.version,
        "scale": scale,
        "columns": columns,
        "marked": list(marked),
    }


def _check(count: int, captions: Sequence[str] | None, selected: int | None, scale: int) -> None:
    if captions is not None and len(captions) != count:
        raise UserError(f"{count} pictures were given {len(captions)} captions. Give one a picture.")
    if selected is not None and not 0 <= selected < count:
        raise UserError(f"Picture {selected} does not exist. Choose one from 0 to {count - 1}.")
    if scale < 1:
        raise UserError(f"Scale {scale} cannot be shown. Give 1 or more.")
