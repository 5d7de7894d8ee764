"""The Generate page, run as Streamlit runs it: settings, samples, what lies near them, and where they are sent."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.opening import CHECKPOINTS, open_at, ran
from ui import caching, samples
from vae_core import latent

PAGE = "pages/explore/generate.py"


def open_page(model: str = "digits-d2", **settings: str) -> AppTest:
    return open_at(PAGE, model=model, **settings)


def point(app: AppTest) -> np.ndarray:
    """The z of the selected sample."""
    return np.array([float(value) for value in app.code[0].value.removeprefix("z:").split(",")])


def captions(app: AppTest) -> str:
    return "\n".join(element.value for element in app.caption)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_every_shipped_model_generates(path):
    app = open_page(path.stem)
    assert not app.error
    assert [metric.label for metric in app.metric] == ["‖z‖", "log p(z)"]


def test_a_link_names_the_sample():
    app = open_page(generate_seed="5", generate_n="20", generate_sample="7", generate_temperature="0.5")
    assert point(app) == pytest.approx(0.5 * latent.sample_prior(20, 2, 5)[6], abs=1e-4)


def test_the_temperature_scales_the_same_draws():
    app = open_page(generate_sample="3")
    before = point(app)
    app.number_input(key="generate_temperature").set_value(2.0)
    assert point(ran(app)) == pytest.approx(2 * before, abs=1e-3)
    app.number_input(key="generate_temperature").set_value(0.0)
    assert point(ran(app)) == pytest.approx([0, 0])


def test_another_seed_draws_other_pictures():
    app = open_page()
    before = point(app)
    next(button for button in app.button if button.label == "New").click()
    assert point(ran(app)) != pytest.approx(before)


def test_the_field_of_fewer_samples_names_the_last_of_them():
    app = open_page(generate_n="100", generate_sample="64")
    app.slider(key="generate_n").set_value(10)
    assert ran(app).number_input(key="generate_sample").value == 10
    assert app.query_params["generate_sample"] == "10"
    assert point(app) == pytest.approx(latent.sample_prior(10, 2, 0)[9], abs=1e-4)


def test_a_link_to_a_sample_beyond_the_last_shows_the_last_and_says_so():
    app = open_page(generate_n="4", generate_sample="64")
    assert app.number_input(key="generate_sample").value == 4
    assert app.query_params["generate_sample"] == "4"
    assert "4 is shown" in app.toast[0].value
    assert point(app) == pytest.approx(latent.sample_prior(4, 2, 0)[3], abs=1e-4)


@pytest.mark.parametrize("setting", ["generate_n", "generate_seed", "generate_temperature", "generate_sample"])
@pytest.mark.parametrize("value", ["-1", "1e9", "many", ""])
def test_what_is_out_of_range_in_a_link_does_no_harm(setting, value):
    assert not open_page(**{setting: value}).error


def test_the_nearest_training_images_stand_beside_what_is_usual():
    text = captions(open_page())
    assert "nearest unseen test image: " in text


def test_without_the_data_set_only_neighbours_in_z_are_shown(monkeypatch):
    monkeypatch.setattr(caching, "_images", lambda *_: None)
    app = open_page()
    assert "The training images are not at hand" in captions(app)
    assert "Decoded from posterior means" in captions(app)
    assert any("Neighbours in z" in element.value for element in app.markdown)


@pytest.mark.parametrize(
    ("distance", "unseen", "judgement"),
    [
        (0.2, 4.0, "look for a copy"),
        (0.2, 0.25, "No sign of a copy"),  # a smooth picture, near to all
        (5.0, 20.0, "No sign of a copy"),
        (20.0, 20.0, "resembles no training"),
    ],
)
def test_a_copy_is_nearer_to_a_training_image_than_to_unseen_ones(distance, unseen, judgement):
    said = samples.verdict(distance, unseen, np.linspace(1, 10, 200))
    assert judgement in said
    assert f"Nearest training image: distance {distance:.2f} (" in said
    assert f"nearest unseen test image: {unseen:.2f}." in said


def test_of_very_many_training_images_some_are_searched(monkeypatch):
    monkeypatch.setattr(samples, "_SEARCHED", 300)
    said = "Among 300 of the 1,500 training images."
    app = open_page()
    assert said in captions(app)
    near = float(captions(app).split("Nearest training image: distance ")[1].split(" ")[0])
    monkeypatch.setattr(samples, "_SEARCHED", 1500)
    app = open_page()
    assert "Among" not in captions(app)
    assert float(captions(app).split("Nearest training image: distance ")[1].split(" ")[0]) <= near
