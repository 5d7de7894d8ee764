"""A run is a directory: a process of its own trains into it, and pages or scripts read and steer it."""

import itertools
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

from vae_core.curves import entry_of
from vae_core.errors import UserError, check_range
from vae_core.files import read_json, write_json
from vae_core.run_config import RunConfig, check_new

__all__ = [
    "LIVE",
    "Metrics",
    "Run",
    "create",
    "door",
    "find",
    "list_runs",
    "place",
    "runs_folder",
]

LIVE = ("queued", "starting", "running", "paused")
_STATUSES = (*LIVE, "finished", "stopped", "failed")
_NUMBER = int | float
_KINDS = {"status": str, "message": str, "command": str, "pid": int, "epoch": int, "created": _NUMBER}
_KINDS |= dict.fromkeys(("updated", "seconds_left", "images_per_second", "beta", "learning_rate"), _NUMBER)
_LEFT = {"control.json", "control.lock", "lock"}  # in the folder of a run that was told something as it was deleted
_STARTING_SECONDS = 300.0  # that a process may take to import torch on a busy machine
_DOOR_SECONDS = 30.0  # many times as long as all visitors of a public demo take to start a run each


def runs_folder() -> Path:
    """The folder that holds the runs: $VAE_RUNS, or runs/ in the working folder."""
    return Path(os.environ.get("VAE_RUNS") or "runs")


@dataclass(frozen=True)
class Metrics:
    """What a run has written of itself: progress records and events ('steered', with the new values), in order.

    A record holds the fields of `train.Progress`; an event {"event", "step", "epoch", ...}.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tests(self) -> list[dict[str, Any]]:
        """The records that carry a test evaluation: one an epoch at first, see `train.is_tested`."""
        return [record for record in self.records if record.get("test")]


@dataclass(frozen=True)
class Run:
    """One run's directory. Everything is read from disk at each call; nothing is kept."""

    path: Path

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.absolute().name

    @property
    def checkpoint(self) -> Path:
        """The latest weights with their latent snapshot; there once the run has been saved."""
        return self.path / "checkpoint.safetensors"

    @property
    def training(self) -> Path:
        """All that is needed to go on: weights, optimiser, generators, position."""
        return self.path / "training.safetensors"

    def config(self) -> RunConfig:
        """How the run was made. Raises UserError where it cannot be read."""
        try:
            values = read_json(self.path / "config.json")
        except UserError as error:
            raise UserError(f"{error} Delete the run and start it again.") from error
        return RunConfig.from_dict(values)

    def state(self) -> dict[str, Any]:
        """The run's status and message: {"status", "message", "pid", "device", "epoch", "seconds", "updated", …}.

        The statuses are queued, starting, running, paused, finished, stopped, failed, and interrupted: a run
        whose process is gone without having said so.
        """
        state = {"status": "stopped", "message": "", "updated": 0.0, "epoch": 0}
        state |= self._read("state.json")
        if state["status"] not in _STATUSES:
            state["status"] = "stopped"
        if state["status"] in LIVE and not self._lives(state):
            state |= {"status": "interrupted", "message": "The training process ended without a word. Resume it."}
        return state

    def _lives(self, state: dict[str, Any]) -> bool:
        starting = state["status"] in ("starting", "queued")
        recent = time.time() - state["updated"] < _STARTING_SECONDS
        return self.is_held() or (starting and recent and _process_exists(state.get("pid")))

    def is_held(self) -> bool:
        """Whether a process is training the run at this moment."""
        return _is_locked(self.path / "lock")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run for training; the system lets go when the process ends, however it ends."""
        self._check_here()
        try:
            with FileLock(self.path / "lock", timeout=5):
                yield
        except Timeout as error:
            raise UserError(f"{self.name} is being trained already. Watch it, or stop it first.") from error

    def write_state(self, **changes: Any) -> None:
        """Update state.json, whole."""
        write_json(self.path / "state.json", self._read("state.json") | changes | {"updated": time.time()})

    def _read(self, name: str) -> dict[str, Any]:
        """A JSON file's object, without what is of the wrong kind or not finite; an empty one where the file is gone or
        damaged."""
        value = None
        with suppress(UserError):
            value = read_json(self.path / name)
        found = value if isinstance(value, dict) else {}
        return {
            key: part
            for key, part in found.items()
            if isinstance(part, _KINDS.get(key, object)) and not (isinstance(part, float) and not math.isfinite(part))
        }

    def metrics(self) -> Metrics:
        """Records and events so far; what is still being written, or damaged, is left out."""
        metrics = Metrics()
        with suppress(OSError):
            lines = (self.path / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
            for entry in filter(None, map(entry_of, lines)):
                (metrics.events if "event" in entry else metrics.records).append(entry)
        return metrics

    def steered(self) -> bool:
        """Whether another β or learning rate was ever asked for, so that it is no longer what its config says."""
        return not self.control().keys().isdisjoint({"beta", "learning_rate"})

    def previews(self) -> list[Path]:
        """One file for each epoch that was previewed, in order; see `previews.write_preview`."""
        found = (self.path / "previews").glob("epoch_*.safetensors")
        return sorted(found, key=lambda path: (len(path.name), path.name))

    def control(self) -> dict[str, Any]:
        """What the trainer has been asked for: {"command", "beta", "learning_rate"}."""
        return {"command": "run"} | self._read("control.json")

    def is_here(self) -> bool:
        """Whether the run is there, and was not deleted."""
        return (self.path / "config.json").exists()

    def _check_here(self) -> None:
        if not self.is_here():
            raise UserError(f"{self.name} is not here any more. Start it again.")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else asks anything of the run meanwhile. Raises UserError where it was deleted."""
        self._check_here()  # a lock would make the folder anew
        with _locked(self.path / "control.lock", 5, f"{self.name} cannot be told", "Check who owns its folder."):
            self._check_here()
            yield

    def _ask(self, after: str | None = None, **changes: Any) -> None:
        """Change what the trainer is asked for, if the command is still `after`, where that is given."""
        with self._alone():
            control = self.control()
            if after in (None, control["command"]):
                write_json(self.path / "control.json", control | changes)

    def begin(self, status: str) -> bool:
        """Let the run be of this status, and go on; False where it is live already, or somebody else was first."""
        with self._alone():
            if self.state()["status"] in LIVE:
                return False
            write_json(self.path / "control.json", self.control() | {"command": "run"})
            self.write_state(status=status, message="", pid=None)
            return True

    def pause(self) -> None:
        """Ask the trainer to wait at its next record."""
        self._ask(command="pause")

    def pause_after_epoch(self) -> None:
        """Turn the wish to go on to the end of the epoch into a pause, unless something else was asked for since."""
        self._ask(after="epoch", command="pause")

    def step_epoch(self) -> None:
        """Ask the trainer to go on to the end of the epoch and wait there."""
        self._ask(command="epoch")

    def stop(self) -> None:
        """Ask the trainer to save and end; the run can be resumed later."""
        self._ask(command="stop")

    def steer(self, *, beta: float | None = None, learning_rate: float | None = None) -> None:
        """Change β or the learning rate while the run trains; None leaves a value as it is."""
        changes = {}
        if beta is not None:
            self._check_beta(beta)
            changes["beta"] = float(beta)
        if learning_rate is not None:
            check_range("learning rate", float(learning_rate), 1e-6, 1.0)
            changes["learning_rate"] = float(learning_rate)
        self._ask(**changes)

    def _check_beta(self, beta: float) -> None:
        config = self.config()
        if config.train.objective == "iwae":
            raise UserError("IWAE's bound has no KL of its own to weigh, and β stays 1. Steer the learning rate.")
        if config.model.beta_range:
            low, high = config.model.beta_range
            raise UserError(f"This run learns every β from {low:g} to {high:g}. Choose a β once it is trained.")
        check_range("β", float(beta), 0.0, 1000.0)

    def go_on(self) -> None:
        """Let a paused trainer go on."""
        self._ask(command="run")

    def delete(self) -> None:
        """Remove the directory. Raises UserError while the run is live, and where it cannot be removed."""
        try:
            if self.is_here():
                with self._alone():
                    if self.state()["status"] in LIVE:
                        raise UserError(f"{self.name} is being trained. Stop it before deleting it.")
                    config = self.path / "config.json"
                    shutil.rmtree(config) if config.is_dir() else config.unlink()  # from now on nobody can begin it
            shutil.rmtree(self.path)
        except FileNotFoundError:  # somebody else is at it
            shutil.rmtree(self.path, ignore_errors=True)
        except OSError as error:
            raise UserError(f"{self.name} cannot be deleted: {error.strerror}. Check who owns its folder.") from error


@contextmanager
def _locked(path: Path, seconds: float, what: str, remedy: str) -> Iterator[None]:
    """Hold a lock, which the system lets go when the process ends. Raises UserError where that cannot be in time."""
    try:
        lock = FileLock(path, timeout=seconds).acquire()
    except OSError as error:
        raise UserError(f"{what}: {error.strerror or 'another process holds it'}. {remedy}") from error
    with lock:
        yield


@contextmanager
def door() -> Iterator[None]:
    """Hold the door of the runs folder: whoever looks whether runs may begin, and begins them, does both within.

    One at a time, of all threads and processes; there is no door within the door. Raises UserError where it stays shut.
    """
    remedy = "Try again, or check who owns the folder of the runs."
    with _locked(runs_folder() / ".door", _DOOR_SECONDS, "No run can be started", remedy):
        yield


def _is_locked(path: Path) -> bool:
    """Whether somebody holds this lock; those who look at the same time do not see each other, where that can be."""
    if fcntl is None:
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
    with suppress(OSError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _process_exists(pid: int | None) -> bool:
    if not pid:
        return True
    if pid < 0:
        return False
    with suppress(OSError, OverflowError):
        os.waitpid(pid, os.WNOHANG)  # a child that has ended would otherwise linger and look alive
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def place(config: RunConfig, usable: Callable[[Run], bool] = lambda run: not run.steered()) -> Run:
    """Where the run of this config is, or will be: the first of NAME, NAME-2, … that holds nothing, or a usable run.

    By default that is one which was not steered.
    """
    names = itertools.chain([config.name], (f"{config.name}-{number}" for number in itertools.count(2)))
    found = (Run(runs_folder() / name) for name in names)
    return next(run for run in found if _is_free(run.path) or (run.is_here() and usable(run)))


def _is_free(path: Path) -> bool:
    """Whether a run can be made there: nothing is there, or what is left of one that was deleted."""
    try:
        return {entry.name for entry in path.iterdir()} <= _LEFT
    except (FileNotFoundError, NotADirectoryError):
        return True


def create(config: RunConfig, path: Path | None = None) -> Run:
    """The run of this config in its `place` (or at `path`), made where it is new.

    Raises UserError where `path` holds a run of another config or other things, and for a config of which nothing good
    can come: a KL warm-up that does not end, a network too large to be kept.
    """
    run = Run(Path(path)) if path else place(config)
    if run.is_here():
        if run.config() != config:
            raise UserError(
                f"The folder {run.name} holds a run with other settings. Name another folder, or delete that run."
            )
        return run
    check_new(config)
    if not _is_free(run.path):
        raise UserError(f"The folder {run.name} holds other things than a run. Name another folder, or a new one.")
    (run.path / "control.json").unlink(missing_ok=True)
    write_json(run.path / "config.json", config.to_dict())
    run.write_state(status="stopped", message="", epoch=0, created=time.time())
    return run


def find(name: str) -> Run:
    """The run called `name` in the runs folder, or in the folder `name`. Raises UserError where there is none."""
    with suppress(OSError):  # a name that no file system would take
        for run in (Run(runs_folder() / name), Run(Path(name))):
            if name and run.is_here():
                return run
    raise UserError(f"There is no run {name!r}. List the runs with: python -m vae_core runs")


def list_runs() -> list[Run]:
    """All runs in the runs folder, the newest first."""
    paths = [path.parent for path in runs_folder().glob("*/config.json")]
    return [Run(path) for path in sorted(paths, key=_created, reverse=True)]


def _created(path: Path) -> float:
    with suppress(OSError):
        return (path / "config.json").stat().st_mtime
    return 0.0
