"""What the pages draw without Plotly's checks, checked."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.charts import checked, read
from tests.pages.opening import open_at
from ui import posterior_line, theme
from ui.components.posterior_pad import Gaussian


@pytest.mark.parametrize("model", ["digits-d2", "sprites-beta"])
@pytest.mark.parametrize(
    ("page", "settings", "charts"),
    [
        ("pages/explore/reconstruct.py", {}, 3),
        ("pages/explore/reconstruct.py", {"reconstruct_error": "Cost in nats"}, 3),
        ("pages/understand/bounds.py", {}, 2),
        ("pages/understand/reparameterisation.py", {}, 5),
    ],
)
def test_plotly_knows_all_that_a_page_draws(page, settings, charts, model):
    app = open_at(page, model=model, **settings)
    drawn = [checked(json.loads(chart.proto.spec)) for chart in app.get("plotly_chart")]
    assert len(drawn) == charts + (page.endswith("reconstruct.py") and model == "digits-d2")
    assert all(chart.layout.template.layout.colorway for chart in drawn)
    assert all(chart.proto.alt for chart in app.get("plotly_chart")), "a chart has no words for those who do not see it"


def test_plotly_knows_the_densities_of_one_dimension():
    lab = SimpleNamespace(
        posteriors=SimpleNamespace(density=lambda _, z: np.exp(-np.abs(z))), encoder=Gaussian((0.5,), (0.2,))
    )
    traces = read(posterior_line.curves(lab, Gaussian((0.0,), (1.0,)), (-3.0, 3.0))).data
    assert [trace.name for trace in traces] == ["p(z|x)", "q", "the encoder’s q", "the prior"]
    assert [trace.y.max() for trace in traces] == pytest.approx([1, 0.3989, 1.9947, 0.3989], abs=1e-3)


def test_arrays_travel_as_what_they_are():
    given = {
        "type": "heatmap",
        "z": np.arange(6.0).reshape(2, 3),
        "x": np.arange(3),
        "y": np.array([0.5, 1.5], np.float32),
        "customdata": np.arange(12).reshape(2, 3, 2)[:, :, 0],
    }
    chart = theme.chart("x", "y", [given], height=200, xaxis={"range": [0, 2]})
    (trace,) = read(chart).data
    for name in ("z", "x", "y", "customdata"):
        np.testing.assert_array_equal(getattr(trace, name), given[name])
    assert read(chart).layout.xaxis.title.text == "x"
    assert (read(chart).layout.height, read(chart).layout.margin.l) == (200, 8)


@pytest.mark.parametrize("wrong", [{"colour": "red"}, {"mode": "dots"}, {"line": {"widht": 2}}])
def test_a_wrong_name_is_found(wrong):
    chart = theme.chart("x", "y", [{"type": "scatter", "x": np.zeros(2), "y": np.zeros(2)} | wrong])
    with pytest.raises(ValueError, match="Invalid"):
        read(chart)
