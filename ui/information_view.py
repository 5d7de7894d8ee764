"""Where the rate goes, on the page of β: mutual information, total correlation and dimension-wise KL against β."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from ui import layout, state, theme
from ui.beta_view import MOST_BESIDE, Seen, comparable, first_images, is_ranged, measured
from ui.rate_split import rate_split
from ui.stepwise import Tell, stepwise
from vae_core import export, rate_distortion
from vae_core.checkpoint import BetaSnapshot, LatentSnapshot, read_snapshots
from vae_core.errors import UserError
from vae_core.information import RateSplit

__all__ = ["beside_sentence", "codes", "images_sentence", "show", "split_bars", "split_csv", "split_figure"]

PARTS = {
    "mutual_information": "I(x; z)",
    "total_correlation": "total correlation",
    "dimension_kl": "dimension-wise KL",
}
_BAR_SHARE = 0.45  # of the height that a model takes; its title and its mark have the rest
COLOURS = dict(zip(PARTS, ("#2f7fc1", "#f39762", "#429b8d"), strict=True))


def show(seen: Seen) -> None:
    """Draw the section: the terms at this β, against β, and those of models of one β beside it."""
    _terms(seen)
    if seen.is_ranged:
        _against_beta(seen)
    _side_by_side(seen)


def codes(seen: Seen) -> LatentSnapshot:
    """The posteriors of the images that all curves are measured on, at the β that is looked at."""
    taken = measured(seen.entry, seen.checkpoint) if seen.is_ranged else None
    return _codes(seen.checkpoint.snapshot, taken, seen.beta)


def _codes(snapshot: LatentSnapshot, taken: BetaSnapshot | None, beta: float) -> LatentSnapshot:
    if taken is not None:
        return rate_distortion.at_beta(snapshot, taken, beta)
    return first_images(snapshot)


def _here(seen: Seen) -> Callable[[Tell], RateSplit]:
    """The step that splits the rate at the β that is looked at."""
    return lambda tell: _split(codes(seen), tell)


def _split(found: LatentSnapshot, tell: Tell) -> RateSplit:
    return rate_split(found.mu, found.logvar, tell)


def _terms(seen: Seen) -> None:
    st.markdown(
        "The rate R counts every nat that a code costs. Only a part of it tells pictures apart: the mutual information "
        "I(x; z), so **I(x; z) ≤ R**. The rest, KL(q(z) ‖ p(z)), is paid because the codes of all pictures together, "
        "the aggregate posterior q(z), are not spread as the prior is: their dimensions depend on each other (total "
        "correlation), or each is spread unlike N(0, 1) (dimension-wise KL)."
    )
    stepwise(
        {"here": _here(seen)},
        lambda found: [_numbers(split) for split in found.values()],
        of=(*seen.entry.version, seen.beta),
        key="information_terms",
        label="Splitting the rate",
    )


def _numbers(split: RateSplit) -> None:
    information, correlation, dimensions = split.standard_errors
    rows = [
        ("Rate R", split.rate, 0.0, "E[KL(q(z|x) ‖ p(z))], exact: the sum of the other three."),
        ("= I(x; z)", split.mutual_information, information, "How far a code tells which of the pictures it is from."),
        ("+ total correlation", split.total_correlation, correlation, "KL(q(z) ‖ Π q(zⱼ))."),
        ("+ dimension-wise KL", sum(split.dimension_kl), dimensions, "Σ KL(q(zⱼ) ‖ p(zⱼ))."),
    ]
    with st.container(horizontal=True, gap="large"):
        for label, value, error, about in rows:
            sure = f" Standard error {error:.3f} nats." if error else ""
            st.metric(label, layout.nats(value, 2), help=about + sure, width="content")
    st.caption(images_sentence(split))


def images_sentence(split: RateSplit) -> str:
    """Of which images the parts are, and what they say of more."""
    return (
        f"These are of the first {split.images:,} test images alone: q(z) is the mean of their posteriors. To tell "
        f"{split.images:,} images apart takes log {split.images:,} = {split.most:.2f} nats, so that their I(x; z) "
        "cannot be more. With more such images, I(x; z) would on average be as high or higher, but never over their R, "
        "which on average would stay the same."
    )


def _against_beta(seen: Seen) -> None:
    entry, snapshot, taken = seen.entry, seen.checkpoint.snapshot, measured(seen.entry, seen.checkpoint)
    of = entry.version

    def split_at(beta: float) -> Callable[[Tell], RateSplit]:
        return lambda tell: _split(_codes(snapshot, taken, beta), tell)

    def draw(found: dict[float, RateSplit]) -> None:
        betas, splits = list(found), list(found.values())
        chart = split_figure(list(map(float, taken.betas)), splits, seen.beta)
        layout.chart(chart, "The parts of the rate against β", key="information_split")
        layout.download("CSV of the split", lambda: split_csv(betas, splits), f"{entry.id}-information.csv")

    stepwise(
        {beta: split_at(beta) for beta in map(float, taken.betas)},
        draw,
        of=of,
        key="information_sweep",
        label="Splitting the rate at each β",
    )


def split_figure(betas: list[float], splits: list[RateSplit], beta: float) -> go.Figure:
    """The parts of the rate, stacked, against β, as far as they are known; the line of the most that the information
    can be; this `beta`."""
    chart = theme.figure("β", "nats", height=400)
    shown = betas[: len(splits)]
    for part, name in PARTS.items():
        values = [_value(split, part) for split in splits]
        chart.add_scatter(
            x=shown,
            y=np.maximum(values, 0),
            customdata=values,
            name=name,
            stackgroup="rate",
            line={"color": COLOURS[part], "width": 1},
            hovertemplate="%{customdata:.2f}",
        )
    chart.add_scatter(
        x=shown,
        y=[split.rate for split in splits],
        name="rate R",
        mode="lines",
        line={"color": theme.TERM_COLOURS["total"], "width": 2},
        hovertemplate="%{y:.2f}",
    )
    if splits:
        most = splits[0].most
        chart.add_hline(
            most,
            line={"color": theme.TERM_COLOURS["total"], "width": 1, "dash": "dot"},
            annotation={"text": f"log {splits[0].images:,}", "xanchor": "right"},
        )
    chart.update_layout(legend_traceorder="normal")
    reach = np.log10([betas[0], betas[-1]])
    return theme.along_beta(chart, beta).update_xaxes(range=list(reach))


def _value(split: RateSplit, part: str) -> float:
    value = getattr(split, part)
    return sum(value) if isinstance(value, tuple) else value


def split_csv(betas: list[float], splits: list[RateSplit]) -> bytes:
    """One row a β: the rate and its parts, in nats, and the dimension-wise KL of each dimension."""
    d = len(splits[0].dimension_kl) if splits else 0
    header = ["beta", "rate", *PARTS, *(f"kl_{j + 1}" for j in range(d))]
    rows = (
        (one, s.rate, *(_value(s, part) for part in PARTS), *s.dimension_kl)
        for one, s in zip(betas, splits, strict=False)
    )
    return export.csv_bytes(header, rows)


def _side_by_side(seen: Seen) -> None:
    """The split of this model, and of models of one β of the same pictures."""
    mine = f"{state.title(seen.entry)}, at β = {seen.beta:.3g}" if seen.is_ranged else state.title(seen.entry)
    others = [other for other in comparable(seen.entry).values() if not is_ranged(other)][:MOST_BESIDE]
    beside = {state.title(other): other.version for other in others}

    def draw(found: dict[str, RateSplit | None]) -> None:
        splits = {title: split for title, split in found.items() if split is not None}
        layout.chart(split_bars(splits), "The parts of the rate by model", key="information_beside_chart")
        st.caption(beside_sentence(list(splits.values())))

    stepwise(
        {mine: _here(seen)} | {title: lambda tell, of=of: _split_of(*of, tell) for title, of in beside.items()},
        draw,
        of=(*seen.entry.version, seen.beta, *beside.items()),
        key="information_beside",
        label="Splitting the rate of the models beside it",
    )


@st.cache_data(max_entries=256, show_spinner=False)
def _split_of(path: str, modified: int, _tell: Tell) -> RateSplit | None:  # noqa: ARG001 (the cache's key)
    """The split of a model of one β, from its checkpoint; None where that holds no codes, or none that have one."""
    try:
        snapshot, _ = read_snapshots(Path(path))
        return None if snapshot is None else _split(_codes(snapshot, None, math.nan), _tell)
    except UserError:
        return None


def beside_sentence(splits: list[RateSplit]) -> str:
    """Which of the bars can be compared, from how many images each is made."""
    if not any(split.at_ceiling for split in splits):
        return "The mark under a bar is log N, the most that I(x; z) can be of its N test images."
    return (
        "The mark under a bar is log N, the most that I(x; z) can be of its N test images. Hatched: I(x; z) is at that "
        "ceiling, so that the other two parts are upper bounds: more images would move nats from them to I(x; z)."
    )


def split_bars(splits: dict[str, RateSplit]) -> go.Figure:
    """The parts of the rate as one bar a model under its title and over its mark, the first on top."""
    chart, rows = theme.figure("nats", "", height=120 + 68 * len(splits), hovermode="closest"), np.arange(len(splits))
    chart.update_layout(barmode="stack", bargap=1 - _BAR_SHARE)
    chart.update_layout(uniformtext={"minsize": 11, "mode": "hide"}, legend_traceorder="normal")
    for part, name in PARTS.items():
        values = [_value(split, part) for split in splits.values()]
        chart.add_bar(
            y=rows,
            x=np.maximum(values, 0),
            customdata=values,
            name=name,
            orientation="h",
            marker_color=COLOURS[part],
            marker_pattern={
                "shape": [_pattern(split, part) for split in splits.values()],
                "fillmode": "overlay",
                "fgcolor": "white",
                "fgopacity": 0.45,
                "solidity": 0.2,
            },
            text=[f"{value:.2f}" for value in values],
            textangle=0,
            textposition="inside",
            insidetextanchor="middle",
            hovertemplate=f"{name}: %{{customdata:.3f}} nats<extra></extra>",
        )
    chart.add_scatter(
        x=[split.most for split in splits.values()],
        y=rows + 0.7 * _BAR_SHARE,
        name="log N",
        mode="markers",
        marker={"symbol": "triangle-up", "size": 10, "color": theme.TERM_COLOURS["total"]},
        hovertemplate="log N: %{x:.3f} nats<extra></extra>",
    )
    for row, (title, split) in enumerate(splits.items()):
        chart.add_annotation(
            x=0,
            y=row - _BAR_SHARE / 2,
            text=f"{title} · N = {split.images:,}",
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font={"size": 12},
        )
    return chart.update_yaxes(range=[len(splits) - 0.5, -0.7], showticklabels=False, showgrid=False, zeroline=False)


def _pattern(split: RateSplit, part: str) -> str:
    return "/" if split.at_ceiling and part != "mutual_information" else ""
