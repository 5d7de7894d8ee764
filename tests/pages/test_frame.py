"""The frame: whether this is a public demo is never guessed, and the app starts from any folder."""

import os

import pytest
import streamlit as st
from streamlit.runtime.secrets import Secrets
from streamlit.testing.v1 import AppTest

from tests.pages.opening import ROOT
from tests.waiting import PATIENCE
from vae_core import hosted


@pytest.fixture
def secrets(monkeypatch, tmp_path):
    """The file of Streamlit's secrets, which is not there yet; the environment says nothing."""
    monkeypatch.setenv("VAE_HOSTED", "0")  # so that what the app sets is taken back
    monkeypatch.delenv("VAE_HOSTED")
    monkeypatch.setattr(st, "secrets", Secrets())
    path, before = tmp_path / "secrets.toml", st.get_option("secrets.files")
    st.config.set_option("secrets.files", [str(path)])
    yield path
    st.config.set_option("secrets.files", before)


def _greeting():
    import streamlit as st

    from ui import visitor

    visitor.greet()
    st.text("the page")


def greeted(app: AppTest) -> tuple[bool, bool]:
    """Whether the page is drawn, and whether it is that of a public demo."""
    app.run()
    assert not app.exception
    drawn = [text.value for text in app.text] == ["the page"]
    assert [error.value for error in app.error] == (
        [] if drawn else ["The app’s secrets cannot be read. Mend secrets.toml, or set VAE_HOSTED in the environment."]
    )
    return drawn, hosted.active()


@pytest.mark.parametrize(
    ("content", "demo"),
    [(None, False), (b"", False), (b'VAE_HOSTED = "0"', False), (b'VAE_HOSTED = "1"', True), (b"VAE_HOSTED = 1", True)],
)
def test_secrets_say_whether_this_is_a_demo(secrets, content, demo):
    if content is not None:
        secrets.write_bytes(content)
    assert greeted(AppTest.from_function(_greeting, default_timeout=PATIENCE)) == (True, demo)


@pytest.mark.parametrize("content", [b'VAE_HOSTED = "1"\nVAE_HOSTED =', b'VAE_HOSTED = "1"\n\xff', b"=", None])
def test_secrets_that_cannot_be_read_let_nobody_in_until_they_are_mended(secrets, content):
    if content is None:
        secrets.mkdir()
    else:
        secrets.write_bytes(content)
    app = AppTest.from_function(_greeting, default_timeout=PATIENCE)
    assert not greeted(app)[0]
    assert "VAE_HOSTED" not in os.environ
    if content is not None:
        secrets.write_bytes(b'VAE_HOSTED = "1"')
        assert greeted(app) == (True, True)


def test_the_app_starts_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_HOSTED", "0")
    monkeypatch.chdir(tmp_path)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
    assert not app.exception
    assert not app.error
    assert app.session_state["model"] == "mnist-d2-beta"


def test_the_sentence_stands_in_the_frame_instead_of_the_page(monkeypatch, secrets):
    """Without its navigation, Streamlit would offer the pages' scripts by the names of their files."""
    navigation, offered = st.navigation, []
    monkeypatch.setattr(st, "navigation", lambda *pages, **look: offered.append(pages) or navigation(*pages, **look))
    secrets.write_text("=")
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    assert not greeted(app)[0]
    assert len(app.main.children) == 1
    assert len(offered) == 1
