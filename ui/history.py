"""From page to page in the browser: Back and Forward to each as it was left, and nothing over it on a phone."""

import streamlit as st

from ui.components.scripts import script

__all__ = ["keep_tidy"]

_component = st.components.v2.component("vae_laboratory.history", js=script("history"))


def keep_tidy() -> None:
    """Let the browser's history have one entry a page, and the list of pages fold on a phone once it has led to one."""
    _component(key="history", height=1)
