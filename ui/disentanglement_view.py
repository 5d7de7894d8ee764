"""Disentanglement on the page of β: scores against β, the factor × dimension matrix, and what the dimensions draw."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from ui import caching, layout, state, theme, turns
from ui.beta_view import MOST_BESIDE, Seen, comparable, curve_of, is_ranged, measured
from ui.components.film_strip import film_strip, film_strip_index
from ui.decoded import stacked
from ui.state import Entry
from ui.stepwise import Tell, stepwise
from vae_core import checkpoint as checkpoints
from vae_core import data, export, latent, rate_distortion
from vae_core.checkpoint import BetaSnapshot, Checkpoint
from vae_core.disentanglement import LEAST_SPREAD, SAMPLES, Disentanglement, disentanglement
from vae_core.errors import UserError
from vae_core.imaging import to_uint8
from vae_core.objective import OBJECTIVES
from vae_core.rate_distortion import Curve

__all__ = ["Point", "has_factors", "matrix_figure", "scores_bars", "scores_csv", "scores_figure", "show", "verdict"]

_SCORING = f"Scoring the codes of {SAMPLES:,} sprites"
_PER_DECADE = 2
_ROWS = 6
_VALUES = 7
_EXTENT = 2.0
_SIDE = 64  # screen pixels for a picture of a traversal
_CHANGE = 0.05
"""A score that moves by less has not changed: ten standard deviations of FactorVAE's over pictures and votes drawn anew
(0.005; MIG's is 0.001)."""

_HEADLINES = (
    "β buys no disentanglement here",
    "Whether β buys disentanglement here depends on the score",
    "β buys disentanglement here",
)
_SYMBOLS = {"beta-vae": "diamond", "beta-tcvae": "star"}


@dataclass(frozen=True)
class Point:
    """A model of one β beside a range of them: its `objective`, one of `objective.OBJECTIVES`, its curve of one point,
    and its scores."""

    title: str
    objective: str
    curve: Curve
    scores: Disentanglement


def has_factors(entry: Entry) -> bool:
    """Whether the model's pictures were made from factors that are known."""
    try:
        return bool(caching.read_header(entry.path)["record"]["factor_names"])
    except UserError:
        return False


def show(seen: Seen) -> None:
    """Draw the section: scores, matrix and traversals of a model of sprites; the way to one for another model."""
    entry, checkpoint = seen.entry, seen.checkpoint
    if not has_factors(entry):
        _elsewhere()
        return
    st.markdown(
        "Sprites are made from five factors, so here one can measure whether each has a latent dimension of its own. "
        "The **MIG** asks how much more the best dimension knows of a factor than the second best; the **FactorVAE "
        "score** how surely the dimension that stands still tells which factor does. A larger β costs distortion; "
        "whether it buys independent dimensions is seen here."
    )
    if seen.is_ranged:
        _traversals(seen, _against_beta(seen))
    else:
        _scored(seen, [seen.beta], {}, lambda found: [_numbers(one, checkpoint) for one in found.values()])
        _side_by_side(seen)


def _elsewhere() -> None:
    st.info(
        "The factors behind these pictures are not known, so that nobody can say whether they are disentangled. "
        "Sprites are made from known factors: choose a model of them.",
        icon=":material/category:",
    )
    with st.container(horizontal=True):
        for key, other in state.entries().items():
            if has_factors(other):
                st.button(f"Open {state.title(other)}", key=f"disentanglement_{key}", on_click=_open, args=(key,))


def _open(key: str) -> None:
    state.choose(key)
    st.rerun()  # the frame as well


def _scored(
    seen: Seen,
    betas: list[float],
    beside: dict[str, Entry],
    draw: Callable[[dict[Hashable, Disentanglement]], object],
) -> dict[Hashable, Disentanglement]:
    """Draw with `draw` the scores at each of `betas`, by β, in this order, then of the models `beside`, by title, as
    they come. Returns those that have come."""
    of = seen.entry.version
    others = {title: other.version for title, other in beside.items()}
    found = stepwise(
        {beta: lambda tell, beta=beta: _scores(*of, beta, seen.checkpoint, tell) for beta in betas}
        | {title: lambda tell, other=other: _scores_of(*other, tell) for title, other in others.items()},
        lambda found: draw(_readable(found)),
        of=(*of, *others.items()),
        key="disentanglement_sweep",
        label=_SCORING + (" at each β" if seen.is_ranged else ""),
    )
    return _readable(found)


def _readable(found: dict[Hashable, Disentanglement | None]) -> dict[Hashable, Disentanglement]:
    """The scores of the models that could be read."""
    return {name: scores for name, scores in found.items() if scores is not None}


@st.cache_data(max_entries=256, show_spinner=False)
def _scores(
    path: str,  # noqa: ARG001
    modified: int,  # noqa: ARG001
    beta: float,
    _checkpoint: Checkpoint,
    _tell: Tell,
) -> Disentanglement:
    model = _checkpoint.model
    with turns.turn(lambda: _tell(0.0)):
        dataset = data.load(_checkpoint.record["train"]["dataset"])
        return disentanglement(model if model.config.beta_range is None else model.at(beta), dataset, progress=_tell)


def _numbers(scores: Disentanglement, checkpoint: Checkpoint) -> None:
    with st.container(horizontal=True, gap="large"):
        about = "Mutual information gap, from 0 to 1. Chen et al. 2018; 20-bin histograms of 10,000 pictures."
        st.metric("MIG", f"{scores.mig:.3f}", help=about, width="content")
        about = (
            f"From {1 / len(scores.matrix):.2f}, chance, to 1. Kim & Mnih 2018; 5,000 votes of 64 pictures each. "
            f"Dimensions whose posterior means have a σ under {LEAST_SPREAD:g} do not vote."
        )
        st.metric("FactorVAE score", f"{scores.factor_vae:.3f}", help=about, width="content")
    figure = matrix_figure(scores.matrix, checkpoint.record["factor_names"])
    layout.chart(figure, "The share of each factor that each latent dimension knows", key="disentanglement_matrix")
    st.caption(
        "I(factor; zⱼ) / H(factor): the share of a factor that one dimension knows. One bright cell a row is best."
    )


def _beside(seen: Seen) -> dict[str, Entry]:
    """Other models of one β of the same pictures, by their titles."""
    others = [other for other in comparable(seen.entry).values() if has_factors(other) and not is_ranged(other)]
    return {state.title(other): other for other in others[:MOST_BESIDE]}


def _side_by_side(seen: Seen) -> None:
    """The scores of this model, and of others of one β of the same pictures, whatever their objective."""
    models = {title: entry.version for title, entry in ({state.title(seen.entry): seen.entry} | _beside(seen)).items()}
    if len(models) == 1:
        return
    st.subheader("Beside models of one β", anchor=False)

    def draw(found: dict[str, Disentanglement | None]) -> None:
        layout.chart(
            scores_bars(_readable(found)), "MIG and FactorVAE score by model", key="disentanglement_beside_chart"
        )
        st.caption("Single trainings differ widely in these scores: several with each objective tell more than one.")

    stepwise(
        {title: lambda tell, of=of: _scores_of(*of, tell) for title, of in models.items()},
        draw,
        of=tuple(models.items()),
        key="disentanglement_beside",
        label="Scoring the codes of the models beside it",
    )


@st.cache_data(max_entries=256, show_spinner=False)
def _scores_of(path: str, modified: int, _tell: Tell) -> Disentanglement | None:
    """The scores of a model of one β, from its checkpoint; None where that cannot be read."""
    try:
        checkpoint = checkpoints.load(Path(path))
    except UserError:
        return None
    return _scores(path, modified, checkpoint.record["beta"], checkpoint, _tell)


def scores_bars(scores: dict[str, Disentanglement]) -> go.Figure:
    """Both scores as bars of one model under its title, the first on top."""
    chart = theme.figure("score", "", height=120 + 72 * len(scores), hovermode="closest", barmode="group", bargap=0.4)
    for name, values, colour in _by_score(list(scores.values())):
        chart.add_bar(
            y=list(scores),
            x=values,
            name=name,
            orientation="h",
            marker_color=colour,
            text=[f"{value:.3f}" for value in values],
            textposition="outside",
            hovertemplate=f"{name}: %{{x:.3f}}<extra></extra>",
        )
    for title in scores:
        chart.add_annotation(
            x=0, y=title, text=title, showarrow=False, xanchor="left", yanchor="bottom", yshift=19, font={"size": 12}
        )
    chart.update_xaxes(range=[0, 1.08], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    return chart.update_yaxes(autorange="reversed", showticklabels=False)


def _grid(beta_range: tuple[float, float]) -> np.ndarray:
    """The values of β at which codes are scored."""
    low, high = beta_range
    return np.geomspace(low, high, max(5, 1 + round(_PER_DECADE * np.log10(high / low))))


def _against_beta(seen: Seen) -> dict[float, Disentanglement]:
    """The scores against β, and the matrix at the nearest β that is scored. Returns the scores once all are there."""
    checkpoint, beside = seen.checkpoint, _beside(seen)
    betas = [float(beta) for beta in _grid(checkpoint.model.config.beta_range)]
    nearest_first = sorted(betas, key=lambda beta: abs(np.log(beta / seen.beta)))

    def draw(found: dict[Hashable, Disentanglement]) -> None:
        charts, matrix = st.columns(2, gap="medium")
        shown = [beta for beta in betas if beta in found]
        if shown:
            nearest = next(beta for beta in nearest_first if beta in found)
            with matrix:
                st.markdown(f"At β = {nearest:.3g}, the nearest of those that are scored:")
                _numbers(found[nearest], checkpoint)
        scores = [found[beta] for beta in shown]
        with charts:
            figure = scores_figure(shown, scores, seen.curve, seen.beta, _points(beside, found))
            layout.chart(figure, "MIG, FactorVAE score and distortion against β", key="disentanglement_scores")
            layout.download(
                "CSV of the scores",
                lambda: scores_csv(shown, scores, checkpoint.record["factor_names"]),
                f"{seen.entry.id}-disentanglement.csv",
            )

    found = _scored(seen, nearest_first, beside, draw)
    st.caption(
        f"Posterior means of {SAMPLES:,} sprites, training images among them: the scores ask for all combinations of "
        "factors. Modulo a quarter turn, the nine rotations of a square lie only 10° apart, so they are hard to tell. "
        "Models of one β, β-VAE and β-TCVAE, are points: train more of them under **Curve**."
    )
    if not all(beta in found for beta in betas):
        return {}
    scores = {beta: found[beta] for beta in betas}
    st.markdown(verdict(scores, seen.curve))
    return scores


def verdict(scores: dict[float, Disentanglement], curve: Curve) -> str:
    """What β has bought this model by each score, from its lowest β to that of the best score, and what it has cost."""
    low, high = min(scores), max(scores)
    risen, said = [], []
    for name, of in (("MIG", lambda beta: scores[beta].mig), ("FactorVAE score", lambda beta: scores[beta].factor_vae)):
        best = max(scores, key=of)
        if of(best) - of(low) > _CHANGE:
            risen.append(best)
            said.append(f"the {name} rises from {of(low):.2f} at β = {low:g} to {of(best):.2f} at {best:.3g}")
        else:
            said.append(f"the {name}, {of(low):.2f} at β = {low:g}, rises nowhere by over {_CHANGE:g}")
    to = max(risen, default=high)
    return layout.true_minus(
        f"**{_HEADLINES[len(risen)]}**: {', and '.join(said)}. From β = {low:g} to {to:.3g}, D goes "
        f"from {curve.at(low).distortion[0]:.1f} to {curve.at(to).distortion[0]:.1f} nats. A change of {_CHANGE:g} or "
        "less is taken for none: pictures and votes drawn anew move a score by about 0.01. That is one training: in "
        "over 12,000 of them, the seed and the settings mattered more than the objective (Locatello et al. 2019)."
    )


def _points(beside: dict[str, Entry], found: dict[Hashable, Disentanglement]) -> list[Point]:
    """What is found of the models beside, but for those that no β weighs."""
    points = []
    for title, other in beside.items():
        objective = caching.read_header(other.path)["record"]["train"].get("objective", "beta-vae")
        curve = curve_of(other)
        if title in found and objective in _SYMBOLS and curve is not None and curve.betas[0]:
            points.append(Point(title, objective, curve, found[title]))
    return points


def _by_score(scores: list[Disentanglement]) -> list[tuple[str, list[float], str]]:
    """Each score's name, values and colour."""
    return [
        ("MIG", [one.mig for one in scores], theme.line_colour(0)),
        ("FactorVAE score", [one.factor_vae for one in scores], theme.line_colour(2)),
    ]


def scores_figure(
    betas: list[float], scores: list[Disentanglement], curve: Curve, beta: float, points: list[Point]
) -> go.Figure:
    """Both scores (dotted: chance for the FactorVAE score) over rate and distortion, against β; this `beta`; and the
    same of the models of one β that `points` are of."""
    chart = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.55, 0.45])
    for name, values, colour in _by_score(scores):
        line = {"color": colour, "width": 2}
        chart.add_scatter(
            x=betas, y=values, name=name, line=line, mode="lines+markers", hovertemplate="%{y:.3f}", row=1, col=1
        )
    for name, values, colour in (
        ("distortion D", curve.distortion, theme.TERM_COLOURS["reconstruction"]),
        ("rate R", curve.rate, theme.TERM_COLOURS["kl"]),
    ):
        line = {"color": colour, "width": 2}
        chart.add_scatter(x=curve.betas, y=values, name=name, line=line, hovertemplate="%{y:.2f}", row=2, col=1)
    for objective in dict.fromkeys(point.objective for point in points):
        _add_points(chart, objective, [point for point in points if point.objective == objective])
    look = theme.figure("", "").layout
    chart.update_layout(
        height=520, margin=look.margin, uirevision="steady", hovermode=look.hovermode, legend=look.legend
    )
    if scores:
        chance = {"text": "chance", "xanchor": "right", "font": {"size": 11}}
        dotted = {"color": theme.line_colour(2), "width": 1, "dash": "dot"}
        chart.add_hline(1 / len(scores[0].matrix), line=dotted, annotation=chance, row=1, col=1)
    chart.update_yaxes(title_text="score", range=[0, 1.02], automargin=True, row=1)
    chart.update_yaxes(title_text="nats", rangemode="tozero", automargin=True, row=2)
    chart.update_xaxes(title_text="β", row=2)
    return theme.along_beta(chart, beta)


def _add_points(chart: go.Figure, objective: str, points: list[Point]) -> None:
    """Models of one objective in both rows, in the colours of the lines."""
    name, symbol = f"{OBJECTIVES[objective]} of one β", _SYMBOLS[objective]
    grey = {"symbol": symbol, "color": theme.TERM_COLOURS["total"], "size": 10}
    chart.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=grey, row=1, col=1)
    terms = (
        ("distortion D", [point.curve.distortion[0] for point in points], theme.TERM_COLOURS["reconstruction"]),
        ("rate R", [point.curve.rate[0] for point in points], theme.TERM_COLOURS["kl"]),
    )
    for row, lines in ((1, _by_score([point.scores for point in points])), (2, terms)):
        for line, values, colour in lines:
            chart.add_scatter(
                x=[point.curve.betas[0] for point in points],
                y=values,
                mode="markers",
                marker={"symbol": symbol, "color": colour, "size": 10, "line": {"width": 1, "color": "white"}},
                name=f"{line}, {name}",
                text=[point.title for point in points],
                hovertemplate="%{y:.3f} (%{text})<extra>" + line + "</extra>",
                showlegend=False,
                row=row,
                col=1,
            )


def matrix_figure(matrix: np.ndarray, factors: list[str]) -> go.Figure:
    """Factors × dimensions, (F, d), as a heat map; numbers stand in the cells where there is room for them."""
    count, d = matrix.shape
    chart = theme.figure("latent dimension", "factor", height=110 + 40 * count, hovermode="closest")
    chart.add_heatmap(
        z=matrix,
        x=[layout.dimension_name(j) for j in range(d)],
        y=factors,
        zmin=0,
        zmax=1,
        colorscale=theme.CONTINUOUS,
        xgap=2,
        ygap=2,
        texttemplate="%{z:.2f}" if d <= 6 else "",
        colorbar={"thickness": 12, "tickformat": ".0%"},
        hovertemplate="%{x} knows %{z:.1%} of %{y}<extra></extra>",
    )
    chart.update_xaxes(dtick=1 if d <= 16 else None, tickangle=0)
    return chart.update_yaxes(autorange="reversed")


def scores_csv(betas: list[float], scores: list[Disentanglement], factors: list[str]) -> bytes:
    """One row a β: both scores, and the share of each factor that each dimension knows."""
    d = scores[0].matrix.shape[1] if scores else 0
    header = ["beta", "mig", "factor_vae", *(f"{name}_z{j + 1}" for name in factors for j in range(d))]
    rows = ((one, s.mig, s.factor_vae, *s.matrix.ravel().tolist()) for one, s in zip(betas, scores, strict=True))
    return export.csv_bytes(header, rows)


def _traversals(seen: Seen, scores: dict[float, Disentanglement]) -> None:
    """A strip over β: a row for each dimension, moved from −2 to 2 around one code; what β buys, and what it costs."""
    st.subheader("What each dimension draws", anchor=False)
    of, checkpoint = seen.entry.version, seen.checkpoint
    taken = measured(seen.entry, checkpoint)
    betas = rate_distortion.steps(checkpoint.model.config.beta_range)
    index = min(range(len(betas)), key=lambda i: abs(np.log(betas[i] / seen.beta)))

    def draw(found: dict[str, tuple[np.ndarray, list[int]]]) -> None:
        for frames, order in found.values():
            names = ", ".join(layout.dimension_name(j) for j in order)
            film_strip(
                frames,
                key="disentanglement_strip",
                label="Traversals",
                labels=[_bought(one, seen.curve, scores) for one in betas],
                index=index,
                scale=layout.whole_scale(checkpoint.model.config.image_shape[-1], _SIDE),
                on_release=lambda: _go_to(betas[film_strip_index("disentanglement_strip")]),
            )
            st.caption(
                f"One row a dimension, from the top: {names}. Each goes from −{_EXTENT:g} to {_EXTENT:g} around the "
                "code of a test image, the others held. A disentangled dimension changes one thing, a silent "
                "one nothing."
            )

    stepwise(
        {"frames": lambda tell: _traversal_frames(*of, checkpoint, taken, tell)},
        draw,
        of=of,
        key="disentanglement_traversals",
        label="Decoding traversals at each β",
    )


def _bought(beta: float, curve: Curve, scores: dict[float, Disentanglement]) -> str:
    """'β = 1 · MIG ≈ 0.12 · D 24.3 nats', the MIG between the two nearest that are scored; without, until all are."""
    score = ""
    if scores:
        mig = np.interp(np.log(beta), np.log(list(scores)), [one.mig for one in scores.values()])
        score = f" · MIG ≈ {mig:.2f}"
    return layout.true_minus(f"β = {beta:.3g}{score} · D {curve.at(beta).distortion[0]:.1f} nats")


def _go_to(beta: float) -> None:
    st.session_state["beta"] = beta
    st.rerun()  # the whole page: its other strip follows


@st.cache_resource(max_entries=4, show_spinner=False)
def _traversal_frames(
    path: str,  # noqa: ARG001
    modified: int,  # noqa: ARG001
    _checkpoint: Checkpoint,
    _taken: BetaSnapshot,
    _tell: Tell,
) -> tuple[np.ndarray, list[int]]:
    model = _checkpoint.model
    order = latent.rank_by_kl(rate_distortion.curve(_taken).kl.mean(0))[:_ROWS].tolist()
    values, frames = np.linspace(-_EXTENT, _EXTENT, _VALUES), []
    betas = rate_distortion.steps(model.config.beta_range)
    with turns.turn(lambda: _tell(0.0)):
        for beta in betas:
            z = rate_distortion.at_beta(_checkpoint.snapshot, _taken, beta).mu[0]
            points = np.concatenate([latent.traversal(z, j, values) for j in order])
            pictures = to_uint8(latent.decode(model.at(beta), points))
            frames.append(stacked(np.split(pictures, len(order))))
            _tell(len(frames) / len(betas))
    return np.stack(frames), order
