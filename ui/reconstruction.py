"""What the Reconstruct page says of pictures: their scores, their ranks among the test images, and its figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image
from plotly.colors import get_colorscale

from ui import layout, theme
from ui.components.sheets import content_digest
from vae_core.checkpoint import Checkpoint, LatentSnapshot
from vae_core.evaluate import is_a_loss, rank
from vae_core.imaging import grid, to_uint8
from vae_core.latent import rank_by_kl
from vae_core.model import VAE
from vae_core.posterior import ImagePosterior, posterior
from vae_core.words import percent

__all__ = [
    "BAR",
    "SAMPLES",
    "Score",
    "contact_sheet",
    "elbo_histogram",
    "kl_bars",
    "landing",
    "pixel_map",
    "rank_sentence",
    "say_if_a_loss",
    "score_table",
    "scores",
    "stacked",
]

SAMPLES = 64
"""Posterior draws behind every ELBO on the page."""

BAR = 78
"""Screen pixels that a pixel map needs beside its picture, for the colour bar."""

_PICTURE_COLOUR = "#e0218a"  # this picture, among the test images
_COLOURS = get_colorscale(theme.CONTINUOUS)
_CLOUD = 1500  # points that a chart of plain SVG moves easily
_HEIGHT = 330
_FAR = 2  # widths of what the test images take, beyond which a chart has no room for a picture
_ARROW = 30  # screen pixels
_SLOW = 12  # pictures that may take over a second


@dataclass(frozen=True)
class Score:
    """One picture's ELBO, its Monte Carlo standard error and its terms in nats, and its reconstruction (uint8)."""

    elbo: float
    standard_error: float
    reconstruction: float
    kl: float
    picture: np.ndarray


def scores(images: Sequence[np.ndarray], checkpoint: Checkpoint) -> list[Score]:
    """The scores of uint8 images (C, H, W), each computed once; a progress bar shows where there are many."""
    model_digest = content_digest(checkpoint.snapshot.mu)
    bar = st.progress(0.0) if len(images) > _SLOW else None
    found = []
    for done, image in enumerate(images):
        if bar and done % 4 == 0:
            bar.progress(done / len(images), f"Encoding pictures: {done} of {len(images)}")
        found.append(_score(model_digest, content_digest(image), checkpoint.model, image))
    if bar:
        bar.empty()
    return found


@st.cache_resource(max_entries=2048, show_spinner=False)
def _score(model_digest: str, image_digest: str, _model: VAE, _image: np.ndarray) -> Score:  # noqa: ARG001 (cache keys)
    seen = posterior(_model, _image, SAMPLES)
    cost, kl = (float(term.sum(dtype=np.float64)) for term in (seen.reconstruction / SAMPLES, seen.kl))
    return Score(seen.elbo, seen.standard_error, cost, kl, to_uint8(seen.mean_picture[None])[0])


def stacked(images: Sequence[np.ndarray], found: Sequence[Score]) -> np.ndarray:
    """Every picture over its reconstruction, a line of two grey pixels between: uint8 (N, C, 2H + 2, W)."""
    top, below = np.stack(images), np.stack([score.picture for score in found])
    return np.concatenate([top, np.full_like(top[:, :, :2], 128), below], axis=2)


def score_table(names: Sequence[str], found: Sequence[Score], population: np.ndarray) -> pd.DataFrame:
    """One row a picture, in nats; stranger_than is the share of `population` (ELBOs) that lies above its ELBO."""
    return pd.DataFrame(
        {
            "name": list(names),
            "elbo": [score.elbo for score in found],
            "standard_error": [score.standard_error for score in found],
            "reconstruction": [score.reconstruction for score in found],
            "kl": [score.kl for score in found],
            "stranger_than": [rank(score.elbo, population) for score in found],
        }
    )


def rank_sentence(elbo: float, population: np.ndarray) -> str:
    """Where an ELBO stands among those of the test images: 'Stranger than 99 % of the 5,000 test images …'."""
    above, count = int((population > elbo).sum()), len(population)
    if above == count:
        return f"**Stranger than every one of the {count:,} test images**: all have a higher ELBO."
    if above == 0:
        return f"**Stranger than none of the {count:,} test images**: none has a higher ELBO."
    share = percent(above / count)
    return f"**Stranger than {share} of the test images**: {above:,} of {count:,} have a higher ELBO."


def say_if_a_loss(checkpoint: Checkpoint, images: np.ndarray) -> None:
    """Say what nats of these uint8 pictures are not, where `is_a_loss`."""
    if not is_a_loss(checkpoint.model.config, images):
        return
    strange = " This model was trained on pixels drawn black or white: grey ones are strange to it."
    st.caption(
        "Grey pixels under a Bernoulli likelihood: such nats are a loss, not the logarithm of a density."
        + (strange if checkpoint.record["train"].get("binarize") else "")
    )


def contact_sheet(images: np.ndarray, columns: int, width: int) -> Image.Image:
    """Pictures (N, C, H, W) in rows of `columns`, two screen pixels apart, as large as fits `width` screen pixels."""
    scale = max(1, (width - 2 * (columns - 1)) // (columns * images.shape[-1]))
    return grid(images.repeat(scale, axis=-2).repeat(scale, axis=-1), columns, gap=2)


def pixel_map(values: np.ndarray, scale: int, title: str, top: float | None = None) -> theme.Chart:
    """Values (H, W) as a picture of `scale` screen pixels each, with a colour bar.

    Colours run from 0 to `top`, or from the least to the greatest value where it is None."""
    height, width = values.shape
    heatmap = {
        "type": "heatmap",
        "z": values,
        "colorscale": _COLOURS,
        "colorbar": {
            "title": {"text": title, "side": "right"},
            "thickness": 10,
            "len": 1,
            "lenmode": "fraction",
            "ypad": 2,
        },
        "hovertemplate": "column %{x}, row %{y}<br>%{z:.3f}<extra></extra>",
    }
    if top is not None:
        heatmap |= {"zmin": 0, "zmax": top}
    return theme.chart(
        "",
        "",
        [heatmap],
        height=height * scale,
        width=width * scale + BAR,
        margin={"l": 0, "r": BAR, "t": 0, "b": 0},
        hovermode="closest",
        xaxis={"visible": False},
        yaxis={"visible": False, "autorange": "reversed"},
    )


def kl_bars(kl: np.ndarray) -> theme.Chart:
    """The KL of each latent dimension (d,), the largest first."""
    order = rank_by_kl(kl)
    bars = {
        "type": "bar",
        "x": [layout.dimension_name(j) for j in order],
        "y": kl[order],
        "marker": {"color": theme.TERM_COLOURS["kl"]},
        "hovertemplate": "%{x}: %{y:,.3f} nats<extra></extra>",
    }
    look = {"height": _HEIGHT, "hovermode": "closest", "bargap": 0.25, "xaxis": {"type": "category"}}
    return theme.chart("latent dimension", "KL (nats)", [bars], **look)


def elbo_histogram(population: np.ndarray, elbo: float) -> theme.Chart:
    """The ELBOs of the test images (N,), the lowest in 500 cut off, with that of one picture marked."""
    low = float(np.quantile(population, 0.002))
    return theme.chart(
        "ELBO (nats)",
        "test images",
        [_histogram(population[population >= low], "%{x} nats: %{y} test images<extra></extra>")],
        height=_HEIGHT,
        hovermode="closest",
        bargap=0.05,
        showlegend=False,
        shapes=[_upright(elbo)],
        **_axis_with(elbo, low, float(population.max()), layout.nats(elbo, 0)),
    )


def _axis_with(x: float, low: float, high: float, said: str) -> dict[str, Any]:
    """An axis with room for the test images, from `low` to `high`, and for this picture at x, named there; at the edge,
    with where it is in words, where that is so far away that the test images would be too small to see."""
    left, text, reach = x < (low + high) / 2, "this picture", _FAR * (high - low or 1)
    if low - reach <= x <= high + reach:
        low, high = min(low, x), max(high, x)
    else:
        text = f"{'← this picture' if left else 'this picture →'}<br>{said}"
    margin = 0.04 * (high - low or 1)
    low, high = low - margin, high + margin
    return {"annotations": [_label(min(max(x, low), high), text, left)], "xaxis": {"range": [low, high]}}


def _label(x: float, text: str, left: bool) -> dict[str, Any]:
    """A text above a chart that begins at x, or ends there where it is not `left`."""
    return {
        "x": x,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": "left" if left else "right",
        "text": text,
        "font": {"color": _PICTURE_COLOUR},
        "align": "left" if left else "right",
        "showarrow": False,
    }


def _histogram(values: np.ndarray, hover: str) -> dict[str, Any]:
    return {
        "type": "histogram",
        "x": values,
        "nbinsx": 60,
        "marker": {"color": theme.TERM_COLOURS["total"]},
        "hovertemplate": hover,
    }


def _upright(x: float) -> dict[str, Any]:
    """The line at this picture, through all of the chart."""
    return _through(x, x) | {"type": "line", "line": {"color": _PICTURE_COLOUR, "width": 3}}


def _through(left: float, right: float) -> dict[str, Any]:
    return {"xref": "x", "x0": left, "x1": right, "yref": "y domain", "y0": 0, "y1": 1}


def landing(seen: ImagePosterior, snapshot: LatentSnapshot, class_names: Sequence[str]) -> theme.Chart:
    """Where a picture lands in the latent plane, or line: q(z|x) to 1 and 2 σ over the test images' posterior means."""
    if len(seen.mu) == 1:
        return _landing_on_a_line(seen, snapshot)
    clouds, names = [], []
    mu = snapshot.mu[:_CLOUD]
    labels = np.zeros(len(mu), np.int64) if snapshot.labels is None else snapshot.labels[:_CLOUD]
    for label in np.unique(labels):
        colour, codes = theme.class_colour(int(label)), mu[labels == label]
        name = str(class_names[label]) if label < len(class_names) else "test image"
        clouds.append(_cloud(codes, name, colour))
        if label < len(class_names):
            names.append(_name_over(codes, name, colour))
    reach, at = float(np.abs(mu).max()), float(np.abs(seen.mu).max())
    far = at > _FAR * reach
    reach = 1.05 * (reach if far else max(reach, at))
    axis = {"range": [-reach, reach], "constrain": "domain"}
    return theme.chart(
        "z₁",
        "z₂",
        [*clouds, *(_ellipse(seen, sigmas) for sigmas in (1, 2))],
        height=_HEIGHT,
        hovermode="closest",
        showlegend=False,
        annotations=[*names, *(_pointer(seen.mu, reach) if far else (_mark(seen.mu),))],
        xaxis=axis,
        yaxis=axis | {"scaleanchor": "x"},
    )


def _pointer(mu: np.ndarray, reach: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """An arrow to the edge, which is `reach` away, towards a picture that lies beyond it at mu (2,), and where that is
    in words."""
    x, y = (float(part) for part in mu / np.abs(mu).max())
    place = {"x": x * reach, "y": y * reach, "ax": -_ARROW * x, "ay": _ARROW * y}
    arrow = place | {"text": "", "arrowcolor": _PICTURE_COLOUR, "arrowhead": 2}
    return arrow, _label(reach if x > 0 else -reach, f"this picture<br>{layout.coordinates(mu)}", x <= 0)


def _cloud(codes: np.ndarray, name: str, colour: str) -> dict[str, Any]:
    """Codes (n, 2) of one class."""
    return {
        "type": "scatter",
        "x": codes[:, 0],
        "y": codes[:, 1],
        "mode": "markers",
        "marker": {"size": 4, "opacity": 0.45, "color": colour},
        "name": name,
        "hovertemplate": "%{x:.2f}, %{y:.2f}",
    }


def _name_over(codes: np.ndarray, name: str, colour: str) -> dict[str, Any]:
    """The name of a class in the middle of its codes (n, 2)."""
    x, y = np.median(codes, axis=0)
    return {
        "x": float(x),
        "y": float(y),
        "text": f"<b>{name}</b>",
        "font": {"color": theme.ink_on(colour), "size": 11},
        "bgcolor": colour,
        "borderpad": 2,
        "showarrow": False,
    }


def _ellipse(seen: ImagePosterior, sigmas: int) -> dict[str, Any]:
    """q(z|x) to so many σ."""
    angle = np.linspace(0, 2 * np.pi, 73)
    return {
        "type": "scatter",
        "x": seen.mu[0] + sigmas * seen.sigma[0] * np.cos(angle),
        "y": seen.mu[1] + sigmas * seen.sigma[1] * np.sin(angle),
        "mode": "lines",
        "line": {"color": _PICTURE_COLOUR, "width": 3 - sigmas},
        "hoverinfo": "skip",
    }


def _mark(mu: np.ndarray) -> dict[str, Any]:
    """A cross at mu (2,), over the names of classes."""
    x, y = (float(part) for part in mu)
    font = {"size": 20, "color": _PICTURE_COLOUR, "shadow": "0 0 3px white"}
    where = f"this picture: {layout.coordinates(mu)}"
    return {"x": x, "y": y, "text": "✕", "font": font, "showarrow": False, "hovertext": where}


def _landing_on_a_line(seen: ImagePosterior, snapshot: LatentSnapshot) -> theme.Chart:
    mu, sigma = float(seen.mu[0]), float(seen.sigma[0])
    bands = [
        _through(mu - sigmas * sigma, mu + sigmas * sigma)
        | {"type": "rect", "fillcolor": _PICTURE_COLOUR, "opacity": 0.3 / sigmas, "line": {"width": 0}}
        for sigmas in (1, 2)
    ]
    cloud = _histogram(snapshot.mu[:, 0], "μ %{x}: %{y} test images<extra></extra>")
    look = {"height": _HEIGHT, "hovermode": "closest", "bargap": 0.05, "showlegend": False}
    look |= _axis_with(mu, float(snapshot.mu.min()), float(snapshot.mu.max()), f"z₁ = {layout.number(mu, 2)}")
    return theme.chart("z₁", "test images", [cloud], shapes=[*bands, _upright(mu)], **look)
