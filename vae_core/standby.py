"""A trainer on standby: a process that has imported torch already and waits to be told which run to train.

It saves the second or two of importing between a click and the first step. It is used once, for one run, and is from
then on that run's trainer like any other: in a session of its own, outliving whoever started it. Until then it ends
with the process that keeps it, however that ends, for its standard input is a pipe from there.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vae_core import hosted, memory

__all__ = ["begin", "claim", "dismiss", "give_way", "prepare"]

_PRIORITY = 10
_GROUP_TRIES = 5
_QUIET_SECONDS = 1.0  # before it imports, so that the page which asked for it comes first
_KEPT_SECONDS = 900.0

_lock = threading.Lock()
_idle: subprocess.Popen | None = None
_timer: threading.Timer | None = None


def prepare() -> None:
    """Have a trainer on standby for the next quarter of an hour; never more than one.

    A public demo has none: its memory is scarce, and its runs wait in a queue anyway.
    """
    global _idle, _timer
    if hosted.active():
        return
    with _lock:
        if _idle is None or _idle.poll() is not None:
            try:
                _idle = _start()
            except OSError:  # no process or memory to be had: a trainer is then started when there is a run
                return
            give_way(_idle.pid)
        if _timer:
            _timer.cancel()
        _timer = threading.Timer(_KEPT_SECONDS, dismiss)
        _timer.daemon = True
        _timer.start()


def _start() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "vae_core.standby"],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def claim() -> subprocess.Popen | None:
    """The process on standby, which is the caller's from now on; None where there is none."""
    global _idle
    with _lock:
        process, _idle = _idle, None
    return process if process and process.poll() is None else None


def dismiss() -> None:
    """End the process on standby, if there is one."""
    if process := claim():
        process.stdin.close()


def give_way(pid: int) -> None:
    """Let a trainer, a process that leads a session of its own, give way to the pages that watch it.

    Where Linux groups processes by session, a priority counts within the group alone: as one against all pages
    together, the trainer would have half of the cores. The group has a priority of its own; see sched(7).
    """
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, _PRIORITY)
    for _ in range(_GROUP_TRIES):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(_PRIORITY))
        except BlockingIOError:  # the system changes ten groups a second at most
            time.sleep(0.1)
        except OSError:  # no such groups, or none of our own
            return
        else:
            return


def begin(process: subprocess.Popen, run: Path, environment: Mapping[str, str]) -> bool:
    """Let a claimed process train the run in folder `run`; False where it is not there any more."""
    request = {"run": str(run.resolve()), "environment": dict(environment)}
    try:
        with process.stdin as pipe:
            pipe.write(json.dumps(request).encode())
    except BrokenPipeError:
        return False
    return True


def _warm_up() -> None:
    """Import what a trainer needs; the optimiser imports half of it at its first step, the digits scikit-learn."""
    import torch

    from vae_core import data, run_commands  # noqa: F401

    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.Adam([weight], fused=True).step()
    data.load("digits")


def _wait() -> int:
    """Import what a trainer needs, wait for a request, and train; the exit status."""
    with suppress(OSError):  # where only sockets can be waited for
        select.select([sys.stdin], [], [], _QUIET_SECONDS)
    memory.keep_all()
    _warm_up()
    from vae_core import cli

    text = sys.stdin.read()
    if not text:
        return 0
    request = json.loads(text)
    os.environ.clear()
    os.environ.update(request["environment"])
    log = os.open(Path(request["run"]) / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    return cli.main(["resume", request["run"]])


if __name__ == "__main__":
    sys.exit(_wait())
