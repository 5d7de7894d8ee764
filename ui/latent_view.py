"""What the latent map is made of: codes of held-out images, their places in the plane, colours, pictures."""

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import plotly.colors
import plotly.graph_objects as go
import streamlit as st

from ui import layout, state, theme, turns
from ui.components.latent_map import Atlas, Background, ByClass, ByValue, DecodedPlane, build_atlas
from ui.components.sheets import content_digest
from ui.tsne_job import TsneJob
from vae_core import data, embedding, evaluate, imaging, latent
from vae_core.checkpoint import Checkpoint, LatentSnapshot
from vae_core.words import percent

__all__ = [
    "MOST_POINTS",
    "NamedSnapshot",
    "Projection",
    "atlas",
    "class_counts",
    "codes",
    "colour",
    "colour_titles",
    "coordinates_csv",
    "decoded_plane",
    "manifold",
    "nearest_codes",
    "plane_atlas",
    "posterior_figure",
    "projection_titles",
    "straight_projection",
    "trustworthiness",
    "tsne_projection",
    "version",
]

MOST_POINTS = 10_000
_MANIFOLD_PIXELS = 672
_PLANE_PICTURES = 33  # a side
_PLANE_LARGEST, _PLANE_QUALITY = 64, 90
_PRIOR_REACH = 3.0


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedSnapshot(LatentSnapshot):
    """A latent snapshot with the names of its classes and factors; `key` says which it is, for caches."""

    key: str
    class_names: tuple[str, ...]
    factor_names: tuple[str, ...]

    @cached_property
    def kl(self) -> np.ndarray:
        """As in the snapshot, computed once."""
        return super().kl

    @property
    def elbo(self) -> np.ndarray:
        """−(reconstruction + KL) of each image, (N,), in nats."""
        return state.snapshot_elbo(self)

    @property
    def sigma(self) -> np.ndarray:
        """The posteriors' standard deviations (N, d)."""
        return np.exp(0.5 * self.logvar)

    def class_name(self, index: int) -> str | None:
        """The name of image `index`'s class, None where there are no classes."""
        return None if self.labels is None else self.class_names[self.labels[index]]


@dataclass(frozen=True, eq=False)
class Projection:
    """Places (N, 2) of the codes; `place` puts further codes (M, d) there too, None where it cannot yet.

    `lift` gives the codes (M, d) of a flat projection's places (M, 2), all that the two do not say held; None where
    places have no code. `is_latent` says that places are latent coordinates, `ticks` that the numbers along the
    axes mean something.
    """

    key: str
    positions: np.ndarray
    axes: tuple[str, str]
    place: Callable[[np.ndarray], np.ndarray] | None
    lift: Callable[[np.ndarray], np.ndarray] | None = None
    is_latent: bool = False
    ticks: bool = True

    @property
    def square(self) -> tuple[float, float, float]:
        """The middle and half the side of a square that holds all places, and of latent ones the prior's 3 σ."""
        least, most = self.positions.min(0), self.positions.max(0)
        if self.is_latent:
            least, most = np.minimum(least, -_PRIOR_REACH), np.maximum(most, _PRIOR_REACH)
        (x, y), half = (least + most) / 2, (most - least).max() / 2
        return float(x), float(y), float(half)


def version(entry: state.Entry, checkpoint: Checkpoint) -> str:
    """A name for exactly this checkpoint file at the β at which it is shown, for caches."""
    return f"{entry.id}:{entry.modified}:{checkpoint.model.beta:g}"


def codes(entry: state.Entry, checkpoint: Checkpoint, *, whole: bool) -> NamedSnapshot:
    """The codes in the checkpoint's snapshot, or with `whole` of up to 10,000 test images, encoded once.

    Raises UserError where the whole test set is asked for and cannot be loaded.
    """
    return _codes(f"{version(entry, checkpoint)}:{'whole' if whole else 'snapshot'}", checkpoint, whole)


@st.cache_resource(max_entries=6, show_spinner="Encoding the test images …")
@turns.in_turn
def _codes(key: str, _checkpoint: Checkpoint, whole: bool) -> NamedSnapshot:
    snapshot = _encode(_checkpoint) if whole else _checkpoint.snapshot
    return NamedSnapshot(
        **vars(snapshot),
        key=key,
        class_names=tuple(_checkpoint.record["class_names"]),
        factor_names=tuple(_checkpoint.record["factor_names"]),
    )


def _encode(checkpoint: Checkpoint) -> LatentSnapshot:
    test = data.load(checkpoint.record["train"]["dataset"]).test
    return evaluate.snapshot(checkpoint.model, test, MOST_POINTS)


def projection_titles(latent_dim: int) -> dict[str, str]:
    """The ways into the plane that a latent size allows, the default first."""
    rest = {"pca": "PCA", "tsne": "t-SNE"}
    if latent_dim == 1:
        return {"plane": "Latent line"} | rest
    if latent_dim == 2:
        return {"plane": "Latent plane"} | rest
    return {"pca": "PCA", "dimensions": "Two dimensions", "tsne": "t-SNE"}


def straight_projection(
    found: LatentSnapshot, kind: str, dimensions: tuple[int, int], held: np.ndarray | None = None
) -> Projection:
    """The "plane" itself, two "dimensions", or "pca".

    held: the code (d,) through which the plane of its places is laid; None for the origin, or for PCA the mean.
    """
    d = found.mu.shape[1]
    if kind == "pca":
        fit = embedding.pca(found.mu)
        titles = tuple(f"PC {i + 1} ({percent(share)} of the variance)" for i, share in enumerate(fit.explained))
        through = fit.mean if held is None else held
        through = through - fit.project(through[None])[0] @ fit.axes
        return Projection(f"pca {_digest(held)}", fit.map, titles, fit.project, lambda at: through + at @ fit.axes)
    if d == 1:
        spread = np.random.default_rng(0).uniform(-1, 1, len(found))
        positions = np.stack([found.mu[:, 0], spread], 1).astype(np.float32)
        return Projection(
            "line", positions, ("z₁", "spread at random"), lambda mu: np.pad(mu, ((0, 0), (0, 1))), lambda at: at[:, :1]
        )
    chosen = [0, 1] if kind == "plane" else list(dimensions)
    through = np.zeros(d, np.float32) if held is None else held

    def lift(at: np.ndarray) -> np.ndarray:
        z = np.tile(through, (len(at), 1))
        z[:, chosen] = at
        return z

    return Projection(
        f"dimensions {chosen[0]} {chosen[1]} {_digest(held)}",
        found.mu[:, chosen],
        tuple(layout.dimension_name(j) for j in chosen),
        lambda mu: mu[:, chosen],
        lift,
        is_latent=True,
    )


def _digest(held: np.ndarray | None) -> str:
    return "" if held is None else content_digest(held)


def tsne_projection(found: NamedSnapshot, job: TsneJob) -> Projection:
    """The latest picture of a t-SNE job; places new codes once it has stopped moving."""
    step = job.step
    still = step.iteration > 0 and not job.running
    return Projection(
        "tsne",
        step.map,
        ("t-SNE 1", "t-SNE 2"),
        (lambda mu: _placed(f"{found.key} {step.kl_divergence}", step.map, found.mu, mu)) if still else None,
        ticks=False,
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _placed(key: str, _map: np.ndarray, _mu: np.ndarray, new: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return embedding.place(_map, _mu, new)


@st.cache_data(max_entries=64, show_spinner=False)
def trustworthiness(key: str, _mu: np.ndarray, _positions: np.ndarray) -> float:  # noqa: ARG001
    """`vae_core.embedding.trustworthiness`, computed once for each `key`."""
    return embedding.trustworthiness(_mu, _positions)


def colour_titles(found: NamedSnapshot) -> dict[str, str]:
    """What the points can be coloured by, the default first."""
    titles = {"class": "Class"} if found.labels is not None else {}
    if found.factors is not None:
        titles |= {f"factor-{j}": f"Factor: {name}" for j, name in enumerate(found.factor_names)}
    titles |= {"elbo": "ELBO (nats)", "reconstruction": "Reconstruction (nats)", "kl": "KL (nats)"}
    return titles | {f"z-{j + 1}": layout.dimension_name(j) for j in range(found.mu.shape[1])}


def colour(found: NamedSnapshot, name: str) -> ByClass | ByValue:
    """The colours that `colour_titles` names."""
    if name == "class":
        names = found.class_names
        return ByClass(found.labels, names, [theme.class_colour(label) for label in range(len(names))])
    kind, _, number = name.partition("-")
    values = {
        "elbo": lambda: found.elbo,
        "reconstruction": lambda: found.reconstruction,
        "kl": lambda: found.kl.sum(1),
        "factor": lambda: found.factors[:, int(number)],
        "z": lambda: found.mu[:, int(number) - 1],
    }[kind]()
    return ByValue(values, colour_titles(found)[name], _ramp())


def _ramp() -> list[str]:
    shades = plotly.colors.sample_colorscale(theme.CONTINUOUS, 16, colortype="tuple")
    return ["#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades]


@st.cache_resource(max_entries=4, show_spinner="Preparing thumbnails …")
@turns.in_turn
def atlas(key: str, _checkpoint: Checkpoint, count: int) -> Atlas:  # noqa: ARG001
    """Thumbnails of the first `count` held-out images, or of what is decoded for them; see `state.pictures`."""
    return build_atlas(state.pictures(_checkpoint, np.arange(count))[0])


@st.cache_resource(max_entries=8, show_spinner=False)
@turns.in_turn
def manifold(key: str, _checkpoint: Checkpoint, _projection: Projection) -> Background:  # noqa: ARG001
    """What the decoder makes of the map as one picture: of its square, or of latent places only the prior's ±3 σ."""
    _, height, width = _checkpoint.model.config.image_shape
    n = int(np.clip(_MANIFOLD_PIXELS // max(height, width), 9, 31))
    x, y, half = (0.0, 0.0, _PRIOR_REACH) if _projection.is_latent else _projection.square
    image = np.asarray(imaging.grid(_decode_square(_checkpoint, _projection, (x, y, half), n), columns=n, gap=0))
    edge = half * n / (n - 1)  # pictures stand on their places, so the outer ones reach half a cell beyond
    return Background(image, (x - edge, x + edge, y - edge, y + edge))


def decoded_plane(key: str, projection: Projection) -> DecodedPlane:
    """Where the pictures of `plane_atlas` of the same key stand: over the square of the map."""
    x, y, half = projection.square
    return DecodedPlane(f"plane {key}", (x - half, x + half, y - half, y + half), _PLANE_PICTURES)


@st.cache_resource(max_entries=8, show_spinner="Decoding the plane …")
@turns.in_turn
def plane_atlas(key: str, _checkpoint: Checkpoint, _projection: Projection) -> Atlas:
    """What the decoder makes of the places of the map, for blending between them."""
    pictures = _decode_square(_checkpoint, _projection, _projection.square, _PLANE_PICTURES)
    cells = build_atlas(pictures, largest=_PLANE_LARGEST, quality=_PLANE_QUALITY)
    return dataclasses.replace(cells, id=f"plane {key}")


def _decode_square(
    checkpoint: Checkpoint, projection: Projection, square: tuple[float, float, float], n: int
) -> np.ndarray:
    x, y, half = square
    return latent.decode(checkpoint.model, projection.lift(latent.plane(half, n) + np.array([x, y], np.float32)))


def nearest_codes(found: NamedSnapshot, z: np.ndarray, k: int, leave_out: int | None = None) -> np.ndarray:
    """The k images whose posterior means lie nearest to z (d,), in latent space, nearest first."""
    order = latent.nearest(found.mu, z[None], k + 1)[0][0]
    return order[order != leave_out][:k] if leave_out is not None else order[:k]


def posterior_figure(mu: np.ndarray, sigma: np.ndarray, kl: np.ndarray) -> go.Figure:
    """μ ± σ of the dimensions with the largest KL, over the prior's ±1 band. Shapes: all (d,)."""
    order = latent.rank_by_kl(kl)[: layout.MOST_DIMENSIONS]
    chart = theme.figure("latent dimension, largest KL first", "μ ± σ", height=240, hovermode="closest")
    chart.add_hrect(y0=-1, y1=1, line_width=0, fillcolor="rgba(128, 128, 128, 0.18)")
    chart.add_scatter(
        x=[layout.dimension_name(j) for j in order],
        y=mu[order],
        error_y={"type": "data", "array": sigma[order], "thickness": 1.5},
        mode="markers",
        marker={"color": theme.TERM_COLOURS["kl"], "size": 8},
        customdata=np.stack([sigma[order], kl[order]], 1),
        hovertemplate="%{x}: μ %{y:.3f}, σ %{customdata[0]:.3f}, KL %{customdata[1]:.3f} nats<extra></extra>",
        showlegend=False,
    )
    return chart


def class_counts(found: NamedSnapshot, indices: np.ndarray) -> go.Figure:
    """How many of the chosen images each class has."""
    counts = np.bincount(found.labels[indices], minlength=len(found.class_names))
    chart = theme.figure("images", "class", height=70 + 24 * len(counts), hovermode="closest")
    chart.add_bar(
        y=[f" {name}" for name in found.class_names],  # with a space: names that are numbers are names too
        x=counts,
        orientation="h",
        marker_color=[theme.class_colour(label) for label in range(len(counts))],
        text=counts,
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x} images<extra></extra>",
        showlegend=False,
    )
    chart.update_yaxes(autorange="reversed", type="category")
    return chart


def coordinates_csv(found: NamedSnapshot, projection: Projection) -> bytes:
    """One row an image: its place in the map, class, factors, ELBO terms, posterior means."""
    columns: dict[str, Any] = {
        "image": np.arange(len(found)),
        "x": projection.positions[:, 0],
        "y": projection.positions[:, 1],
    }
    if found.labels is not None:
        columns["class"] = [found.class_names[label] for label in found.labels]
    if found.factors is not None:
        columns |= {name: found.factors[:, j] for j, name in enumerate(found.factor_names)}
    columns |= {"elbo": found.elbo, "reconstruction": found.reconstruction, "kl": found.kl.sum(1)}
    columns |= {f"z{j + 1}": found.mu[:, j] for j in range(found.mu.shape[1])}
    file = io.StringIO()
    pd.DataFrame(columns).to_csv(file, index=False)
    return file.getvalue().encode()
