"""Runs: a directory that survives crashes, is steered while it trains, and says clearly how it stands."""

import errno
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from tests.toys import blobs
from tests.waiting import until
from vae_core import data, device, runs, standby, trainers, worker
from vae_core.checkpoint import load, read_tensors
from vae_core.errors import UserError
from vae_core.model import ModelConfig
from vae_core.previews import read_preview, thin_previews, write_preview
from vae_core.run_config import RunConfig
from vae_core.runs import Run, create, find, list_runs
from vae_core.train import Diverged, Progress, Trainer, is_tested
from vae_core.train_config import TrainConfig
from vae_core.trainers import launch
from vae_core.worker import train_run

MODEL = ModelConfig((1, 8, 8), widths=(16,))


def _config(**train: object) -> RunConfig:
    return RunConfig(MODEL, TrainConfig(**({"epochs": 2} | train)))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(runs, "FileLock", lambda path, timeout: FileLock(path, timeout=min(timeout, 0.2)))
    return tmp_path / "runs"


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bitwise comparisons between processes need sums in the same order."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kill() -> Iterator[list[Run]]:
    """Runs whose processes do not outlive the test."""
    started: list[Run] = []
    yield started
    for run in started:
        if run.is_held():
            os.kill(run.state()["pid"], signal.SIGKILL)


def test_a_run_is_trained_into_its_directory(folder: Path) -> None:
    run = create(_config())
    assert run.path.parent == folder
    assert run.state()["status"] == "stopped"
    assert train_run(run) == "finished"
    state = run.state()
    assert (state["status"], state["epoch"]) == ("finished", 2)
    assert state["step"] == state["total_steps"] == 2 * (1500 // 128)
    tests = run.metrics().tests
    assert [record["epoch"] for record in tests] == [1.0, 2.0]
    found = load(run.checkpoint)
    assert found.record["test"] == tests[-1]["test"]
    assert found.record["dataset"] == "digits"
    assert len(found.snapshot) == len(data.load("digits").test)
    assert [path.name for path in run.previews()] == [f"epoch_00{n}.safetensors" for n in (0, 1, 2)]
    preview = read_preview(run.previews()[-1])
    assert preview["samples"].shape == preview["reconstruction"].shape == (16, 1, 8, 8)
    assert not list(folder.rglob(".*.part"))


def test_equal_configs_are_the_same_run(tmp_path: Path) -> None:
    run = create(_config())
    assert create(_config()) == run == find(run.name) == find(str(run.path))
    assert create(_config(seed=1)) != run
    assert replace(_config(), model=replace(_config().model, sigma=1)).name == (
        replace(_config(), model=replace(_config().model, sigma=1.0)).name
    )
    assert {found.name for found in list_runs()} == {run.name, create(_config(seed=1)).name}
    elsewhere = create(_config(), tmp_path / "here")
    assert elsewhere.path == tmp_path / "here"
    assert elsewhere.config() == _config()
    with pytest.raises(UserError, match="other settings"):
        create(_config(seed=1), tmp_path / "here")
    with pytest.raises(UserError, match="no run 'nothing'"):
        find("nothing")


def test_what_a_killed_trainer_was_writing_is_cleared_and_what_is_being_written_stays() -> None:
    run = create(_config())
    left, fresh = run.path / ".state.json.abc.part", run.path / "previews" / ".epoch_001.png.abc.part"
    fresh.parent.mkdir()
    for path in (left, fresh):
        path.touch()
    os.utime(left, (0, 0))
    train_run(run)
    assert not left.exists()
    assert fresh.exists()


def test_a_run_that_is_begun_as_it_is_deleted_is_one_or_the_other() -> None:
    """Whoever asks while it is being removed is told that it is not there."""
    run = create(_config())
    with ThreadPoolExecutor(2) as pool, run._alone():
        deleted = pool.submit(run.delete)
        time.sleep(0.1)
        assert not deleted.done()
        assert (run.path / "config.json").exists()
    deleted.result()
    with pytest.raises(UserError, match="not here any more"):
        run.begin("starting")


def test_a_finished_run_is_not_trained_again() -> None:
    run = create(_config())
    train_run(run)
    before = read_tensors(run.checkpoint)[0]
    assert train_run(run) == "finished"
    after = read_tensors(run.checkpoint)[0]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert load(run.checkpoint).record["test"] == run.metrics().tests[-1]["test"]
    assert len(run.metrics().tests) == 2


def test_one_trainer_at_a_time() -> None:
    run = create(_config())
    with run.held():
        assert run.is_held()
        with pytest.raises(UserError, match="being trained already"):
            train_run(run)
        run.write_state(status="running")
        with pytest.raises(UserError, match="Stop it before deleting"):
            run.delete()
    assert not run.is_held()
    assert run.state()["status"] == "interrupted"
    run.delete()
    assert not run.path.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"7", b'"running"', b"\xff\xfe"])
def test_damaged_files_do_not_break_a_run(content: bytes) -> None:
    run = create(_config())
    for name in ("state.json", "control.json", "metrics.jsonl"):
        (run.path / name).write_bytes(content + b"\n")
    assert run.state()["status"] == "stopped"
    assert run.control() == {"command": "run"}
    assert run.metrics().records == []
    run.pause()
    assert run.control()["command"] == "pause"
    run.go_on()
    assert train_run(run) == "finished"
    (run.path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config"):
        run.config()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("state.json", {"status": "dancing", "message": 5, "epoch": "x", "updated": None, "created": "x", "pid": "x"}),
        ("state.json", {"status": ["running"], "updated": [1]}),
        ("state.json", {"status": "starting", "pid": "x", "updated": "x"}),
        ("state.json", {"status": "starting", "pid": 10**20, "updated": 1e18}),
        ("state.json", {"status": "starting", "pid": -1, "updated": 1e18}),
        ("state.json", {"status": "running", "updated": float("nan")}),
        ("state.json", {"updated": "x", "images_per_second": "fast", "seconds_left": [1]}),
        ("control.json", {"command": 5, "beta": "x", "learning_rate": [1]}),
        ("control.json", {"beta": float("nan"), "learning_rate": float("inf")}),
    ],
)
def test_what_is_of_another_kind_in_a_file_is_as_if_it_were_not_there(name: str, values: dict) -> None:
    run = create(_config())
    (run.path / name).write_text(json.dumps(values))
    state = run.state()
    assert state["status"] in ("stopped", "interrupted")
    assert state["epoch"] == 0
    assert (state["updated"] == 0.0) == (name == "state.json" and values.get("updated") != 1e18)
    assert state.keys().isdisjoint({"images_per_second", "seconds_left"})
    assert run.control() == {"command": "run"}
    assert train_run(run) == "finished"


def test_the_speed_that_is_said_is_that_by_which_the_time_left_is_reckoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies between that of steps alone and that of all since the call, also of a resumed run, whose time before does
    not count."""
    monkeypatch.setattr(worker, "_STATE_SECONDS", 0.0)
    run, said = create(_config(batch_size=64)), []
    before = {"step": 0, "seconds": 0.0, "called": time.monotonic()}

    def look(_: Progress, trainer: Trainer) -> None:
        state, images = run.state(), (trainer.step - before["step"]) * 64
        fastest, slowest = trainer.seconds - before["seconds"], time.monotonic() - before["called"]
        assert images / slowest <= state["images_per_second"] <= images / fastest
        said.append((trainer.total_steps - trainer.step) * 64)
        assert state["images_per_second"] * state["seconds_left"] == pytest.approx(said[-1])
        if trainer.epoch == 1 and not before["step"]:
            run.stop()

    assert train_run(run, look) == "stopped"
    stopped = run.state()
    before.update(step=stopped["step"], seconds=stopped["seconds"], called=time.monotonic())
    run.go_on()
    assert train_run(run, look) == "finished"
    assert said[0] > said[-1] == 0


def test_a_run_that_may_only_be_read_is_seen_to_be_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(_config())
    run.write_state(status="running")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with run.held(), monkeypatch.context() as reader:
        reader.setattr(runs, "FileLock", forbidden)
        assert run.state()["status"] == "running"
    with monkeypatch.context() as reader:
        reader.setattr(runs, "FileLock", forbidden)
        assert run.state()["status"] == "interrupted"


def test_what_cannot_be_deleted_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(_config())

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as other:
        other.setattr(os, "rmdir", forbidden)
        with pytest.raises(UserError, match=r"cannot be deleted: Permission denied\."):
            run.delete()


@pytest.mark.parametrize(
    "change", [{"model": 3}, {"train": {"dataset": 5}}, {"train": {"epochs": "x"}}, {"train": {"surprise": 1}}]
)
def test_a_damaged_config_is_one_sentence(change: dict) -> None:
    with pytest.raises(UserError, match=r"\.$"):
        RunConfig.from_dict(_config().to_dict() | change)


def test_damaged_training_state_is_one_sentence() -> None:
    run = create(_config())
    train_run(run)
    run.training.write_bytes(run.training.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"training\.safetensors"):
        train_run(run)
    assert run.state()["status"] == "failed"
    worker.write_tensors(run.training, {"model.x": torch.zeros(2)}, {"position": {"epoch": 1}})
    with pytest.raises(UserError, match="does not fit"):
        train_run(run)


def test_a_missing_data_set_fails_with_its_sentence(tmp_path: Path) -> None:
    run = create(_config(dataset=str(tmp_path / "gone")))
    with pytest.raises(UserError, match="gone"):
        train_run(run)
    assert run.state()["status"] == "failed"
    assert "gone" in run.state()["message"]


def test_divergence_keeps_good_weights_and_says_why() -> None:
    run = create(_config(learning_rate=1.0))
    with pytest.raises(Diverged):
        train_run(run)
    assert run.state()["status"] == "failed"
    assert "learning rate below 1" in run.state()["message"]
    assert all(value.isfinite().all() for value in load(run.checkpoint).model.state_dict().values())


@pytest.mark.parametrize("where", ["checkpoint", "metrics"])
def test_a_full_disk_stops_with_a_sentence(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The files of the last save stay whole, and the run goes on once there is room."""
    run = create(_config(epochs=3))
    monkeypatch.setattr(worker, "_EPOCH_SAVE_SECONDS", 0.0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(progress: object, trainer: Trainer) -> None:
        if trainer.epoch == 1 and progress.test:
            if where == "checkpoint":
                monkeypatch.setattr(os, "fsync", full)
            else:
                monkeypatch.setattr(worker._Session, "_append", full)

    with pytest.raises(UserError, match=r"No space left on device.*\.$"):
        train_run(run, fill)
    monkeypatch.undo()
    assert run.state()["status"] in ("failed", "interrupted")
    assert load(run.checkpoint).record["epoch"] == 1
    assert train_run(run) == "finished"
    assert [record["epoch"] for record in run.metrics().tests] == [1.0, 2.0, 3.0]


def test_a_run_of_iwae_is_steered_by_its_learning_rate_alone() -> None:
    run = create(_config(objective="iwae", importance_samples=5))
    with pytest.raises(UserError, match="β stays 1"):
        run.steer(beta=2.0)
    run.steer(learning_rate=0.01)
    assert run.control() == {"command": "run", "learning_rate": 0.01}


def test_of_two_values_of_which_one_is_wrong_neither_is_asked_for() -> None:
    run = create(_config())
    with pytest.raises(UserError, match="learning rate 50"):
        run.steer(beta=2.0, learning_rate=50.0)
    assert run.control() == {"command": "run"}


def test_steering_pausing_and_stopping_in_process() -> None:
    """Every command is obeyed at the next record; where β changed is an event; a stopped run goes on."""
    run = create(_config(epochs=4))

    def steer(progress: object, trainer: Trainer) -> None:
        if trainer.epoch == 1 and progress.test:
            run.steer(beta=3.0, learning_rate=2e-3)
        if trainer.epoch == 2 and progress.test:
            run.stop()

    assert train_run(run, steer) == "stopped"
    assert run.state()["status"] == "stopped"
    run.go_on()
    assert train_run(run) == "finished"
    metrics = run.metrics()
    assert [(event["event"], event["epoch"], event["beta"]) for event in metrics.events] == [("steered", 1.0, 3.0)]
    assert [record["beta"] for record in metrics.tests] == [1.0, 3.0, 3.0, 3.0]
    assert metrics.tests[1]["learning_rate"] == 2e-3
    assert metrics.tests[-1]["learning_rate"] == 0.0
    for wrong in ({"beta": -1.0}, {"learning_rate": 0.0}, {"beta": float("nan")}):
        with pytest.raises(UserError):
            run.steer(**wrong)


def test_a_run_that_diverged_at_once_goes_on_with_the_learning_rate_that_was_set_since() -> None:
    """From its first step, which would otherwise undo it again before it is looked at what was asked for."""
    run = create(_config(learning_rate=1.0))
    with pytest.raises(Diverged):
        train_run(run)
    assert not run.training.exists()
    run.steer(learning_rate=1e-3)
    assert train_run(run) == "finished"
    metrics = run.metrics()
    assert [(event["step"], event["learning_rate"]) for event in metrics.events] == [(0, 1e-3)]
    assert max(record["learning_rate"] for record in metrics.records) <= 1e-3


@pytest.mark.parametrize(
    "message", ["[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to …", ""]
)
def test_no_memory_left_on_the_cpu_is_a_sentence(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    """torch raises a RuntimeError there; others are the program's own faults."""

    def fail(*_: object) -> None:
        raise RuntimeError(message)

    run = create(_config())
    monkeypatch.setattr(Trainer, "_train_step", fail)
    with pytest.raises(UserError if message else RuntimeError, match="memory is used up" if message else "^$"):
        train_run(run)
    assert (run.state()["status"] == "failed") == bool(message)


def test_many_who_look_at_a_run_do_not_take_each_other_for_its_trainer(folder: Path) -> None:
    run = create(_config())
    (run.path / "lock").touch()
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: run.is_held(), range(2000)))
    gone = Run(folder / "gone")
    assert not gone.is_held()
    assert not gone.path.exists()


@pytest.mark.parametrize(
    "way", ["stop", "pause", "step_epoch", "pause_after_epoch", "go_on", "steer", "launch", "train"]
)
def test_a_run_that_was_deleted_is_not_brought_back_by_what_it_is_told(way: str) -> None:
    run = create(_config())
    run.delete()
    ways = {
        "steer": lambda: run.steer(learning_rate=1e-4),
        "launch": lambda: launch(run),
        "train": lambda: train_run(run),
    }
    with pytest.raises(UserError, match="not here any more"):
        ways.get(way, getattr(run, way, None))()
    assert not run.path.exists()
    assert create(_config()) == run


@pytest.mark.parametrize("named", [False, True])
def test_what_is_left_of_a_deleted_run_gives_way_to_a_new_one(folder: Path, named: bool) -> None:
    left = folder / _config().name
    left.mkdir(parents=True)
    (left / "control.json").write_text('{"command": "stop", "beta": 4.0}')
    for name in ("control.lock", "lock"):
        (left / name).touch()
    run = create(_config(), left if named else None)
    assert run.path == left
    assert run.control() == {"command": "run"}
    assert create(_config()) == run


def test_other_things_than_a_run_are_left_alone(folder: Path) -> None:
    other = folder / _config().name
    other.mkdir(parents=True)
    (other / "training.safetensors").write_bytes(b"of another run")
    with pytest.raises(UserError, match="holds other things"):
        create(_config(), other)
    assert create(_config()).name == f"{_config().name}-2"
    assert [path.name for path in other.iterdir()] == ["training.safetensors"]


def test_two_who_steer_at_once_are_both_heard() -> None:
    run = create(_config())
    with ThreadPoolExecutor(2) as pool:
        for beta in range(1, 40):
            run.go_on()
            for asked in [pool.submit(run.steer, beta=float(beta)), pool.submit(run.stop)]:
                asked.result()
            assert (run.control()["beta"], run.control()["command"]) == (beta, "stop")


def test_the_pause_after_an_epoch_gives_way_to_what_was_asked_for_since() -> None:
    run = create(_config())
    for ask, then in ((run.step_epoch, "pause"), (run.stop, "stop"), (run.go_on, "run")):
        ask()
        run.pause_after_epoch()
        assert run.control()["command"] == then


@pytest.mark.parametrize("in_turn", [False, True])
def test_a_trainer_that_cannot_be_started_is_a_sentence_and_the_run_rests(
    monkeypatch: pytest.MonkeyPatch, in_turn: bool
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    run = create(_config())
    with monkeypatch.context() as patch:
        patch.setattr(standby, "claim", lambda: None)  # one that another test left would take the run
        patch.setattr(trainers.subprocess, "Popen", full)
        with pytest.raises(UserError, match=r"No trainer can be started: Cannot allocate memory\."):
            launch(run, in_turn=in_turn)
    assert run.state()["status"] == "stopped"
    run.delete()


def test_a_launched_trainer_finds_data_that_was_named_from_another_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAE_DATA", "here")
    given = {}
    monkeypatch.setattr(trainers, "_handed_over", lambda _, environment: given.update(environment) or True)
    launch(create(_config()))
    assert given["VAE_DATA"] == str(tmp_path.resolve() / "here")


def test_previews_are_in_order_past_a_thousand() -> None:
    run = create(_config())
    (run.path / "previews").mkdir()
    for epoch in (1000, 2, 999):
        (run.path / "previews" / f"epoch_{epoch:03d}.safetensors").touch()
    assert [path.stem for path in run.previews()] == ["epoch_002", "epoch_999", "epoch_1000"]


@pytest.mark.parametrize("test", [3, 11, 16])
def test_the_rows_of_a_preview_line_up_however_few_pictures_there_are(test: int) -> None:
    """The png holds what the safetensors file does, each at its place: a test image over its reconstruction."""
    run, dataset = create(_config()), blobs(40, test)
    write_preview(run, Trainer(MODEL, TrainConfig(epochs=1), dataset, torch.device("cpu")), 0)
    arrays = read_preview(run.previews()[0])
    with Image.open(run.previews()[0].with_suffix(".png")) as picture:
        pixels = np.asarray(picture)[..., 0] if picture.mode == "RGB" else np.asarray(picture)
    cells = [
        [pixels[y : y + 16 : 2, x : x + 16 : 2] for x in range(0, pixels.shape[1], 20)]
        for y in range(0, pixels.shape[0], 20)
    ]
    for i in range(test):
        row, column = 2 * (i // 8), i % 8
        np.testing.assert_array_equal(cells[row][column], dataset.test.images[i, 0])
        np.testing.assert_array_equal(cells[row + 1][column], arrays["reconstruction"][i, 0])
    for i in range(16):
        np.testing.assert_array_equal(cells[i // 8 - 2][i % 8], arrays["samples"][i, 0])


def test_a_live_process_is_steered_paused_stepped_and_stopped(kill: list[Run]) -> None:
    run = create(_config(epochs=100_000))
    kill.append(run)
    launch(run)
    assert run.state()["status"] in ("starting", "running")
    until(lambda: run.state()["status"] == "running" and run.metrics().tests)
    run.steer(beta=0.5)
    until(lambda: run.metrics().records[-1]["beta"] == 0.5)
    assert run.metrics().events[-1]["beta"] == 0.5
    run.pause()
    until(lambda: run.state()["status"] == "paused")
    state, lines = run.state(), len(run.metrics().records)
    time.sleep(0.5)
    assert len(run.metrics().records) == lines
    run.step_epoch()
    until(lambda: run.state()["status"] == "paused" and run.state()["epoch"] == state["epoch"] + 1)
    assert run.metrics().records[-1]["test"]
    run.go_on()
    until(lambda: len(run.metrics().records) > lines + 5)
    run.stop()
    until(lambda: run.state()["status"] == "stopped" and not run.is_held())
    tensors, header = read_tensors(run.training)
    assert header["position"]["epoch"] >= state["epoch"] + 1
    assert torch.equal(tensors["model.decoder.head.bias"], load(run.checkpoint).model.decoder.head.bias)


def _paused_in_mid_epoch(run: Run) -> bool:
    if not run.metrics().records:
        return False
    run.go_on()
    time.sleep(0.1)
    run.pause()
    until(lambda: run.state()["status"] == "paused")
    return bool(read_tensors(run.training)[1]["position"]["batch"])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("moment", ["paused in mid-epoch", "running"])
def test_killed_and_resumed_equals_uninterrupted(kill: list[Run], moment: str) -> None:
    """`kill -9` of `python -m vae_core`, then resume: an epoch later, all but the time is bitwise the same."""
    config = _config(epochs=100_000, batch_size=128 if moment == "running" else 1)
    run = create(config)
    kill.append(run)
    launch(run)
    if moment == "running":
        until(run.training.exists)
        time.sleep(0.3)
    else:
        until(lambda: _paused_in_mid_epoch(run))
    os.kill(run.state()["pid"], signal.SIGKILL)
    until(lambda: not run.is_held())
    assert run.state()["status"] == "interrupted"
    position = read_tensors(run.training)[1]["position"]
    assert position["epoch"] + position["batch"] > 0
    assert moment == "running" or position["batch"]
    end = position["epoch"] + 1
    run.go_on()
    assert train_run(run, lambda record, _: record.test and record.epoch == end and run.stop(), "cpu") == "stopped"
    whole = Trainer(config.model, config.train, data.load("digits"), torch.device("cpu"))
    with device.denormals_flushed():  # as a run's trainer does
        record = next(record for record in whole.run() if record.test and record.epoch == end)
    ours, theirs = read_tensors(run.training)[0], whole.state()[0]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    tests = run.metrics().tests
    assert [test["epoch"] for test in tests] == list(range(1, end + 1))
    assert tests[-1]["test"] == json.loads(json.dumps(record.test.to_dict()))


def test_a_steered_run_is_not_taken_for_what_its_config_says(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_RUNS", str(tmp_path))
    config = RunConfig(ModelConfig((1, 8, 8)), TrainConfig(epochs=1))
    first = runs.create(config)
    assert runs.create(config) == first
    first.steer(beta=4.0)
    second = runs.create(config)
    assert second.name == f"{config.name}-2"
    assert second.config() == config
    assert not second.steered()
    assert runs.create(config) == second


@pytest.mark.parametrize("asked", [{"beta": 4.0}, {"learning_rate": 1e-4}])
def test_a_run_that_was_steered_and_set_right_again_is_known_by_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: dict
) -> None:
    """Not by its metrics, which grow by megabytes an hour and would be read every second."""
    run = create(_config())
    run.pause()
    monkeypatch.setattr(Run, "metrics", lambda _: pytest.fail("all its metrics were read"))
    assert not run.steered()
    run.steer(**asked)
    run.steer(**{name: getattr(run.config().train, name) for name in asked})
    assert run.steered()


def test_previews_of_a_long_run_are_thinned_evenly(tmp_path: Path) -> None:
    """The first and the latest stay, and so do 120 to 240 between them that lie everywhere."""
    run = Run(tmp_path)
    (tmp_path / "previews").mkdir()
    for epoch in (0, *(epoch for epoch in range(1, 5001) if is_tested(epoch, 5000))):
        for ending in (".png", ".safetensors"):
            (tmp_path / "previews" / f"epoch_{epoch:03d}{ending}").touch()
        thin_previews(run)
    epochs = [int(path.stem.removeprefix("epoch_")) for path in run.previews()]
    assert 120 <= len(epochs) <= 240
    assert epochs[0] == 0
    assert epochs[-1] == 5000
    assert max(b - a for a, b in itertools.pairwise(epochs)) < 250
    assert len(list((tmp_path / "previews").glob("*.png"))) == len(epochs)


def test_a_run_whose_config_is_a_folder_can_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "run" / "config.json").mkdir(parents=True)
    Run(tmp_path / "run").delete()
    assert not (tmp_path / "run").exists()
