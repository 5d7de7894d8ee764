"""Waiting for what other processes do, as long as a busy machine may take."""

import subprocess
import time
from collections.abc import Callable

__all__ = ["PATIENCE", "until"]

PATIENCE = 300.0  # seconds; only a fault takes that long


def until(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Wait until `condition()` holds. Fails after `PATIENCE`, and where the `process` behind it ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.02)
