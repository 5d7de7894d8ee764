"""Waiting for one's turn on a public demo, where one run trains at a time. Imports no torch, to wait cheaply.

Each run that waits or trains holds a lock on a numbered ticket. The system lets go of the lock when the process ends,
however it ends, so a turn is never lost: the lowest ticket that is still held is the run that trains.
"""

import fcntl
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from vae_core.errors import UserError
from vae_core.files import read_json, write_json

__all__ = ["Ticket", "wait_then_train"]

_POLL_SECONDS = 0.5
_SIGN_OF_LIFE_SECONDS = 20.0


class Ticket:
    """A place in the queue, taken on creation and held until the process, and what it turns into, has ended."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with self._door():
            number = max((int(path.name.partition("-")[0]) for path in _tickets(folder)), default=0) + 1
            self.path = folder / f"{number:012d}-{name}"
            self._handle = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
        os.set_inheritable(self._handle, True)

    def _door(self) -> FileLock:
        return FileLock(self._folder / "door")

    def ahead(self) -> int:
        """How many come first. Tickets that nobody holds any more are swept away."""
        with self._door():
            return sum(_held(path) for path in _tickets(self._folder) if path.name < self.path.name)

    def give_up(self) -> None:
        """Leave the queue."""
        self.path.unlink(missing_ok=True)
        os.close(self._handle)


def _tickets(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*-*"))


def _held(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(handle)


def _say(run: Path, **changes: object) -> None:
    state = {}
    with suppress(UserError):
        state = read_json(run / "state.json")
    write_json(run / "state.json", state | changes | {"updated": time.time(), "pid": os.getpid()})


def _called_off(run: Path) -> bool:
    with suppress(UserError):
        return read_json(run / "control.json").get("command") == "stop"
    return not run.is_dir()


def wait_then_train(run: Path, command: Sequence[str]) -> None:
    """Wait until no run is ahead, then become `command` in this very process, which keeps the ticket.

    Meanwhile the run's state.json says 'queued' and its place; a 'stop' in control.json ends the waiting.
    """
    ticket = Ticket(run.parent / ".queue", run.name)
    said, when = -1, 0.0
    while ahead := ticket.ahead():
        if _called_off(run):
            ticket.give_up()
            if run.is_dir():
                _say(run, status="stopped", message="Taken out of the queue.", ahead=0)
            return
        if ahead != said or time.monotonic() - when > _SIGN_OF_LIFE_SECONDS:
            _say(run, status="queued", message="", ahead=ahead)
            said, when = ahead, time.monotonic()
        time.sleep(_POLL_SECONDS)
    _say(run, status="starting", message="", ahead=0)
    os.execv(command[0], list(command))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    wait_then_train(path, [sys.executable, "-m", "vae_core", "resume", str(path)])
