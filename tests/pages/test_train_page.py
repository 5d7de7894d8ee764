"""The Train page, run as Streamlit runs it, with trainers of its own."""

import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.waiting import PATIENCE, until
from ui import caching, run_watch, state, train_form, ways
from ui.layout import plain
from ui.ways import SECTIONS
from vae_core import data, hosted, imaging, runs
from vae_core.errors import UserError
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.runs import Run
from vae_core.train import Diverged
from vae_core.train_config import TrainConfig
from vae_core.worker import train_run

ROOT = Path(__file__).resolve().parents[2]
PAGE = "pages/train/train.py"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("VAE_HOSTED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield tmp_path / "runs"
    for run in runs.list_runs():
        run.stop()
        until(lambda run=run: run.state()["status"] not in runs.LIVE)


@pytest.fixture
def here(monkeypatch):
    """Runs are trained at once in this process, not in one of their own."""

    def launch(run: Run, **_: bool) -> None:
        run.go_on()
        train_run(run)

    monkeypatch.setattr("ui.launching.launch", launch)


def open_page(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value
    return app.switch_page(PAGE).run()


def only_run() -> Run:
    (run,) = runs.list_runs()
    return run


def config(**changes) -> RunConfig:
    return RunConfig(ModelConfig((1, 8, 8), widths=(16,)), TrainConfig(**({"epochs": 2} | changes)))


def trained(**changes) -> Run:
    run = runs.create(config(**changes))
    train_run(run)
    return run


def texts(elements) -> str:
    return " ".join(str(element.value) for element in elements)


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def start(app: AppTest, epochs: int) -> AppTest:
    app.number_input("train_epochs_digits").set_value(epochs).run()
    app.button("train_start").click().run()
    assert not app.exception
    return app


def test_the_page_starts_with_a_form_for_the_embedded_data():
    app = open_page()
    assert not app.exception
    assert app.selectbox("train_data").value == "digits"
    assert "1,500 pictures to train on, 297 to test" in texts(app.caption)
    assert "No runs yet" in texts(app.caption)


@pytest.mark.parametrize("name", [name for name in data.NAMES if data.available(name)])
def test_every_data_set_at_hand_can_be_chosen(name):
    app = open_page()
    app.selectbox("train_data").set_value(name).run()
    assert not app.exception
    assert not app.error
    assert not app.button("train_start").disabled


@pytest.mark.usefixtures("here")
def test_the_objective_is_chosen_and_named_and_what_does_not_go_with_it_is_said():
    app = open_page(train_beta_digits="4")
    app.selectbox("train_objective").set_value("beta-tcvae").run()
    assert app.select_slider("train_beta_digits").value == 4
    app.number_input("train_free_bits").set_value(0.5).run()
    assert "Free bits of 0.5 nats and β-TCVAE do not go together" in texts(app.error)
    app.number_input("train_free_bits").set_value(0.0).run()
    assert not app.error
    start(app, 2)
    run = only_run()
    assert run.state()["status"] == "finished"
    train = caching.read_header(run.checkpoint)["record"]["train"]
    assert (train["objective"], train["beta"]) == ("beta-tcvae", 4)
    assert_called(f"Digits · d = 2 · β-TCVAE · β = 4 · {run.name[-4:]} · mlp", run)


def assert_called(name, run):
    """That the picker, the heading of Train and the table call the run alike; returns Train, at this run."""
    app = open_page(run=run.name)
    assert not app.exception
    assert app.subheader[0].value == plain(name)
    assert app.dataframe[0].value.iloc[0]["name"] == name
    assert name in app.selectbox("model").options
    return app


@pytest.mark.usefixtures("here")
def test_iwae_asks_for_its_samples_instead_of_a_beta():
    app = open_page(train_beta_digits="4")
    assert "train_samples" not in [field.key for field in app.number_input]
    app.selectbox("train_objective").set_value("iwae").run()
    assert "train_beta_digits" not in [slider.key for slider in app.select_slider]
    app.number_input("train_warmup").set_value(3).run()
    assert "A KL warm-up of 3 does not go with IWAE" in texts(app.error)
    app.number_input("train_warmup").set_value(0).run()
    app.number_input("train_samples").set_value(3).run()
    start(app, 2)
    run = only_run()
    assert run.state()["status"] == "finished"
    train = caching.read_header(run.checkpoint)["record"]["train"]
    assert (train["objective"], train["importance_samples"], train["beta"]) == ("iwae", 3, 1)
    app = assert_called(f"Digits · d = 2 · IWAE, K = 3 · {run.name[-4:]} · mlp", run)
    assert not [slider.key for slider in app.select_slider if "steer_beta" in str(slider.key)]
    losses = next(metric for metric in app.metric if metric.label == "Loss, test")
    shown = float(losses.value.removesuffix(" nats").replace("−", "-"))
    assert shown == pytest.approx(run.metrics().tests[-1]["test_loss"], abs=0.01)
    assert "importance-weighted bound" in losses.help


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("train_epochs_digits", 0, "The number of epochs 0 is not a whole number from 1 to 100,000."),
        ("train_d_digits", 0, "The latent size 0 is not a whole number from 1 to 128."),
        ("train_d_digits", 129, "The latent size 129 is not a whole number from 1 to 128."),
        ("train_warmup", -1, "The KL warm-up -1 is not a number from 0 to 100,000."),
        ("train_warmup", 1000, "A KL warm-up of 1000 epochs does not end within a training of"),
        ("train_seed", -1, "The seed -1 is not a whole number from 0"),
        ("train_free_bits", -0.5, "The free bits -0.5 is not a number from 0 to 100."),
    ],
)
def test_a_number_out_of_range_is_said_in_a_sentence(field, value, said):
    app = open_page()
    app.number_input(field).set_value(value).run()
    assert said in texts(app.error)
    assert app.button("train_start").disabled
    assert not app.exception


@pytest.mark.parametrize(
    ("hosted", "limit"), [("0", "A picture may have 40 MB, a zip 64 MB."), ("1", "30 MB together.")]
)
def test_the_limits_of_uploads_are_said_in_words(monkeypatch, hosted, limit):
    monkeypatch.setenv("VAE_HOSTED", hosted)
    app = open_page()
    app.selectbox("train_data").set_value("own").run()
    assert not app.exception
    assert limit in texts(app.caption)


def test_an_upload_that_is_refused_is_read_once_and_its_sentence_stays(monkeypatch, tmp_path):
    """Until there are other files."""
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    read, keep = [], train_form._keep
    monkeypatch.setattr(train_form, "_keep", lambda files, *rest: read.append(len(files)) or keep(files, *rest))
    pictures = [(f"{i}.png", imaging.png_bytes(Image.new("L", (28, 28), 20 * i)), "image/png") for i in range(10)]
    app = open_page()
    app.selectbox("train_data").set_value("own").run()
    for files, made, reads in ((pictures, True, 1), ([("note.png", b"no picture", "image/png")], False, 2)):
        app.file_uploader[0].set_value(files).run()
        for _ in range(3):
            assert not app.exception
            assert ("8 pictures to train on" in texts(app.caption)) == made
            assert len(app.error) == (not made)
            assert app.button("train_start").disabled == (not made)
            assert len(read) == reads
            app.run()
    app.file_uploader[0].set_value(pictures).run()
    assert "8 pictures to train on" in texts(app.caption)
    assert not app.error


def test_the_table_names_runs_shortly_and_leaves_out_what_is_not_known():
    run = runs.create(config())
    row = open_page().dataframe[0].value.iloc[0]
    assert row["name"] == f"Digits · d = 2 · β = 1 · {run.name[-4:]} · mlp"
    assert row["elbo"] != row["elbo"]  # not a number, so an empty cell


def test_another_likelihood_and_another_objective_are_named():
    model = ModelConfig((1, 8, 8), widths=(16,), likelihood="gaussian-optimal")
    run = runs.create(RunConfig(model, TrainConfig(epochs=2, objective="iwae", importance_samples=5)))
    app = open_page(run=run.name)
    assert re.search("IWAE, K = 5 · .{4} · mlp · Gaussian, optimal σ$", app.subheader[0].value)
    row = app.dataframe[0].value.iloc[0]
    assert row["likelihood"] == "Gaussian, optimal σ"
    assert row["beta"] != row["beta"], "IWAE has no β: an empty cell"


@pytest.mark.parametrize("then", ["running", "finished"])
def test_the_table_begins_and_stops_to_refresh_when_runs_begin_and_end(monkeypatch, then):
    """A run that has changed by the time that the table is drawn, as in the seconds after the page was."""
    run = runs.create(config())
    first = {"running": "finished", "finished": "running"}[then]
    statuses = iter([first])
    monkeypatch.setattr(Run, "state", lambda _: {"status": next(statuses, then), "message": "", "epoch": 0})

    def script():
        import streamlit as st

        from ui import run_table

        st.session_state["drawn"] = st.session_state.get("drawn", 0) + 1
        run_table.run_table()

    app = AppTest.from_function(script, default_timeout=PATIENCE).run()
    assert not app.exception
    assert app.session_state["drawn"] == 2
    assert app.dataframe[0].value["status"].tolist() == [then]
    monkeypatch.undo()
    run.delete()


def test_a_data_set_that_is_not_at_hand_is_offered_for_download(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    app = open_page()
    app.selectbox("train_data").set_value("mnist").run()
    assert "Download MNIST" in labels(app)
    assert app.button("train_start").disabled


def test_a_download_that_fails_is_said_in_a_sentence(monkeypatch, tmp_path):
    def fail(name, *, progress, **_):
        progress(0.5, "Downloading MNIST: 5 of 11 MB")
        raise UserError(f"{name} could not be downloaded: put its files into data/MNIST/raw, or use digits.")

    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    app = open_page()
    app.selectbox("train_data").set_value("mnist").run()
    monkeypatch.setattr(data, "load", fail)
    app.button("train_loading_start").click().run()
    assert "could not be downloaded" in texts(app.error)
    assert "Cancel" not in labels(app)
    assert not app.exception


def test_a_folder_that_takes_long_shows_progress_is_cancelled_and_started_again(monkeypatch, tmp_path):
    working, ended = threading.Event(), threading.Event()

    def slow(name, *, progress):  # noqa: ARG001
        working.set()
        try:
            while True:
                progress(0.25, "Reading pictures: 2 of 8")
                time.sleep(0.01)
        finally:
            ended.set()

    app = open_page()
    app.selectbox("train_data").set_value("folder").run()
    monkeypatch.setattr(data, "load", slow)
    app.text_input("train_folder").set_value(str(tmp_path)).run()
    assert working.is_set()
    assert not ended.is_set()
    assert [bar.value for bar in app.get("progress")] == [25]
    assert app.button("train_start").disabled
    app.button("train_loading_cancel").click().run()
    assert ended.wait(10)
    assert "Cancel" not in labels(app)
    assert not app.get("progress")
    monkeypatch.setattr(data, "load", lambda *_, **__: data._digits())
    app.button("train_loading_start").click().run()
    assert "1,500 pictures to train on" in texts(app.caption)
    assert not app.button("train_start").disabled
    assert not app.exception


def test_training_to_the_end_shows_curves_numbers_and_the_replay():
    app = start(open_page(), 3)
    run = only_run()
    assert app.query_params["run"] == run.name
    until(lambda: run.state()["status"] == "finished")
    app.run()
    assert not app.exception
    assert not app.error
    shown = [metric.label for metric in app.metric]
    assert shown[:4] == ["Loss, test", "Reconstruction, test", "KL, test", "Active units, epoch 3"]
    assert "has a variance over 0.01" in app.metric[3].help
    assert app.metric[2].help == "KL(q(z|x) ‖ p(z)), summed over dimensions: what the code costs."
    loss, reconstruction, kl = (float(metric.value.split()[0]) for metric in app.metric[:3])
    assert loss == pytest.approx(reconstruction + kl, abs=0.02)
    assert "ELBO, test, epoch 3" in shown
    assert "Resume" not in labels(app)
    assert str(run.path.parent) not in str(app)


def test_a_run_of_a_range_of_beta_says_so():
    run = runs.create(RunConfig(ModelConfig((1, 8, 8), widths=(16,), beta_range=(0.1, 10)), TrainConfig(epochs=5)))
    app = open_page(run=run.name)
    assert not app.exception
    assert "β 0.1–10" in texts(app.subheader)
    assert "every β from 0.1 to 10" in texts(app.caption)
    assert [slider.label for slider in app.select_slider if slider.key.startswith("train_steer")] == [
        "Learning rate now"
    ]
    row = app.dataframe[0].value.iloc[0]
    assert row["name"] == f"Digits · d = 2 · β 0.1–10 · {run.name[-4:]} · mlp"
    assert row["beta"] != row["beta"]  # not a number, so an empty cell


@pytest.mark.usefixtures("here")
def test_asking_for_what_exists_shows_it_at_once():
    app = start(open_page(), 2)
    run = only_run()
    assert run.state()["status"] == "finished"
    before = run.state()["updated"]
    again = start(open_page(), 2)
    assert only_run().state()["updated"] == before
    assert again.query_params["run"] == app.query_params["run"]
    assert "Loss, test" in [metric.label for metric in again.metric]


def test_a_run_is_paused_stepped_steered_and_stopped():
    app = start(open_page(), 100_000)
    run = only_run()
    until(lambda: run.state()["status"] == "running")
    app.run()
    app.button("train_do_go").click().run()
    until(lambda: run.state()["status"] == "paused")
    epoch = run.state()["epoch"]
    app.run()
    app.select_slider(f"train_steer_beta_{run.name}").set_value(4.0).run()
    app.button("train_do_step").click().run()
    until(lambda: run.state()["epoch"] == epoch + 1 and run.state()["status"] == "paused")
    assert run.metrics().events[-1]["beta"] == 4.0
    app.run()
    app.button("train_do_go").click().run()
    until(lambda: run.state()["status"] == "running")
    app.run()
    app.button("train_do_stop").click().run()
    until(lambda: run.state()["status"] == "stopped")
    assert "Resume" in labels(app.run())
    assert not app.exception


def test_what_another_tab_steers_shows_here_in_the_title_and_the_sliders():
    run = trained()
    run.write_state(status="stopped")
    app = open_page(run=run.name)
    beta, rate = f"train_steer_beta_{run.name}", f"train_steer_learning_rate_{run.name}"
    run.steer(beta=40, learning_rate=5e-4)
    app.run()
    assert not app.exception
    assert app.select_slider(beta).value == 40
    assert app.select_slider(rate).value == 5e-4
    assert app.select_slider(rate).options[0] == "0.00001"
    assert " · β = 1 → 40 · " in app.subheader[0].value
    app.select_slider(beta).set_value(4.0).run()
    assert run.control()["beta"] == app.select_slider(beta).value == 4
    row = app.dataframe[0].value.iloc[0]
    assert row["name"] == f"Digits · d = 2 · β = 1 → 4 · {run.name[-4:]} · mlp"
    assert row["beta"] == 4


@pytest.mark.parametrize("what", ["slider", "button"])
def test_of_a_run_that_another_tab_deletes_nothing_is_said_but_that(what):
    run = trained()
    run.write_state(status="stopped")
    app = open_page(run=run.name)
    run.delete()
    if what == "slider":
        app.select_slider(f"train_steer_beta_{run.name}").set_value(4.0).run()
    else:
        app.button("train_do_go").click().run()
    assert not app.exception
    assert not app.error
    assert ["is not here any more" in warning.value for warning in app.warning] == [True]


def test_a_run_that_is_not_the_selected_model_can_be_made_it():
    run = trained()
    app = open_page(run=run.name, model="digits-beta")
    app.button(key="train_use").click().run()
    assert app.session_state["model"] == f"run-{run.name}"
    (chosen,) = [name for name in app.selectbox("model").options if run.name[-4:] in name]
    assert app.subheader[0].value == plain(chosen)
    assert "Use this model" not in labels(app)


def test_runs_that_would_be_called_alike_show_more_of_their_names(folder):
    for name in ("a-0000abcd", "b-1111abcd", "c-2222dcba"):
        (folder / name).mkdir(parents=True)
    model, train = ModelConfig((1, 8, 8)).to_dict(), TrainConfig(dataset="digits").to_dict()
    tags = [state.name(model, train, run=name).split(" · ")[-2] for name in ("a-0000abcd", "b-1111abcd", "c-2222dcba")]
    assert tags == ["0000abcd", "1111abcd", "dcba"]


def test_a_run_opens_in_every_page():
    run = trained()
    app = open_page(run=run.name)
    scripts = {way.path for ways in SECTIONS.values() for way in ways} - {PAGE}
    assert {way.path for way in (ways.HOME, *ways.WAYS)} == scripts
    assert {way.label for way in (ways.HOME, *ways.WAYS)} <= set(labels(app))


@pytest.mark.usefixtures("here")
def test_an_interrupted_run_says_so_and_is_resumed():
    run = trained()
    run.write_state(status="running")
    app = open_page(run=run.name)
    assert "ended without a word" in texts(app.warning)
    app.button("train_do_go").click().run()
    assert run.state()["status"] == "finished"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("way", ["resume", "ask again"])
def test_a_checkpoint_that_vanished_is_said_and_made_again(way):
    app = start(open_page(), 2)
    run = only_run()
    run.checkpoint.unlink()
    app = open_page(run=run.name)
    assert "The checkpoint of this run is gone" in texts(app.warning)
    if way == "resume":
        app.button("train_do_go").click().run()
    else:
        start(app, 2)
    assert run.checkpoint.exists()
    assert not app.run().exception
    assert "gone" not in texts(app.warning)


def test_of_a_preview_that_is_thinned_out_the_one_before_is_shown(monkeypatch):
    run, modified = trained(epochs=3), caching.modified

    def gone(path):
        if path.name == "epoch_003.safetensors":
            raise UserError("It is gone.")
        return modified(path)

    monkeypatch.setattr(caching, "modified", gone)
    app = open_page(run=run.name)
    assert not app.exception
    captions = [image.proto.imgs[0].caption for image in app.get("image")]
    assert "The latent plane: test images at their posterior means, epoch 2" in captions


def test_units_in_use_are_not_counted_before_the_first_epoch_ends():
    run = trained()
    for preview in run.previews()[1:]:
        preview.unlink()
    app = open_page(run=run.name)
    assert not app.exception
    assert {metric.label: metric.value for metric in app.metric}["Active units"] == "–"


@pytest.mark.parametrize(("d", "said"), [(1, "line"), (2, "plane"), (3, "map (PCA)")])
def test_the_map_is_called_what_the_latent_page_calls_it(d, said):
    run = runs.create(RunConfig(ModelConfig((1, 8, 8), widths=(16,), latent_dim=d), TrainConfig(epochs=1)))
    train_run(run)
    app = open_page(run=run.name)
    assert not app.exception
    captions = [image.proto.imgs[0].caption for image in app.get("image")]
    assert f"The latent {said}: test images at their posterior means, epoch 1" in captions
    (units,) = [metric for metric in app.metric if metric.label == "Active units, epoch 1"]
    assert "counted when these were last evaluated. The others are silent, whatever their KL." in units.help


def test_a_run_in_training_says_one_pace_and_opens_elsewhere():
    run = trained(epochs=3)
    with run.held():
        run.write_state(status="running", images_per_second=1500.0, seconds_left=900)
        app = open_page(run=run.name, model="digits-beta")
        assert not app.exception
        assert "Epoch 3.0 of 3 · 1,500 images/s · 15 min left" in [bar.proto.text for bar in app.get("progress")]
        assert "Use this model" in labels(app)
        assert [menu.proto.popover.label for menu in app.get("popover")] == ["Open in …"]
    run.write_state(status="finished")


def test_a_checkpoint_that_is_written_meanwhile_brings_its_buttons(monkeypatch):
    """Between the heading and what refreshes below it, as at any time after."""
    run = trained()
    checkpoint = run.checkpoint.read_bytes()
    run.checkpoint.unlink()
    monkeypatch.setattr(run_watch, "_steering", lambda run, *_: run.checkpoint.write_bytes(checkpoint))
    with run.held():
        run.write_state(status="running")
        app = open_page(run=run.name, model="digits-beta")
        assert not app.exception
        assert "Use this model" in labels(app)
    run.write_state(status="finished")


def test_a_resting_run_is_looked_at_too_and_its_charts_are_not_drawn_anew(monkeypatch):
    """It may be resumed in another tab."""
    run, looks = trained(), []

    def refreshing(draw, *, now, seen, seconds):
        assert now() == seen
        if seconds:
            looks.append(seconds)
        draw()

    monkeypatch.setattr(run_watch, "refreshing", refreshing)
    drawn = []
    monkeypatch.setattr(run_watch, "_live", lambda *_: drawn.append(looks.copy()))
    assert not open_page(run=run.name).exception
    assert (looks, drawn) == ([run_watch._LOOK_SECONDS], [[]])
    with run.held():
        run.write_state(status="paused")
        looks.clear()
        assert not open_page(run=run.name).exception
    assert looks == [run_watch._REFRESH_SECONDS]
    run.write_state(status="finished")


def test_a_failed_run_says_why():
    run = runs.create(config(dataset="/nowhere"))
    run.write_state(status="failed", message="The pictures are gone.")
    app = open_page(run=run.name)
    assert "The pictures are gone." in texts(app.error)
    assert "Resume" in labels(app)
    assert not app.exception


def test_a_diverging_run_says_what_to_try():
    run = runs.create(config(learning_rate=1.0, epochs=50))
    with pytest.raises(Diverged):
        train_run(run)
    app = open_page(run=run.name)
    assert "learning rate below" in texts(app.error)


@pytest.mark.parametrize("name", ["gone", "../../etc", "/etc", "..", "a" * 300])
def test_a_run_that_is_not_here_is_said_in_a_sentence(name):
    app = open_page(run=name)
    assert "is not here any more" in texts(app.warning)
    assert not app.exception
    assert not app.run().warning


def test_a_link_to_a_run_that_is_gone_leaves_the_one_that_was_watched():
    run = trained()
    app = open_page(run=run.name)
    app.query_params["run"] = "gone"
    app.run()
    assert "“gone” is not here any more" in texts(app.warning)
    assert app.query_params["run"] == run.name
    assert not app.run().warning


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe{", None], ids=["empty", "damaged", "a folder"])
def test_an_unreadable_run_is_said_in_a_sentence_and_offered_for_deletion(folder, content):
    run = trained()
    (run.path / "config.json").unlink()
    if content is None:
        (run.path / "config.json").mkdir()
    else:
        (run.path / "config.json").write_bytes(content)
    app = open_page(**({} if content is None else {"run": run.name}))
    assert app.dataframe[0].value[["name", "status"]].to_numpy().tolist() == [[run.name, "unreadable"]]
    if content is not None:
        assert "Delete the run" in texts(app.error)
        assert "codec" not in texts(app.error)
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    assert "Resume" not in labels(app)
    app.button("train_delete").click().run()
    assert not app.exception
    assert "A run that cannot be read" in texts(app.markdown)
    assert "train_delete_sure" in [button.key for button in app.button]
    assert str(folder) not in str(app)
    app.button("train_delete_not").click().run()
    assert not app.exception
    assert run.path.exists()


@pytest.mark.parametrize(
    ("count", "title", "said"), [(1, "Delete run", "Its checkpoint,"), (2, "Delete runs", "Their checkpoints,")]
)
def test_one_run_is_not_deleted_as_several(count, title, said):
    for seed in range(count):
        runs.create(config(seed=seed))
    app = open_page()
    rows = {"rows": list(range(count)), "columns": [], "cells": []}
    app.session_state[app.dataframe[0].key] = {"selection": rows}
    app.run()
    app.button("train_delete").click().run()
    assert not app.exception
    assert [dialog.proto.dialog.title for dialog in app.get("dialog")] == [title]
    assert f"{said} metrics and pictures are removed for good." in texts(app.markdown)


def test_what_is_asked_for_is_explained():
    app = open_page()
    asked = [*app.selectbox, *app.number_input, *app.select_slider]
    asked = [element for element in asked if str(element.key).startswith("train_") and element.key != "train_data"]
    assert len(asked) >= 8
    for element in asked:
        assert element.help, element.label


class TestHosted:
    @pytest.fixture(autouse=True)
    def demo(self, monkeypatch, folder):  # noqa: ARG002 (the runs folder comes first)
        monkeypatch.setenv("VAE_HOSTED", "1")

    def test_there_is_no_choice_of_folders_and_no_path(self, folder):
        trained()
        app = open_page()
        assert not app.exception
        assert "A folder on this computer" not in app.selectbox("train_data").options
        app.number_input("train_epochs_digits").set_value(hosted.LIMITS.epochs + 1).run()
        assert "201 epochs are more than this public demo trains" in texts(app.error)
        assert app.button("train_start").disabled
        assert str(folder) not in str(app)

    def test_someone_elses_run_can_be_watched_and_nothing_else(self):
        run = runs.create(config())
        hosted.claim(run, "ada")
        run.write_state(status="queued", pid=os.getpid(), ahead=1)
        app = open_page(run=run.name)
        assert "someone else’s run" in texts(app.caption)
        assert "1 run is before this one" in texts(app.info)
        assert not any(button.key.startswith("train_do_") for button in app.button if button.key)
        assert app.select_slider(f"train_steer_beta_{run.name}").disabled
        run.write_state(status="stopped")

    def test_ones_own_run_is_queued_trained_and_owned(self):
        app = start(open_page(), 1)
        run = only_run()
        assert hosted.owns(run, app.session_state["visitor_token"])
        until(lambda: run.state()["status"] == "finished")
        assert "someone else’s" not in texts(app.run().caption)
        assert app.session_state["visitor_token"] not in str(app.query_params)

    def test_what_another_left_half_trained_is_made_anew_and_what_one_trained_to_its_end_is_shared(self):
        app = open_page()
        app.number_input("train_epochs_digits").set_value(1).run()
        app.button("train_start").click().run()
        first = only_run()
        until(lambda: first.state()["status"] == "finished")
        other = start(open_page(), 1)
        assert other.query_params["run"] == first.name
        first.write_state(status="stopped")
        again = start(open_page(), 1)
        mine = Run(first.path.parent / again.query_params["run"])
        assert mine.name == f"{first.name}-2"
        assert hosted.owns(mine, again.session_state["visitor_token"])
        assert first.state()["status"] == "stopped"

    def test_uploads_that_nobody_trains_on_stay_within_the_disk_budget(self, monkeypatch, tmp_path):
        monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
        monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, disk_bytes=1))
        for shade in (0, 100, 200):
            picture = imaging.png_bytes(Image.new("L", (28, 28), shade))
            files = [SimpleNamespace(name=f"{i}.png", getvalue=lambda picture=picture: picture) for i in range(10)]
            name, _ = train_form._keep(files, 28, lambda *_: None)
            assert len(data.load(name).train) == 8
            assert len(list((tmp_path / "data" / "uploads").iterdir())) == 1

    def test_a_second_run_at_the_same_time_is_refused_in_a_sentence(self):
        app = start(open_page(), 200)
        app.number_input("train_epochs_digits").set_value(199).run()
        app.button("train_start").click().run()
        assert "already" in texts(app.error)
        assert len(runs.list_runs()) == 1
