"""What the system's library keeps of the memory that was freed, where that library is glibc; see mallopt(3)."""

import ctypes
from contextlib import suppress

__all__ = ["keep_all", "keep_little"]

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # malloc.h
_ARENAS = 2


def keep_all() -> None:
    """For a process that computes: keep what a training step frees for the next step, which needs as much again.

    Given back and asked for anew, each page of it is cleared and mapped at its first touch: three tenths of a step of
    the convolutional network.
    """
    _set(_TRIM_THRESHOLD, -1)
    _set(_MMAP_MAX, 0)


def keep_little() -> None:
    """For a server whose scripts have threads of their own: two pools of freed memory and not eight for each core.

    After many visitors 300 MB lay in pools that nobody used.
    """
    _set(_ARENA_MAX, _ARENAS)


def _set(parameter: int, value: int) -> None:
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(parameter, value)
