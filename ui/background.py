"""Work in a thread, so that its page stays usable: progress, and a Cancel that takes effect at once."""

import math
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import streamlit as st

from ui.layout import plain
from ui.refreshing import refreshing
from vae_core.downloads import Progress

__all__ = ["Task", "in_background"]

_PATIENCE = 0.3  # seconds; what takes no longer shows no bar
_REFRESH_SECONDS = 0.3


class _CancelledError(Exception):
    """Raised by `report` inside the work, which thus ends there."""


class Task:
    """One call of `work(report)` in a thread of its own; `of` says on what.

    `fraction` and `text` are what `report` was given last. Where nobody has called `watch` for `abandoned_after`
    seconds, the work ends as if cancelled.
    """

    def __init__(self, of: Hashable, work: Callable[[Progress], Any], *, abandoned_after: float = math.inf) -> None:
        self.of = of
        self.fraction, self.text = 0.0, "Starting …"
        self.cancelled = False
        self._work, self._result, self._error = work, None, None
        self._watched, self._patience = time.monotonic(), abandoned_after
        self._thread = threading.Thread(target=self._run, daemon=True, name="background")
        self._thread.start()
        self._thread.join(_PATIENCE)

    @property
    def running(self) -> bool:
        return self._thread.is_alive() and not self.cancelled

    def watch(self) -> None:
        """Say that a visitor looks on."""
        self._watched = time.monotonic()

    def cancel(self) -> None:
        self.cancelled = True

    def outcome(self) -> Any:
        """What the work returned, None where it was given up. Raises what it raised."""
        if self._error:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work(self._report)
        except _CancelledError:
            pass
        except Exception as error:  # raised to the page, which asks for the outcome
            self._error = error

    def _report(self, fraction: float, text: str) -> None:
        if self.cancelled or time.monotonic() - self._watched > self._patience:
            raise _CancelledError
        self.fraction, self.text = min(max(fraction, 0.0), 1.0), text


def in_background(work: Callable[[Progress], Any], *, of: Hashable, key: str, start: str | None = None) -> Any | None:
    """What `work(report)` returns; None before it is asked for, while it goes on, and after it was cancelled.

    of: what is worked on. Something else under the same `key` cancels what goes on there.
    start: the label of the button that begins it. Without one it begins by itself, and only after Cancel on a button.
    `report` takes a fraction and a text for the progress bar; where it is next called after Cancel, the work ends.
    Raises what `work` raises, once.
    """
    task = st.session_state.get(key)
    if task is not None and task.of != of:
        task.cancel()
        task = None
    idle = task is None or task.cancelled
    asked = idle
    if start or (task and task.cancelled):
        asked = st.button(start or "Start again", key=f"{key}_start", icon=":material/download:" if start else None)
    if asked and idle:
        task = st.session_state[key] = Task(of, work)
    if task is None or task.cancelled:
        return None
    if task.running:
        refreshing(lambda: _bar(task, key), now=lambda: task.running, seen=True, seconds=_REFRESH_SECONDS)
        return None
    del st.session_state[key]
    return task.outcome()


def _bar(task: Task, key: str) -> None:
    st.progress(task.fraction, plain(task.text))
    st.button("Cancel", key=f"{key}_cancel", on_click=task.cancel)
