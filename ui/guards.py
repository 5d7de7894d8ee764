"""What keeps a page whole: errors said in sentences, and an address without settings that no widget survives."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from ui.layout import plain
from vae_core.errors import UserError

__all__ = ["address_obeyed", "drop_unusable", "errors_said", "say_errors"]

_ARRIVED = "guards_arrived"
_ROUNDING = 1.2  # β is the nearest that the model is shown at


@contextmanager
def errors_said() -> Iterator[None]:
    """Say a UserError that is raised in this block, below what the block has drawn."""
    try:
        yield
    except UserError as error:
        st.error(str(error), icon=":material/error:")


def say_errors(draw: Callable[..., Any]) -> Callable[..., Any]:
    """`draw`, which says a UserError that it raises where it draws, and then returns None.

    For what `st.fragment` runs: what is raised there never reaches the page around it.
    """
    return errors_said()(draw)


def drop_unusable(page: st.Page) -> None:
    """Open `page` anew without those settings of its address that are empty, or numbers that are not finite.

    Streamlit gives None for an empty choice, even where one is required, and raises OverflowError for a whole number
    that is infinite.
    """
    kept = {name: st.query_params.get_all(name) for name in st.query_params}
    kept = {name: values for name, values in kept.items() if all(map(_is_usable, values))}
    if len(kept) < len(st.query_params):
        with suppress(StreamlitAPIException):  # where widgets that have such settings are there already, as after Back
            st.switch_page(page, query_params=kept)
        st.switch_page(page, query_params={})


@contextmanager
def address_obeyed() -> Iterator[None]:
    """Say which numbers of the address with which a visitor comes are not those that this block shows."""
    asked = {} if _ARRIVED in st.session_state else {name: st.query_params[name] for name in st.query_params}
    st.session_state[_ARRIVED] = True
    try:
        yield
    finally:
        for name, text in asked.items():
            shown = st.session_state.get(name)
            if _is_number(shown) and not _is_met(text, shown):
                st.toast(
                    f"The address asks for {plain(name)} = {plain(text[:20])}, which is not to be had here. "
                    f"{shown:,.6g} is shown.",
                    icon=":material/link_off:",
                    duration="long",
                )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_met(text: str, shown: float) -> bool:
    try:
        asked = float(text)
    except ValueError:
        return True  # by its name, as a dimension is
    if isinstance(shown, int) or asked <= 0 or shown <= 0:
        return asked == shown
    return max(asked / shown, shown / asked) < _ROUNDING


def _is_usable(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return bool(value.strip())
