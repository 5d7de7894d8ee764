"""Waiting for one's turn on a public demo, where one run trains at a time. Imports no torch, to wait cheaply.

Each run that waits or trains holds a lock on a numbered ticket. Whoever launches the run takes the ticket and hands it
to the run's process, so that runs train in the order in which they were launched. The system lets go of the lock when
the process ends, however it ends, so a turn is never lost: the lowest ticket that is still held is the run that trains.
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
    """A place in the queue, held until every process that it was given to, or what they turn into, has ended.

    path: its file, in the queue's folder. handle: that file, open and locked.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self.handle = path, handle

    @classmethod
    def take(cls, run: Path) -> "Ticket":
        """The last place in the queue of the folder that `run` is in."""
        folder = run.parent / ".queue"
        folder.mkdir(parents=True, exist_ok=True)
        with _door(folder):
            number = max((int(path.name.partition("-")[0]) for path in _tickets(folder)), default=0) + 1
            path = folder / f"{number:012d}-{run.name}"
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
        return cls(path, handle)

    def ahead(self) -> int:
        """How many come first. Tickets that nobody holds any more are swept away."""
        with _door(self.path.parent):
            return sum(_held(path) for path in _tickets(self.path.parent) if path.name < self.path.name)

    def let_go(self) -> None:
        """Hold it no longer in this process; whoever was given it keeps it."""
        os.close(self.handle)

    def give_up(self) -> None:
        """Leave the queue."""
        self.path.unlink(missing_ok=True)
        self.let_go()


def _door(folder: Path) -> FileLock:
    return FileLock(folder / "door")


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


def wait_then_train(run: Path, ticket: Ticket, command: Sequence[str]) -> None:
    """Wait until no run is ahead, then become `command` in this very process, which keeps the ticket.

    Meanwhile the run's state.json says 'queued' and its place; a 'stop' in control.json ends the waiting.
    """
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
    os.set_inheritable(ticket.handle, True)
    os.execv(command[0], list(command))


if __name__ == "__main__":
    path, place, handle = sys.argv[1:]
    wait_then_train(Path(path), Ticket(Path(place), int(handle)), [sys.executable, "-m", "vae_core", "resume", path])
