"""The browser's Back and Forward: from page to page, each as it was left."""

import streamlit as st

from ui.components.scripts import script

__all__ = ["keep_tidy"]

_component = st.components.v2.component("vae_laboratory.history", js=script("history"))


def keep_tidy() -> None:
    """Let the browser's history have one entry a page; for the frame."""
    _component(key="history", height=1)
