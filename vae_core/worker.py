"""Training into a run's directory: metrics, checkpoints, previews, and what control.json asks for."""

import errno
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from vae_core import data, distributed, hosted
from vae_core import device as devices
from vae_core.checkpoint import MAX_BYTES, SNAPSHOT_IMAGES, Checkpoint, read_tensors, save, write_tensors
from vae_core.data import Dataset
from vae_core.distributed import Ranks
from vae_core.errors import UserError
from vae_core.evaluate import snapshot
from vae_core.files import clear_temporary, write_whole
from vae_core.previews import PREVIEW_POINTS, thin_previews, write_given, write_preview
from vae_core.rate_distortion import beta_snapshot
from vae_core.run_config import RunConfig
from vae_core.runs import Run
from vae_core.train import Diverged, Progress, Trainer

__all__ = ["assist", "train_run"]

_SAVE_SECONDS = 10.0  # the longest time between two saves: what a crash may cost
_EPOCH_SAVE_SECONDS = 1.0
_SAVES_APART = 10  # times as long as a save takes, at the ends of epochs
_STATE_SECONDS = 1.0
_POLL_SECONDS = 0.05
_TRAINING_BYTES = 4 * MAX_BYTES  # weights, and two moments of each
_TIME_IS_UP = "Stopped: this is as long as a turn may be on this public demo. Resume it to take another turn."


def train_run(
    run: Run,
    report: Callable[[Progress, Trainer], None] | None = None,
    device: str | None = None,
    ranks: Ranks | None = None,
) -> str:
    """Train `run` from where it stands; returns its last status: finished or stopped.

    `report` sees every progress record. Where there are other `ranks`, this is rank 0, and they `assist`. Raises
    UserError for a mistake of the user's (a data set that is not there, a diverging loss); the run's state.json then
    says 'failed' and why.
    """
    with run.held(), devices.denormals_flushed():
        try:
            with distributed.watched():
                return _Session(run, report, device, ranks or Ranks()).train()
        except _CalledOffError:
            run.write_state(status="stopped")
            return "stopped"
        except UserError as error:
            _say_failed(run, error)
            raise
        except (OSError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
                raise
            problem = UserError(f"Training had to stop: {_what_ran_out(error)}")
            _say_failed(run, problem)
            raise problem from error


def assist(ranks: Ranks, device: str | None = None) -> None:
    """Train along with rank 0 as one of the other `ranks`: it says what is to be done, and alone writes the run.

    Raises UserError where the data set is not there, or not the one that rank 0 has.
    """
    if (start := ranks.begin()) is None:
        return
    config = RunConfig.from_dict(start["config"])
    try:
        dataset = _load(config, ranks)
    except _CalledOffError:
        return
    trainer = Trainer(config.model, config.train, dataset, distributed.pick_device(device), ranks)
    if start["position"]:
        trainer.restore(ranks.broadcast_tensors(), start["position"])
    for number in (signal.SIGTERM, signal.SIGINT):  # rank 0 has had it too, and will say stop
        _handle(number, signal.SIG_IGN)
    order = ranks.broadcast()
    with suppress(Diverged), devices.denormals_flushed():  # of which rank 0 tells
        trainer.beta, trainer.learning_rate = order["beta"], order["learning_rate"]
        for _ in trainer.run():
            while (order := ranks.broadcast())["command"] == "wait":
                pass
            if order["command"] == "stop":
                return
            trainer.beta, trainer.learning_rate = order["beta"], order["learning_rate"]
            trainer.records_each_epoch = order["command"] == "epoch"


def _load(config: RunConfig, ranks: Ranks, progress: Callable[[float, str], None] | None = None) -> Dataset:
    """The run's data set. Raises UserError where it differs from that of rank 0, and what `progress` raises there."""
    try:
        with ranks.in_turn():
            dataset = data.load(config.train.dataset, download=ranks.rank > 0, progress=progress)
    except _CalledOffError:
        ranks.broadcast(None)
        raise
    ours = dataset.contents
    theirs = ranks.broadcast(ours)
    if theirs is None:
        raise _CalledOffError
    if ours != theirs:
        raise UserError(
            f"{dataset.name} on the machine {socket.gethostname()} is not what it is on the first one. "
            "Give every machine the same pictures."
        )
    return dataset


def _say_failed(run: Run, error: UserError) -> None:
    with suppress(UserError):  # where the disk is full, this cannot be written either
        run.write_state(status="failed", message=str(error))


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that there is no memory left, for which it has a class of error on some devices only."""
    says = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in says)


def _what_ran_out(error: Exception) -> str:
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "Free some disk space" if full else "See to it that the run's folder can be written"
        return f"{error.strerror or error}. {what}, then resume it."
    return "the memory is used up. Choose a smaller batch or a smaller network."


class _CalledOffError(Exception):
    """A run was stopped while its images were loaded."""


class _Session:
    """One process's work on one run."""

    def __init__(
        self, run: Run, report: Callable[[Progress, Trainer], None] | None, device: str | None, ranks: Ranks
    ) -> None:
        self.run, self.report, self.ranks = run, report, ranks
        run.write_state(status="starting", message="Loading the images.", pid=os.getpid())
        clear_temporary(run.path)
        self.config = run.config()
        tensors, header = read_tensors(run.training, _TRAINING_BYTES) if run.training.exists() else ({}, {})
        position = header.get("position")
        ranks.begin({"config": self.config.to_dict(), "position": position})
        self.stated = time.monotonic()
        self.dataset = _load(self.config, ranks, self._loading)
        chosen = distributed.pick_device(device)
        self.trainer = Trainer(self.config.model, self.config.train, self.dataset, chosen, ranks)
        self.tested: dict[str, Any] | None = header.get("tested")
        if header:
            self._restore(tensors, position)
            ranks.broadcast_tensors(tensors)
        _cut_metrics(run.path / "metrics.jsonl", self.trainer.step)
        self.began = self.saved = self.stated = time.monotonic()
        self.save_took = 0.0
        self.paused, self.first_step = 0.0, self.trainer.step
        self.terminated = False
        self.last_event = run.metrics().events[-1:]
        self.metrics = (run.path / "metrics.jsonl").open("ab")

    def train(self) -> str:
        """The loop: one turn a progress record."""
        previous = {number: _handle(number, self._terminate) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._say("running")
            write_given(self.run, self.dataset)
            if not self.trainer.step:
                write_preview(self.run, self.trainer, 0)
            self._steered()
            self._tell("run")
            for progress in self.trainer.run():
                self._after(progress)
                command = self._obey(epoch_ended=self.trainer.batch == 0)
                self._tell(command)
                if command == "stop":
                    self._save()
                    self._say("stopped", _TIME_IS_UP if self._time_is_up() else "")
                    return "stopped"
            self._save(final=True)
            self._say("finished")
            return "finished"
        except Diverged:
            self._save_checkpoint()
            raise
        finally:
            self.metrics.close()
            for number, handler in previous.items():
                if handler is not None and self.ranks.size == 1:  # torchrun's SIGTERM must not cut off the last words
                    _handle(number, handler)

    def _loading(self, _: float, text: str) -> None:
        """Tell the run's state how far the images are; raise where it is to stop."""
        if time.monotonic() - self.stated > _STATE_SECONDS:
            self.stated = time.monotonic()
            self.run.write_state(message=text)
            if self.run.control()["command"] == "stop":
                raise _CalledOffError

    def _terminate(self, number: int, _: Any) -> None:
        """Save and end at the next record; a second Ctrl-C ends at once."""
        self.terminated = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    def _after(self, progress: Progress) -> None:
        self._append(progress.to_dict())
        now = time.monotonic()
        if progress.test is not None:
            self.tested = progress.test.to_dict()
            write_preview(self.run, self.trainer, self.trainer.epoch)
            thin_previews(self.run)
        after_epoch = min(_SAVE_SECONDS, max(_EPOCH_SAVE_SECONDS, _SAVES_APART * self.save_took))
        if now - self.saved > (_SAVE_SECONDS if progress.test is None else after_epoch):
            self._save()
        if now - self.stated > _STATE_SECONDS:
            self._say("running")
        if self.report:
            self.report(progress, self.trainer)

    def _append(self, entry: dict[str, Any]) -> None:
        self.metrics.write((json.dumps(entry) + "\n").encode())
        self.metrics.flush()

    def _say(self, status: str, message: str = "") -> None:
        self.stated = time.monotonic()
        self.run.write_state(
            status=status,
            message=message,
            epoch=self.trainer.epoch,
            step=self.trainer.step,
            total_steps=self.trainer.total_steps,
            seconds=self.trainer.seconds,
            **self._pace(),
            device=self._device(),
            beta=self.trainer.beta,
            learning_rate=self.trainer.learning_rate,
        )

    def _device(self) -> str:
        """'CPU, 2 threads', or '4 × NVIDIA H200' on several ranks."""
        several = f"{self.ranks.size} × " if self.ranks.size > 1 else ""
        return several + devices.describe(self.trainer.device)

    def _pace(self) -> dict[str, float | None]:
        """This process's pace so far, all but pauses included, and the time to the end at it."""
        trainer, done = self.trainer, self.trainer.step - self.first_step
        if not done:
            return {"images_per_second": None, "seconds_left": None}
        step = (time.monotonic() - self.began - self.paused) / done
        left = step * (trainer.total_steps - trainer.step)
        return {"images_per_second": trainer.batch_size / step, "seconds_left": left}

    def _time_is_up(self) -> bool:
        limits = hosted.limits()
        return limits is not None and time.monotonic() - self.began > limits.seconds

    def _obey(self, *, epoch_ended: bool) -> str:
        """Steer, wait while paused, and return the command that stands: run, epoch or stop."""
        control = self._steered()
        if self.trainer.step == self.trainer.total_steps:
            return "run"
        if control["command"] == "epoch" and epoch_ended:
            self.run.pause_after_epoch()
            control = self.run.control()
        if control["command"] == "pause" and not self.terminated:
            self._save()
            self._say("paused")
            since = time.monotonic()
            while control["command"] == "pause" and not self.terminated and not self._time_is_up():
                time.sleep(_POLL_SECONDS)
                self._tell("wait")
                control = self._steered()
            self.paused += time.monotonic() - since
            if control["command"] != "stop" and not self.terminated:
                self._say("running")
        return "stop" if self.terminated or self._time_is_up() else control["command"]

    def _tell(self, command: str) -> None:
        """Say to the other ranks what is to be done."""
        trainer = self.trainer
        trainer.records_each_epoch = command == "epoch"
        self.ranks.broadcast({"command": command, "beta": trainer.beta, "learning_rate": trainer.learning_rate})

    def _steered(self) -> dict[str, Any]:
        control = self.run.control()
        trainer = self.trainer
        beta, rate = control.get("beta", trainer.beta), control.get("learning_rate", trainer.learning_rate)
        if (beta, rate) != (trainer.beta, trainer.learning_rate):
            trainer.beta, trainer.learning_rate = beta, rate
            where = {"step": trainer.step, "epoch": trainer.step / trainer.batches}
            event = {"event": "steered", **where, "beta": beta, "learning_rate": rate}
            if self.last_event != [event]:  # a process that was killed here may have said it
                self._append(event)
                self.last_event = [event]
        return control

    def _save(self, *, final: bool = False) -> None:
        began = time.monotonic()
        tensors, position = self.trainer.state()
        write_tensors(self.run.training, tensors, {"position": position, "tested": self.tested})
        self._save_checkpoint(final=final)
        self.saved = time.monotonic()
        self.save_took = self.saved - began

    def _save_checkpoint(self, *, final: bool = False) -> None:
        model, test = self.trainer.model, self.dataset.test
        taken = snapshot(model, test, SNAPSHOT_IMAGES if final else PREVIEW_POINTS)
        betas = beta_snapshot(model, test.images) if final and model.config.beta_range else None
        save(self.run.checkpoint, Checkpoint(model, self._record(), taken, betas))

    def _record(self) -> dict[str, Any]:
        trainer = self.trainer
        return {
            "name": self.run.name,
            "train": self.config.train.to_dict(),
            "dataset": self.dataset.name,
            "class_names": list(self.dataset.class_names),
            "factor_names": list(self.dataset.factor_names),
            "epoch": trainer.epoch,
            "step": trainer.step,
            "seconds": trainer.seconds,
            "images_per_second": trainer.images_per_second,
            "beta": trainer.beta,
            "device": self._device(),
            "torch": torch.__version__,
            "test": self.tested,
        }

    def _restore(self, tensors: dict[str, torch.Tensor], position: dict[str, Any] | None) -> None:
        try:
            self.trainer.restore(tensors, position)
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise UserError(
                f"{self.run.training.name} does not fit the run {self.run.name}. Delete the run and start it again."
            ) from error


def _handle(number: int, handler: Any) -> Any:
    try:
        return signal.signal(number, handler)
    except ValueError:  # not in the main thread: nobody sends it signals
        return None


def _cut_metrics(path: Path, step: int) -> None:
    """Drop what was recorded after `step`: a resumed run will record it again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + b"\n")
        except (ValueError, KeyError, TypeError):
            continue
    write_whole(path, b"".join(kept))
