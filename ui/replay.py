"""A run's epochs as pictures: test images over their reconstructions, samples, and the latent map."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ui.theme import class_colour
from vae_core.embedding import pca
from vae_core.imaging import to_uint8
from vae_core.previews import read_given, read_preview
from vae_core.runs import Run

__all__ = [
    "FRAMES",
    "WIDTH",
    "Look",
    "Plane",
    "epoch_of",
    "frames",
    "latent_map",
    "picture_rows",
    "plane_of",
    "reconstruction_rows",
    "sample_rows",
]

WIDTH = 256  # pixels: fits a phone, and three times beside one another
FRAMES = 40
_MAP_HEIGHT = 256
_CELL, _WIDEST_GAP, _BETWEEN = 48, 6, 14
_LEAST_HALF = 2.2  # the prior's 2σ circle is always in sight
_APART = 24  # pixels
_FINE = 2  # the map is drawn this many times larger and reduced, which smooths its dots


@dataclass(frozen=True)
class Look:
    """Grey levels or colours (R, G, B) of the ground and of what is written on it."""

    ground: tuple[int, int, int]
    ink: tuple[int, int, int]


@dataclass(frozen=True)
class Plane:
    """Where codes (n, d) are drawn: as they are for d = 2, else on the first two principal components.

    mean (d,), axes (2, d); half: what is seen reaches from −half to half on both axes.
    """

    mean: np.ndarray
    axes: np.ndarray
    half: float

    def project(self, mu: np.ndarray) -> np.ndarray:
        """Codes (n, d) → (n, 2)."""
        return (mu - self.mean) @ self.axes.T


def plane_of(mu: np.ndarray, *others: np.ndarray) -> Plane:
    """The plane on which codes mu (n, d) are best seen, with room for all of them and of `others`."""
    d = mu.shape[1]
    if d == 2:
        mean, axes = np.zeros(2), np.eye(2)
    else:
        fit = pca(mu)
        mean, axes = fit.mean, fit.axes
    reach = max(float(np.abs((codes - mean) @ axes.T).max()) for codes in (mu, *others))
    return Plane(mean, axes, max(_LEAST_HALF, 1.08 * reach))


def _layout(side: int) -> tuple[int, int, int]:
    """Scale, number of columns and gap, so that pictures of `side` pixels fill WIDTH."""
    scale = max(1, round(_CELL / side))
    columns = max(2, WIDTH // (side * scale))
    return scale, columns, min(_WIDEST_GAP, (WIDTH - columns * side * scale) // (columns - 1))


def picture_rows(rows: list[np.ndarray], look: Look, together: int = 1) -> np.ndarray:
    """Rows of square pictures (n, C, S, S) uint8, one below the other: uint8 (3, height, WIDTH).

    `together`: so many rows touch before a gap follows.
    """
    scale, columns, gap = _layout(rows[0].shape[-1])
    side = rows[0].shape[-1] * scale
    tops = [i * side + i // together * max(gap, 2) * together for i in range(len(rows))]
    canvas = _blank(tops[-1] + side, look)
    for top, row in zip(tops, rows, strict=True):
        for j, picture in enumerate(to_uint8(row[:columns])):
            large = picture.repeat(scale, 1).repeat(scale, 2)
            canvas[:, top : top + side, j * (side + gap) : j * (side + gap) + side] = large
    return canvas


def _blank(height: int, look: Look) -> np.ndarray:
    return np.repeat(np.array(look.ground, np.uint8), height * WIDTH).reshape(3, height, WIDTH)


def reconstruction_rows(given: np.ndarray, reconstruction: np.ndarray) -> list[np.ndarray]:
    """Rows that alternate: test images, their reconstructions, further test images, theirs."""
    _, columns, _ = _layout(given.shape[-1])
    starts = range(0, min(len(given), 2 * columns), columns)
    return [images[start : start + columns] for start in starts for images in (given, reconstruction)]


def sample_rows(samples: np.ndarray, rows: int = 2) -> list[np.ndarray]:
    """Rows of samples, as wide as those of `reconstruction_rows`."""
    _, columns, _ = _layout(samples.shape[-1])
    return [samples[start : start + columns] for start in range(0, min(len(samples), rows * columns), columns)]


def latent_map(
    mu: np.ndarray, labels: np.ndarray | None, class_names: tuple[str, ...], plane: Plane, look: Look
) -> np.ndarray:
    """Codes mu (n, d) as dots in the colour of their class, its name in their middle: uint8 (3, height, WIDTH)."""
    size = np.array([WIDTH, _MAP_HEIGHT]) * _FINE
    picture = Image.new("RGB", tuple(size), look.ground)
    draw = ImageDraw.Draw(picture)
    middle, unit = size / 2, _MAP_HEIGHT * _FINE / 2 / plane.half
    for radius in (1, 2):
        draw.circle(tuple(middle), radius * unit, outline=_mixed(look, 0.25))
    points = np.nan_to_num(plane.project(mu)) * [unit, -unit] + middle
    shown = np.zeros(len(points), np.int64) if labels is None else labels
    for point, label in zip(points.tolist(), shown.tolist(), strict=True):
        draw.circle(point, 2.2 * _FINE, fill=class_colour(label))
    picture = picture.resize((WIDTH, _MAP_HEIGHT), Image.Resampling.LANCZOS)
    if labels is not None:
        _name_classes(picture, points / _FINE, labels, class_names, look)
    return np.asarray(picture).transpose(2, 0, 1)


def _mixed(look: Look, share: float) -> tuple[int, int, int]:
    return tuple(round(a + share * (b - a)) for a, b in zip(look.ground, look.ink, strict=True))


def _name_classes(
    picture: Image.Image, points: np.ndarray, labels: np.ndarray, names: tuple[str, ...], look: Look
) -> None:
    if np.ptp(points, axis=0).max() < _APART:  # as after a collapse: the names would lie on one another
        return
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for label in np.unique(labels):
        if label < len(names):
            middle = tuple(np.median(points[labels == label], axis=0))
            name, halo = names[label][:12], {"stroke_width": 2, "stroke_fill": look.ground}
            half = np.array(draw.textbbox((0, 0), name, font=font, anchor="lt")[2:]) / 2 + 2
            at = tuple(np.clip(middle, half, np.array(picture.size) - half))
            draw.text(at, name, fill=look.ink, font=font, anchor="mm", **halo)


def frames(run: Run, look: Look) -> tuple[np.ndarray, list[str]]:
    """The run's epochs, at most FRAMES of them and always the last: uint8 (F, 3, height, WIDTH), and their names.

    The map's plane is that of the last epoch throughout. Empty where there is nothing to replay yet.
    """
    paths = _chosen(run.previews())
    if len(paths) < 2:
        return np.zeros((0, 3, 1, WIDTH), np.uint8), []
    given, labels, class_names = read_given(run)
    previews = [read_preview(path) for path in paths]
    *earlier, last = (preview["mu"] for preview in previews)
    plane = plane_of(last, *earlier)
    gap = _blank(_BETWEEN, look)
    pictures = [
        np.concatenate(
            [
                picture_rows(reconstruction_rows(given, preview["reconstruction"]), look, 2),
                gap,
                picture_rows(sample_rows(preview["samples"], 1), look),
                gap,
                latent_map(preview["mu"], labels, class_names, plane, look),
            ],
            axis=1,
        )
        for preview in previews
    ]
    return np.stack(pictures), [f"epoch {epoch_of(path)}" for path in paths]


def epoch_of(preview: Path) -> int:
    """The epoch that a preview file is of."""
    return int(preview.stem.rpartition("_")[2])


def _chosen(paths: list[Path]) -> list[Path]:
    """At most FRAMES, closer together at the beginning, where most happens."""
    if len(paths) <= FRAMES:
        return paths
    index = np.unique(np.round((len(paths) - 1) * np.linspace(0, 1, FRAMES) ** 1.5).astype(int))
    return [paths[i] for i in index]
