"""The section Latent dimensions of the page of β: KL and active units against β."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from ui import layout, theme
from ui.beta_view import Seen
from vae_core import latent
from vae_core.evaluate import ACTIVE_VARIANCE
from vae_core.rate_distortion import Curve

__all__ = ["kl_figure", "show", "units_figure"]

_HEIGHT = 420
_LINE = 0.045  # of the KL axis, what a name takes


def show(seen: Seen) -> None:
    """Draw the section."""
    if not seen.is_ranged:
        st.markdown("For a model of a range of β, this shows each latent dimension’s KL against β.")
        return
    st.markdown(
        f"Each curve is one latent dimension’s KL. {_collapse_words(seen.curve)} An active unit is one whose "
        f"posterior mean still has a variance over {ACTIVE_VARIANCE:g} across the test images."
    )
    layout.chart(kl_figure(seen.curve, seen.beta), "KL by latent dimension against β", key="beta_kl")
    layout.say_left_out(seen.curve.kl.shape[1])
    layout.chart(units_figure(seen.curve, seen.beta), "Active units against β", key="beta_units")


def _collapse_words(curve: Curve) -> str:
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


def kl_figure(curve: Curve, beta: float) -> go.Figure:
    """KL of each latent dimension against β, the largest first; each curve has its name at the lowest β."""
    shown = latent.rank_by_kl(curve.kl.max(0))[: layout.MOST_DIMENSIONS]
    chart = theme.figure("β", "KL, nats", height=_HEIGHT, hovermode="x unified", showlegend=False)
    for place, j in enumerate(shown):
        chart.add_scatter(
            x=curve.betas,
            y=curve.kl[:, j],
            name=layout.dimension_name(j),
            line={"color": theme.line_colour(place), "width": 2},
            hovertemplate="%{y:.3f}",
        )
    _name(chart, curve.betas[0], curve.kl[0, shown])
    return theme.along_beta(chart, beta)


def _name(chart: go.Figure, beta: float, kl: np.ndarray) -> None:
    """Write the name of each curve left of where it begins, at this β and with this KL, in nats."""
    top = 1.05 * max(1e-3, *(max(curve.y) for curve in chart.data))
    order = np.argsort(-kl)
    places = _spread(kl[order], _LINE * top, top)
    for k, place in zip(order, places, strict=True):
        curve = chart.data[k]
        chart.add_annotation(
            x=np.log10(beta),
            y=kl[k],
            text=curve.name,
            ax=-22,
            ay=place,
            ayref="y",
            xanchor="right",
            font={"size": 12},
            arrowcolor=curve.line.color,
            arrowhead=0,
            arrowwidth=1.5,
        )
    chart.update_yaxes(range=[-_LINE * top / 2, top * (1 + _LINE / 2)])


def _spread(heights: np.ndarray, gap: float, top: float) -> np.ndarray:
    """The places nearest to heights, which fall, that are `gap` or more apart and lie from 0 to top: (n,) → (n,).

    Places plus k times the gap must not rise.
    """
    from sklearn.isotonic import isotonic_regression

    steps = gap * np.arange(len(heights))
    return isotonic_regression(heights + steps, y_min=steps[-1], y_max=top, increasing=False) - steps


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
    return theme.along_beta(chart, beta)
