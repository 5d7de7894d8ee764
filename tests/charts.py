"""Charts as Plotly reads them, for the tests of what the pages draw."""

import base64
import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio

from ui.theme import Chart

__all__ = ["checked", "read"]


def checked(sent: dict[str, Any]) -> go.Figure:
    """The figure of what the browser is sent. Fails for a name or a value that Plotly does not know or would change."""
    figure = go.Figure(sent)
    assert json.loads(figure.to_json()) == sent
    return figure


def read(chart: Chart) -> go.Figure:
    """The chart, `checked`, with arrays where numbers travel as base64."""
    return go.Figure(_unpacked(checked(json.loads(pio.to_json(chart.to_dict(), validate=False))).to_dict()))


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "bdata" not in value:
        return {name: _unpacked(part) for name, part in value.items()}
    shape = [int(side) for side in value.get("shape", "-1").split(",")]
    return np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"]).reshape(shape)
