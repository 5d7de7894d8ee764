"""The common look of figures: one set of colours for classes and terms, axes with units, a steady zoom."""

from typing import Any

import plotly.graph_objects as go

from vae_core.export import CLASS_COLOURS

__all__ = ["CHART_CONFIG", "CLASS_COLOURS", "CONTINUOUS", "TERM_COLOURS", "class_colour", "figure"]

TERM_COLOURS = {"reconstruction": "#d9622b", "kl": "#2f7fc1", "total": "#8a93a3"}
"""The two terms of the ELBO, and their sum, on every page."""

CONTINUOUS = "viridis"
"""The perceptually even colour map."""

CHART_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}


def class_colour(label: int) -> str:
    """The colour of class `label`; it repeats after ten."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def figure(x: str, y: str, *, height: int = 300, **layout: Any) -> go.Figure:
    """An empty figure with titled axes (give the units), little margin, and a zoom that survives updates."""
    look = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 44, "b": 8},
        "uirevision": "steady",
        "hovermode": "x unified",
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "automargin": True},
    }
    return go.Figure(layout=look | layout)  # at once: each later update costs as much again
