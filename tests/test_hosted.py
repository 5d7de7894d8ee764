"""A public demo: limits, owners, the queue and the disk budget."""

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, current_thread
from types import SimpleNamespace

import pytest

from tests.waiting import PATIENCE, until
from ui import launching, visitor
from ui.train_form import PRESETS
from vae_core import archives, hosted, runs, standby, trainers
from vae_core.errors import UserError
from vae_core.files import read_json, write_json
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.runs import Run
from vae_core.train_config import TrainConfig
from vae_core.trainers import launch
from vae_core.worker import train_run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a public demo needs file locks of POSIX")

ROOT = Path(__file__).resolve().parents[1]
WAITER = """
import sys
from pathlib import Path
from vae_core.queue import Ticket, wait_then_train
run = Path(sys.argv[1])
wait_then_train(run, Ticket.take(run), [sys.executable, "-c", sys.argv[2], sys.argv[1]])
"""
TRAINER = "import sys, time, pathlib; pathlib.Path(sys.argv[1], 'trains').touch(); time.sleep(600)"


def config(**changes) -> RunConfig:
    model = {key: changes.pop(key) for key in ("image_shape", "latent_dim", "arch", "widths") if key in changes}
    model = {"image_shape": (1, 8, 8), "widths": (16,)} | model
    return RunConfig(ModelConfig(**model), TrainConfig(**({"epochs": 2} | changes)))


COLOUR = {"image_shape": (3, 64, 64), "arch": "conv", "widths": None, "latent_dim": 64}


@pytest.fixture(autouse=True)
def demo(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_HOSTED", "1")
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def waiters():
    """Starts processes that queue for a run; all are ended with the test."""
    started = []

    def start(run: Run) -> subprocess.Popen:
        command = [sys.executable, "-c", WAITER, str(run.path), TRAINER]
        started.append(subprocess.Popen(command, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def trains(run: Run) -> bool:
    return (run.path / "trains").exists()


@pytest.mark.parametrize(("value", "active"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_environment_says_whether_this_is_a_demo(monkeypatch, value, active):
    monkeypatch.setenv("VAE_HOSTED", value)
    assert hosted.active() is active
    assert (hosted.limits() is not None) is active


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": hosted.LIMITS.epochs + 1}, "epochs"),
        ({"latent_dim": hosted.LIMITS.latent_dim + 1}, "latent dimensions"),
        ({"batch_size": hosted.LIMITS.batch_size + 1}, "pictures decoded a step"),
        (COLOUR | {"batch_size": 161}, "161 pictures of 64 × 64 pixels decoded .* at most 160,"),
        (COLOUR | {"batch_size": 128, "objective": "iwae", "importance_samples": 2}, "256 pictures of 64 × 64 pixels"),
        ({"objective": "beta-tcvae", "latent_dim": 64, "batch_size": 257}, "257 pictures .* at most 256,"),
        ({"widths": (4096, 4096)}, "parameters"),
        ({"dataset": "/etc"}, "data set"),
        ({"dataset": "upload:../../../etc/passw"}, "data set"),
    ],
)
def test_what_is_too_much_is_refused_in_a_sentence(monkeypatch, changes, named):
    asked = config(**changes)
    with pytest.raises(UserError, match=named) as refusal:
        hosted.check_config(asked)
    assert "/etc" not in str(refusal.value)
    monkeypatch.setenv("VAE_HOSTED", "0")
    hosted.check_config(asked)


def test_what_is_within_the_limits_is_trained():
    hosted.check_config(config(epochs=hosted.LIMITS.epochs, latent_dim=hosted.LIMITS.latent_dim))
    hosted.check_config(config(dataset="upload:0123456789abcdef"))
    hosted.check_config(config(**COLOUR, batch_size=160))
    hosted.check_config(config(batch_size=hosted.LIMITS.batch_size))
    hosted.check_config(config(objective="beta-tcvae", latent_dim=64, batch_size=256))
    hosted.check_pictures(hosted.LIMITS.pictures, hosted.LIMITS.picture_bytes)


@pytest.mark.parametrize("objective", ["beta-vae", "beta-tcvae"])
@pytest.mark.parametrize("dataset", hosted.LIMITS.datasets)
def test_what_the_form_starts_with_is_trained(dataset, objective):
    preset, shapes = PRESETS[dataset], {"digits": (1, 8, 8), "sprites": (1, 32, 32), "sprites-64": (1, 64, 64)}
    model = ModelConfig(shapes.get(dataset, (1, 28, 28)), preset.latent_dim, preset.arch)
    hosted.check_config(RunConfig(model, TrainConfig(dataset, preset.epochs, preset.batch_size, objective=objective)))


def test_zips_may_unpack_to_less_than_on_ones_own_machine(monkeypatch):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.bmp", bytes(hosted.LIMITS.expanded_bytes // 3 + 1))
    found, problems = archives.unpack([("bomb.zip", file.getvalue())], **hosted.most_unpacked())
    assert found == []
    assert problems == ["bomb.zip would unpack to over 60 MB, the most there may be. Send less."]
    many = [(f"{number}.png", b"x") for number in range(hosted.LIMITS.pictures + 1)]
    with pytest.raises(UserError, match="2,000 are the most"):
        archives.unpack(many, **hosted.most_unpacked())
    monkeypatch.setenv("VAE_HOSTED", "0")
    for files, count in (([("bomb.zip", file.getvalue())], 3), (many, len(many))):
        assert len(archives.unpack(files, **hosted.most_unpacked())[0]) == count


@pytest.mark.parametrize("load", [(hosted.LIMITS.pictures + 1, 1), (1, hosted.LIMITS.picture_bytes + 1)])
def test_too_many_or_too_large_pictures_are_refused(load):
    with pytest.raises(UserError, match="are the most here"):
        hosted.check_pictures(*load)


def test_a_run_is_its_owners_alone(monkeypatch):
    run = runs.create(config())
    hosted.claim(run, "ada")
    hosted.claim(run, "eve")
    assert hosted.owns(run, "ada")
    assert not hosted.owns(run, "eve")
    assert not hosted.owns(run, None)
    monkeypatch.setenv("VAE_HOSTED", "0")
    assert hosted.owns(run, None)


def test_the_owners_secret_is_not_on_the_disk():
    run = runs.create(config())
    hosted.claim(run, "a-secret-of-ada")
    assert not any(b"a-secret-of-ada" in path.read_bytes() for path in run.path.rglob("*") if path.is_file())


def test_a_damaged_owner_file_makes_nobody_the_owner():
    run = runs.create(config())
    (run.path / "owner.json").write_text('{"token_sha256": 3}')
    assert not hosted.owns(run, "ada")


def test_runs_on_other_peoples_pictures_are_not_listed():
    run = runs.create(config(dataset="upload:0123456789abcdef"))
    hosted.claim(run, "ada")
    assert hosted.visible(run, "ada")
    assert not hosted.visible(run, "eve")
    assert hosted.visible(runs.create(config()), "eve")


def test_a_visitor_has_one_turn_at_a_time_and_the_queue_an_end(monkeypatch):
    first, second = runs.create(config(seed=1)), runs.create(config(seed=2))
    hosted.claim(first, "ada")
    first.write_state(status="queued", pid=os.getpid())
    with pytest.raises(UserError, match="already"):
        hosted.check_turn(runs.list_runs(), "ada")
    hosted.check_turn(runs.list_runs(), "eve")
    hosted.check_turn(runs.list_runs(), "eve", wanted=hosted.LIMITS.sweep)
    with pytest.raises(UserError, match="more than a sweep"):
        hosted.check_turn(runs.list_runs(), "eve", wanted=hosted.LIMITS.sweep + 1)
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, waiting=3))
    with pytest.raises(UserError, match="queue is full"):
        hosted.check_turn(runs.list_runs(), "eve", wanted=3)
    second.write_state(status="queued", pid=os.getpid())
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, waiting=2))
    with pytest.raises(UserError, match="queue is full"):
        hosted.check_turn(runs.list_runs(), "eve")


@pytest.fixture
def begun(monkeypatch):
    """The runs that were given a process; none is trained, nor by a trainer that another test keeps on standby."""
    started = []
    monkeypatch.setattr(standby, "claim", lambda: None)
    here = SimpleNamespace(pid=os.getpid())
    monkeypatch.setattr(trainers, "_start", lambda run, *_, **__: started.append(run) or here)
    monkeypatch.setattr(standby, "give_way", lambda _: None)
    return started


def at_once(action: Callable, cases: Sequence) -> list[str]:
    """Do it for each, in as many threads; what the UserErrors say."""
    together = Barrier(len(cases))

    def act(case: object) -> str | None:
        together.wait()
        try:
            action(case)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(len(cases)) as pool:
        return list(filter(None, pool.map(act, cases)))


@pytest.mark.parametrize("way", ["start", "resume"])
def test_a_visitor_who_asks_for_many_runs_at_once_has_one(monkeypatch, begun, way):
    monkeypatch.setattr(visitor, "token", lambda: "ada")
    configs = [config(seed=seed) for seed in range(20)]
    if way == "start":
        said = at_once(lambda one: launching.start_sweep([one]), configs)
    else:
        stopped = [runs.create(one) for one in configs]
        for run in stopped:
            hosted.claim(run, "ada")
        said = at_once(launching.resume, stopped)
    assert len(begun) == 1
    assert len(said) == 19
    assert all("already" in sentence for sentence in said)


def test_visitors_who_come_at_once_fill_the_queue_and_no_more(monkeypatch, begun):
    monkeypatch.setattr(visitor, "token", lambda: current_thread().name)
    said = at_once(lambda seed: launching.start_sweep([config(seed=seed)]), range(20))
    assert len(begun) == len(runs.list_runs()) == hosted.LIMITS.waiting
    assert len(said) == 20 - hosted.LIMITS.waiting
    assert all("queue is full" in sentence for sentence in said)


@pytest.mark.parametrize("active", ["0", "1"])
@pytest.mark.parametrize("way", ["launch", "start"])
def test_a_run_that_is_asked_for_many_times_at_once_is_launched_once(monkeypatch, begun, way, active):
    monkeypatch.setenv("VAE_HOSTED", active)
    monkeypatch.setattr(visitor, "token", lambda: current_thread().name)
    run = runs.create(config())
    ways = {"launch": lambda _: launch(run), "start": lambda _: launching.start_sweep([config(seed=1)])}
    assert at_once(ways[way], range(20)) == []
    assert len(begun) == 1
    before = begun[0].state()
    launch(begun[0])
    assert len(begun) == 1
    assert begun[0].state() == before


def test_whoever_holds_the_door_is_waited_for_and_lets_go_when_killed(monkeypatch, begun):
    code = "import sys; from vae_core import runs\nwith runs.door(): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(visitor, "token", lambda: "ada")
        with monkeypatch.context() as hurried:
            hurried.setattr(runs, "_DOOR_SECONDS", 0.1)
            with pytest.raises(UserError, match=r"^No run can be started: another process holds it\."):
                launching.start_sweep([config()])
    finally:
        holder.kill()
        holder.communicate()
    assert launching.start_sweep([config()]) == begun


def test_the_owner_of_a_run_made_where_another_was_deleted_is_who_made_it(monkeypatch, begun, demo):
    monkeypatch.setattr(visitor, "token", lambda: "ada")
    left = demo / config().name / "control.json"
    write_json(left, {"command": "stop"})
    assert launching.start_sweep([config()]) == begun == [Run(left.parent)]
    assert hosted.owns(begun[0], "ada")


def three_in_line(waiters) -> tuple[list[Run], subprocess.Popen, subprocess.Popen]:
    """Three runs, of which the first trains and the others wait, and the processes of the first two."""
    line = [runs.create(config(seed=seed)) for seed in (1, 2, 3)]
    processes = []
    for place, run in enumerate(line):
        processes.append(waiters(run))
        until(lambda run=run, place=place: run.state().get("ahead") == place if place else trains(run))
    return line, *processes[:2]


def test_one_trains_and_the_others_wait_their_turn_even_if_the_first_crashes(waiters):
    (_, second, third), trainer, waiting = three_in_line(waiters)
    assert [run.state()["status"] for run in (second, third)] == ["queued", "queued"]
    assert not trains(second)

    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    until(lambda: trains(second))
    assert not trains(third)
    until(lambda: third.state().get("ahead") == 1)
    waiting.send_signal(signal.SIGKILL)
    waiting.wait()
    until(lambda: trains(third))


def test_a_waiting_run_that_is_killed_reads_as_interrupted_and_holds_nobody_up(waiters):
    (_, second, third), trainer, waiting = three_in_line(waiters)
    waiting.kill()
    waiting.wait()
    until(lambda: third.state().get("ahead") == 1)
    assert second.state()["status"] == "interrupted"
    trainer.kill()
    trainer.wait()
    until(lambda: trains(third))


def test_a_waiting_run_can_be_called_off(waiters):
    first, second = runs.create(config(seed=1)), runs.create(config(seed=2))
    waiters(first)
    until(lambda: trains(first))
    waiting = waiters(second)
    until(lambda: second.state()["status"] == "queued" and "ahead" in second.state())
    second.stop()
    assert waiting.wait(PATIENCE) == 0
    assert second.state()["status"] == "stopped"
    assert not trains(second)


def test_waiting_imports_no_torch():
    code = "import sys, vae_core.queue; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_two_launched_runs_train_in_their_order_however_slowly_the_first_process_starts(monkeypatch, tmp_path):
    first, second = runs.create(config(seed=1)), runs.create(config(seed=2))
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(2)")
    with monkeypatch.context() as slowly:
        slowly.setenv("PYTHONPATH", str(tmp_path))
        launch(first)
    launch(second)
    assert second.state()["ahead"] == 1
    until(lambda: second.state()["status"] == "finished")
    assert first.state()["status"] == "finished"
    assert first.training.stat().st_mtime < (second.path / "previews" / "epoch_000.png").stat().st_mtime


def test_a_run_that_cannot_be_begun_leaves_the_queue(monkeypatch):
    from vae_core.queue import Ticket  # which Windows has not

    first, second = runs.create(config(seed=1)), runs.create(config(seed=2))
    write_state = Run.write_state

    def full(run, **changes):
        if "ahead" in changes:
            raise UserError("state.json cannot be written: No space left on device. Free some disk space.")
        write_state(run, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_state", full)
        with pytest.raises(UserError, match="No trainer can be started: state"):
            launch(first)
    assert first.state()["status"] == "stopped"
    ticket = Ticket.take(second.path)
    assert ticket.ahead() == 0
    ticket.give_up()


def test_a_turn_ends_when_its_time_is_up_and_says_so(monkeypatch):
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, seconds=0.0))
    run = runs.create(config(epochs=3))
    assert train_run(run) == "stopped"
    assert "as long as a turn may be" in run.state()["message"]
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, seconds=600.0))
    assert train_run(run) == "finished"


def test_a_paused_run_gives_its_turn_back_when_its_time_is_up(monkeypatch):
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, seconds=2.0))
    run = runs.create(config(epochs=10_000))
    run.pause()
    began = time.monotonic()
    assert train_run(run) == "stopped"
    assert time.monotonic() - began < PATIENCE


def fill(run: Run, size: int, age: float) -> None:
    (run.path / "checkpoint.safetensors").write_bytes(bytes(size))
    os.utime(run.path, (time.time() - age,) * 2)


def test_old_runs_go_when_the_disk_budget_is_used_up(monkeypatch, tmp_path):
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, disk_bytes=25_000))
    old, middle, new = (runs.create(config(seed=seed)) for seed in (1, 2, 3))
    for run, age in ((old, 300), (middle, 200), (new, 100)):
        fill(run, 10_000, age)
    hosted.clean_up(runs.list_runs(), tmp_path / "uploads")
    assert [run.path.exists() for run in (old, middle, new)] == [False, True, True]


def test_live_and_kept_runs_stay_whatever_the_budget(monkeypatch, tmp_path):
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, disk_bytes=1))
    live, kept, other = (runs.create(config(seed=seed)) for seed in (1, 2, 3))
    live.write_state(status="queued", pid=os.getpid())
    hosted.clean_up(runs.list_runs(), tmp_path / "uploads", keep=[kept])
    assert [run.path.exists() for run in (live, kept, other)] == [True, True, False]


def test_pictures_go_with_the_runs_that_needed_them(monkeypatch, tmp_path):
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, disk_bytes=15_000))
    needed, orphan, newest = ("a" * 16, "b" * 16, "c" * 16)
    for name, age in ((needed, 300), (orphan, 200), (newest, 0)):
        path = tmp_path / "uploads" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10_000))
        os.utime(path, (time.time() - age,) * 2)
    runs.create(config(dataset=f"upload:{needed}"))
    hosted.clean_up(runs.list_runs(), tmp_path / "uploads")
    assert sorted(path.stem for path in (tmp_path / "uploads").iterdir()) == sorted([needed, newest])


def test_a_run_that_somebody_deletes_meanwhile_is_no_hindrance(monkeypatch, tmp_path):
    runs.create(config())

    def gone(path, _):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "rglob", gone)
    hosted.clean_up(runs.list_runs(), tmp_path / "uploads")


def test_nothing_is_cleaned_up_on_ones_own_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_HOSTED", "0")
    monkeypatch.setattr(hosted, "LIMITS", replace(hosted.LIMITS, disk_bytes=1))
    run = runs.create(config())
    hosted.clean_up(runs.list_runs(), tmp_path / "uploads")
    assert run.path.exists()


def test_a_state_from_before_the_queue_is_kept_when_waiting_begins(waiters):
    first, second = runs.create(config(seed=1)), runs.create(config(seed=2))
    waiters(first)
    until(lambda: trains(first))
    created = second.state()["created"]
    waiters(second)
    until(lambda: second.state().get("ahead") == 1)
    assert read_json(second.path / "state.json")["created"] == created
    write_json(second.path / "control.json", {"command": "stop"})
    until(lambda: second.state()["status"] == "stopped")
