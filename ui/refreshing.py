"""A part of a page that draws itself anew while something goes on."""

from collections.abc import Callable, Hashable

import streamlit as st

from ui.guards import say_errors

__all__ = ["refreshing"]


def refreshing(
    draw: Callable[[], object], *, now: Callable[[], Hashable], seen: Hashable, seconds: float | None
) -> None:
    """Call `draw` here, and again every so many `seconds`, or with None only when the page or a widget in it asks.

    now: the state of what goes on; seen: what it was for this run of the page. Once it is another, the page as a whole
    runs again, which starts or stops the repeating.
    """

    @st.fragment(run_every=seconds)
    @say_errors
    def part() -> None:
        if now() != seen:
            st.rerun()
        draw()

    part()
