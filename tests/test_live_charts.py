"""What the Train page shows, without the page: curves, charts, findings, replay, CSV."""

import csv
import io
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ui import live_charts, replay
from ui.components.live_chart import Series, VerticalMark, live_chart_props
from ui.run_table import metrics_csv
from ui.train_form import BETAS, LEARNING_RATES, PRESETS
from vae_core import data, runs
from vae_core.curves import MAX_POINTS, Curves, thin
from vae_core.diagnose import diagnose
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.runs import Metrics, Run
from vae_core.train_config import TrainConfig
from vae_core.worker import train_run


def record(
    epoch: float, *, elbo: float | None = None, kl: float = 5.0, active: int = 2, spread: float = 1.0, **changes
) -> dict:
    test = None
    if elbo is not None:
        test = {"elbo": elbo, "reconstruction": -elbo - kl, "kl": kl, "kl_per_dimension": [kl, 0.0]}
        test |= {"active_units": active, "second_moment": spread}
    return {
        "step": int(epoch * 10),
        "epoch": epoch,
        "images_per_second": 1000.0,
        "loss": 100.0 / (1 + epoch),
        "reconstruction": 90.0 / (1 + epoch),
        "kl": 10.0 / (1 + epoch),
        "kl_per_dimension": [1.0, 0.0],
        "gradient_norm": 1.0,
        "learning_rate": 1e-3,
        "beta": 1.0,
        "seconds": epoch,
        "test": test,
    } | changes


def write(path, entries, mode="a") -> None:
    with path.open(mode) as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)


def curves_of(tmp_path, entries) -> Curves:
    path = tmp_path / "metrics.jsonl"
    write(path, entries, "w")
    return Curves(path).refresh()


@given(st.integers(0, 5000), st.integers(1, 400))
def test_thinned_rows_are_few_and_keep_their_mean(count, limit):
    rows = np.random.default_rng(count).normal(size=(count, 2))
    few = thin(rows, limit)
    assert len(few) <= limit
    if count:
        size = next(size for size in (2**k for k in range(20)) if -(-count // size) <= limit)
        weights = np.full(len(few), size)
        weights[-1] = count - size * (len(few) - 1)
        np.testing.assert_allclose(np.average(few, axis=0, weights=weights), rows.mean(0), atol=1e-9)


def test_a_growing_curve_does_not_change_where_it_is_drawn_already():
    rows = np.random.default_rng(0).normal(size=(900, 1))
    np.testing.assert_array_equal(thin(rows[:700], 300)[:-1], thin(rows[:899], 300)[: len(thin(rows[:700], 300)) - 1])


def test_curves_read_only_what_is_new(tmp_path):
    path = tmp_path / "metrics.jsonl"
    curves = Curves(path).refresh()
    assert curves.last is None
    assert len(curves.train()["epoch"]) == 0
    write(path, [record(0.5), record(1.0, elbo=-50.0)])
    curves.refresh()
    first, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"x" * len(first) + last + (json.dumps(record(1.5)) + "\n").encode())  # what was read is gone
    curves.refresh()
    np.testing.assert_allclose(curves.train()["epoch"], [0.5, 1.0, 1.5])
    np.testing.assert_allclose(curves.test()["loss"], [50.0])
    assert curves.last["epoch"] == 1.5
    assert curves.last_test["epoch"] == 1.0


def test_curves_wait_for_the_end_of_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    line = json.dumps(record(0.5))
    path.write_text(line[:40])
    curves = Curves(path).refresh()
    assert curves.last is None
    with path.open("a") as file:
        file.write(line[40:] + "\n")
    assert curves.refresh().last["epoch"] == 0.5


def test_curves_start_over_when_a_resumed_run_writes_its_file_anew(tmp_path):
    curves = curves_of(tmp_path, [record(epoch) for epoch in (1, 2, 3)])
    shorter = tmp_path / "shorter"
    write(shorter, [record(1)])
    shorter.replace(curves.path)
    np.testing.assert_allclose(curves.refresh().train()["epoch"], [1.0])


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
@pytest.mark.parametrize("length", [2, 3, 9])
def test_curves_start_over_when_another_file_has_the_same_inode(tmp_path, kept, length):
    """File systems give it out again; the other file may have outgrown the old one, and begin with the same records."""
    curves = curves_of(tmp_path, [record(epoch) for epoch in (1, 2, 3)])
    inode = curves.path.stat().st_ino
    write(curves.path, [record(epoch + (epoch > kept) / 10) for epoch in range(1, length + 1)], "w")
    assert curves.path.stat().st_ino == inode
    np.testing.assert_array_equal(curves.refresh().train()["epoch"], Curves(curves.path).refresh().train()["epoch"])


def test_curves_are_bounded(tmp_path):
    curves = curves_of(tmp_path, [record(epoch / 100) for epoch in range(10_000)])
    assert len(curves.train()["loss"]) <= MAX_POINTS


STEERED = {"event": "steered", "step": 30, "epoch": 3.0, "beta": 2.0, "learning_rate": 1e-3}
DAMAGED = [
    b"not json",
    b'"event"',
    b"5",
    *(
        json.dumps(entry).encode()
        for entry in (
            ["event"],
            {"epoch": 1},
            STEERED | {"epoch": "x"},
            {"event": "steered", "epoch": 3.0},
            record(2.0) | {"kl_per_dimension": 5},
            record(2.0) | {"kl_per_dimension": [1.0, "x"]},
            record(2.0) | {"images_per_second": None},
            record(2.0, elbo=-50.0) | {"test_loss": "x"},
            record(2.0) | {"test": {"elbo": "x"}},
            record(2.0) | {"test": [1]},
        )
    ),
]


@pytest.mark.parametrize("line", DAMAGED)
def test_damaged_lines_are_left_out(tmp_path, line):
    curves = curves_of(tmp_path, [record(1.0, elbo=-60.0)])
    with curves.path.open("ab") as file:
        file.write(line + b"\n" + json.dumps(STEERED).encode() + b'\n{"step": 3')
    assert curves.refresh().events == [STEERED]
    assert curves.last == curves.last_test == record(1.0, elbo=-60.0)
    assert Run(tmp_path).metrics() == Metrics([curves.last], [STEERED])


def test_the_useful_range_leaves_out_the_steep_beginning():
    curve = np.concatenate([[500.0, 300.0], np.linspace(30, 20, 98)])
    low, high = live_charts.useful_range(curve)
    assert low < 20
    assert 29 <= high < 40
    assert live_charts.useful_range(curve[:5]) is None
    assert live_charts.useful_range(np.full(50, 3.0)) == [2.5, 3.5]


def test_the_useful_range_of_what_is_never_negative_is_not_either():
    assert live_charts.useful_range(np.full(50, 0.1)) == [0.0, 0.6]
    assert live_charts.useful_range(np.full(50, -0.1)) == [-0.6, 0.4]


def test_marks_say_what_was_changed_and_join_one_drag():
    events = [
        {"epoch": 10.0, "beta": 2.0, "learning_rate": 1e-3},
        {"epoch": 10.1, "beta": 4.0, "learning_rate": 1e-3},
        {"epoch": 40.0, "beta": 4.0, "learning_rate": 5e-4},
    ]
    assert live_charts.marks(events, 1.0, 1e-3) == [VerticalMark(10.1, "β 4"), VerticalMark(40.0, "rate 0.0005")]
    assert live_charts.marks([], 1.0, 1e-3) == []
    slow = {"epoch": 1.0, "beta": 1.0, "learning_rate": 1e-5}
    assert live_charts.marks([slow], 1.0, 1e-3) == [VerticalMark(1.0, "rate 0.00001")]


def test_changes_that_lie_close_together_are_all_told_and_what_is_undone_is_not():
    def event(epoch, beta, rate):
        return {"epoch": epoch, "beta": beta, "learning_rate": rate}

    close = [event(40.0, 4.0, 2e-3), event(40.5, 4.0, 1e-3)]
    assert live_charts.marks(close, 1.0, 2e-3) == [VerticalMark(40.5, "β 4, rate 0.001")]
    undone = [event(40.0, 4.0, 1e-3), event(40.5, 1.0, 1e-3)]
    assert live_charts.marks(undone, 1.0, 1e-3) == []
    later = [*undone, event(80.0, 2.0, 1e-3)]
    assert live_charts.marks(later, 1.0, 1e-3) == [VerticalMark(80.0, "β 2")]


def test_bars_tell_the_dimensions_in_use_from_the_others():
    (bars,) = live_charts.kl_bars([1.0, 0.001, 0.5])
    assert list(bars.x) == [1, 2, 3], "none is said to be unused before that is known"
    active, rest = live_charts.kl_bars([1.0, 0.001, 0.5], [False, False, True])
    assert (active.name, rest.name) == ("active", "silent")
    assert (list(active.x), list(rest.x)) == ([3], [1, 2])
    assert (list(active.y), list(rest.y)) == ([0.5], [1.0, 0.001])


def test_a_term_has_a_light_curve_for_training_and_a_strong_one_for_testing(tmp_path):
    curves = curves_of(tmp_path, [record(1.0, elbo=-60.0), record(2.0, elbo=-50.0)])
    train, test = live_charts.term_curves("kl", curves.train(), curves.test())
    assert (train.name, test.name) == ("train", "test")
    assert train.width < test.width
    np.testing.assert_allclose(test.y, [5.0, 5.0])


def test_what_the_browser_is_given_is_json_without_numbers_that_are_none():
    props = live_chart_props(
        [Series("a", np.array([0.0, 1.0, 2.0]), np.array([1.0, np.nan, 1 / 3]), "#123456")],
        "Loss", "epoch", "nats", [VerticalMark(np.float64(1.0), "β 4")], [0.0, 2.0], (), 200, "run",
    )  # fmt: skip
    assert props["series"][0]["x"] == [0.0, 2.0]
    assert props["series"][0]["y"] == [1.0, 0.333333]
    assert json.loads(json.dumps(props, allow_nan=False)) == props


CONFIG = RunConfig(ModelConfig((1, 8, 8), latent_dim=16), TrainConfig(epochs=20))


def findings(tmp_path, entries, model=CONFIG.model, **changes) -> str:
    config = RunConfig(model, TrainConfig(**({"epochs": 20} | changes)))
    return " ".join(finding.text for finding in diagnose(config, curves_of(tmp_path, entries)))


def test_a_healthy_run_is_left_alone(tmp_path):
    assert not findings(tmp_path, [record(e, elbo=-100 + e, kl=9.0, active=12) for e in range(1, 11)])


def test_a_young_run_is_left_alone(tmp_path):
    assert not findings(tmp_path, [record(1.0, elbo=-100, kl=0.0, active=0)])
    warming = [record(e, elbo=-100, kl=0.0, active=0) for e in range(1, 6)]
    assert not findings(tmp_path, warming, kl_warmup=8.0)


def test_collapse_is_told_with_what_to_try(tmp_path):
    text = findings(tmp_path, [record(e, elbo=-100, kl=0.02, active=0) for e in range(1, 7)])
    assert "collapsed" in text
    assert "0.02 nats" in text
    assert "free bits" in text


def test_a_rising_loss_is_told_with_the_rate_that_was_asked_for(tmp_path):
    """Not with that of the last record, which falls to zero at the end; nor with the first where it was steered."""
    rising = [record(e, elbo=-100 - 2 * abs(e - 5), kl=9.0, active=12) for e in range(1, 21)]
    for entry in rising:
        entry["learning_rate"] *= 0.001
        entry["loss"] = entry["test"]["reconstruction"] + entry["test"]["kl"]
    assert "Try a learning rate below 0.05." in findings(tmp_path, rising, learning_rate=0.05)
    steered = {"event": "steered", "step": 1, "epoch": 1.0, "beta": 1.0, "learning_rate": 0.02}
    assert "Try a learning rate below 0.02." in findings(tmp_path, [steered, *rising], learning_rate=0.05)


@pytest.mark.parametrize("epochs", [20, 280, 700, 2_000, 3_000])
def test_overfitting_is_told_from_a_rising_loss_however_long_the_run(tmp_path, epochs):
    """Of a long run a curve's points lie some epochs apart."""
    entries = [
        record(e, elbo=-100 - 30 * abs(e - epochs / 2) / epochs, kl=9.0, active=12) for e in range(1, epochs + 1)
    ]
    for entry in entries:
        entry["loss"] = 100 - 30 * entry["epoch"] / epochs
    assert "Overfitting" in findings(tmp_path, entries, epochs=epochs)


def test_one_test_that_is_worse_is_no_course_of_a_long_run(tmp_path):
    """Late in a long run tests are many epochs apart."""
    entries = [record(30 * e, elbo=-100 + e if e < 50 else -70, kl=9.0, active=12) for e in range(1, 51)]
    assert not findings(tmp_path, entries, epochs=3_000)


def test_a_range_of_beta_is_advised_what_it_can_follow(tmp_path):
    config = RunConfig(ModelConfig((1, 8, 8), 16, beta_range=(0.5, 10.0)), TrainConfig(epochs=20))
    collapsed = curves_of(tmp_path, [record(e, elbo=-100, kl=0.02, active=0) for e in range(1, 7)])
    (finding,) = diagnose(config, collapsed)
    assert "a range of β that begins below 0.5" in finding.text


@pytest.mark.parametrize(("last", "told"), [(29, False), (30, True)])
def test_a_very_long_run_is_judged_after_some_thousand_steps(tmp_path, last, told):
    entries = [record(e, elbo=-100, kl=0.02, active=0, step=100 * e) for e in range(1, last + 1)]
    assert ("collapsed" in findings(tmp_path, entries, epochs=20_000)) == told


def test_tcvae_is_advised_what_it_can_follow(tmp_path):
    """Its β does not weigh the KL, and it takes no free bits."""
    changes = {"objective": "beta-tcvae"}
    collapsed = findings(tmp_path, [record(e, elbo=-100, kl=0.02, active=0) for e in range(1, 7)], **changes)
    assert "β-VAE with free bits" in collapsed
    far = findings(tmp_path, [record(e, elbo=-100, kl=68.0, active=16, spread=7.4) for e in range(1, 7)], **changes)
    assert "Try β-VAE" in far
    assert "Raise β" not in far
    zero = [record(e, elbo=-100, kl=9.0, active=12, beta=0.0) for e in range(1, 7)]
    assert not findings(tmp_path, zero, **changes)


def test_iwae_is_advised_what_it_can_follow_and_judged_by_its_bound(tmp_path):
    """It has no β, and its ELBO may fall while its bound rises."""
    changes = {"objective": "iwae", "importance_samples": 5}
    for entries in (
        [record(e, elbo=-100, kl=0.02, active=0) for e in range(1, 7)],
        [record(e, elbo=-100, kl=9.0, active=3) for e in range(1, 7)],
    ):
        text = findings(tmp_path, entries, **changes)
        assert "Try more importance samples" in text
        assert "a β below" not in text
    far = findings(tmp_path, [record(e, elbo=-100, kl=68.0, active=16, spread=7.4) for e in range(1, 7)], **changes)
    assert "Try β-VAE" in far
    worse = [record(e, elbo=-100 - 2 * e, kl=9.0, active=12, test_loss=95 - e) for e in range(1, 13)]
    assert not findings(tmp_path, worse, **changes)
    rising = [entry | {"test_loss": 95 + entry["epoch"]} for entry in worse]
    assert "lowest at epoch 1 and has risen by 10.0 nats" in findings(tmp_path, rising, **changes)


def test_a_run_is_judged_by_what_it_minimises_after_its_warm_up(tmp_path):
    """At β = 0 reconstructions get better while the ELBO falls; under a warm-up the loss rises with β."""
    plain = [record(e, elbo=-100 - 2 * e, kl=5.0 + 4 * e, active=12, beta=0.0) for e in range(1, 13)]
    assert "plain autoencoder" in findings(tmp_path, plain, beta=0.0)
    assert "verfitting" not in findings(tmp_path, plain, beta=0.0)
    assert "rising" not in findings(tmp_path, plain, beta=0.0)
    warming = [record(e, elbo=-100.0, kl=40.0, active=12, beta=min(1.0, e / 6)) for e in range(1, 15)]
    assert not findings(tmp_path, warming, beta=1.0, kl_warmup=6.0)
    assert "lowest at epoch 1 " in findings(tmp_path, warming, beta=1.0)


def test_the_test_loss_is_the_one_that_is_recorded(tmp_path):
    """Where training minimises something else than reconstruction + β·KL."""
    entries = [record(1.0, elbo=-60.0, beta=4.0), record(2.0, elbo=-50.0, beta=4.0, test_loss=47.5)]
    np.testing.assert_allclose(curves_of(tmp_path, entries).test()["loss"], [75.0, 47.5])


def test_codes_far_outside_the_prior_are_told(tmp_path):
    entries = [record(e, elbo=-100, kl=68.0, active=16, spread=7.4) for e in range(1, 7)]
    text = findings(tmp_path, entries)
    assert "Codes spread wider than the prior" in text
    assert "7.4" in text
    assert "Try a β above 1." in text
    ranged = ModelConfig((1, 8, 8), 16, beta_range=(0.001, 0.01))
    assert "Try a range of β that ends above 0.01." in findings(tmp_path, entries, model=ranged)
    for entry in entries:
        del entry["test"]["second_moment"]
    assert not findings(tmp_path, entries)


def test_unused_dimensions_are_told(tmp_path):
    entries = [record(e, elbo=-100, kl=9.0, active=3) for e in range(1, 7)]
    assert "Only 3 of 16" in findings(tmp_path, entries)
    assert not findings(tmp_path, entries[:5])


def test_the_plain_autoencoder_is_told(tmp_path):
    assert "plain autoencoder" in findings(tmp_path, [record(e, elbo=-100, kl=9.0, beta=0.0) for e in range(1, 7)])


def test_overfitting_is_told_apart_from_a_rising_loss(tmp_path):
    course = [-100 + 5 * e if e < 6 else -70 - 4 * (e - 6) for e in range(1, 16)]
    entries = [record(e, elbo=elbo, kl=9.0, active=12) for e, elbo in enumerate(course, start=1)]
    assert "Overfitting: the test loss was lowest at epoch 6" in findings(tmp_path, entries)
    rising = [entry | {"loss": -entry["test"]["elbo"]} for entry in entries]
    assert "learning rate below 0.001" in findings(tmp_path, rising)


def test_what_steering_does_is_not_called_a_fault(tmp_path):
    course = [-100 + 5 * e if e < 6 else -70 - 4 * (e - 6) for e in range(1, 16)]
    entries = [record(e, elbo=elbo, kl=9.0, active=12) for e, elbo in enumerate(course, start=1)]
    event = {"event": "steered", "step": 70, "epoch": 7.0, "beta": 4.0, "learning_rate": 1e-3}
    assert not findings(tmp_path, [*entries, event])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config = RunConfig(ModelConfig((1, 8, 8), widths=(32,)), TrainConfig(epochs=3))
    run = runs.create(config, tmp_path_factory.mktemp("runs") / "run")
    assert train_run(run) == "finished"
    return run


LOOK = replay.Look((255, 255, 255), (0, 0, 0))


def test_the_replay_has_a_frame_an_epoch_and_each_is_different(trained):
    frames, names = replay.frames(trained, LOOK)
    assert names == ["epoch 0", "epoch 1", "epoch 2", "epoch 3"]
    assert frames.shape[0] == 4
    assert frames.shape[3] == replay.WIDTH
    assert frames.dtype == np.uint8
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


@pytest.mark.parametrize("corner", [(0, 0), (199, 0), (0, 199), (199, 199)])
def test_the_name_of_a_class_at_the_edge_is_as_whole_as_in_the_middle(corner):
    def ink(place):
        picture = Image.new("RGB", (200, 200), LOOK.ground)
        points = np.array([place, (100.0, 100.0)])  # the second has no name
        replay._name_classes(picture, points, np.array([0, 1]), ("circle",), LOOK)
        return (np.asarray(picture) < 128).sum()

    assert ink(corner) == pytest.approx(ink((50, 50)), rel=0.1)


def test_a_long_run_is_replayed_in_few_frames_with_the_last(trained, monkeypatch):
    monkeypatch.setattr(replay, "FRAMES", 3)
    _, names = replay.frames(trained, LOOK)
    assert (names[0], names[-1], len(names)) == ("epoch 0", "epoch 3", 3)


def test_pictures_keep_their_pixels_at_a_whole_multiple():
    given = np.random.default_rng(0).integers(0, 256, (16, 1, 8, 8), dtype=np.uint8)
    drawn = replay.picture_rows([given], LOOK)
    scale = drawn.shape[1] // 8
    assert drawn.shape == (3, 8 * scale, replay.WIDTH)
    np.testing.assert_array_equal(drawn[0, ::scale, : 8 * scale : scale], given[0, 0])


def test_pictures_of_32_pixels_fill_the_width():
    drawn = replay.picture_rows([np.full((16, 1, 32, 32), 7, np.uint8)], LOOK)
    assert (drawn == 7).all()


@pytest.mark.parametrize("side", [8, 28, 32, 64, 200])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_pictures_of_any_size_and_number_fit(side, count):
    given = np.full((count, 3, side, side), 7, np.uint8)
    rows = replay.reconstruction_rows(given, given)
    assert replay.picture_rows(rows, LOOK, together=2).shape[2] == replay.WIDTH


def test_codes_are_drawn_in_the_plane_itself_for_two_dimensions_else_by_pca():
    mu = np.random.default_rng(0).normal(size=(200, 2))
    np.testing.assert_allclose(replay.plane_of(mu).project(mu), mu)
    deep = np.concatenate([3 * mu, 0.01 * np.ones((200, 3))], axis=1)
    spread = replay.plane_of(deep).project(deep)
    assert spread.shape == (200, 2)
    np.testing.assert_allclose(np.square(spread).sum(), np.square(deep - deep.mean(0)).sum(), rtol=1e-6)


def test_the_plane_holds_every_code_with_its_whole_dot():
    mu = np.random.default_rng(0).normal(size=(500, 2))
    mu[:3] = [9.0, 0.0], [0.0, -8.0], [-7.0, 7.0]
    drawn = replay.latent_map(mu, None, (), replay.plane_of(mu), LOOK)
    assert (drawn[:, [0, -1]] == 255).all()
    assert (drawn[:, :, [0, -1]] == 255).all()
    assert np.abs(mu).max() < replay.plane_of(mu).half
    assert replay.plane_of(mu / 9, mu).half == replay.plane_of(mu).half


def test_a_map_of_codes_that_are_all_equal_can_be_drawn():
    mu = np.zeros((50, 2), np.float32)
    assert replay.latent_map(mu, np.zeros(50, int), ("a",), replay.plane_of(mu), LOOK).shape[2] == replay.WIDTH


def test_the_csv_has_a_row_a_record_and_a_column_a_number(trained):
    rows = list(csv.DictReader(io.StringIO(metrics_csv(trained.metrics()).decode())))
    metrics = trained.metrics()
    assert len(rows) == len(metrics.records)
    assert float(rows[-1]["test_elbo"]) == metrics.tests[-1]["test"]["elbo"]
    assert float(rows[0]["kl_1"]) == metrics.records[0]["kl_per_dimension"][0]
    assert rows[0]["epoch"] == str(metrics.records[0]["epoch"])


def test_beta_is_offered_from_nothing_evenly_on_the_logarithm():
    assert BETAS[0] == 0
    assert {0.01, 0.1, 1.0, 4.0, 10.0, 100.0} <= set(BETAS)
    steps = np.diff(np.log(BETAS[1:]))
    assert steps.min() > 0.2
    assert steps.max() < 0.6


def test_every_preset_can_be_trained():
    shapes = {"digits": 8, "sprites": 32, "sprites-64": 64, "mnist": 28, "fashion-mnist": 28, "cifar10": 32}
    assert set(PRESETS) == set(data.NAMES)
    for name, preset in PRESETS.items():
        shape = (3 if name == "cifar10" else 1, shapes[name], shapes[name])
        ModelConfig(shape, preset.latent_dim, preset.arch, preset.likelihood)
        TrainConfig(name, preset.epochs, preset.batch_size, preset.learning_rate)
        assert preset.learning_rate in LEARNING_RATES
