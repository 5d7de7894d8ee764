"""The section Latent dimensions of the page of β: KL and active units against β."""

import numpy as np
import plotly.colors
import plotly.graph_objects as go
import streamlit as st

from ui import layout, theme
from ui.beta_view import Seen
from vae_core import latent
from vae_core.evaluate import ACTIVE_VARIANCE
from vae_core.rate_distortion import Curve

__all__ = ["kl_figure", "show", "units_figure"]


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
    """KL of each latent dimension against β, the largest first."""
    order = latent.rank_by_kl(curve.kl.max(0))
    shown = order[: layout.MOST_DIMENSIONS]
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
    return theme.along_beta(chart, beta)


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
