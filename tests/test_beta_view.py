"""The charts of the page of β: what is drawn where, and which models belong on the same axes."""

import csv
import io
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.toys import build
from ui import beta_view
from ui.beta_view import Seen, objective_words
from ui.curve_view import (
    UNITS,
    beside_at_first,
    curve_csv,
    ends_sentence,
    likelihood_words,
    point_sentence,
    rate_distortion_figure,
)
from ui.dimensions_view import kl_figure, units_figure
from ui.state import Entry
from vae_core import checkpoint
from vae_core.checkpoint import Checkpoint
from vae_core.objective import OBJECTIVES
from vae_core.rate_distortion import Curve

SHAPE = (1, 8, 8)
BETAS = np.array([0.1, 1.0, 10.0])
CURVE = Curve(
    BETAS,
    np.array([20.0, 22.0, 30.0]),
    np.array([[3.0, 2.0], [1.5, 0.5], [0.0, 0.0]]),
    np.array([[1, 1], [1, 1], [0, 0]], bool),
    100,
)
POINT = Curve(np.array([4.0]), np.array([25.0]), np.array([[1.0, 0.0]]), np.array([[True, False]]), 100)


def seen(beta: float = 1.0, curve: Curve = CURVE, likelihood: str = "bernoulli", **train: object) -> Seen:
    ends = (0.1, 10.0) if len(curve.betas) > 1 else None
    model = build(shape=SHAPE, beta_range=ends, widths=(4, 4), likelihood=likelihood)
    return Seen(Entry("mine", Path("mine.safetensors")), Checkpoint(model, {"train": train}), curve, beta)


def traces(chart, name: str):
    return [trace for trace in chart.data if trace.name and name in trace.name]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 10.0])
def test_the_tangent_has_slope_minus_beta_and_runs_through_the_place_of_beta(beta, unit):
    chart = rate_distortion_figure(seen(beta), {"mine": CURVE, "other": POINT}, unit)
    scale = 1 if unit == UNITS[0] else 1 / (64 * math.log(2))
    (tangent,), at = traces(chart, "slope"), CURVE.at(beta)
    (x0, x1), (y0, y1) = tangent.x, tangent.y
    assert (y1 - y0) / (x1 - x0) == pytest.approx(-beta)
    assert y0 + beta * x0 == pytest.approx(scale * (at.distortion[0] + beta * at.rate[0]))
    (lines,) = traces(chart, "equal D + βR")
    for a, b in zip(range(0, len(lines.x), 3), range(1, len(lines.x), 3), strict=True):
        assert (lines.y[b] - lines.y[a]) / (lines.x[b] - lines.x[a]) == pytest.approx(-beta)
    (mine,), (other,) = traces(chart, "mine"), traces(chart, "other")
    np.testing.assert_allclose(mine.x, scale * CURVE.rate)
    np.testing.assert_allclose(mine.y, scale * CURVE.distortion)
    assert (other.x[0], other.y[0]) == pytest.approx((scale * 1.0, scale * 25.0))
    assert unit.lower() in chart.layout.xaxis.title.text


def test_bits_of_a_gaussian_are_told_of_pixels_from_0_to_255_and_rates_as_they_are():
    one = seen(1.0, likelihood="gaussian-optimal")
    chart = rate_distortion_figure(one, {"mine": CURVE}, UNITS[1])
    (mine,) = traces(chart, "mine")
    np.testing.assert_allclose(mine.x, CURVE.rate / 64 / math.log(2))
    np.testing.assert_allclose(mine.y, CURVE.distortion / 64 / math.log(2) + math.log2(255))
    rows = list(csv.DictReader(io.StringIO(curve_csv(CURVE, one.checkpoint.model.config).decode())))
    np.testing.assert_allclose([float(row["distortion_bits_per_dim"]) for row in rows], mine.y)
    assert "255" in likelihood_words(one)


def test_a_model_of_one_beta_is_a_point_with_its_line():
    chart = rate_distortion_figure(seen(4.0, POINT), {"mine": POINT}, UNITS[0])
    assert not chart.layout.annotations
    assert traces(chart, "mine")[0].mode == "markers"
    assert "−β = −4" in point_sentence(seen(4.0, POINT))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_where_training_leads_depends_on_its_objective(objective):
    one = seen(4.0, POINT, objective=objective, **{"importance_samples": 5} if objective == "iwae" else {})
    assert ("training leads to the lower left" in point_sentence(one)) == (objective == "beta-vae")
    assert (objective_words(one) == "What training brings down.") == (objective == "beta-vae")


def test_each_dimension_has_its_curve_the_largest_first():
    chart = kl_figure(CURVE, 1.0)
    assert [trace.name for trace in chart.data] == ["z₁", "z₂"]
    assert not chart.layout.showlegend
    np.testing.assert_array_equal(chart.data[1].y, [2.0, 0.5, 0.0])
    assert chart.layout.xaxis.type == "log"
    np.testing.assert_array_equal(units_figure(CURVE, 1.0).data[0].y, [2, 2, 0])


@pytest.mark.parametrize("d", [2, 16, 40])
@pytest.mark.parametrize("spread", [0.0, 0.05, 5.0])
def test_each_curve_is_named_where_it_begins_clear_of_other_names(d, spread):
    """In its colour's line, which its neighbours do not have; names at least 4 % of the axis apart, and on it."""
    kl = spread * np.random.default_rng(d).random((3, d)) * [[3], [2], [1]]
    chart = kl_figure(replace(CURVE, kl=kl, active=kl > 0), 1.0)
    names, colours = chart.layout.annotations, [trace.line.color for trace in chart.data]
    assert len(names) == len(chart.data) == min(d, 16)
    for name in names:
        (curve,) = (trace for trace in chart.data if trace.name == name.text)
        assert (name.x, name.y) == (np.log10(0.1), curve.y[0])
        assert name.arrowcolor == curve.line.color
    assert all(one != other for one, other in pairwise(colours))
    low, high = chart.layout.yaxis.range
    places = [name.ay for name in names]
    assert low < min(places) <= max(places) < high
    assert np.diff(places).max() < -0.04 * (high - low)
    starts = [name.y for name in names]
    assert starts == sorted(starts, reverse=True), "lines to names do not cross"


def test_the_ends_are_told_with_their_numbers():
    text = ends_sentence(CURVE)
    for words in ("β = 0.1, 5.00 nats", "20.0 nats", "0 of 2 dimensions", "R = 0.00 nats", "D = 30.0 nats", "average"):
        assert words in text


def test_rate_that_buys_nothing_is_called_so():
    """With 5 nats D is 20, and with 4 as well."""
    assert "in vain" not in ends_sentence(CURVE)
    in_vain = replace(CURVE, distortion=CURVE.distortion[[0, 0, 2]])
    assert f"the last {CURVE.rate[0] - CURVE.rate[1]:.2f} of them in vain" in ends_sentence(in_vain)
    assert "at β = 1 D is no higher" in ends_sentence(in_vain)
    bought_little = replace(CURVE, distortion=CURVE.distortion[[0, 0, 2]] + [0, 0.05, 0])
    assert "in vain" not in ends_sentence(bought_little)


def test_an_end_that_has_not_collapsed_is_not_called_so():
    text = ends_sentence(replace(CURVE, active=np.ones_like(CURVE.active)))
    assert "Towards the **collapsed end**" in text
    assert "2 of 2 dimensions" in text
    assert "average" not in text


def test_the_table_holds_what_the_charts_show():
    rows = list(csv.DictReader(io.StringIO(curve_csv(CURVE, build(shape=SHAPE).config).decode())))
    assert [float(row["beta"]) for row in rows] == BETAS.tolist()
    assert float(rows[1]["d_plus_beta_r"]) == pytest.approx(24.0)
    assert float(rows[0]["rate_bits_per_dim"]) == pytest.approx(5 / 64 / math.log(2))
    assert float(rows[0]["kl_2"]) == 2.0


def test_only_models_of_the_same_pictures_and_likelihood_are_compared(monkeypatch, tmp_path):
    def entry(name: str, dataset: str = "digits", **config) -> Entry:
        path = tmp_path / f"{name}.safetensors"
        checkpoint.save(path, Checkpoint(build(**config), {"train": {"dataset": dataset}}))
        return Entry(name, path)

    mine, *others = (
        entry("mine"),
        entry("alike", latent_dim=5, arch="conv"),
        entry("other-data", "sprites"),
        entry("other-likelihood", likelihood="gaussian"),
        entry("other-shape", shape=(1, 9, 9)),
    )
    broken = Entry("broken", tmp_path / "none.safetensors")
    monkeypatch.setattr(
        beta_view, "state", SimpleNamespace(entries=lambda: {one.id: one for one in (mine, *others, broken)})
    )
    assert list(beta_view.comparable(mine)) == ["alike"]
    assert beside_at_first(mine, {"alike": others[0]}) == []
    assert not beta_view.comparable(broken)
    assert not beta_view.is_ranged(broken)
