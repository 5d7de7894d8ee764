"""Settings that go along from page to page, as the picture does that several pages are about."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

__all__ = ["arrive", "setting"]

_PAGE, _ARRIVALS, _LEFT = "carried_page", "carried_arrivals", "carried_left"
_Value = TypeVar("_Value")


def arrive(page: str) -> None:
    """Count the arrivals at pages; for the frame, which knows at which `page` the visitor is."""
    if st.session_state.get(_PAGE) != page:
        st.session_state[_PAGE] = page
        st.session_state[_ARRIVALS] = st.session_state.get(_ARRIVALS, 0) + 1


def setting(name: str, read: Callable[[str], _Value | None], default: _Value, draw: Callable[[], _Value]) -> _Value:
    """What the visitor has set in the widget `name` that `draw` draws, the same on every page that has it.

    On arrival it is what the address says, which `read` understands (None: no value), else what it was on the page
    before. From then on the address says what it is, the default as well, so that Back leads to each page as it was.

    Not by bind="query-params": Streamlit (1.67) strikes a setting of the page before from the address of the next one,
    and gives its value to that page's widget only where the page before has run twice with it.
    """
    left = st.session_state.setdefault(_LEFT, {})
    arrival = st.session_state.get(_ARRIVALS)
    before, value_before = left.get(name, (None, default))
    value = st.session_state.get(name, value_before)
    fresh = before != arrival or name not in st.session_state
    if fresh and value == value_before and (asked := read(st.query_params.get(name, ""))) is not None:
        value = asked
    if read(str(value)) is None:
        fresh, value = True, default
    if fresh:
        st.session_state[name] = value
    value = draw()
    left[name] = arrival, value
    if st.query_params.get(name) != str(value):
        st.query_params[name] = str(value)
    return value
