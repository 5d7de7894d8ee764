"""Processes that train a run: one of its own, the one on standby, or one that waits for its turn."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from vae_core import hosted, standby
from vae_core.data import data_folder
from vae_core.errors import UserError
from vae_core.runs import Run, runs_folder

__all__ = ["launch"]


def launch(run: Run, *, in_turn: bool = False) -> None:
    """Train the run in a process of its own, from where it stands; it outlives the caller.

    With `in_turn`, and on a public demo always, the process first waits for its turn; see `vae_core.queue`. A run that
    is live already stays as it is. Raises UserError where it was deleted, or where no process can be started.
    """
    queued = in_turn or hosted.active()
    if not run.begin("queued" if queued else "starting"):
        return
    try:
        _launch(run, queued)
    except (OSError, UserError) as error:
        with suppress(UserError):
            run.write_state(status="stopped")
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise UserError(f"No trainer can be started: {why}. Try again in a while.") from error


def _launch(run: Run, queued: bool) -> None:
    environment = os.environ | {"VAE_RUNS": str(runs_folder().resolve()), "VAE_DATA": str(data_folder().resolve())}
    if queued:
        process = _start_in_turn(run, environment)
    elif _handed_over(run, environment):
        return
    else:
        process = _start(run, ["vae_core", "resume", str(run.path.resolve())], environment)
        run.write_state(pid=process.pid)
    standby.give_way(process.pid)


def _start_in_turn(run: Run, environment: Mapping[str, str]) -> subprocess.Popen:
    """A process that waits for the run's turn; it is given its place in the queue now."""
    from vae_core.queue import Ticket

    ticket = Ticket.take(run.path.resolve())
    try:
        run.write_state(ahead=ticket.ahead())
        arguments = ["vae_core.queue", str(run.path.resolve()), str(ticket.path), str(ticket.handle)]
        return _start(run, arguments, environment, pass_fds=[ticket.handle])
    finally:
        ticket.let_go()


def _start(
    run: Run, arguments: Sequence[str], environment: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> subprocess.Popen:
    with (run.path / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=Path(__file__).resolve().parent.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=pass_fds,
        )


def _handed_over(run: Run, environment: Mapping[str, str]) -> bool:
    """Give the run to the trainer on standby, if there is one."""
    process = standby.claim()
    if process is None:
        return False
    run.write_state(pid=process.pid)
    return standby.begin(process, run.path, environment)
