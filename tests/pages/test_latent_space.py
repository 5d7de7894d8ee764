"""The latent space page, run as Streamlit runs it."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from tests.waiting import PATIENCE
from ui import layout
from vae_core import checkpoint as checkpoints
from vae_core import data
from vae_core.posterior import posterior

ROOT = Path(__file__).resolve().parents[2]
PAGE = "pages/explore/latent_space.py"
SHIPPED = sorted(path.stem for path in (ROOT / "checkpoints").glob("*.safetensors"))


def page(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run().switch_page(PAGE).run()


def clean(app: AppTest) -> AppTest:
    assert not app.exception
    assert not app.error
    return app


@pytest.mark.parametrize("model", SHIPPED)
@pytest.mark.parametrize("projection", ["PCA", "t-SNE"])
def test_every_model_has_its_projections(model, projection):
    app = clean(page(model=model, map_projection=projection))
    assert app.session_state["map_projection"] in ("pca", "tsne")
    words = " ".join(caption.value for caption in app.caption)
    assert "posterior means" in words
    assert "trustworthiness" in words


def test_the_latent_plane_is_where_a_model_with_two_dimensions_begins():
    app = clean(page(model="mnist-d2"))
    assert app.session_state["map_projection"] == "plane"
    assert {toggle.label for toggle in app.toggle} >= {"Thumbnails", "Decoded manifold", "Prior contours"}
    assert all(toggle.value for toggle in app.toggle if toggle.label in ("Decoded manifold", "Prior contours"))


@pytest.mark.parametrize(("projection", "has_pad"), [("Latent plane", True), ("PCA", True), ("t-SNE", False)])
def test_the_plane_pad_is_told_of_where_there_is_one(projection, has_pad):
    app = clean(page(model="digits-d2", map_projection=projection))
    (told,) = [markdown.value for markdown in app.markdown if "**Lasso**" in markdown.value]
    assert ("**Plane pad**" in told) == has_pad


def test_two_dimensions_begin_with_the_most_informative():
    app = clean(page(model="mnist-d16", map_projection="Two dimensions"))
    loaded = checkpoints.load(ROOT / "checkpoints" / "mnist-d16.safetensors")
    kl = loaded.snapshot.mu**2 + 0  # the mean's own part orders the dimensions as the KL does, near enough
    chosen = {app.session_state["map_x"], app.session_state["map_y"]}
    assert len(chosen) == 2
    assert chosen <= set(kl.mean(0).argsort()[-8:].tolist())


@pytest.mark.parametrize("colour", ["elbo", "kl", "reconstruction", "z-2", "class"])
def test_every_colour(colour):
    app = page(model="mnist-d2")
    clean(app.selectbox(key="map_colour").set_value(colour).run())
    assert app.session_state["map_colour"] == colour


def test_a_change_of_model_keeps_the_page_whole():
    app = page(model="mnist-d2")
    clean(app.selectbox(key="model").set_value("mnist-d16").run())
    assert app.session_state["map_projection"] == "pca"
    clean(app.selectbox(key="model").set_value("digits-d2").run())


@pytest.mark.parametrize("spec", ["test:3", "prior:5", "z:0.5,-1"])
def test_a_point_named_in_the_url_is_shown(spec):
    app = clean(page(model="mnist-d2", map_point=spec))
    assert app.subheader, "its panel has a head"
    clean(app.button(key="map_here_A").click().run())
    assert any(button.label == "Open Interpolate with A" for button in app.button)
    clean(app.button(key="map_here_B").click().run())
    assert any(button.label == "Interpolate from A to B" for button in app.button)


def test_a_test_image_that_is_named_is_shown_like_one_that_is_clicked():
    app = clean(page(model="mnist-d2", map_point="test:3"))
    assert app.subheader[0].value == "Test image 3, class 0"
    assert {"ELBO (nats)", "Reconstruction (nats)", "KL (nats)"} <= {metric.label for metric in app.metric}


def test_the_table_of_a_code_has_true_minus_signs():
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    noise = np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8)
    app.session_state["kept_pictures"] = {"abc": (noise, "noise")}
    app.query_params["model"], app.query_params["map_point"] = "digits-d2", "picture:abc"
    table = clean(app.run().switch_page(PAGE).run()).dataframe[0]
    assert (table.value["μ"] < 0).any()
    with pa.ipc.open_stream(table.proto.arrow_data.styler.display_values) as stream:
        shown = stream.read_pandas()
    assert shown["μ"].tolist() == [layout.number(value, 3) for value in table.value["μ"]]


def test_a_name_that_names_nothing_is_said_in_a_sentence():
    app = page(model="mnist-d2", map_point="nonsense")
    assert not app.exception
    assert "nonsense" in app.error[0].value


def test_a_picture_of_an_earlier_visit_is_said_to_be_gone():
    app = page(model="mnist-d2", map_point="picture:0123456789ab")
    assert not app.exception
    assert "kept for one visit" in app.error[0].value


def test_a_point_that_is_refused_stays_to_be_put_right():
    app = clean(page(model="mnist-d2", map_point="test:3"))
    app.text_input(key="map_point").set_value("train:3").run()
    assert [error.value.startswith("“train\\:3”") for error in app.error] == [True]
    assert app.text_input(key="map_point").value == "train:3"
    clean(app.text_input(key="map_point").set_value("test:4").run())
    assert app.subheader[0].value.startswith("Test image 4")


def test_a_test_image_has_the_elbo_that_reconstruct_gives_it():
    app = clean(page(model="digits-d2", map_point="test:3"))
    image = data.load("digits").test.images[3]
    seen = posterior(checkpoints.load(ROOT / "checkpoints" / "digits-d2.safetensors").model, image)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["ELBO (nats)"] == layout.number(seen.elbo, 1)
    assert shown["Reconstruction (nats)"] == layout.number(seen.reconstruction.mean(), 1)


def test_t_sne_begins_at_once_with_its_default_perplexity_and_can_be_stopped():
    app = clean(page(model="digits-d2", map_projection="t-SNE", map_seed="11"))
    assert app.session_state["map_perplexity"] >= 5
    stops = [button for button in app.button if button.label == "Stop"]
    if stops:  # a small map may be done already
        clean(stops[0].click().run())
        assert any(button.label == "Continue" for button in app.button)


def test_numbers_out_of_range_in_the_url_are_ignored():
    app = clean(page(model="mnist-d2", map_projection="t-SNE", map_perplexity="1000000", map_seed="-4"))
    assert app.session_state["map_seed"] == 0
    assert app.session_state["map_perplexity"] < 1000


def test_without_the_data_set_the_page_works_and_says_what_it_shows(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_DATA", str(tmp_path))
    app = clean(page(model="mnist-d2"))
    assert any("decoded from posterior means" in caption.value for caption in app.caption)


def test_a_model_without_encoded_images_is_said_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("ui.state.SHIPPED", tmp_path)
    loaded = checkpoints.load(ROOT / "checkpoints" / "mnist-d2.safetensors")
    checkpoints.save(tmp_path / "bare.safetensors", dataclasses.replace(loaded, snapshot=None))
    app = page(model="bare")
    assert not app.exception
    assert "Choose another model" in app.error[0].value
