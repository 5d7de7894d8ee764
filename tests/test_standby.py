"""A trainer on standby trains one run; it ends with its keeper while it is idle, and outlives it once it trains."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from vae_core import standby
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.runs import Run, create
from vae_core.train_config import TrainConfig
from vae_core.trainers import launch

ROOT = Path(__file__).resolve().parent.parent
CONFIG = RunConfig(ModelConfig((1, 8, 8), widths=(16,)), TrainConfig(epochs=2))


def _alive(pid: int) -> bool:
    """Whether a process that is no child of ours runs; one that has ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    yield
    standby.dismiss()


def test_it_is_one_process_and_trains_one_run() -> None:
    standby.prepare()
    kept = standby._idle.pid
    standby.prepare()
    assert standby._idle.pid == kept
    run = create(CONFIG)
    launch(run)
    assert run.state()["pid"] == kept
    assert standby.claim() is None
    until(lambda: run.state()["status"] == "finished")
    assert len(run.metrics().tests) == CONFIG.train.epochs
    until(lambda: run.name in (run.path / "log.txt").read_text())


def test_where_it_was_killed_a_run_starts_all_the_same() -> None:
    standby.prepare()
    process = standby._idle
    process.kill()
    process.wait()
    run = create(CONFIG)
    launch(run)
    assert run.state()["pid"] != process.pid
    until(lambda: run.state()["status"] == "finished")


def grouped_by_session() -> bool:
    group = Path("/proc/self/autogroup")  # there and empty, where such groups are known and switched off
    return group.exists() and bool(group.read_text())


def test_a_request_that_nobody_can_read_is_refused() -> None:
    standby.prepare()
    process = standby.claim()
    process.kill()
    process.wait()
    assert not standby.begin(process, Path("anywhere"), {})


def test_a_public_demo_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_HOSTED", "1")
    standby.prepare()
    assert standby.claim() is None


@pytest.mark.skipif(not grouped_by_session(), reason="this system does not group processes by session")
@pytest.mark.parametrize("ahead", [False, True], ids=["new", "on standby"])
def test_a_trainer_gives_way_as_a_group_and_the_pages_do_not(ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "_PRIORITY", 10)  # the tests have 0
    pages = Path("/proc/self/autogroup").read_text()
    if ahead:
        standby.prepare()
    run = create(RunConfig(CONFIG.model, TrainConfig(epochs=100_000)))
    launch(run)
    try:
        theirs = Path(f"/proc/{run.state()['pid']}/autogroup").read_text()
        assert theirs.split()[0] != pages.split()[0]
        assert int(theirs.split()[-1]) > int(pages.split()[-1])
        assert Path("/proc/self/autogroup").read_text() == pages
    finally:
        run.stop()
        until(lambda: not run.is_held())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at other processes in /proc")
@pytest.mark.parametrize("training", [False, True])
def test_it_ends_with_its_keeper_only_while_it_is_idle(training: bool) -> None:
    config = RunConfig(CONFIG.model, TrainConfig(epochs=100_000))
    run = Run(create(config).path)
    code = "import sys; from vae_core import runs, standby, trainers; standby.prepare(); "
    code += "print(standby._idle.pid, flush=True); "
    code += f"trainers.launch(runs.find({run.name!r})); " if training else ""
    keeper = subprocess.Popen(
        [sys.executable, "-c", code + "print('done', flush=True); sys.stdin.read()"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(keeper.stdout.readline())
    try:
        assert keeper.stdout.readline() == "done\n"
        keeper.send_signal(signal.SIGKILL)
        keeper.communicate()
        if training:
            until(lambda: run.metrics().records)
            assert run.state()["status"] == "running"
            assert run.state()["pid"] == pid
        else:
            until(lambda: not _alive(pid))
    finally:
        if _alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_where_no_process_is_to_be_had_there_is_none_on_standby(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    standby.dismiss()
    monkeypatch.setattr(standby.subprocess, "Popen", full)
    standby.prepare()
    assert standby.claim() is None
