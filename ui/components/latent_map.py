"""A map of points in the plane, drawn with WebGL: hover pictures, click, lasso, dropped files, live updates."""

import base64
import binascii
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from ui.components.scripts import script, style
from ui.components.sheets import content_digest, packed
from ui.layout import coordinates
from vae_core.imaging import data_url, grid, png_bytes, to_uint8

__all__ = [
    "Atlas",
    "Background",
    "ByClass",
    "ByValue",
    "DecodedPlane",
    "DroppedFile",
    "Mark",
    "Selection",
    "build_atlas",
    "latent_map",
    "latent_map_props",
    "points_message",
    "read_dropped",
    "read_selection",
    "send_atlas",
]

_PAGE_SIDE = 4096  # pixels; larger textures and canvases fail on phones
_THUMBNAIL_SIDE = 32
_THUMBNAIL_QUALITY = 65
_FARTHEST = 1e9  # from 0 that a place can be
_FAR = 2  # widths of what a map shows; a mark beyond is pointed to
_MOST_DROPPED_BYTES = 16 * 2**20  # it travels as one message

_map = st.components.v2.component(
    "vae_laboratory.latent_map",
    js=script("file_drop", "plane_pad", "dot_raster", "latent_map"),
    css=style("latent_map"),
)
_points = st.components.v2.component("vae_laboratory.latent_points", js=script("latent_points"))
_atlas = st.components.v2.component("vae_laboratory.latent_atlas", js=script("latent_atlas"))


@dataclass(frozen=True)
class Atlas:
    """Many pictures as a few sprite images: tile i is on page i // per_page, row by row.

    `tile` is (width, height) in pixels, `pages` are WebP files.
    """

    id: str
    tile: tuple[int, int]
    columns: int
    per_page: int
    pages: tuple[bytes, ...]


@dataclass(frozen=True)
class ByClass:
    """Colour by class: index (N,) int into names; colours are "#rrggbb", reused if there are more classes."""

    index: np.ndarray
    names: Sequence[str]
    colours: Sequence[str]


@dataclass(frozen=True)
class ByValue:
    """Colour by a number: values (N,), a title with its unit, and a ramp of "#rrggbb" from low to high.

    The ramp spans the 1st to the 99th percentile, so that single outliers do not wash it out.
    """

    values: np.ndarray
    title: str
    ramp: Sequence[str]


@dataclass(frozen=True)
class Background:
    """An image (H, W[, 3]) uint8 behind the points and its extent (x0, x1, y0, y1); its top row is at y1.

    opacity: how strongly it covers the page; 1 for colours that a legend names.
    """

    image: np.ndarray
    extent: tuple[float, float, float, float]
    opacity: float = 0.75

    @cached_property
    def url(self) -> str:
        """The image as the browser is given it, encoded once."""
        return data_url(png_bytes(Image.fromarray(self.image)), "image/png")


@dataclass(frozen=True)
class DecodedPlane:
    """What is decoded over the map: side × side pictures in reading order, on one page of the atlas of that id.

    The outermost stand on the edges of `extent` (x0, x1, y0, y1), the first at (x0, y1).
    """

    atlas: str
    extent: tuple[float, float, float, float]
    side: int


@dataclass(frozen=True)
class Mark:
    """A labelled point of its own: an endpoint, or a picture that was dropped in, uint8 (C, H, W)."""

    x: float
    y: float
    label: str
    picture: np.ndarray | None = None


@dataclass(frozen=True)
class Selection:
    """What the visitor chose: a "point", the points in a "lasso", or a bare "place" (x, y) in the plane."""

    kind: str
    indices: tuple[int, ...]
    x: float
    y: float


@dataclass(frozen=True)
class DroppedFile:
    """A file that was dropped on a map: what its owner calls it, and its content, which nobody has looked at."""

    name: str
    data: bytes


def build_atlas(images: np.ndarray, *, largest: int = _THUMBNAIL_SIDE, quality: int = _THUMBNAIL_QUALITY) -> Atlas:
    """Pack images (N, C, H, W), uint8 or float in [0, 1], C = 1 or 3, into a few sprite images.

    Pages are lossy WebP of a `quality` up to 100 (about 120 bytes a digit at 65) of at most 4096 pixels a side;
    images of more than `largest` pixels a side are reduced.
    """
    images = to_uint8(images)
    n, _, height, width = images.shape
    shrink = max(1, -(-max(height, width) // largest))
    tile_height, tile_width = height // shrink, width // shrink
    columns = min(_PAGE_SIDE // tile_width, max(1, int(np.ceil(n**0.5))))
    per_page = columns * min(_PAGE_SIDE // tile_height, -(-n // columns))
    pages = tuple(
        _webp(_reduce(images[start : start + per_page], shrink), columns, quality) for start in range(0, n, per_page)
    )
    return Atlas(content_digest(images), (tile_width, tile_height), columns, per_page, pages)


def latent_map_props(
    positions: np.ndarray,
    colour: ByClass | ByValue,
    *,
    id: str,
    view: str,
    axes: tuple[str, str],
    ticks: bool = True,
    label: str = "Map",
    file: str = "latent-map",
    labels: ByClass | None = None,
    atlas: Atlas | None = None,
    background: Background | None = None,
    contours: bool = False,
    marks: Sequence[Mark] = (),
    extent: tuple[float, float, float, float] | None = None,
    placeable: bool = False,
    thumbnails: bool = False,
    plane: DecodedPlane | None = None,
    droppable: bool = False,
    remembers: bool = False,
    chosen: int | None = None,
) -> dict[str, Any]:
    """What the browser is given, as JSON values.

    positions (N, 2) are named here and sent by themselves, as float32. `id` names the set of points: with the same
    id, changed positions glide to their new places and the selection stays; a changed `view` shows all points again.
    `labels` are the classes named in the tooltip, `contours` the 1, 2 and 3 σ circles of N(0, I), `extent` (x0, x1, y0,
    y1) what the first view shows where that is not all points, contours and marks that are not far from them (the map
    points to these from its edge), `placeable` whether a click on an empty place selects it, `ticks` whether the axes
    have numbers, `file` the name of the downloaded picture without its ending, `plane` what is decoded under the
    pointer, `droppable` whether a file may be dropped, `remembers` whether the selected point stays so when other
    points take the place of these, `chosen` the first.
    Raises ValueError where the lengths do not agree.
    """
    _check(positions, colour, labels)
    corners = [[-3.0, -3.0], [3.0, 3.0]] if contours else []
    beyond = _far(np.concatenate([positions, np.reshape(corners, (-1, 2))]), marks)
    near = [[float(mark.x), float(mark.y)] for mark, far in zip(marks, beyond, strict=True) if not far]
    return {
        "id": id,
        "view": view,
        "positions": content_digest(np.ascontiguousarray(positions, "<f4")),
        "colour": _colour(colour),
        "labels": labels and {"index": packed(labels.index, "<u2"), "names": list(labels.names)},
        "axes": list(axes),
        "ticks": ticks,
        "label": label,
        "file": file,
        "atlas": atlas and atlas.id,
        "background": background and _background(background),
        "contours": contours,
        "marks": [_mark(mark, far) for mark, far in zip(marks, beyond, strict=True)],
        "fit": [*corners, *near],
        "extent": extent and [[extent[0], extent[2]], [extent[1], extent[3]]],
        "placeable": placeable,
        "thumbnails": thumbnails,
        "plane": plane and {"atlas": plane.atlas, "extent": list(plane.extent), "side": plane.side},
        "droppable": _MOST_DROPPED_BYTES if droppable else 0,
        "remembers": remembers,
        "chosen": chosen,
    }


def read_selection(value: Any, *, id: str, view: str, count: int) -> Selection | None:
    """What the browser reported, checked; None for nothing, another set of points, a place in another view, or
    anything malformed."""
    if not isinstance(value, Mapping) or value.get("id") != id:
        return None
    kind, indices, place = value.get("kind"), value.get("indices"), (value.get("x"), value.get("y"))
    if not isinstance(indices, list) or not all(type(i) is int and 0 <= i < count for i in indices):
        return None
    if not all(isinstance(v, int | float) and abs(v) <= _FARTHEST for v in place):
        return None
    fits = {"point": len(indices) == 1, "lasso": len(indices) > 0, "place": not indices}
    if not isinstance(kind, str) or not fits.get(kind, False):
        return None
    if kind == "place" and value.get("view") != view:
        return None
    return Selection(kind, tuple(indices), float(place[0]), float(place[1]))


def send_atlas(atlas: Atlas, *, key: str) -> None:
    """Send an atlas to the browser, for the maps on this page that name it; draws nothing."""
    _atlas(
        key=key,
        data={
            "id": atlas.id,
            "tile": list(atlas.tile),
            "columns": atlas.columns,
            "per_page": atlas.per_page,
            "pages": [data_url(page, "image/webp") for page in atlas.pages],
        },
    )


def read_dropped(value: Any, *, id: str) -> DroppedFile | None:
    """The file that the browser sent for the map of `id`; None for anything malformed, or too large a file."""
    if not isinstance(value, Mapping) or value.get("id") != id:
        return None
    name, data = value.get("name"), value.get("data")
    if not isinstance(name, str) or not isinstance(data, str) or len(data) > -(-_MOST_DROPPED_BYTES // 3) * 4:
        return None
    try:
        return DroppedFile(name, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return None


def latent_map(
    positions: np.ndarray,
    props: dict[str, Any],
    *,
    key: str,
    on_drop: Callable[[DroppedFile], None] | None = None,
    on_select: Callable[[], None] = lambda: None,
) -> Selection | None:
    """Draw the map that `latent_map_props` describes for these positions (N, 2); what is selected in it.

    on_drop: called with a file that was dropped on it, before the script runs again; on_select: when something else is
    selected, or nothing any more.
    """

    def dropped() -> None:
        file = read_dropped(st.session_state[key].dropped, id=props["id"])
        if file is not None and on_drop is not None:
            on_drop(file)

    result = _map(key=key, data=props, on_selection_change=on_select, on_dropped_change=dropped)
    _points(key=f"{key}_points", data=points_message(positions, props))
    return read_selection(result.selection, id=props["id"], view=props["view"], count=len(positions))


def points_message(positions: np.ndarray, props: dict[str, Any]) -> bytes:
    """The positions (N, 2) as they travel: their name in `props`, then x and y of each as float32, little-endian."""
    return props["positions"].encode() + np.ascontiguousarray(positions, "<f4").tobytes()


def _check(positions: np.ndarray, colour: ByClass | ByValue, labels: ByClass | None) -> None:
    n = len(positions)
    if np.shape(positions) != (n, 2):
        raise ValueError(f"positions must be (N, 2), not {np.shape(positions)}")
    for column in (colour.index if isinstance(colour, ByClass) else colour.values, labels and labels.index):
        if column is not None and len(column) != n:
            raise ValueError(f"{len(column)} colours or labels for {n} points")


def _background(background: Background) -> dict[str, Any]:
    return {"image": background.url, "extent": list(background.extent), "opacity": background.opacity}


def _far(shown: np.ndarray, marks: Sequence[Mark]) -> list[bool]:
    """Which marks lie so far from what else is shown, places (N, 2), that a view of both would show little of it."""
    if not len(shown):
        return [False] * len(marks)
    low, high = shown.min(0), shown.max(0)
    room = _FAR * (high - low).max()
    return [bool(room and ((at < low - room) | (at > high + room)).any()) for at in ((m.x, m.y) for m in marks)]


def _mark(mark: Mark, far: bool) -> dict[str, Any]:
    face = None if mark.picture is None else data_url(png_bytes(grid(mark.picture[None], columns=1)), "image/png")
    label = f"{mark.label} {coordinates(np.array([mark.x, mark.y]))}" if far else mark.label
    return {"x": float(mark.x), "y": float(mark.y), "label": label, "picture": face, "far": far}


def _reduce(images: np.ndarray, shrink: int) -> np.ndarray:
    if shrink == 1:
        return images
    n, channels, height, width = images.shape
    height, width = height // shrink, width // shrink
    blocks = images[:, :, : height * shrink, : width * shrink]
    return blocks.reshape(n, channels, height, shrink, width, shrink).mean((3, 5)).round().astype(np.uint8)


def _webp(images: np.ndarray, columns: int, quality: int) -> bytes:
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    full = np.zeros((rows * columns, channels, height, width), np.uint8)
    full[:n] = images
    page = full.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    page = page.reshape(rows * height, columns * width, channels).squeeze(-1 if channels == 1 else ())
    file = io.BytesIO()
    Image.fromarray(page).save(file, "WEBP", quality=quality, method=0)
    return file.getvalue()


def _colour(colour: ByClass | ByValue) -> dict[str, Any]:
    if isinstance(colour, ByClass):
        index, names = packed(colour.index, "<u2"), list(colour.names)
        return {"kind": "class", "index": index, "names": names, "colours": list(colour.colours)}
    finite = colour.values[np.isfinite(colour.values)]
    low, high = np.percentile(finite, [1, 99]) if len(finite) else (0.0, 1.0)
    return {
        "kind": "value",
        "values": packed(colour.values, "<f4"),
        "low": float(low),
        "high": float(high),
        "title": colour.title,
        "ramp": list(colour.ramp),
    }
