"""Posterior collapse and holes, run as Streamlit runs it: every shipped model, the three that are made, links."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.opening import open_at
from tests.waiting import PATIENCE, until
from ui import failure_runs, failure_view, launching, seen_codes, state
from vae_core import checkpoint, data, failures, holes, latent, runs
from vae_core.evaluate import encode
from vae_core.failures import VERDICTS
from vae_core.model import ModelConfig
from vae_core.worker import train_run

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.safetensors"))
PAGE = "pages/understand/posterior_collapse_and_holes.py"
RANGED = "digits-beta"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("VAE_HOSTED", "0")


def open_page(model: str = RANGED, **settings: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    for name, value in {"model": model, **settings}.items():
        app.query_params[name] = value
    app.run().switch_page(PAGE)
    until(lambda: not [button for button in ran(app).button if button.key == "collapse_seen_stop"])
    return app


def looking_at(place: str) -> AppTest:
    app = open_page()
    app.text_input(key="collapse_z").set_value(place)
    return ran(app)


def ran(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    assert not app.error
    return app


def row(app: AppTest, name: str) -> list[float]:
    table = app.table[0].value
    return [float(value.replace("−", "-").rstrip("%").split()[0]) for value in table.loc[name]]


def texts(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption])


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_every_shipped_model_has_its_numbers(path):
    """A range has its two ends and the chosen β, and the numbers are those of its snapshots, summed here anew."""
    found = checkpoint.load(path)
    app = open_page(path.stem)
    if found.betas:
        ends = [(found.betas.mu[i], found.betas.logvar[i], found.betas.reconstruction[i]) for i in (0, -1)]
        shown = (row(app, "KL, nats")[0], row(app, "KL, nats")[-1])
        assert app.table[0].value.shape[1] == 3
    else:
        snapshot = found.snapshot
        ends = [(snapshot.mu[:1000], snapshot.logvar[:1000], snapshot.reconstruction[:1000])]
        shown = row(app, "KL, nats")
        assert [button.label for button in app.button if button.key == "collapse_make"] == ["Make them"]
    for (mu, logvar, cost), kl, elbo in zip(ends, shown, row(app, "ELBO, nats")[:: max(1, len(ends))], strict=True):
        rate = 0.5 * (mu.astype(float) ** 2 + np.exp(logvar.astype(float)) - 1 - logvar).sum(1).mean()
        assert kl == pytest.approx(rate, abs=0.006)
        assert elbo == pytest.approx(-(rate + cost.mean(dtype=float)), abs=0.01)


def test_a_range_shows_both_failures_and_neither():
    app = open_page()
    assert [heading.value for heading in app.subheader] == ["β = 0.01", "β = 1", "β = 10"]
    for verdict in ("holes", "neither", "collapse"):
        assert VERDICTS[verdict] in texts(app)
    shares = row(app, "Samples from the prior in holes")
    assert shares[0] > 30 > 5 > shares[1] >= shares[2]
    assert row(app, "Active units") == [2, 2, 0]
    widths = app.table[0].value.loc["σ of q(z|x), median over active dimensions"]
    assert ["all are silent" in width for width in widths] == [False, False, True]
    assert "with a variance of at most 0.01; else it is active" in texts(app)


def test_every_page_has_the_same_information():
    app = open_page()
    (name,) = (name for name in app.table[0].value.index if name.startswith("I(x; z)"))
    value = row(app, name)[1]
    beta = open_at("pages/explore/beta.py", model=RANGED, beta_section="Information")
    (said,) = (metric.value for metric in beta.metric if metric.label == "= I(x; z)")
    assert said == f"{value:.2f} nats"
    assert f": {value:.3f} ± " in texts(open_at("pages/understand/derivation.py", model=RANGED))


def test_the_maps_have_one_scale_unless_it_is_switched_off(monkeypatch):
    made, props = failure_view.latent_map_props, []

    def kept(*arguments, **settings):
        props.append(made(*arguments, **settings))
        return props[-1]

    monkeypatch.setattr(failure_view, "latent_map_props", kept)
    app = open_page()
    extents = [one["extent"] for one in props[-3:]]
    assert extents[0] == extents[1] == extents[2]
    (x0, y0), (x1, y1) = extents[0]
    taken = checkpoint.load(ROOT / "checkpoints" / f"{RANGED}.safetensors").betas
    widest = taken.mu[0].astype(float)
    inside = ((widest >= (x0, y0)) & (widest <= (x1, y1))).mean(0)
    assert (inside >= 0.985).all()
    assert max(x0, y0) <= -3 <= 3 <= min(x1, y1)
    app.toggle(key="collapse_same_scale").set_value(False)
    ran(app)
    assert [one["extent"] for one in props[-3:]] == [None] * 3


def test_the_middle_follows_the_beta_of_the_frame():
    app = open_page(beta="0.1")
    assert [heading.value for heading in app.subheader] == ["β = 0.01", "β = 0.1", "β = 10"]
    app = open_page(beta="10")
    assert [heading.value for heading in app.subheader] == ["β = 0.01", "β = 10"]


def test_any_place_can_be_looked_at():
    app = looking_at("z:0.5,-1")
    shipped = checkpoint.load(ROOT / "checkpoints" / f"{RANGED}.safetensors")
    mu, logvar = encode(shipped.model.at(0.01), data.load("digits").train.images)
    place = state.resolve("z:0.5,-1", shipped).z[None]
    depth = holes.hole_depth(place, mu.astype(np.float16), logvar.astype(np.float16))[0]
    assert f"= {-depth:,.1f} nats".replace("-", "−") in texts(app)


@pytest.mark.parametrize("place", ["z:1,2,3", "z:nan,0", "nonsense", ""])
def test_a_place_that_is_none_does_no_harm(place):
    assert "log q(z) − log p(z)" in texts(looking_at(place))


def test_a_place_in_other_dimensions_is_forgotten_with_its_model():
    app = looking_at("z:0.5,-1")
    app.session_state["model"] = "mnist-d16-beta"
    ran(app)
    assert not app.warning
    assert app.session_state["collapse_z"] == ""


def test_of_a_place_that_is_none_is_said_what_is_wrong():
    assert "names no point" in looking_at("z:1,2,3").warning[0].value
    assert not looking_at("").warning


def test_holes_are_those_of_the_images_that_the_decoder_was_trained_on():
    """The shares in the table, summed here anew over draws from the prior, to five standard errors."""
    app, shipped = open_page(), checkpoint.load(ROOT / "checkpoints" / f"{RANGED}.safetensors")
    images, z = data.load("digits").train.images, latent.sample_prior(4000, 2, 1)
    for beta, share in zip((0.01, 1.0, 10.0), row(app, "Samples from the prior in holes"), strict=True):
        expected = (holes.hole_depth(z, *encode(shipped.model.at(beta), images)) > holes.HOLE_NATS).mean()
        assert share / 100 == pytest.approx(expected, abs=5 * 0.008)
    assert "where the decoder has hardly been trained" in texts(app)
    assert "of all 1,500 training images" in texts(app)


def test_without_the_training_images_nothing_is_said_of_what_the_decoder_was_trained_on(monkeypatch):
    monkeypatch.setattr(seen_codes.caching, "train_images", lambda *_: None)
    app = open_page()
    assert "hardly been trained" not in texts(app)
    assert "so few images cannot tell holes" in texts(app)
    assert "blur_on" not in texts(app)


@pytest.mark.parametrize("model", ["mnist-d2-beta", RANGED])
def test_where_no_beta_collapses_the_model_one_that_does_is_offered(model):
    app = open_page(model)
    offered = [button.key for button in app.button if (button.key or "").startswith("collapse_open_")]
    assert ("is not enough to collapse" in texts(app)) == (model != RANGED)
    assert offered == ([f"collapse_open_{RANGED}"] if model != RANGED else [])


def test_models_that_need_no_training_are_introduced():
    assert "Or, without training, one model at three β:" in texts(open_page("digits-d2"))


def tiny(_model=None, _train=None):
    model = ModelConfig((1, 8, 8), widths=(16,))
    return failure_runs._trio(model, {"dataset": "digits", "epochs": 2, "batch_size": 256})


def test_the_three_are_made_and_shown(monkeypatch):
    def at_once(configs):
        for config in configs:
            train_run(runs.create(config))

    monkeypatch.setattr(failure_runs, "alike", tiny)
    monkeypatch.setattr(launching, "start_sweep", at_once)
    app = open_page("digits-d2")
    assert [heading.value for heading in app.subheader] == ["β = 1"]
    app.button(key="collapse_make").click()
    ran(app)
    assert [heading.value for heading in app.subheader] == ["β = 0", "β = 1", "β = 100"]
    assert not [button for button in app.button if button.key == "collapse_make"]
    again = open_page("digits-d2")
    assert len(again.subheader) == 3


def test_a_run_in_training_can_be_stopped(monkeypatch):
    monkeypatch.setattr(failure_runs, "alike", tiny)
    first = runs.create(tiny()[0])
    first.write_state(status="queued")
    app = open_page("digits-d2")
    app.button(key="collapse_stop").click()
    ran(app)
    assert first.control()["command"] == "stop"


def test_the_three_differ_in_beta_alone_and_nothing_softens_them():
    softened = {"dataset": "digits", "epochs": 100_000, "kl_warmup": 5.0, "free_bits": 0.5, "beta": 4.0, "seed": 3}
    model = ModelConfig((1, 8, 8), 3, likelihood="gaussian", beta_range=(0.1, 2.0))
    found = failure_runs.alike(model, softened)
    assert [config.train.beta for config in found] == [0, 1, 1000]
    assert {config.model for config in found} == {replace(model, beta_range=None)}
    (train,) = {replace(config.train, beta=1.0) for config in found}
    assert (train.kl_warmup, train.free_bits, train.seed) == (0, 0, 3)
    assert train.epochs == 600_000 // 1500


def shown(mu: np.ndarray, sigma: float) -> failure_view.Shown:
    snapshot = checkpoint.LatentSnapshot(
        mu.astype(np.float32), np.full(mu.shape, 2 * np.log(sigma), np.float32), np.zeros(len(mu), np.float32)
    )
    found = checkpoint.load(ROOT / "checkpoints" / "digits-d2.safetensors")
    entry = state.Entry("x", ROOT / "checkpoints" / "digits-d2.safetensors")
    return failure_view.Shown(entry, replace(found, snapshot=snapshot), failures.examine(snapshot, 1.0))


@pytest.mark.parametrize("d", [1, 2])
def test_what_is_hatched_is_what_lies_in_a_hole(d):
    """All codes far to the right: the left half of the prior is a hole, and nothing is hatched beyond 3 σ."""
    model = shown(np.full((40, d), 1.5), 0.7)
    background = failure_view._hatched(f"right {d}", False, model.plane_codes)
    x = np.linspace(-3.5, 3.5, background.image.shape[1])
    middle = background.image[len(background.image) // 2, :, 3] > 0
    assert background.extent == (-3.5, 3.5, -3.5, 3.5)
    at = np.array([[-2.5], [-1.0], [0.5], [2.0], [3.3]])
    at = np.pad(at, ((0, 0), (0, d - 1)))
    in_hole = failure_view.depths(model, at) > holes.HOLE_NATS
    for place, hole in zip(at[:, 0], in_hole, strict=True):
        assert middle[np.abs(x - place).argmin()] == (hole and abs(place) < 3)
    assert in_hole.any()
    assert not in_hole.all()
