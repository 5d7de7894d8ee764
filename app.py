"""The router and the frame: pages in sections, and the model that they share."""

import functools
from pathlib import Path

import streamlit as st

from ui import ahead, caching, carried, cores, garbage, guards, history, state, visitor
from ui.ways import HOME, SECTIONS, TRAIN, Way
from vae_core import imaging

_UI = Path(__file__).resolve().parent / "ui"


def _page(way: Way) -> st.Page:
    return st.Page(way.path, title=way.label, icon=way.icon, url_path=way.address, default=way is HOME)


@functools.cache
def _icon() -> str:
    """As a data URL: a file of its own may be gone before the browser asks for it."""
    return imaging.data_url((_UI / "favicon.png").read_bytes(), "image/png")


def main() -> None:
    """Draw the frame and run the page that the address names."""
    st.set_page_config(page_title="VAE laboratory", page_icon=_icon(), layout="wide")
    st.logo(_UI / "logo.svg", size="large")
    page = st.navigation({name: list(map(_page, ways)) for name, ways in SECTIONS.items()}, expanded=True)
    visitor.greet()
    guards.drop_unusable(page)
    carried.arrive(page.url_path)
    try:
        with guards.address_obeyed(), cores.shared():
            with st.sidebar:
                state.model_picker()
                state.beta_picker(shown=page.url_path != TRAIN.address)
                st.caption(f"Computing on {caching.compute_device()}")
                history.keep_tidy()
            with guards.errors_said():
                page.run()
    finally:
        garbage.collect()
        ahead.import_libraries()


if __name__ == "__main__":
    main()
