"""The section Curve of the page of β: distortion against rate, of the model and of others on the same axes."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from ui import caching, layout, state, sweep, theme
from ui.beta_view import MOST_BESIDE, Seen, comparable, curve_of, is_ranged
from ui.refreshing import refreshing
from ui.state import Entry
from vae_core import export
from vae_core.errors import UserError
from vae_core.model import ModelConfig
from vae_core.rate_distortion import Curve, bits_per_dimension, pixel_bits

__all__ = [
    "UNITS",
    "beside_at_first",
    "curve_csv",
    "ends_sentence",
    "likelihood_words",
    "point_sentence",
    "rate_distortion_figure",
    "show",
]

UNITS = ("Nats", "Bits per dimension")
_REFRESH_SECONDS = 2.0
_FAR = 1.8
_AS_LOW, _IN_VAIN = 0.01, 0.5  # nats of D that are as good as none, and of rate that are worth a word
_PARTS = 9  # lines of equal D + βR on either side of the tangent


def show(seen: Seen) -> None:
    """Draw the section: D against R, and other models on the same axes, those that are there and those that train."""
    st.markdown(ends_sentence(seen.curve) if seen.is_ranged else point_sentence(seen))
    sweep.notice(seen)
    live = sweep.in_progress()
    refreshing(lambda: _chart(seen), now=sweep.in_progress, seen=live, seconds=_REFRESH_SECONDS if live else None)
    with st.expander("Train models of one β", icon=":material/model_training:"):
        sweep.sweep_form(seen)


def _chart(seen: Seen) -> None:
    """The chart and what is on it, which changes while models train."""
    others, key = comparable(seen.entry), f"beta_beside_{seen.entry.id}"
    chosen = st.session_state.get(f"{key}/chosen", beside_at_first(seen.entry, others))
    with st.container(horizontal=True):
        unit = st.segmented_control("Unit", UNITS, default=UNITS[0], required=True, key="beta_unit", **state.KEPT)
        beside = st.multiselect(
            "Beside it",
            list(others),
            [one for one in chosen if one in others],
            format_func=lambda one: state.title(others[one]),
            key=key,
            on_change=lambda: st.session_state.update({f"{key}/chosen": st.session_state[key]}),  # for this visit
            placeholder="Choose models of the same pictures",
            help="Models of the same pictures and likelihood: each of one β is a point, each of a range a curve.",
        )
    shown = dict.fromkeys([*beside, *sweep.landed(others)])
    curves = _curves(seen, [others[one] for one in shown])
    layout.chart(
        rate_distortion_figure(seen, curves, unit),
        "Distortion against rate, with lines of equal D + βR",
        key="beta_curve",
    )
    if far := [title for title, curve in curves.items() if _is_beyond(curve, seen.curve)]:
        st.caption(f"Far outside the chart (a double-click shows all): {'; '.join(far)}.")
    sweep.progress()
    ranged = seen.is_ranged or any(is_ranged(others[one]) for one in shown)
    draws = (
        "four posterior draws each and the same noise at every β; models of one β with one draw"
        if ranged
        else "one posterior draw each"
    )
    st.caption(f"Averages over the first {seen.curve.images:,} test images, with {draws}.{likelihood_words(seen)}")
    layout.download(
        "CSV of the curve",
        lambda: curve_csv(seen.curve, seen.checkpoint.model.config),
        f"{seen.entry.id}-beta.csv",
    )


def beside_at_first(entry: Entry, others: dict[str, Entry]) -> list[str]:
    """Of the comparable models those that are shown until the visitor chooses: those with as many dimensions."""

    def dimensions(one: Entry) -> int:
        return caching.read_header(one.path)["model"]["latent_dim"]

    return [key for key, other in others.items() if dimensions(other) == dimensions(entry)][:MOST_BESIDE]


def _curves(seen: Seen, others: list[Entry]) -> dict[str, Curve]:
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
        f"At the **autoencoder end** (β → 0) a code costs next to nothing, and the model buys all it can: at "
        f"β = {low.betas[0]:g}, {low.rate[0]:.2f} nats of rate bring the distortion down to {low.distortion[0]:.1f} "
        f"nats{_bought_in_vain(curve)}. {end}"
    )


def _bought_in_vain(curve: Curve) -> str:
    """What the last of the rate does not buy: where a larger β brings D as far down on these images with less."""
    as_low = int(np.flatnonzero(curve.distortion <= curve.distortion[0] + _AS_LOW)[-1])
    if curve.rate[0] - curve.rate[as_low] < _IN_VAIN:
        return ""
    return (
        f", the last {curve.rate[0] - curve.rate[as_low]:.2f} of them in vain: these are not the images that it was "
        f"trained on, and at β = {curve.betas[as_low]:.2g} D is no higher"
    )


def point_sentence(seen: Seen) -> str:
    """What the place of a model of one β says."""
    at = seen.curve.at(seen.beta)
    to = (
        "and training leads to the lower left"
        if seen.objective == "beta-vae"
        else "but training brought something else down"
    )
    return (
        f"One point: R = {at.rate[0]:.2f} nats buy D = {at.distortion[0]:.1f} nats. The dashed line has the slope "
        f"−β = −{seen.beta:g}; on it D + βR is the same everywhere, {to}."
    )


def likelihood_words(seen: Seen) -> str:
    """What D is not, for a Bernoulli likelihood, and of what pixels its bits are, for a Gaussian."""
    if seen.checkpoint.model.config.likelihood != "bernoulli":
        return " Nats are of pixels from 0 to 1, bits of pixels from 0 to 255: D has log₂ 255 ≈ 8 more a dimension."
    return " Where pixels are grey, the Bernoulli D is a loss and not the logarithm of a density."


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
