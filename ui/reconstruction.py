"""What the Reconstruct page says of pictures: their scores, their ranks among the test images, and its figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from ui import layout, theme
from ui.components.sheets import content_digest
from vae_core.checkpoint import Checkpoint, LatentSnapshot
from vae_core.evaluate import rank
from vae_core.imaging import grid, to_uint8
from vae_core.model import VAE
from vae_core.posterior import ImagePosterior, posterior

__all__ = [
    "BAR",
    "SAMPLES",
    "Score",
    "contact_sheet",
    "elbo_histogram",
    "is_grey",
    "kl_bars",
    "landing",
    "pixel_map",
    "rank_sentence",
    "score_table",
    "scores",
    "stacked",
]

SAMPLES = 64
"""Posterior draws behind every ELBO on the page."""

BAR = 78
"""Screen pixels that a pixel map needs beside its picture, for the colour bar."""

_PICTURE_COLOUR = "#e0218a"  # this picture, among the test images
_CLOUD = 1500  # points that a chart of plain SVG moves easily
_HEIGHT = 330
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
    return f"**Stranger than {above / count:.1%} of the test images**: {above:,} of {count:,} have a higher ELBO."


def is_grey(image: np.ndarray) -> bool:
    """Whether a uint8 picture has pixels between black and white."""
    return bool(((image > 0) & (image < 255)).any())


def contact_sheet(images: np.ndarray, columns: int, width: int) -> Image.Image:
    """Pictures (N, C, H, W) in rows of `columns`, two screen pixels apart, as large as fits `width` screen pixels."""
    scale = max(1, (width - 2 * (columns - 1)) // (columns * images.shape[-1]))
    return grid(images.repeat(scale, axis=-2).repeat(scale, axis=-1), columns, gap=2)


def pixel_map(values: np.ndarray, scale: int, title: str, top: float | None = None) -> go.Figure:
    """Values (H, W) as a picture of `scale` screen pixels each, with a colour bar.

    Colours run from 0 to `top`, or from the least to the greatest value where it is None."""
    height, width = values.shape
    chart = theme.figure("", "", height=height * scale, width=width * scale + BAR)
    chart.add_heatmap(
        z=values,
        zmin=0 if top else None,
        zmax=top,
        colorscale=theme.CONTINUOUS,
        colorbar={
            "title": {"text": title, "side": "right"},
            "thickness": 10,
            "len": 1,
            "lenmode": "fraction",
            "ypad": 2,
        },
        hovertemplate="column %{x}, row %{y}<br>%{z:.3f}<extra></extra>",
    )
    chart.update_layout(margin={"l": 0, "r": BAR, "t": 0, "b": 0}, hovermode="closest", dragmode=False)
    chart.update_xaxes(visible=False)
    chart.update_yaxes(visible=False, autorange="reversed")
    return chart


def kl_bars(kl: np.ndarray) -> go.Figure:
    """The KL of each latent dimension (d,), the largest first."""
    order = np.argsort(-kl, kind="stable")
    chart = theme.figure("latent dimension", "KL (nats)", height=_HEIGHT, hovermode="closest", bargap=0.25)
    chart.add_bar(
        x=[layout.dimension_name(j) for j in order],
        y=kl[order],
        marker_color=theme.TERM_COLOURS["kl"],
        hovertemplate="%{x}: %{y:.3f} nats<extra></extra>",
    )
    chart.update_xaxes(type="category")
    return chart


def elbo_histogram(population: np.ndarray, elbo: float) -> go.Figure:
    """The ELBOs of the test images (N,), the lowest in 500 cut off, with that of one picture marked."""
    low, high = min(np.quantile(population, 0.002), elbo), max(population.max(), elbo)
    margin = 0.04 * (high - low or 1)
    chart = theme.figure(
        "ELBO (nats)", "test images", height=_HEIGHT, hovermode="closest", bargap=0.05, showlegend=False
    )
    chart.add_histogram(
        x=population[population >= low],
        nbinsx=60,
        marker_color=theme.TERM_COLOURS["total"],
        hovertemplate="%{x} nats: %{y} test images<extra></extra>",
    )
    chart.add_vline(elbo, line={"color": _PICTURE_COLOUR, "width": 3})
    chart.add_annotation(
        x=elbo,
        y=1,
        yref="paper",
        yanchor="bottom",
        xanchor="left" if elbo < (low + high) / 2 else "right",
        text="this picture",
        font={"color": _PICTURE_COLOUR},
        showarrow=False,
    )
    chart.update_xaxes(range=[low - margin, high + margin])
    return chart


def landing(seen: ImagePosterior, snapshot: LatentSnapshot, class_names: Sequence[str]) -> go.Figure:
    """Where a picture lands in the latent plane, or line: q(z|x) to 1 and 2 σ over the test images' posterior means."""
    if len(seen.mu) == 1:
        return _landing_on_a_line(seen, snapshot)
    traces, names = [], []  # handed over at once: the time for each grows with what is there
    mu = snapshot.mu[:_CLOUD]
    labels = np.zeros(len(mu), np.int64) if snapshot.labels is None else snapshot.labels[:_CLOUD]
    for label in np.unique(labels):
        name = str(class_names[label]) if label < len(class_names) else "test image"
        x, y = mu[labels == label].T
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="markers",
                marker={"size": 4, "opacity": 0.45, "color": theme.class_colour(int(label))},
                name=name,
                hovertemplate="%{x:.2f}, %{y:.2f}",
            )
        )
        if label < len(class_names):
            names.append(
                {
                    "x": np.median(x),
                    "y": np.median(y),
                    "text": f"<b>{name}</b>",
                    "font": {"color": "white", "size": 11},
                    "bgcolor": theme.class_colour(int(label)),
                    "borderpad": 2,
                    "opacity": 0.8,
                    "showarrow": False,
                }
            )
    angle = np.linspace(0, 2 * np.pi, 73)
    for sigmas in (1, 2):
        traces.append(
            go.Scatter(
                x=seen.mu[0] + sigmas * seen.sigma[0] * np.cos(angle),
                y=seen.mu[1] + sigmas * seen.sigma[1] * np.sin(angle),
                mode="lines",
                line={"color": _PICTURE_COLOUR, "width": 3 - sigmas},
                hoverinfo="skip",
            )
        )
    traces.append(
        go.Scatter(
            x=seen.mu[:1],
            y=seen.mu[1:],
            mode="markers",
            name="this picture",
            marker={"size": 11, "symbol": "x", "color": _PICTURE_COLOUR, "line": {"color": "white", "width": 1.5}},
            hovertemplate="%{x:.3f}, %{y:.3f}",
        )
    )
    everything = np.concatenate([mu, seen.mu[None]])
    reach = 1.05 * np.abs(everything).max()
    look = {"height": _HEIGHT, "hovermode": "closest", "showlegend": False, "annotations": names}
    chart = theme.figure("z₁", "z₂", **look).add_traces(traces)
    chart.update_xaxes(range=[-reach, reach], constrain="domain")
    chart.update_yaxes(range=[-reach, reach], constrain="domain", scaleanchor="x")
    return chart


def _landing_on_a_line(seen: ImagePosterior, snapshot: LatentSnapshot) -> go.Figure:
    chart = theme.figure("z₁", "test images", height=_HEIGHT, hovermode="closest", bargap=0.05, showlegend=False)
    chart.add_histogram(
        x=snapshot.mu[:, 0],
        nbinsx=60,
        marker_color=theme.TERM_COLOURS["total"],
        hovertemplate="μ %{x}: %{y} test images<extra></extra>",
    )
    mu, sigma = float(seen.mu[0]), float(seen.sigma[0])
    for sigmas in (1, 2):
        chart.add_vrect(
            mu - sigmas * sigma, mu + sigmas * sigma, fillcolor=_PICTURE_COLOUR, opacity=0.3 / sigmas, line_width=0
        )
    chart.add_vline(mu, line={"color": _PICTURE_COLOUR, "width": 3})
    return chart
