"""Whose turn it is to compute: what takes long runs one after another, so that pages that compute little stay quick.

What is computed in the background, while its page is usable, comes after what a page waits for.
"""

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ui import cores

__all__ = ["aside", "in_turn", "pass_on", "turn", "yielding"]

_SLICE = 0.25  # seconds for which a turn is kept, where others wait
_TELL_EVERY = 0.5  # seconds
_lock = threading.Lock()
_waiting: deque[threading.Event] = deque()
_in_background: deque[threading.Event] = deque()
_free = cores.ALL
_mine = threading.local()


def _nobody() -> None:
    pass


@contextmanager
def turn(tell: Callable[[], None] = _nobody) -> Iterator[None]:
    """Compute within it what takes over half a second: as many at a time as there are cores, first come, first
    served. A turn within a turn is the same one. `tell` is called twice a second while others come first.
    """
    depth = _depth()
    if not depth:
        _take(tell)
    _mine.depth = depth + 1
    try:
        yield
    finally:
        _mine.depth = depth
        if not depth:
            _give()


def in_turn(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, computing within a turn; for what is cached. It must not ask for what others compute in their
    turns, but `aside`."""

    @functools.wraps(compute)
    def waiting(*args: Any, **settings: Any) -> Any:
        with turn():
            return compute(*args, **settings)

    return waiting


@contextmanager
def yielding() -> Iterator[None]:
    """Within it, this thread takes turns only when no page waits for one, and passes them on at once."""
    _mine.background = True
    try:
        yield
    finally:
        _mine.background = False


def pass_on() -> None:
    """Let those who wait go first, if this turn has lasted a while; for the steps of what takes long."""
    if _depth() and _others_first():
        _give()
        _take(_nobody)


def _others_first() -> bool:
    lasted = time.monotonic() - _mine.since > _SLICE
    if _is_background():
        return bool(_waiting or (lasted and _in_background))
    return bool(_waiting and lasted)


@contextmanager
def aside() -> Iterator[None]:
    """Be without the turn for a while: around what waits for another visitor's computation."""
    depth = _depth()
    if depth:
        _mine.depth = 0
        _give()
    try:
        yield
    finally:
        if depth:
            _take(_nobody)
            _mine.depth = depth


def _depth() -> int:
    return getattr(_mine, "depth", 0)


def _is_background() -> bool:
    return getattr(_mine, "background", False)


def _queue() -> deque[threading.Event]:
    """Where this thread waits."""
    return _in_background if _is_background() else _waiting


def _take(tell: Callable[[], None]) -> None:
    global _free
    with _lock:
        mine = threading.Event()
        if _free:
            _free -= 1
            mine.set()
        else:
            _queue().append(mine)
    try:
        while not mine.wait(_TELL_EVERY):
            tell()
    except BaseException:
        _leave(mine)
        raise
    _mine.since = time.monotonic()


def _leave(mine: threading.Event) -> None:
    """Wait no longer; what was given in the meantime goes to the next."""
    with _lock:
        if not mine.is_set():
            _queue().remove(mine)
            return
    _give()


def _give() -> None:
    global _free
    with _lock:
        if queue := _waiting or _in_background:
            queue.popleft().set()
        else:
            _free += 1
