"""A chart that keeps its zoom, and does not flicker, while its data grow: st.plotly_chart draws anew at each change."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from ui.components.scripts import script, style

__all__ = ["Series", "VerticalMark", "live_chart", "live_chart_props"]

_component = st.components.v2.component(
    "vae_laboratory.live_chart", js=script("save", "ticks", "live_chart"), css=style("live_chart", "save")
)


@dataclass(frozen=True)
class Series:
    """One curve, or one kind of bars: x and y (n,), x rising."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    colour: str
    width: float = 2.0


@dataclass(frozen=True)
class VerticalMark:
    """A vertical line at x with a few words."""

    x: float
    text: str


def live_chart(
    series: Sequence[Series],
    *,
    key: str,
    label: str,
    x: str,
    y: str,
    marks: Sequence[VerticalMark] = (),
    y_range: Sequence[float] | None = None,
    bars: Sequence[str] = (),
    height: int = 230,
    subject: str = "",
) -> None:
    """Draw curves, or bars.

    label: what the chart shows, read aloud and the name of its file. x, y: titles of the axes, with units.
    y_range: what is seen at first; all, if None. bars: draw bars, which have these names at x = 1, 2, …
    A drag zooms into a box, a double click shows everything again.
    subject: what the chart is about; the visitor's zoom is kept until it changes.
    """
    _component(key=key, data=live_chart_props(series, label, x, y, marks, y_range, bars, height, subject))


def live_chart_props(
    series: Sequence[Series],
    label: str,
    x: str,
    y: str,
    marks: Sequence[VerticalMark],
    y_range: Sequence[float] | None,
    bars: Sequence[str],
    height: int,
    subject: str,
) -> dict:
    """What the browser is given. Points that are not finite are left out."""
    return {
        "label": label,
        "x": x,
        "y": y,
        "series": [_points(one) for one in series],
        "marks": [{"x": float(mark.x), "text": mark.text} for mark in marks],
        "range": None if y_range is None else [float(value) for value in y_range],
        "bars": list(bars) or None,
        "height": height,
        "subject": subject,
    }


def _points(series: Series) -> dict:
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    return {
        "name": series.name,
        "colour": series.colour,
        "width": series.width,
        "x": [float(f"{value:.6g}") for value in x[finite]],
        "y": [float(f"{value:.6g}") for value in y[finite]],
    }
