"""What the page Interpolate shows of a path: its frames, its distance from the origin, its files."""

import numpy as np
import streamlit as st
import torch

from ui import layout, theme
from ui.components.film_strip import film_strip, film_strip_index
from ui.components.live_chart import Series
from ui.decoded import decoded
from ui.endpoints import spec_of
from ui.state import Entry
from vae_core import evaluate, imaging, latent, objective
from vae_core.checkpoint import Checkpoint

__all__ = [
    "FRAMES",
    "MOST_DIMENSIONS",
    "STEPS",
    "dimension_kl",
    "encoded_again",
    "forget_when_moved",
    "gif",
    "grid_png",
    "log_prior",
    "prior_inside",
    "radius_curves",
    "radius_words",
    "traversals",
]

FRAMES = 61
STEPS = 11
MOST_DIMENSIONS = 16
_TRAVERSAL_FRAMES = 31
_TRAVERSAL_EXTENT = 3.0
_FILE_SIDE = 224  # pixels a side of a picture in a GIF, about


def log_prior(z: np.ndarray) -> float:
    """log N(z; 0, I) of z (d,), in nats."""
    return float(objective.log_prior(torch.from_numpy(np.asarray(z, np.float64))))


def prior_inside(z: np.ndarray) -> float:
    """The share of N(0, I) that lies closer to the origin than z (d,): |z|² is χ² with d degrees of freedom."""
    half = torch.tensor(len(z) / 2, dtype=torch.float64)
    return float(torch.special.gammainc(half, torch.tensor(float(np.square(z, dtype=np.float64).sum()) / 2)))


def encoded_again(checkpoint: Checkpoint, z: np.ndarray, picture: np.ndarray) -> float:
    """|μ(x̂(z)) − z|: how far the encoder's mean for the decoded picture, uint8 (C, H, W), lies from z (d,)."""
    mu, _ = evaluate.encode(checkpoint.model, picture[None])
    return float(np.linalg.norm(mu[0] - z))


def dimension_kl(checkpoint: Checkpoint) -> np.ndarray:
    """KL(q(z_j|x) ‖ p(z_j)) averaged over held-out images, (d,) in nats."""
    return checkpoint.snapshot.kl.mean(0)


def radius_words(latent_dim: int) -> str:
    """How far from the origin draws from N(0, I) lie."""
    narrow = ", and nearly all lie close to that" if latent_dim >= 32 else ""
    return f"For draws of the prior its root mean square is √d = {latent_dim**0.5:.2f}{narrow}."


def radius_curves(a: np.ndarray, b: np.ndarray, method: str) -> list[Series]:
    """|z| along both ways from a to b (d,), the chosen one strong, and √d, the prior's root mean square."""
    along = np.linspace(0, 1, FRAMES)
    curves = [
        Series(
            way.capitalize(),
            along,
            np.linalg.norm(latent.path(a, b, FRAMES, way), axis=1),
            colour,
            3 if way == method else 1.5,
        )
        for way, colour in zip(latent.METHODS, theme.LINE_COLOURS, strict=False)
    ]
    expected = len(a) ** 0.5
    return [*curves, Series(f"√d = {expected:.2f}", along, np.full(FRAMES, expected), theme.TERM_COLOURS["total"], 1)]


def gif(frames: np.ndarray) -> bytes:
    """The path there and back as an animated GIF. frames (F, C, H, W) uint8."""
    scale = layout.whole_scale(frames.shape[-1], _FILE_SIDE)
    there = [imaging.grid(frame[None], columns=1, scale=scale, gap=0) for frame in frames]
    return imaging.gif_bytes(there + there[-2:0:-1], milliseconds=50)


def grid_png(pictures: np.ndarray, columns: int) -> bytes:
    """Pictures (N, C, H, W) uint8 in rows of `columns` as a PNG file."""
    scale = layout.whole_scale(pictures.shape[-1], _FILE_SIDE // 2)
    return imaging.png_bytes(imaging.grid(pictures, columns, scale=scale))


def forget_when_moved(key: str, z: np.ndarray) -> None:
    """Empty the widget `key` when the path's point z is not what it was in the run before: it is then outdated."""
    place = f"{key}/from"
    before = st.session_state.get(place)
    if before is not None and not np.array_equal(before, z):
        st.session_state[key] = ""
    st.session_state[place] = z


def traversals(entry: Entry, checkpoint: Checkpoint, z: np.ndarray, key: str) -> None:
    """One live slider for each of the dimensions with the largest KL, around the point z (d,), in two columns.

    Letting one go writes the new point to the widget `key`.
    """
    kl = dimension_kl(checkpoint)
    ranked = latent.rank_by_kl(kl)[:MOST_DIMENSIONS]
    grids = [_values(z[dimension]) for dimension in ranked]
    ways = np.stack([latent.traversal(z, j, values) for j, (values, _) in zip(ranked, grids, strict=True)])
    frames = decoded(entry, checkpoint, ways)
    half = -(-len(ranked) // 2)
    columns = st.columns(2, gap="large")
    for place, (dimension, (values, index)) in enumerate(zip(ranked, grids, strict=True)):
        with columns[place // half]:
            film_strip(
                frames[place],
                key=f"interpolate_z{dimension}",
                label=f"{layout.dimension_name(dimension)} · {kl[dimension]:.2f} nats",
                labels=[layout.number(value, 2) for value in values],
                index=index,
                scale=layout.whole_scale(frames.shape[-1], 112 if half <= 2 else 56),
                compact=True,
                on_release=lambda j=dimension, place=place: _set(
                    key, spec_of(ways[place][film_strip_index(f"interpolate_z{j}")])
                ),
            )


def _set(key: str, value: str) -> None:
    st.session_state[key] = value


def _values(now: float) -> tuple[np.ndarray, int]:
    """Where a dimension is taken, and which of these places is exactly where it is now."""
    extent = max(_TRAVERSAL_EXTENT, float(np.ceil(abs(now))))
    values = np.linspace(-extent, extent, _TRAVERSAL_FRAMES, dtype=np.float32)
    index = int(np.abs(values - now).argmin())
    values[index] = now
    return values, index
