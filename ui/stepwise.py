"""Work in steps that takes a while: a progress bar once it does, and a way to stop and to go on."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

__all__ = ["stepwise"]

_PATIENCE = 0.4  # seconds; what takes no longer shows no bar


def stepwise(steps: Sequence[Callable[[], Any]], *, key: str, label: str) -> list[Any]:
    """What `steps` return, in order: all of it, or what there was when the visitor stopped, with a button to go on.

    Each step keeps what it has computed (`st.cache_data`), so that the next run of the script finds it at once.
    """
    found: list[Any] = []
    began, place, bar = time.monotonic(), st.empty(), None
    stopped = st.session_state.get(f"{key}_stopped", False)
    for step in steps:
        if time.monotonic() - began > _PATIENCE:
            if stopped:
                break
            if bar is None:
                with place.container():
                    bar = st.progress(0.0)
                    st.button("Stop", key=f"{key}_stop", icon=":material/stop:", on_click=_set, args=(key, True))
            bar.progress(len(found) / len(steps), f"{label}: {len(found)} of {len(steps)}")
        found.append(step())
    place.empty()
    if len(found) < len(steps):
        st.caption(f"{label}: stopped after {len(found)} of {len(steps)}.")
        st.button("Go on", key=f"{key}_go_on", icon=":material/play_arrow:", on_click=_set, args=(key, False))
    return found


def _set(key: str, stopped: bool) -> None:
    st.session_state[f"{key}_stopped"] = stopped
