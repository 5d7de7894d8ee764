"""What keeps a page whole: errors said in sentences, and an address without settings that no widget survives."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from vae_core.errors import UserError

__all__ = ["drop_unusable", "errors_said", "say_errors"]


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


def _is_usable(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return bool(value.strip())
