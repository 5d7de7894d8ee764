"""Arrays to pictures: grids, PNG and GIF files, and sprite sheets for the browser."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vae_core.errors import UserError

__all__ = [
    "MAX_SIDE",
    "Sheet",
    "data_url",
    "gif_bytes",
    "grid",
    "png_bytes",
    "sprite_sheet",
    "to_uint8",
    "without_colour",
]

MAX_SIDE = 8192
"""Pixels a side that every browser decodes and draws."""

_WEBP_PIXELS = 1_000_000  # a larger sheet would take WebP seconds
_SMALL = 1_000_000  # bytes of PNG up to which no WebP is tried


@dataclass(frozen=True)
class Sheet:
    """Equal frames in one lossless picture, in reading order, the last row perhaps not full.

    `width` and `height` are one frame's, in pixels; frame i lies at column i % columns, row i // columns.
    """

    data: bytes
    mime: str
    columns: int
    rows: int
    width: int
    height: int
    count: int

    @property
    def url(self) -> str:
        """The whole sheet as a data URL."""
        return data_url(self.data, self.mime)

    @property
    def frame(self) -> dict[str, int]:
        """What a script needs to find a frame in the sheet."""
        return {"width": self.width, "height": self.height, "columns": self.columns, "count": self.count}


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W), C 1 or 3, uint8 or float in [0, 1] → uint8, values outside clipped, rounded.

    Raises UserError for another shape, another type, or pixels that are not numbers.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise UserError(f"Pictures of shape {images.shape} cannot be drawn. Give (N, C, H, W) with C 1 or 3.")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"Pictures of type {images.dtype} cannot be drawn. Give uint8, or floats in [0, 1].")
    if not np.isfinite(images).all():
        raise UserError("Some pixels are not finite numbers. Look for a diverged model.")
    return np.round(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)


def without_colour(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) as (N, 1, H, W), a view, where the channels are equal in all of them; else as they are."""
    grey = all(np.array_equal(images[:, 0], channel) for channel in images.swapaxes(0, 1)[1:])
    return images[:, :1] if grey else images


def grid(images: np.ndarray, columns: int, scale: int = 1, gap: int = 1, background: int = 128) -> Image.Image:
    """Images (N, C, H, W) in rows of `columns`, each pixel drawn as a square of `scale` pixels.

    `gap` is the distance between neighbours in pixels of the images (so it grows with `scale`), and
    `background` the grey level, 0–255, of gaps and empty cells. Mode L for one channel, RGB for three.
    Raises UserError as `to_uint8` does, and for columns or a scale below 1, or a gap below 0.
    """
    images = to_uint8(images)
    if columns < 1 or scale < 1 or gap < 0:
        raise UserError(
            f"A grid of {columns} columns at scale {scale} with gap {gap} cannot be drawn. "
            "Columns and scale start at 1, the gap at 0."
        )
    columns = min(columns, len(images))
    canvas = _tile(images, columns, gap, background)
    return Image.fromarray(np.repeat(np.repeat(canvas, scale, axis=0), scale, axis=1))


def png_bytes(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    return _encode(image, format="PNG")


def gif_bytes(frames: Sequence[Image.Image], milliseconds: int = 100) -> bytes:
    """The pictures as an animated GIF, each shown for `milliseconds`, again and again.

    Grey is exact; colours are brought down to 256 a frame. GIF counts in steps of 10 ms.
    Raises UserError without frames, or for a time below 20 ms, which browsers do not keep.
    """
    if not frames:
        raise UserError("An animation needs at least one picture. Choose more steps.")
    if milliseconds < 20:
        raise UserError(f"{milliseconds} ms a frame is too short for a GIF. Give 20 or more.")
    return _encode(
        frames[0],
        format="GIF",
        save_all=True,
        append_images=list(frames[1:]),
        duration=milliseconds,
        loop=0,
    )


def sprite_sheet(frames: np.ndarray) -> Sheet:
    """Frames (F, C, H, W), as `to_uint8` takes them, in one picture of at most `MAX_SIDE` pixels a side.

    The sheet is as wide as allowed, the layout in which PNG compresses best; lossless WebP, which takes five to ten
    times as long and saves a tenth of grey sheets but up to a third in colour, is tried on colour sheets over a
    megabyte. Colour frames without colour are stored grey.
    Raises UserError where the frames do not fit.
    """
    frames = without_colour(to_uint8(frames))
    count, _, height, width = frames.shape
    columns = min(count, MAX_SIDE // width)
    if columns == 0 or -(-count // columns) * height > MAX_SIDE:
        raise UserError(
            f"{count} frames of {width}×{height} pixels do not fit a picture of {MAX_SIDE}×{MAX_SIDE}. "
            "Choose fewer steps or fewer pictures a frame."
        )
    rows = -(-count // columns)
    picture = Image.fromarray(_tile(frames, columns, gap=0, background=0))
    candidates = [(_encode(picture, format="PNG"), "image/png")]
    if picture.mode == "RGB" and len(candidates[0][0]) > _SMALL and picture.width * picture.height <= _WEBP_PIXELS:
        candidates.append((_encode(picture, format="WEBP", lossless=True, method=4), "image/webp"))
    data, mime = min(candidates, key=lambda candidate: len(candidate[0]))
    return Sheet(data, mime, columns, rows, width, height, count)


def data_url(data: bytes, mime: str) -> str:
    """Bytes as a `data:` URL."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def _tile(images: np.ndarray, columns: int, gap: int, background: int) -> np.ndarray:
    """uint8 (N, C, H, W) → (height, width) for one channel, (height, width, 3) for three."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, channels, height + gap, width + gap), background, np.uint8)
    cells[:count, :, :height, :width] = images
    cells = cells.reshape(rows, columns, channels, height + gap, width + gap)
    canvas = cells.transpose(0, 3, 1, 4, 2).reshape(rows * (height + gap), columns * (width + gap), channels)
    canvas = canvas[: canvas.shape[0] - gap, : canvas.shape[1] - gap]
    return np.ascontiguousarray(canvas[..., 0] if channels == 1 else canvas)


def _encode(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()
