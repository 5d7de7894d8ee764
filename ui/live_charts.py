"""The figures of a training, from its curves: pure functions, with few enough points to be redrawn every second."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ui.theme import CLASS_COLOURS, TERM_COLOURS, figure

__all__ = ["TERMS", "comparison", "kl_bars", "term_chart", "useful_range"]

TERMS = {"loss": "Loss", "reconstruction": "Reconstruction", "kl": "KL"}
"""The curves of a training, by their column in vae_core.curves, and what people call them."""

_COLOURS = {"loss": TERM_COLOURS["total"], "reconstruction": TERM_COLOURS["reconstruction"], "kl": TERM_COLOURS["kl"]}
_HEIGHT = 250
_UNUSED = "#b8bec8"


def useful_range(*curves: np.ndarray) -> list[float] | None:
    """A y range that leaves out the steep beginning: all that comes after a tenth of each curve, with some air.

    None where there is too little to judge.
    """
    settled = [curve[len(curve) // 10 :] for curve in curves if len(curve) >= 10]
    if not settled:
        return None
    values = np.concatenate(settled)
    low, high = float(values.min()), float(values.max())
    air = 0.06 * (high - low) or 0.5
    return [low - air, high + air]


def term_chart(
    term: str,
    train: Mapping[str, np.ndarray],
    test: Mapping[str, np.ndarray],
    events: Sequence[Mapping[str, Any]] = (),
) -> go.Figure:
    """One term of the objective against the epoch, in nats: thin for training, strong for testing.

    term: a key of TERMS; train and test: what vae_core.curves gives; events: where β or the learning rate changed.
    """
    colour = _COLOURS[term]
    chart = figure("epoch", "nats", height=_HEIGHT)
    chart.add_trace(
        go.Scatter(
            x=train["epoch"],
            y=train[term],
            name="train",
            mode="lines",
            line={"color": colour, "width": 1.2},
            opacity=0.6,
            hovertemplate="%{y:.2f}",
        )
    )
    chart.add_trace(
        go.Scatter(
            x=test["epoch"],
            y=test[term],
            name="test",
            mode="lines+markers" if len(test[term]) < 3 else "lines",
            line={"color": colour, "width": 2.6},
            hovertemplate="%{y:.2f}",
        )
    )
    chart.update_yaxes(range=useful_range(train[term], test[term]))
    chart.update_layout(shapes=[_mark(event, previous) for previous, event in zip((None, *events), events)])  # noqa: B905
    return chart


def _mark(event: Mapping[str, Any], previous: Mapping[str, Any] | None) -> dict[str, Any]:
    """A vertical line where the training was steered, with what it was set to."""
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": event["epoch"],
        "x1": event["epoch"],
        "y0": 0,
        "y1": 1,
        "line": {"color": TERM_COLOURS["total"], "width": 1, "dash": "dot"},
        "label": {
            "text": _what_changed(event, previous),
            "textposition": "end",
            "textangle": 0,
            "xanchor": "left",
            "yanchor": "top",
            "font": {"size": 11, "color": TERM_COLOURS["total"]},
        },
    }


def _what_changed(event: Mapping[str, Any], previous: Mapping[str, Any] | None) -> str:
    named = {"beta": "β", "learning_rate": "rate"}
    texts = [f"{text} {event[name]:g}" for name, text in named.items() if not previous or previous[name] != event[name]]
    return "<br>".join(texts)


def kl_bars(kl: Sequence[float], used: Sequence[bool] | None = None) -> go.Figure:
    """KL of each latent dimension in nats as bars; those that are not `used` (default: under 0.01 nats) are grey."""
    used = [value > 0.01 for value in kl] if used is None else used
    chart = figure("latent dimension", "nats", height=_HEIGHT, hovermode="closest", bargap=0.25)
    chart.add_trace(
        go.Bar(
            x=list(range(len(kl))),
            y=list(kl),
            marker={"color": [TERM_COLOURS["kl"] if use else _UNUSED for use in used]},
            hovertemplate="z[%{x}]: %{y:.3f} nats<extra></extra>",
        )
    )
    if len(kl) <= 16:
        chart.update_xaxes(dtick=1)
    chart.update_yaxes(rangemode="tozero")
    return chart


def comparison(term: str, tests: Mapping[str, Mapping[str, np.ndarray]]) -> go.Figure:
    """One term on the test sets of several runs, by name, against the epoch, in nats."""
    chart = figure("epoch", "nats", height=_HEIGHT, showlegend=term == next(iter(TERMS)))
    for index, (name, test) in enumerate(tests.items()):
        chart.add_trace(
            go.Scatter(
                x=test["epoch"],
                y=test[term],
                name=name,
                mode="lines",
                line={"color": CLASS_COLOURS[index % len(CLASS_COLOURS)], "width": 2},
                hovertemplate="%{y:.2f}",
            )
        )
    chart.update_yaxes(range=useful_range(*(test[term] for test in tests.values())))
    return chart
