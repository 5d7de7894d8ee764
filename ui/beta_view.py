"""What the page of β shows of a model: the strip's frames, the rate–distortion curve, KL and active units against β."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import plotly.colors
import plotly.graph_objects as go
import streamlit as st

from ui import caching, layout, state, theme, turns
from ui.components.beta_strip import BetaStripContent
from ui.decoded import stacked
from ui.state import Entry
from vae_core import checkpoint as checkpoints
from vae_core import embedding, export, latent, rate_distortion
from vae_core.checkpoint import BetaSnapshot, Checkpoint, LatentSnapshot
from vae_core.errors import UserError
from vae_core.imaging import to_uint8
from vae_core.model import ModelConfig
from vae_core.rate_distortion import Curve, bits_per_dimension, pixel_bits
from vae_core.runs import Run

__all__ = [
    "SHOWN_DIMENSIONS",
    "UNITS",
    "Seen",
    "belongs_beside",
    "beside_at_first",
    "beyond",
    "chosen_beta",
    "collapse_words",
    "comparable",
    "curve_csv",
    "curve_of",
    "curves",
    "ends_sentence",
    "first_images",
    "is_ranged",
    "kl_figure",
    "likelihood_words",
    "measured",
    "objective_words",
    "point_sentence",
    "rate_distortion_figure",
    "seen",
    "strip_content",
    "units_figure",
]

UNITS = ("Nats", "Bits per dimension")
SHOWN_DIMENSIONS = 16
"""The most curves of KL in one chart."""

_MOST_BESIDE = 8
_PICTURES = 6
_ROWS = 2
_FAR = 1.8
_PARTS = 9  # lines of equal D + βR on either side of the tangent


@st.cache_resource(max_entries=8, show_spinner="Measuring rate and distortion at each β …")
@turns.in_turn
def _taken(path: str, modified: int, _checkpoint: Checkpoint, _images: np.ndarray) -> BetaSnapshot:  # noqa: ARG001
    return rate_distortion.beta_snapshot(_checkpoint.model, _images)


@dataclass(frozen=True, eq=False)
class Seen:
    """The selected model, its curve (one point, for a model of one β), and the β that is looked at."""

    entry: Entry
    checkpoint: Checkpoint
    curve: Curve
    beta: float

    @property
    def is_ranged(self) -> bool:
        """Whether there is a whole curve."""
        return self.checkpoint.model.config.beta_range is not None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.checkpoint.model.config.image_shape


def measured(entry: Entry, checkpoint: Checkpoint) -> BetaSnapshot:
    """What the model says of held-out images at several β: kept in its checkpoint, or measured on the data set.

    Raises UserError where neither is at hand.
    """
    if checkpoint.betas is not None:
        return checkpoint.betas
    images = state.held_out(checkpoint)
    if images is None:
        raise UserError(
            "This checkpoint was written before its training ended, or by an older version, and holds no curve; the "
            "images to measure it on are not at hand. Train it to the end, or choose another model."
        )
    return _taken(*entry.version, checkpoint, images)


def first_images(snapshot: LatentSnapshot) -> LatentSnapshot:
    """What it says of the images that all curves are measured on."""
    rows = vars(snapshot).items()
    return LatentSnapshot(**{name: row if row is None else row[: rate_distortion.IMAGES] for name, row in rows})


@st.cache_data(max_entries=256, show_spinner=False)
def _curve(path: str, modified: int, beta: float) -> Curve | None:  # noqa: ARG001
    found = checkpoints.load(Path(path))
    if found.betas is not None:
        return rate_distortion.curve(found.betas)
    if found.snapshot is None or found.model.config.beta_range:
        return None
    return rate_distortion.point(found.snapshot, beta)


def curve_of(entry: Entry) -> Curve | None:
    """The curve of a model of a range of β, or the one point of another; None where its checkpoint has neither.

    Raises UserError where the checkpoint cannot be read.
    """
    return _curve(*entry.version, caching.read_header(entry.path)["record"]["beta"])


def is_ranged(entry: Entry) -> bool:
    """Whether the model serves a range of β."""
    try:
        return bool(caching.read_header(entry.path)["model"]["beta_range"])
    except UserError:
        return False


def comparable(entry: Entry) -> dict[str, Entry]:
    """The other models, by id, whose points belong on the same axes: the same pictures and likelihood."""
    mine = _comparable(entry)
    others = {key: other for key, other in state.entries().items() if key != entry.id}
    return {key: other for key, other in others.items() if mine is not None and _comparable(other) == mine}


def belongs_beside(entry: Entry, run: Run) -> bool:
    """Whether what the run trains is comparable to the model, as in `comparable`."""
    try:
        config = run.config()
        return _shared(config.model.to_dict(), config.train.to_dict()) == _comparable(entry)
    except UserError:
        return False


def _comparable(entry: Entry) -> tuple | None:
    try:
        header = caching.read_header(entry.path)
        return _shared(header["model"], header["record"]["train"])
    except UserError:
        return None


def _shared(model: dict, train: dict) -> tuple:
    """What two models must share for their distortions to be comparable."""
    sigma = model["sigma"] if model["likelihood"] == "gaussian" else None
    return train["dataset"], tuple(model["image_shape"]), model["likelihood"], sigma


def seen(entry: Entry, checkpoint: Checkpoint) -> Seen:
    """The model at the β that is chosen in the frame, or at its only one. Raises UserError as `measured` does."""
    if not checkpoint.model.config.beta_range:
        curve = curve_of(entry)
        return Seen(entry, checkpoint, curve, float(curve.betas[0]))
    curve = _curve_of_range(*entry.version, measured(entry, checkpoint))
    return Seen(entry, checkpoint, curve, chosen_beta(checkpoint))


def chosen_beta(checkpoint: Checkpoint) -> float:
    """Of the values of β on the strip, `rate_distortion.steps`, that which is nearest to the one in the frame."""
    betas = rate_distortion.steps(checkpoint.model.config.beta_range)
    return state.nearest(betas, st.session_state.get("beta"), state.nearest(betas, checkpoint.model.beta, betas[0]))


@st.cache_resource(max_entries=8, show_spinner=False)
def _curve_of_range(path: str, modified: int, _taken: BetaSnapshot) -> Curve:  # noqa: ARG001
    return rate_distortion.curve(_taken)


def strip_content(entry: Entry, checkpoint: Checkpoint, seed: int) -> BetaStripContent:
    """The strip's frames at `rate_distortion.steps`, for pictures and noise that `seed` chooses; decoded once.

    Raises UserError as `measured` does.
    """
    taken = measured(entry, checkpoint)
    return _content(*entry.version, seed, checkpoint, taken)


@st.cache_resource(max_entries=6, show_spinner="Decoding at each β …")
@turns.in_turn
def _content(
    path: str,  # noqa: ARG001
    modified: int,  # noqa: ARG001
    seed: int,
    _checkpoint: Checkpoint,
    _taken: BetaSnapshot,
) -> BetaStripContent:
    lowest = float(_taken.betas[0])
    snapshot, model = rate_distortion.at_beta(_checkpoint.snapshot, _taken, lowest), _checkpoint.model.at(lowest)
    count = _taken.mu.shape[1]
    chosen = np.arange(count) if not seed else np.random.default_rng(seed).permutation(count)
    chosen = chosen[:_PICTURES]
    noise = latent.sample_prior(_PICTURES * _ROWS, model.config.latent_dim, seed)
    originals, real = state.pictures(replace(_checkpoint, model=model, snapshot=snapshot), chosen)
    betas = rate_distortion.steps(model.config.beta_range)
    reconstructions, samples = [], []
    for beta in betas:
        at = model.at(beta)
        codes = rate_distortion.at_beta(snapshot, _taken, beta).mu[chosen]
        decoded = to_uint8(latent.decode(at, np.concatenate([codes, noise])))
        reconstructions.append(stacked([originals, decoded[: len(chosen)]]))
        samples.append(stacked(np.split(decoded[len(chosen) :], _ROWS)))
    curve = rate_distortion.curve(_taken)
    positions, axes, projection = _plane(_taken.mu)
    labels, colours = _classes(snapshot.labels, count)
    return BetaStripContent(
        labels=[_label(beta, curve.at(beta)) for beta in betas],
        reconstructions=np.stack(reconstructions),
        samples=np.stack(samples),
        positions=positions,
        classes=labels,
        colours=colours,
        axes=axes,
        betas=_taken.betas,
        rate=curve.rate,
        distortion=curve.distortion,
        captions=(
            f"Test images{'' if real else f', as decoded at β = {lowest:g}'}, each over its reconstruction",
            "Samples: the same z ~ N(0, I) at every β",
            f"{count:,} test images{projection}; prior to 3 σ",
            "Lines: equal D + βR",
        ),
    )


def _label(beta: float, at: Curve) -> str:
    return layout.true_minus(f"β = {beta:.3g} · R {at.rate[0]:.2f} · D {at.distortion[0]:.1f} nats")


def _plane(mu: np.ndarray) -> tuple[np.ndarray, tuple[str, str], str]:
    """Places (K, N, 2) of codes (K, N, d), the same projection at every β: the latent plane, or for more dimensions
    the two principal directions of the codes of all β together, from the origin, so that the prior stays N(0, I)."""
    mu = mu.astype(np.float32)
    d = mu.shape[-1]
    if d == 1:
        spread = np.random.default_rng(0).uniform(-3, 3, mu.shape[1])
        return np.stack([mu[..., 0], np.broadcast_to(spread, mu.shape[:2])], -1), ("z₁", "spread at random"), ""
    if d == 2:
        return mu, ("z₁", "z₂"), ""
    return (
        mu @ embedding.pca(mu.reshape(-1, d)).axes.astype(np.float32).T,
        ("direction 1", "direction 2"),
        ", one projection",
    )


def _classes(labels: np.ndarray | None, count: int) -> tuple[np.ndarray, list[str]]:
    if labels is None:
        return np.zeros(count, np.uint8), [theme.TERM_COLOURS["total"]]
    most = len(theme.CLASS_COLOURS)
    return (labels[:count] % most).astype(np.uint8), list(theme.CLASS_COLOURS)


def beside_at_first(entry: Entry, others: dict[str, Entry]) -> list[str]:
    """Of the comparable models those that are shown until the visitor chooses: those with as many dimensions."""

    def dimensions(one: Entry) -> int:
        return caching.read_header(one.path)["model"]["latent_dim"]

    return [key for key, other in others.items() if dimensions(other) == dimensions(entry)][:_MOST_BESIDE]


def curves(seen: Seen, others: list[Entry]) -> dict[str, Curve]:
    """The curves and points of the selected model and of those beside it, by their titles."""
    found = {state.title(seen.entry): seen.curve}
    for other in others:
        try:
            curve = curve_of(other)
        except UserError:
            continue
        if curve is not None:
            found[state.title(other)] = curve
    return found


def rate_distortion_figure(seen: Seen, curves: dict[str, Curve], unit: str) -> go.Figure:
    """Curves and points by their names, the selected model's first; its place, the tangent of slope −β there, and
    other lines of equal D + βR."""
    own, config = seen.curve, seen.checkpoint.model.config
    if unit != UNITS[0]:
        own, curves = _in_bits(own, config), {name: _in_bits(curve, config) for name, curve in curves.items()}
    chart = theme.figure(f"rate R, {unit.lower()}", f"distortion D, {unit.lower()}", height=460, hovermode="closest")
    near = [curve for curve in curves.values() if not _is_beyond(curve, own)]
    x, y = (_with_air(np.concatenate([getattr(curve, term) for curve in near])) for term in ("rate", "distortion"))
    at = own.at(seen.beta)
    _add_tangent(chart, at, x, y)
    for place, (title, curve) in enumerate(curves.items()):
        _add_curve(chart, curve, title, theme.line_colour(place), selected=place == 0)
        if place == 0 and seen.is_ranged:
            _add_ends(chart, own)
            chart.add_scatter(
                x=at.rate,
                y=at.distortion,
                mode="markers",
                marker={"size": 16, "color": theme.line_colour(0), "line": {"width": 2, "color": "white"}},
                hovertemplate=f"β = {seen.beta:.3g}<br>R %{{x:.4g}}, D %{{y:.4g}}<extra></extra>",
                showlegend=False,
            )
    return chart.update_xaxes(range=x).update_yaxes(range=y)


def beyond(seen: Seen, curves: dict[str, Curve]) -> list[str]:
    """The titles of those that `rate_distortion_figure` leaves outside its axes."""
    return [title for title, curve in curves.items() if _is_beyond(curve, seen.curve)]


def _is_beyond(curve: Curve, own: Curve) -> bool:
    """Whether all of a curve has so much rate that `own`, a whole curve, would be small beside it."""
    return len(own.betas) > 1 and bool(curve.rate.min() > _FAR * own.rate.max())


def _in_bits(curve: Curve, config: ModelConfig) -> Curve:
    distortion, kl = pixel_bits(curve.distortion, config), bits_per_dimension(curve.kl, config.image_shape)
    return replace(curve, distortion=distortion, kl=kl)


def _with_air(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    air = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def _add_tangent(chart: go.Figure, at: Curve, x: tuple[float, float], y: tuple[float, float]) -> None:
    beta = float(at.betas[0])
    total = float(at.objective[0])
    step = (y[1] - y[0] + beta * (x[1] - x[0])) / (2 * _PARTS)
    lines_x, lines_y = [], []
    for i in range(-_PARTS, _PARTS + 1):
        if i:
            lines_x += [*x, None]
            lines_y += [total + i * step - beta * x[0], total + i * step - beta * x[1], None]
    grey = theme.TERM_COLOURS["total"]
    chart.add_scatter(
        x=lines_x,
        y=lines_y,
        mode="lines",
        name="equal D + βR",
        line={"color": grey, "width": 1},
        opacity=0.35,
        hoverinfo="skip",
    )
    chart.add_scatter(
        x=list(x),
        y=[total - beta * x[0], total - beta * x[1]],
        mode="lines",
        name=f"slope −β = −{beta:.3g}",
        line={"color": grey, "width": 2, "dash": "dash"},
        hoverinfo="skip",
    )


def _add_curve(chart: go.Figure, curve: Curve, title: str, colour: str, *, selected: bool) -> None:
    one = len(curve.betas) == 1
    chart.add_scatter(
        x=curve.rate,
        y=curve.distortion,
        name=title,
        mode="markers" if one else "lines+markers",
        line={"color": colour, "width": 3 if selected else 2},
        marker={
            "color": colour,
            "size": (14 if selected else 10) if one else 5,
            "symbol": "diamond" if one else "circle",
        },
        customdata=np.stack([curve.betas, curve.active_units], 1),
        hovertemplate="β = %{customdata[0]:.3g}<br>R %{x:.4g}, D %{y:.4g}<br>"
        f"%{{customdata[1]}} active units<extra>{title}</extra>",
    )


def _add_ends(chart: go.Figure, curve: Curve) -> None:
    high_end = "collapsed end" if curve.active_units[-1] == 0 else "towards collapse"
    ends = (
        (0, "autoencoder end", "right", (-16, -34)),
        (-1, high_end, "left", (20, -14)),
    )
    chart.update_layout(
        annotations=[
            {
                "x": curve.rate[i],
                "y": curve.distortion[i],
                "text": text,
                "xanchor": anchor,
                "ax": shift[0],
                "ay": shift[1],
                "arrowwidth": 1,
                "arrowcolor": theme.TERM_COLOURS["total"],
            }
            for i, text, anchor, shift in ends
        ]
    )


def ends_sentence(curve: Curve) -> str:
    """What the two ends of the curve are, with their numbers."""
    low, high = curve.at(curve.betas[0]), curve.at(curve.betas[-1])
    there = (
        f"at β = {high.betas[0]:g}, {high.active_units[0]} of {curve.kl.shape[1]} dimensions are in use, "
        f"R = {high.rate[0]:.2f} nats and D = {high.distortion[0]:.1f} nats"
    )
    if high.active_units[0] == 0:
        end = (
            f"At the **collapsed end** (R → 0) nothing is worth its price: {there}. "
            "Every picture is drawn as the average one."
        )
    else:
        end = (
            f"Towards the **collapsed end** (R → 0) less and less is worth its price: {there}. "
            "A β beyond the range would go on to R = 0."
        )
    return layout.true_minus(
        f"At the **autoencoder end** (β → 0) a code costs next to nothing, and the model buys all it can use: at "
        f"β = {low.betas[0]:g}, {low.rate[0]:.2f} nats of rate bring the distortion down to {low.distortion[0]:.1f} "
        f"nats. {end}"
    )


def collapse_words(curve: Curve) -> str:
    """Whether dimensions switch off as β rises."""
    first, last = int(curve.active_units[0]), int(curve.active_units[-1])
    if last < first:
        one_by_one = ", one after the other" if len(np.unique(curve.active_units)) > 2 else ""
        return (
            f"As β rises, the dimensions that earn least switch off{one_by_one}, which is how a posterior collapses: "
            f"here {first} are active at first and {last or 'none'} in the end."
        )
    return (
        "As β rises, each has less to say; where the price is too high, dimensions switch off, which is how a "
        f"posterior collapses. Here {last} are active up to β = {curve.betas[-1]:g}."
    )


def point_sentence(seen: Seen) -> str:
    """What the place of a model of one β says."""
    at = seen.curve.at(seen.beta)
    to = (
        "and training leads to the lower left"
        if _objective(seen) == "beta-vae"
        else "but training brought something else down"
    )
    return (
        f"One point: R = {at.rate[0]:.2f} nats buy D = {at.distortion[0]:.1f} nats. The dashed line has the slope "
        f"−β = −{seen.beta:g}; on it D + βR is the same everywhere, {to}."
    )


def objective_words(seen: Seen) -> str:
    """What D + βR is to the model's training."""
    return {
        "beta-vae": "What training brings down.",
        "beta-tcvae": "Training brought down D + R + (β − 1) · total correlation instead.",
        "iwae": "Training brought down −L_K instead, the importance-weighted bound of K draws, which lies below D + R.",
    }[_objective(seen)]


def _objective(seen: Seen) -> str:
    return seen.checkpoint.record["train"].get("objective", "beta-vae")


def likelihood_words(seen: Seen) -> str:
    """What D is not, for a Bernoulli likelihood, and of what pixels its bits are, for a Gaussian."""
    if seen.checkpoint.model.config.likelihood != "bernoulli":
        return " Nats are of pixels from 0 to 1, bits of pixels from 0 to 255: D has log₂ 255 ≈ 8 more a dimension."
    return " Where pixels are grey, the Bernoulli D is a loss and not the logarithm of a density."


def kl_figure(curve: Curve, beta: float) -> go.Figure:
    """KL of each latent dimension against β, the largest first."""
    order = latent.rank_by_kl(curve.kl.max(0))
    shown = order[:SHOWN_DIMENSIONS]
    chart = theme.figure("β", "KL, nats", height=380, hovermode="x unified")
    shades = plotly.colors.sample_colorscale(theme.CONTINUOUS, np.linspace(0.3, 0.9, len(shown)))
    for j, shade in zip(shown, shades, strict=True):
        chart.add_scatter(
            x=curve.betas,
            y=curve.kl[:, j],
            name=layout.dimension_name(j),
            line={"color": shade, "width": 2},
            hovertemplate="%{y:.3f}",
        )
    return _along_beta(chart, beta)


def units_figure(curve: Curve, beta: float) -> go.Figure:
    """Active units against β."""
    chart = theme.figure("β", "active units", height=260, hovermode="x unified")
    chart.add_scatter(
        x=curve.betas,
        y=curve.active_units,
        name="active units",
        line={"color": theme.line_colour(0), "width": 2, "shape": "hvh"},
        hovertemplate="%{y}",
        showlegend=False,
    )
    chart.update_yaxes(range=[-0.2, curve.kl.shape[1] + 0.5], tickformat="d")
    return _along_beta(chart, beta)


def _along_beta(chart: go.Figure, beta: float) -> go.Figure:
    chart.add_vline(beta, line={"color": theme.TERM_COLOURS["total"], "width": 1, "dash": "dash"})
    return chart.update_xaxes(type="log", tickformat="~g", hoverformat=".3g", dtick=1)


def curve_csv(curve: Curve, config: ModelConfig) -> bytes:
    """One row a β: both terms in nats and in bits per dimension, D + βR, active units, and KL by dimension."""
    bits = _in_bits(curve, config)
    header = [
        "beta",
        "distortion",
        "rate",
        "d_plus_beta_r",
        "distortion_bits_per_dim",
        "rate_bits_per_dim",
        "active_units",
    ]
    header += [f"kl_{j + 1}" for j in range(curve.kl.shape[1])]
    terms = (curve.distortion, curve.rate, curve.objective, bits.distortion, bits.rate)
    columns = (curve.betas, *terms, curve.active_units, *curve.kl.T)
    return export.csv_bytes(header, zip(*(column.tolist() for column in columns), strict=True))
