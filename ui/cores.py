"""The cores, shared between the visitors whose pages run at this moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["ALL", "shared", "threads_for"]

ALL = torch.get_num_threads()  # before any script has its share; see that this is imported first

_lock = threading.Lock()
_running = 0


def threads_for(running: int) -> int:
    """How many threads torch may use in each of so many scripts."""
    return max(1, ALL // max(1, running))


@contextmanager
def shared() -> Iterator[None]:
    """Run a script with its share of the cores: one visitor has them all; of many, each has one thread.

    Threads of several scripts on the same cores wait for each other at every step, which costs a fifth to a third of
    the processor's time on the pages that compute most.
    """
    global _running
    with _lock:
        _running += 1
        torch.set_num_threads(threads_for(_running))
    try:
        yield
    finally:
        with _lock:
            _running -= 1
