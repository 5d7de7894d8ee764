"""The page of β, run as Streamlit runs it: every shipped model, what stands at which β, links, files."""

import json
import os
import time

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.opening import CHECKPOINTS, open_at, ran
from tests.toys import build
from ui import state
from vae_core import checkpoint, data, rate_distortion, runs
from vae_core.checkpoint import Checkpoint
from vae_core.evaluate import snapshot
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.train_config import TrainConfig

RANGED = "digits-beta"
SECTIONS = "Curve", "Latent dimensions", "Information", "Aggregate posterior", "Disentanglement"


def open_page(model: str = RANGED, page: str = "pages/explore/beta.py", **settings: str) -> AppTest:
    return open_at(page, model=model, **settings)


def metric(app: AppTest, label: str) -> str:
    return next(metric.value for metric in app.metric if metric.label == label)


def number(app: AppTest, label: str) -> float:
    return float(metric(app, label).split()[0].replace("−", "-"))


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_every_shipped_model_has_its_numbers(path):
    """D and R are those of the checkpoint's own snapshots, summed here anew; D + βR is their sum."""
    found = checkpoint.load(path)
    beta = found.model.config.default_beta if found.betas else found.record["beta"]
    if found.betas:
        at = int(abs(np.log(found.betas.betas / beta)).argmin())
        mu, logvar, cost = (
            row[at].astype(float) for row in (found.betas.mu, found.betas.logvar, found.betas.reconstruction)
        )
    else:
        mu, logvar, cost = (
            row[:1000] for row in (found.snapshot.mu, found.snapshot.logvar, found.snapshot.reconstruction)
        )
    rate = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar).sum(1).mean()
    app = open_page(path.stem)
    assert not app.error
    assert number(app, "Rate R") == pytest.approx(rate, abs=0.02)
    assert number(app, "Distortion D") == pytest.approx(cost.mean(), abs=0.02)
    assert number(app, "D + βR") == pytest.approx(cost.mean() + beta * rate, abs=0.05)
    assert bool(app.info) == (found.betas is None)


def test_a_model_of_one_beta_leads_to_one_of_a_range():
    app = open_page("digits-d2")
    app.button(key=f"beta_open_{RANGED}").click()
    assert ran(app).session_state["model"] == RANGED
    assert not app.info


def test_the_caption_speaks_of_several_betas_only_where_there_are_some():
    app, captions = open_page("digits-d2"), []
    for beside in ([], [RANGED]):
        app.multiselect(key="beta_beside_digits-d2").set_value(beside)
        captions += [text.value for text in ran(app).caption if text.value.startswith("Averages")]
    alone, with_a_range = captions
    assert "with one posterior draw each" in alone
    assert "every β" not in alone
    assert "the same noise at every β; models of one β with one draw" in with_a_range


def test_a_link_names_a_beta_and_the_frame_s_slider_moves_it():
    app = open_page(beta="0.1")
    assert metric(app, "β") == "0.1"
    low = number(app, "Distortion D")
    app.select_slider(key="beta").set_value(10.0)
    ran(app)
    assert metric(app, "β") == "10"
    assert number(app, "Distortion D") > low
    assert app.query_params["beta"] == "10"
    assert metric(app, "Active units") == "0 of 2"


def test_a_visit_to_train_has_no_slider_for_the_model_s_beta_and_does_not_lose_it():
    app = open_page(beta="0.1")
    ran(app.switch_page("pages/train/train.py"))
    for _ in range(2):
        assert "beta" not in [slider.key for slider in ran(app).select_slider]
        assert app.query_params["beta"] == "0.1"
    app.query_params.clear()  # as the links of the navigation do
    assert metric(ran(app.switch_page("pages/explore/beta.py")), "β") == "0.1"
    assert app.select_slider(key="beta").value == 0.1


def test_an_address_that_the_app_has_not_written_is_followed_as_by_the_browser_s_back():
    app = open_page(beta="0.1")
    app.select_slider(key="beta").set_value(10.0)
    ran(app)
    app.query_params["beta"] = "0.1"
    assert metric(ran(app), "β") == "0.1"
    app.query_params["model"] = "digits-d2"
    assert ran(app).session_state["model"] == "digits-d2"


@pytest.mark.parametrize("asked", ["0", "nan", "1e99", "seven"])
def test_any_text_for_beta_is_a_beta(asked):
    app = open_page(beta=asked)
    assert not app.error
    assert 0.01 <= app.session_state["beta"] <= 10


@pytest.mark.parametrize(("asked", "shown"), [({}, "1"), ({"beta": "0.3"}, "0.316"), ({"beta": "seven"}, "1")])
def test_a_run_of_a_range_that_rests_before_its_end_has_its_page(monkeypatch, tmp_path, asked, shown):
    """Its checkpoint holds no curve yet, so that the frame has no slider for β: the strip chooses it."""
    monkeypatch.setenv("VAE_RUNS", str(tmp_path))
    model = build(widths=(8,), beta_range=(0.1, 10))
    config = RunConfig(model.config, TrainConfig("digits"))
    run = runs.create(config, tmp_path / config.name)
    taken = snapshot(model, data.load("digits").test, 50)
    checkpoint.save(run.checkpoint, Checkpoint(model, {"train": config.train.to_dict()}, taken))
    app = open_page(f"run-{run.name}", **asked)
    assert not app.error
    assert metric(app, "β") == shown
    app.session_state["beta"] = 4.642
    assert metric(ran(app), "β") == "4.64"


def save_trained_so(path, model="digits-d2", **train) -> None:
    found = checkpoint.load(next(one for one in CHECKPOINTS if one.stem == model))
    record = found.record | {"beta": train.get("beta", 1.0), "train": found.record["train"] | train}
    checkpoint.save(path, Checkpoint(found.model, record, found.snapshot))


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("model", ["digits-d2", "sprites"])
def test_an_autoencoder_has_every_section(monkeypatch, tmp_path, model, section):
    """β = 0 has no logarithm."""
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    save_trained_so(tmp_path / "none.safetensors", model, beta=0.0)
    app = open_page("none", beta_section=section)
    assert metric(app, "β") == "0"
    assert number(app, "D + βR") == number(app, "Distortion D")


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"objective": "beta-tcvae", "beta": 4.0}, "total correlation"),
        ({"objective": "iwae", "importance_samples": 5}, "importance-weighted"),
    ],
)
def test_what_another_objective_brings_down_is_not_said_to_be_d_plus_beta_r(monkeypatch, tmp_path, train, said):
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    save_trained_so(tmp_path / "other.safetensors", **train)
    app = open_page("other")
    about = next(metric.help for metric in app.metric if metric.label == "D + βR")
    assert said in about
    assert "What training brings down" not in about
    assert not any("training leads to the lower left" in text.value for text in app.markdown)


def test_the_models_beside_it_are_those_that_were_chosen_and_new_ones_until_then(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    ranged = next(path for path in CHECKPOINTS if path.stem == RANGED)
    (tmp_path / ranged.name).write_bytes(ranged.read_bytes())
    save_trained_so(tmp_path / "three.safetensors", beta=3.0)
    app, key = open_page(), f"beta_beside_{RANGED}"

    def back():
        ran(app.switch_page("pages/start/home.py"))
        return ran(app.switch_page("pages/explore/beta.py")).multiselect(key=key).value

    assert app.multiselect(key=key).value == ["three"]
    save_trained_so(tmp_path / "seven.safetensors", beta=7.0)
    assert sorted(back()) == ["seven", "three"]
    app.multiselect(key=key).set_value(["seven"])
    ran(app)
    assert back() == ["seven"]
    (tmp_path / "seven.safetensors").unlink()
    assert back() == []


def test_other_pages_follow_beta():
    """Reconstruct shows the very picture at two β: the KL of its code falls, and its reconstruction gets worse."""
    low, high = (open_page(page="pages/explore/reconstruct.py", beta=beta) for beta in ("0.1", "4.642"))
    assert number(low, "KL") > number(high, "KL") + 1
    assert number(low, "Reconstruction") < number(high, "Reconstruction")


def test_the_dimensions_have_a_section():
    app = open_page(beta_section="Latent dimensions")
    assert len(app.get("plotly_chart")) == 2
    assert any("has a variance over 0.01" in text.value for text in app.markdown)


def test_dimensions_beyond_the_chart_are_counted(monkeypatch, tmp_path):
    test = data.load("digits").test
    model = build(latent_dim=18, widths=(8,), beta_range=(0.1, 10))
    betas = rate_distortion.beta_snapshot(model, test.images[:50])
    record = {"train": {"dataset": "digits", "beta": 1.0}}
    checkpoint.save(tmp_path / "wide.safetensors", Checkpoint(model, record, snapshot(model, test, 50), betas))
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    app = open_page("wide", beta_section="Latent dimensions")
    assert any("2 more have less" in caption.value for caption in app.caption)


def test_a_sweep_queues_a_run_for_each_beta(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_RUNS", str(tmp_path))
    launched = []
    monkeypatch.setattr("ui.launching.launch", lambda run, *, in_turn: launched.append((run, in_turn)))
    app = open_page()
    app.multiselect(key="beta_sweep_betas").set_value([4.0, 0.3])
    app.number_input(key=f"beta_sweep_epochs_{RANGED}").set_value(2)
    app.button(key="beta_sweep_start").click()
    ran(app)
    configs = [run.config() for run, _ in launched]
    assert [config.train.beta for config in configs] == [0.3, 4.0]
    assert all(in_turn for _, in_turn in launched)
    assert {config.model.beta_range for config in configs} == {None}
    assert {config.train.epochs for config in configs} == {2}
    assert {(config.train.dataset, config.model.latent_dim) for config in configs} == {("digits", 2)}


def test_runs_in_training_are_noticed_where_they_belong_on_the_axes(monkeypatch, tmp_path):
    """As after a reload, when the session has forgotten what it asked for."""
    monkeypatch.setenv("VAE_RUNS", str(tmp_path))
    stops = []
    for dataset, shape in (("digits", (1, 8, 8)), ("sprites", (1, 32, 32))):
        config = RunConfig(ModelConfig(shape), TrainConfig(dataset=dataset, beta=0.3))
        run = runs.create(config, tmp_path / config.name)
        queued = {"status": "queued", "pid": os.getpid(), "updated": time.time()}
        (run.path / "state.json").write_text(json.dumps(queued))
        assert run.state()["status"] == "queued"
        stops.append(f"beta_stop_{run.name}")
    keys = [button.key for button in open_page().button]
    assert stops[0] in keys
    assert stops[1] not in keys


def test_a_demo_has_short_sweeps(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_HOSTED", "1")
    monkeypatch.setenv("VAE_RUNS", str(tmp_path))
    app = open_page()
    assert len(app.multiselect(key="beta_sweep_betas").value) == 3


def test_on_a_demo_nobody_stops_the_run_of_another_who_asked_for_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_HOSTED", "1")
    monkeypatch.setenv("VAE_RUNS", str(tmp_path))
    queued = {"status": "queued", "pid": os.getpid()}
    monkeypatch.setattr("ui.launching.launch", lambda run, *, in_turn: run.write_state(**queued, in_turn=in_turn))

    def asked():
        app = open_page()
        app.multiselect(key="beta_sweep_betas").set_value([0.3])
        app.button(key="beta_sweep_start").click()
        return ran(ran(app))

    first, second = asked(), asked()
    (run,) = runs.list_runs()
    stop = f"beta_stop_{run.name}"
    assert stop in [button.key for button in first.button]
    assert stop not in [button.key for button in second.button]
    first.button(key=stop).click()
    ran(first)
    assert run.control()["command"] == "stop"


def test_other_pictures_are_in_the_address():
    app = open_page()
    assert "beta_seed" not in app.query_params
    next(button for button in app.button if button.label == "Other pictures").click()
    assert ran(app).query_params["beta_seed"] == "1"
    assert open_page(beta_seed="7").session_state["beta_seed"] == 7
    for nonsense in ("-1", "x", "9" * 40):
        assert open_page(beta_seed=nonsense).session_state["beta_seed"] == 0
