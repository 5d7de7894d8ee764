"""Results as files: a PNG picture, a GIF animation or a CSV table, by the ending of the file's name."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vae_core.errors import UserError
from vae_core.files import write_whole
from vae_core.imaging import gif_bytes, png_bytes

__all__ = ["CLASS_COLOURS", "ENDINGS", "Output", "check_output", "csv_bytes", "scatter", "write"]

ENDINGS = (".png", ".gif", ".csv")

CLASS_COLOURS = (
    "#414fd1",
    "#f39762",
    "#429b8d",
    "#d1cf24",
    "#745488",
    "#ba164d",
    "#25e5af",
    "#b1cfeb",
    "#c87ae0",
    "#5a7d02",
)
"""Ten colours found by search to lie far apart in CIELAB as protanopes, deuteranopes and everyone else see them
(a test holds them to it), ordered so that the digits most alike, 4 and 9, 7 and 9, 3 and 8, lie farthest apart."""


@dataclass(frozen=True)
class Output:
    """One result in three forms, each made only when it is written.

    table is the header and the rows; frames are shown for `milliseconds` each.
    """

    picture: Callable[[], Image.Image]
    frames: Callable[[], Sequence[Image.Image]]
    table: Callable[[], tuple[Sequence[str], Iterable[Sequence[Any]]]]
    milliseconds: int = 100


def check_output(path: str | Path) -> None:
    """Raise UserError where `path` does not end in one of ENDINGS, or lies in no folder that is there."""
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"The output {path.name!r} has no known ending. End it in .png, .gif or .csv.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} for the output. Make it, or name another.")


def write(path: str | Path, output: Output) -> None:
    """Write the form that the ending of `path` names, whole. Raises UserError as `check_output`, or for a full disk."""
    check_output(path)
    ending = Path(path).suffix.lower()
    if ending == ".png":
        data = png_bytes(output.picture())
    elif ending == ".gif":
        data = gif_bytes(output.frames(), output.milliseconds)
    else:
        data = csv_bytes(*output.table())
    write_whole(Path(path), data)


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A CSV file in UTF-8, numbers written so that they read back the same."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def scatter(
    points: np.ndarray, labels: np.ndarray | None = None, names: Sequence[str] = (), side: int = 800
) -> Image.Image:
    """Points (N, 2) as dots in the colours of their classes on white, in equal units, with a legend of the classes."""
    low, high = points.min(0), points.max(0)
    fine, margin = 2 * side, 40
    unit = (fine - 2 * margin) / max(float((high - low).max()), 1e-12)
    centred = (points - (low + high) / 2) * unit
    canvas = Image.new("RGB", (fine, fine), "white")
    draw = ImageDraw.Draw(canvas)
    radius = min(10.0, max(2.5, 300 / len(points) ** 0.5))
    for row, (x, y) in enumerate(centred):
        colour = CLASS_COLOURS[0 if labels is None else int(labels[row]) % len(CLASS_COLOURS)]
        draw.circle((fine / 2 + x, fine / 2 - y), radius, fill=colour)
    font = ImageFont.load_default(28)
    for label, name in enumerate(names[: len(CLASS_COLOURS)]):
        draw.circle((24, 28 + 38 * label), 10, fill=CLASS_COLOURS[label])
        draw.text((44, 28 + 38 * label), name, fill="#333333", font=font, anchor="lm")
    return canvas.resize((side, side), Image.Resampling.LANCZOS)
