"""Who the visitor is on a public demo: a secret that this browser keeps in a cookie, so that its runs stay its own."""

import os
import re
import secrets

import streamlit as st

from ui.components.scripts import script
from vae_core import hosted

__all__ = ["greet", "token"]

_COOKIE = "vae_visitor"
_FORM = re.compile(r"[\w-]{43}")
_component = st.components.v2.component("vae_laboratory.visitor", js=script("visitor"))


def greet() -> None:
    """Learn whether this is a public demo and, if so, who has come; for the frame, before the page.

    `VAE_HOSTED` is read from the environment, or else from Streamlit's secrets. Where there are secrets that cannot be
    read, the page ends here: what may be a public demo must not open as if it were one's own machine.
    """
    if "VAE_HOSTED" not in os.environ:
        os.environ["VAE_HOSTED"] = _secret("VAE_HOSTED")
    if not hosted.active():
        return
    with st.sidebar:
        reported = _component(key="visitor", data={"token": token()}, on_token_change=lambda: None, height=1).token
    if _well_formed(reported):
        st.session_state["visitor_token"] = reported


def token() -> str | None:
    """The secret of this browser, which is shown to nobody else; None on one's own machine, where it is not needed."""
    if not hosted.active():
        return None
    if "visitor_token" not in st.session_state:
        kept = st.context.cookies.get(_COOKIE)
        st.session_state["visitor_token"] = kept if _well_formed(kept) else secrets.token_urlsafe(32)
    return st.session_state["visitor_token"]


def _well_formed(value: object) -> bool:
    return isinstance(value, str) and _FORM.fullmatch(value) is not None


def _secret(name: str) -> str:
    try:
        return str(st.secrets.get(name, "0"))
    except (OSError, ValueError):
        if any(map(os.path.lexists, st.get_option("secrets.files"))):
            st.error(
                f"The app’s secrets cannot be read. Mend secrets.toml, or set {name} in the environment.",
                icon=":material/error:",
            )
            st.stop()
        return "0"
