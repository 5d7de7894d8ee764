"""The common look of figures: one set of colours for classes and terms, axes with units, a steady zoom."""

import base64
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from plotly.basedatatypes import BaseFigure

from vae_core.export import CLASS_COLOURS

__all__ = [
    "CLASS_COLOURS",
    "CONTINUOUS",
    "LINE_COLOURS",
    "TERM_COLOURS",
    "Chart",
    "along_beta",
    "chart",
    "class_colour",
    "figure",
    "ink_on",
    "line_colour",
]

TERM_COLOURS = {"reconstruction": "#d9622b", "kl": "#2f7fc1", "total": "#8a93a3"}
"""The two terms of the ELBO, and their sum, on every page."""

LINE_COLOURS = ("#5460e4", "#18a800", "#fc0084", "#9c603c", "#2490d8", "#00786c", "#a8309c")
"""Of curves, which need more contrast than dots: 3 at least on both grounds (WCAG 2.2)."""

CONTINUOUS = "viridis"
"""The perceptually even colour map."""


def class_colour(label: int) -> str:
    """The colour of class `label`; it repeats after ten."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def line_colour(place: int) -> str:
    """The colour of the curve in this place; it repeats after seven."""
    return LINE_COLOURS[place % len(LINE_COLOURS)]


def ink_on(colour: str) -> str:
    """Black or white, whichever stands out more from "#rrggbb" (WCAG 2.2: a contrast of 4.58 at least)."""
    encoded = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in encoded)
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "white"


def figure(x: str, y: str, *, height: int = 300, **layout: Any) -> go.Figure:
    """An empty figure with titled axes (give the units), little margin, and a zoom that survives updates."""
    return go.Figure(layout=_look(x, y, height) | layout)  # at once: each later update costs as much again


def along_beta(chart: go.Figure, beta: float) -> go.Figure:
    """The figure with β along its x axes, on the logarithm, and a line at this `beta`."""
    chart.add_vline(beta, line={"color": TERM_COLOURS["total"], "width": 1, "dash": "dash"})
    return chart.update_xaxes(type="log", tickformat="~g", hoverformat=".3g", dtick=1)


class Chart(BaseFigure):
    """Traces and layout as `st.plotly_chart` sends them; see `chart`."""

    def __init__(self, traces: Sequence[dict[str, Any]], layout: dict[str, Any]) -> None:
        self._drawn = {"data": [_packed(trace) for trace in traces], "layout": layout}

    def to_dict(self) -> dict[str, Any]:
        """What is drawn: JSON values."""
        return self._drawn


def chart(x: str, y: str, traces: Sequence[dict[str, Any]], *, height: int = 300, **layout: Any) -> Chart:
    """A `figure` of traces, dicts each with its "type", that is complete: Plotly neither checks nor copies it.

    That takes ten times as long as all else. Tests check what the pages draw: names, and numbers that are Python's, but
    for the arrays of traces. A dict in `layout` adds to what is there, as xaxis={"range": …} to the axis's title.
    """
    look = _look(x, y, height) | {"template": _template(pio.templates.default)}
    for name, value in layout.items():
        look[name] = look[name] | value if isinstance(value, dict) and name in look else value
    return Chart(traces, look)


def _look(x: str, y: str, height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 44, "b": 8},
        "uirevision": "steady",
        "hovermode": "x unified",
        "dragmode": False,  # else a finger that scrolls the page zooms; the toolbar has both tools
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "xaxis": {"title": {"text": x}, "automargin": True, "exponentformat": "power"},
        "yaxis": {"title": {"text": y}, "automargin": True, "exponentformat": "power"},  # not μ for a millionth
    }


@functools.cache
def _template(name: str) -> dict[str, Any]:
    return pio.templates[name].to_plotly_json()


def _packed(value: Any) -> Any:
    """Arrays, here or deeper, as Plotly reads them fastest: base64."""
    if isinstance(value, dict):
        return {name: _packed(part) for name, part in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind == "i":
        value = value.astype(np.int32)  # the browser has no 64-bit integers
    shape = {"shape": ", ".join(map(str, value.shape))} if value.ndim > 1 else {}
    return {"dtype": value.dtype.str[1:], "bdata": base64.b64encode(value.tobytes()).decode()} | shape
