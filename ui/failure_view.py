"""What the page of posterior collapse and holes shows: models of several β side by side, seen with the same z."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from ui import beta_view, caching, layout, seen_codes, state, theme, turns
from ui import latent_view as view
from ui.components.latent_map import Atlas, Background, ByClass, Mark, latent_map_props
from ui.decoded import decoded
from ui.latent_view import Projection
from ui.rate_split import rate_split
from ui.seen_codes import Codes
from ui.state import Entry
from ui.stepwise import Tell, stepwise
from vae_core import failures, holes, imaging, rate_distortion
from vae_core.checkpoint import Checkpoint, LatentSnapshot
from vae_core.errors import UserError
from vae_core.failures import Symptoms
from vae_core.latent import rank_by_kl
from vae_core.runs import Run
from vae_core.words import drawn_share

__all__ = [
    "PER_ROW",
    "Shown",
    "at_several_betas",
    "collapses",
    "common_extent",
    "depths",
    "examined",
    "kl_figure",
    "map_props",
    "map_z",
    "numbers",
    "of_runs",
    "one",
    "pictures_png",
    "plane_pictures",
    "ranged",
    "test_pictures",
    "where",
]

PER_ROW = 5
"""Pictures in a row of a column."""

_EXTENT = 3.5
_CELLS = 96
_CELL_PIXELS = 5
_HATCH = (12, 3)  # pixels from line to line, and of a line
_FILE_SIDE = 84


@dataclass(frozen=True, eq=False)
class Shown:
    """One of the models side by side: as it answers at its β, with the snapshot of held-out images there, its symptoms
    and those of the same network at β = 1, and the codes of the images that it was trained on, where they are known;
    awaits_seen: whether these are still to come."""

    entry: Entry
    checkpoint: Checkpoint
    symptoms: Symptoms
    at_one: Symptoms | None = None
    seen: Codes | None = None
    awaits_seen: bool = False

    @property
    def codes(self) -> LatentSnapshot:
        """The posteriors of the held-out images that everything here is measured on."""
        return self.checkpoint.snapshot

    @property
    def plane_codes(self) -> Codes:
        """The posteriors that make up q(z), in the plane in which holes are looked for."""
        plane = list(self.symptoms.plane)
        mu, logvar = self.seen or (self.codes.mu, self.codes.logvar)
        return mu[:, plane], logvar[:, plane]

    @property
    def title(self) -> str:
        """'β = 0.01'."""
        return f"β = {self.symptoms.beta:g}"

    @property
    def version(self) -> str:
        """A name for exactly this model at this β, for caches and the browser."""
        return view.version(self.entry, self.checkpoint)

    @property
    def projection(self) -> Projection:
        """The plane in which holes are looked for."""
        plane = self.symptoms.plane
        return view.straight_projection(self.codes, "dimensions" if len(self.symptoms.kl) > 2 else "plane", plane)


def at_several_betas(entry: Entry, checkpoint: Checkpoint) -> list[Shown]:
    """A model of a range of β at its lowest β, at the one that is chosen, and at its highest.

    Raises UserError as `beta_view.measured` does.
    """
    taken, (low, high) = beta_view.measured(entry, checkpoint), checkpoint.model.config.beta_range

    def at(beta: float) -> Shown:
        return _shown(entry, checkpoint, rate_distortion.at_beta(checkpoint.snapshot, taken, beta), beta)

    at_one = at(1.0).symptoms if low <= 1 <= high else None
    return [replace(at(beta), at_one=at_one) for beta in sorted({low, checkpoint.model.beta, high})]


def ranged() -> dict[str, Entry]:
    """The models of a range of β, by id."""
    return {key: other for key, other in state.entries().items() if beta_view.is_ranged(other)}


def collapses(entry: Entry) -> bool:
    """Whether no dimension of a model of a range of β is in use at the largest β."""
    try:
        curve = beta_view.curve_of(entry)
    except UserError:
        return False
    return curve is not None and len(curve.betas) > 1 and not curve.active_units[-1]


def of_runs(found: Sequence[Run]) -> list[Shown]:
    """Models of one β, trained here alike. Raises UserError where a checkpoint cannot be read."""
    shown = [one(entry, caching.load_checkpoint(*entry.version)) for entry in map(state.of_run, found)]
    at_one = next((model.symptoms for model in shown if model.symptoms.beta == 1), None)
    return [replace(model, at_one=at_one) for model in shown]


def one(entry: Entry, checkpoint: Checkpoint) -> Shown:
    """A model of one β."""
    return _shown(entry, checkpoint, beta_view.first_images(checkpoint.snapshot), checkpoint.record["beta"])


def _shown(entry: Entry, checkpoint: Checkpoint, snapshot: LatentSnapshot, beta: float) -> Shown:
    model = checkpoint.model.at(beta) if checkpoint.model.config.beta_range else checkpoint.model
    symptoms = _examined(*entry.version, beta, False, snapshot, None)
    return Shown(entry, replace(checkpoint, model=model, snapshot=snapshot), symptoms)


def examined(shown: Sequence[Shown]) -> list[Shown]:
    """The same models, examined again with the codes of the images that they were trained on as these come: in the
    background, where those images are at hand."""
    steps = {model.version: step for model in shown if (step := _looking(model))}
    found = stepwise(
        steps,
        lambda _: None,
        of=tuple(model.version for model in shown),
        key="collapse_seen",
        label="Encoding the images that the decoder was trained on, to look for holes",
    )
    return [replace(model, **found.get(model.version, {"awaits_seen": model.version in steps})) for model in shown]


def _looking(model: Shown) -> Callable[[Tell], dict] | None:
    """The step that finds the codes that the decoder was trained on, and examines the model again with them."""
    encode, version = seen_codes.encoding(model.entry, model.checkpoint), model.entry.version
    if encode is None:
        return None

    def look(tell: Tell) -> dict:
        seen = encode(tell)
        return {"seen": seen, "symptoms": _examined(*version, model.symptoms.beta, True, model.codes, seen)}

    return look


@st.cache_data(max_entries=64, show_spinner=False)
@turns.in_turn
def _examined(
    path: str,  # noqa: ARG001
    modified: int,  # noqa: ARG001
    beta: float,
    with_seen: bool,  # noqa: ARG001
    _snapshot: LatentSnapshot,
    _seen: Codes | None,
) -> Symptoms:
    with turns.aside():
        split = rate_split(_snapshot.mu, _snapshot.logvar)
    return failures.examine(_snapshot, beta, _seen, split)


def depths(shown: Shown, z: np.ndarray) -> np.ndarray:
    """log p(z) − log q(z) in the model's plane, (M,) nats, of z (M, d); over `holes.HOLE_NATS` in a hole."""
    return holes.hole_depth(z[:, list(shown.symptoms.plane)], *shown.plane_codes)


def where(shown: Shown, z: np.ndarray) -> str:
    """What the depth of the place z (d,) in the model's plane says."""
    depth = float(depths(shown, z[None])[0])
    nats = layout.nats(-depth)
    if depth > holes.HOLE_NATS:
        return f"**In a {'hole' if shown.seen else 'gap'}:** log q(z) − log p(z) = {nats}"
    return f"log q(z) − log p(z) = {nats}"


def test_pictures(shown: Sequence[Shown]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Some held-out images, of different classes where there are any: indices (n,), pictures (n, C, H, W) uint8, and
    whether they are real; if not, they are decoded by the model that draws best."""
    labels, first = shown[0].codes.labels, np.arange(min(PER_ROW, len(shown[0].codes)))
    varied = first if labels is None else np.unique(labels, return_index=True)[1]
    index = np.sort(varied)[:PER_ROW] if len(varied) >= len(first) else first
    best = min(shown, key=lambda model: model.symptoms.distortion)
    return index, *state.pictures(best.checkpoint, index)


def plane_pictures(shown: Shown) -> Atlas:
    """What the decoder makes of the places of the map, for the pointer; cached."""
    return view.plane_atlas(_plane_key(shown), shown.checkpoint, shown.projection)


def _plane_key(shown: Shown) -> str:
    return f"{shown.version} {shown.projection.key} failures"


def common_extent(shown: Sequence[Shown], here: np.ndarray) -> tuple[float, float, float, float]:
    """What maps of one scale show, (x0, x1, y0, y1): along each axis 99 % of the codes of every model, the place of
    here (d,), and the prior to 3 σ."""
    ends = []
    for model in shown:
        projection = model.projection
        ends += [*np.percentile(projection.positions, [0.5, 99.5], axis=0), projection.place(here[None])[0]]
        if projection.is_latent:
            ends += [np.full(2, -3.0), np.full(2, 3.0)]
    (x0, y0), (x1, y1) = np.min(ends, axis=0), np.max(ends, axis=0)
    return float(x0), float(x1), float(y0), float(y1)


def map_props(
    shown: Shown,
    atlas: Atlas,
    marks: Sequence[tuple[str, np.ndarray]],
    extent: tuple[float, float, float, float] | None = None,
) -> dict:
    """The latent map: codes of the test images by class, the prior's contours, and the holes hatched.

    marks: names of places z (d,). `atlas` has the thumbnails. extent: what it shows at first, if not all of these.
    """
    projection = shown.projection
    return latent_map_props(
        projection.positions,
        _colour(shown),
        id=shown.version,
        view=shown.version,
        axes=projection.axes,
        label=f"Latent map at {shown.title}",
        file=f"latent-map-beta-{shown.symptoms.beta:g}",
        atlas=atlas,
        background=_hatched(shown.version, shown.seen is not None, shown.plane_codes),
        contours=projection.is_latent,
        marks=[Mark(*projection.place(z[None])[0], name) for name, z in marks],
        extent=extent,
        placeable=True,
        plane=view.decoded_plane(_plane_key(shown), projection),
    )


def map_z(shown: Shown, x: float, y: float) -> np.ndarray:
    """The z (d,) of a place on the map: 0 in all dimensions that are not drawn."""
    return shown.projection.lift(np.array([[x, y]], np.float32))[0]


def _colour(shown: Shown) -> ByClass:
    labels = shown.codes.labels
    if labels is None:
        return ByClass(np.zeros(len(shown.codes), np.int64), ["test images"], [theme.class_colour(0)])
    names = tuple(shown.checkpoint.record["class_names"])
    return ByClass(labels, names, [theme.class_colour(label) for label in range(len(names))])


@st.cache_resource(max_entries=12, show_spinner=False)
@turns.in_turn
def _hatched(version: str, with_seen: bool, _codes: Codes) -> Background:  # noqa: ARG001
    """The square ±3.5 of the plane, hatched where it lies in a hole, no more than 3 σ from the prior's middle."""
    middles = _EXTENT * (2 * np.arange(_CELLS) + 1 - _CELLS) / _CELLS
    depth = holes.depths_on_grid(middles, *_codes)
    square = middles**2 if depth.ndim == 1 else middles[:, None] ** 2 + middles**2
    hole = (depth > holes.HOLE_NATS) & (square < 9)
    hole = np.broadcast_to(hole[None] if depth.ndim == 1 else hole[::-1], (_CELLS, _CELLS))
    pixels = np.repeat(np.repeat(hole, _CELL_PIXELS, 0), _CELL_PIXELS, 1)
    step, width = _HATCH
    lines = np.add.outer(np.arange(len(pixels)), np.arange(len(pixels))) % step < width
    picture = np.full((*pixels.shape, 4), 128, np.uint8)
    picture[..., 3] = np.where(pixels, np.where(lines, 190, 40), 0)
    return Background(picture, (-_EXTENT, _EXTENT, -_EXTENT, _EXTENT))


def kl_figure(shown: Shown, beside: Sequence[Shown]) -> go.Figure:
    """KL of each latent dimension, on the same axes as the models beside it; of many, those with the largest KL."""
    every = np.array([model.symptoms.kl for model in beside])
    order = np.sort(rank_by_kl(every.max(0))[: layout.MOST_DIMENSIONS])
    chart = theme.figure("latent dimension", "KL, nats", height=240, hovermode="closest")
    chart.add_bar(
        x=[layout.dimension_name(j) for j in order],
        y=np.array(shown.symptoms.kl)[order],
        marker_color=theme.TERM_COLOURS["kl"],
        hovertemplate="%{x}: %{y:.3f} nats<extra></extra>",
        showlegend=False,
    )
    chart.update_layout(bargap=0.35)
    return chart.update_yaxes(range=[0, 1.08 * max(0.1, float(every.max()))])


def numbers(shown: Sequence[Shown]) -> pd.DataFrame:
    """The symptoms, a row each, a column for each model."""
    images = shown[0].symptoms.images
    holes = "holes" if all(model.symptoms.seen for model in shown) else "gaps"
    rows = {
        "ELBO, nats": lambda s: f"{s.elbo:.2f}",
        "Reconstruction, nats": lambda s: f"{s.distortion:.2f}",
        "KL, nats": lambda s: f"{s.rate:.2f}",
        "Active units": lambda s: f"{s.active_units} of {len(s.kl)}",
        f"I(x; z), nats; at most log {images} = {np.log(images):.2f}": lambda s: (
            f"{s.mutual_information:.3f} ± {s.information_error:.3f}"
        ),
        "σ of q(z|x), median over active dimensions": lambda s: (
            f"{s.sigma:.3f}{'' if s.active_units else ' (all are silent)'}"
        ),
        "Mean of μ² + σ²; the prior’s is 1": lambda s: f"{s.second_moment:.2f}",
        f"Samples from the prior in {holes}": lambda s: f"{s.prior_in_holes:.1%}",
        f"Codes of unseen images in {holes}, one of each": lambda s: drawn_share(s.codes_in_holes, s.images),
    }
    values = [[layout.true_minus(say(model.symptoms)) for model in shown] for say in rows.values()]
    return pd.DataFrame(values, index=list(rows), columns=[model.title for model in shown])


def pictures_png(shown: Sequence[Shown], tests: np.ndarray, index: np.ndarray, z: np.ndarray) -> bytes:
    """A row of test images (n, C, H, W), then for each model its reconstructions and its pictures of z (M, d)."""
    rows = [tests]
    for model in shown:
        rows += [decoded(model.entry, model.checkpoint, points) for points in (model.codes.mu[index], z)]
    scale = layout.whole_scale(tests.shape[-1], _FILE_SIDE)
    return imaging.png_bytes(imaging.grid(np.concatenate(rows), columns=len(tests), scale=scale))
