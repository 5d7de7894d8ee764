"""What keeps a page whole: errors in fragments are said, and an address with settings that no widget survives opens."""

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from tests.pages.opening import ROOT, open_at
from tests.toys import build
from tests.waiting import PATIENCE
from ui import layout, state
from ui.ways import SECTIONS
from vae_core.checkpoint import Checkpoint, LatentSnapshot, save

UNUSABLE = [
    ("explore/beta", "beta_unit", ""),
    ("explore/interpolate", "interpolate_way", ""),
    ("explore/interpolate", "interpolate_side", ""),
    ("understand/reparameterisation", "reparameterisation_samples", ""),
    ("train/train", "train_seed", "inf"),
    ("train/train", "train_epochs_digits", "1e400"),
    ("explore/reconstruct", "test_image", "-inf"),
    ("understand/amortised_and_classical", "amortised_first", "inf"),
    ("explore/latent_space", "map_point", " "),
]


def at(page: str, **query: str) -> AppTest:
    """The page at an address that a visitor comes by."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run().switch_page(f"pages/{page}.py")
    app.query_params["model"] = "digits-d2"
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize(("page", "name", "value"), UNUSABLE)
def test_a_setting_that_no_widget_survives_is_left_out_and_the_others_are_kept(page, name, value):
    app = at(page, **{name: value, "picture_source": "Test image", "a": "test:3"})
    assert not app.error
    assert app.query_params.get(name) == ("0" if name == "test_image" else None)
    assert app.query_params["model"] == "digits-d2"
    assert page != "explore/interpolate" or app.session_state["a"] == "test:3"


def arrive(page: str, **query: str) -> AppTest:
    """The page at an address that is the first thing a visitor opens."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).switch_page(f"pages/{page}.py")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize(
    ("page", "name", "asked", "shown"),
    [
        ("explore/reconstruct", "test_image", "999999", "0"),
        ("explore/generate", "generate_n", "99999", "64"),
        ("explore/generate", "beta", "-1", "1"),
        ("explore/generate", "beta", "1000", "10"),
        ("understand/bounds", "test_image", "-3", "0"),
    ],
)
def test_a_number_of_the_address_that_is_not_to_be_had_is_said(page, name, asked, shown):
    app = arrive(page, model="digits-beta", **{name: asked})
    (said,) = app.toast
    assert layout.plain(f"{name} = {asked}") in said.value
    assert f"{shown} is shown" in said.value
    app.run()
    assert not app.toast


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("explore/generate", {}),
        ("explore/generate", {"generate_n": "64", "beta": "1", "generate_seed": "7"}),
        ("explore/generate", {"generate_n": "16", "beta": "0.05", "generate_temperature": "0.8"}),
        ("explore/reconstruct", {"test_image": "5", "beta": "0.01"}),
        ("explore/latent_space", {"map_x": "z₂", "map_whole": "true", "map_seed": "3"}),
        ("explore/interpolate", {"a": "test:3", "interpolate_t": "0.25"}),
        ("understand/reparameterisation", {"reparameterisation_rate": "0.01", "reparameterisation_samples": "16"}),
    ],
)
def test_nothing_is_said_of_an_address_that_is_obeyed(page, query):
    assert not arrive(page, model="digits-beta", **query).toast


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("page", [way.path for ways in SECTIONS.values() for way in ways])
def test_a_model_whose_numbers_run_away_is_a_sentence_on_every_page(monkeypatch, tmp_path, page):
    """Weights that a float holds, but not what the decoder makes of them."""
    model = build(latent_dim=2, widths=(8,)).eval()
    with torch.no_grad():
        model.decoder.head.weight.fill_(3e38)
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    codes = np.zeros((20, 2), np.float32)
    record = {"train": {"dataset": "digits"}}
    save(tmp_path / "wild.safetensors", Checkpoint(model, record, LatentSnapshot(codes, codes - 1, codes[:, 0].copy())))
    open_at(page, model="wild")


def test_what_back_leads_to_is_opened_though_its_widgets_are_there_already():
    app = at("explore/interpolate", a="test:3")
    app.query_params["interpolate_side"] = ""
    app.run()
    assert not app.exception
    assert app.session_state["a"] == "test:3"
    assert app.session_state["model"] == "digits-d2"


def test_an_empty_source_is_the_first_one():
    app = at("explore/reconstruct", picture_source="")
    assert "test_image" in [field.key for field in app.number_input]


def _in_a_fragment():
    import streamlit as st

    from ui.guards import say_errors
    from vae_core.errors import UserError

    @st.fragment
    @say_errors
    def draw(number: int) -> str:
        st.text("before")
        if number:
            raise UserError("There is nothing here. Go there.")
        return "drawn"

    try:
        st.text(draw(0))
        st.text(str(draw(1)))
    except UserError:
        st.text("never reached")


def test_an_error_in_a_fragment_is_said_where_it_draws_and_the_page_goes_on():
    app = AppTest.from_function(_in_a_fragment, default_timeout=PATIENCE).run()
    assert not app.exception
    assert [text.value for text in app.text] == ["before", "drawn", "before", "None"]
    assert [error.value for error in app.error] == ["There is nothing here. Go there."]


@pytest.mark.parametrize(
    ("page", "name", "spec"),
    [
        ("explore/interpolate", "a", "z:1e30,1e30"),
        ("explore/interpolate", "interpolate_point", "z:3e38,3e38"),
        ("explore/latent_space", "map_point", "z:3e38,3e38"),
        ("understand/posterior_collapse_and_holes", "collapse_z", "z:3e38,3e38"),
    ],
)
def test_a_point_beyond_all_numbers_is_said(page, name, spec):
    app = at(page, **{name: spec})
    said = [element.value for element in (*app.error, *app.warning)]
    assert len(said) == 1
    assert f"“{layout.plain(spec)}” is out of range" in said[0]
