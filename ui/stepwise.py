"""Work in steps that takes a while: what is found is drawn as it comes, and a visitor can stop it and go on."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import streamlit as st

from ui import cores, turns
from ui.background import Task
from ui.refreshing import refreshing
from vae_core.downloads import Progress

__all__ = ["Tell", "stepwise"]

Tell = Callable[[float], None]
"""To be called often by a step, with the fraction of it that is done; after Stop, the step ends there."""

_REFRESH_SECONDS = 0.5


class _Work:
    """Steps on what `of` says, and what they have returned so far, by their names."""

    def __init__(self, of: Hashable) -> None:
        self.of, self.found, self.task = of, {}, None

    @property
    def running(self) -> bool:
        return self.task is not None and self.task.running

    @property
    def stopped(self) -> bool:
        return self.task is not None and self.task.cancelled

    @property
    def state(self) -> tuple[bool, bool]:
        return self.running, self.stopped

    def go_on(self) -> None:
        """Have the next run of the page begin what is left."""
        self.task = None

    def begin(self, steps: Mapping[Hashable, Callable[[Tell], Any]], label: str) -> None:
        """Do what has not been done, in a thread. Raises what a step has raised."""
        ended, self.task = self.task, None
        if ended:
            ended.outcome()
        left = {name: step for name, step in steps.items() if name not in self.found}
        if left:
            self.task = Task(self.of, lambda report: self._do(left, len(steps), label, report), abandoned_after=20.0)

    def _do(self, left: Mapping[Hashable, Callable[[Tell], Any]], total: int, label: str, report: Progress) -> None:
        def tell(fraction: float) -> None:
            turns.pass_on()
            report((len(self.found) + fraction) / total, f"{label}: {len(self.found)} of {total}")

        with cores.shared(), turns.yielding():
            for name, step in left.items():
                tell(0.0)
                one = step(tell)
                tell(1.0)  # what was stopped meanwhile is not taken
                self.found[name] = one


def stepwise(
    steps: Mapping[Hashable, Callable[[Tell], Any]],
    draw: Callable[[dict[Hashable, Any]], object],
    *,
    of: Hashable,
    key: str,
    label: str,
) -> dict[Hashable, Any]:
    """Draw with `draw(found)` what `steps` return, by their names and in their order, again while more is found.

    They work in a thread, so that the page stays usable; a bar shows how far they are, with a Stop button, and then
    one to go on. Nobody looking on stops them too. What is found is kept in the session until `of` changes, which
    says all that it depends on; a step shares what it has computed with others (`st.cache_data`), and takes its turn
    (`ui.turns`). Returns what is found by now; once all is, the page runs again. Raises what a step raises.
    """
    work = st.session_state.get(key)
    if work is None or work.of != of:
        if work and work.task:
            work.task.cancel()
        work = st.session_state[key] = _Work(of)
    if not work.running and not work.stopped:
        work.begin(steps, label)
    refreshing(
        lambda: _show(work, list(steps), draw, key, label),
        now=lambda: work.state,
        seen=work.state,
        seconds=_REFRESH_SECONDS if work.running else None,
    )
    return dict(work.found)


def _show(work: _Work, names: list[Hashable], draw: Callable[[dict], object], key: str, label: str) -> None:
    """The bar and what is found so far."""
    found = {name: work.found[name] for name in names if name in work.found}
    with st.container(horizontal=True, vertical_alignment="center"):
        if work.running:
            work.task.watch()
            st.progress(work.task.fraction, work.task.text)
            st.button("Stop", key=f"{key}_stop", icon=":material/stop:", on_click=work.task.cancel)
        elif len(found) < len(names):
            st.caption(f"{label}: stopped after {len(found)} of {len(names)}.")
            st.button("Go on", key=f"{key}_go_on", icon=":material/play_arrow:", on_click=work.go_on)
    draw(found)
