"""The Interpolate page, run as Streamlit runs it: endpoints, paths, traversals, files, and what is typed wrong."""

import io
import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.pages.opening import CHECKPOINTS, ROOT, open_at, ran
from ui import interpolation, layout
from ui.decoded import finer, mosaics
from ui.endpoints import spec_of
from ui.prior import log_prior, prior_inside
from vae_core import checkpoint, latent

PAGE = "pages/explore/interpolate.py"


def open_page(model: str = "mnist-d2", **settings: str) -> AppTest:
    return open_at(PAGE, model=model, **settings)


def metric(app: AppTest, label: str) -> float:
    value = next(metric.value for metric in app.metric if metric.label == label)
    return float(value.rstrip("%"))


def point(app: AppTest) -> np.ndarray:
    """The point of the path that the page shows."""
    return np.array([float(value) for value in app.code[0].value.removeprefix("z:").split(",")])


@pytest.fixture(scope="module")
def mnist():
    return checkpoint.load(ROOT / "checkpoints" / "mnist-d2.safetensors")


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_every_shipped_model_has_a_path(path):
    app = open_page(path.stem)
    assert not app.error
    assert metric(app, "‖z‖") == pytest.approx(np.linalg.norm(point(app)), abs=0.006)


@pytest.mark.parametrize("way", latent.METHODS)
@pytest.mark.parametrize("t", [0.0, 0.35, 1.0])
def test_a_link_names_ends_way_and_place(mnist, way, t):
    app = open_page(a="test:3", b="prior:7", interpolate_way=way.capitalize(), interpolate_t=str(t))
    a, b = mnist.snapshot.mu[3], latent.sample_prior(1, 2, 7)[0]
    assert not app.error
    expected = (latent.lerp if way == "linear" else latent.slerp)(a, b, t)
    assert point(app) == pytest.approx(expected, abs=1e-4)


def test_the_ends_are_called_by_their_names():
    app = open_page(a="test:3", b="prior:7", c="z:0.5,-1")
    words = [element.value for element in app.markdown]
    assert any(word.startswith("**A** · test image 3") for word in words)
    assert "**B** · prior sample 7" in words
    assert "**C** · z = (0.50, −1.00)" in words


@pytest.mark.parametrize("spec", ["test:99999", "prior:-1", "z:1,2,3", "z:nan,0", "picture:abc", "<b>", "test:", "::"])
def test_a_text_that_names_nothing_is_said_and_the_default_shown(mnist, spec):
    app = open_page(a=spec, interpolate_t="0.0")
    assert len(app.error) == 1
    assert layout.plain(spec) in app.error[0].value
    assert point(app) == pytest.approx(mnist.snapshot.mu[0], abs=1e-4)


def test_points_far_beyond_every_number_are_refused_and_the_farthest_allowed_is_drawn():
    app = open_page(a="z:1e38,-1e38", b="z:-1e38,1e30")
    assert len(app.code) == 1
    assert [error.value.count("out of range") for error in app.error] == [1, 1]
    app = open_page(a="z:1e6,-1e6", b="z:0,0", interpolate_t="0.0")
    assert not app.error
    assert point(app) == pytest.approx([1e6, -1e6])


@pytest.mark.parametrize("end", ["a", "c"])
def test_what_is_wrong_with_an_end_stands_above_both_columns(end):
    app = open_page(**{end: "picture:fdd82903051c"})
    assert [error.value.startswith(f"{end.upper()}: “picture") for error in app.error] == [True]
    assert not any(column.error for column in app.columns)


def test_every_button_has_a_name():
    buttons = {button.key: button.label for button in open_page().button}
    assert all(buttons.values())
    assert {buttons[f"{end}_random"] for end in "abcd"} == {"Random"}
    assert buttons["interpolate_swap"] == "Swap"


def test_swapping_goes_the_other_way():
    app = open_page(a="test:3", b="prior:7", interpolate_t="0.25", interpolate_way="Linear")
    before = point(app)
    app.button(key="interpolate_swap").click()
    app.number_input(key="interpolate_t").set_value(0.75)
    assert point(ran(app)) == pytest.approx(before, abs=1e-4)
    assert (app.session_state["a"], app.session_state["b"]) == ("prior:7", "test:3")


def test_an_end_is_chosen_by_number_by_seed_and_by_chance(mnist):
    app = open_page(interpolate_t="0.0")
    app.session_state["a_choice"] = True  # open
    ran(app).number_input(key="a_number").set_value(41)
    assert point(ran(app)) == pytest.approx(mnist.snapshot.mu[41], abs=1e-4)
    app.number_input(key="a_seed").set_value(5)
    assert point(ran(app)) == pytest.approx(latent.sample_prior(1, 2, 5)[0], abs=1e-4)
    assert app.number_input(key="a_number").value is None
    app.button(key="a_random").click()
    index = int(ran(app).session_state["a"].removeprefix("test:"))
    assert point(app) == pytest.approx(mnist.snapshot.mu[index], abs=1e-4)
    app.button(key="a_draw").click()
    assert ran(app).session_state["a"].startswith("prior:")
    assert not app.error


def test_a_picture_of_ones_own_becomes_an_end():
    buffer = io.BytesIO()
    Image.fromarray(np.pad(np.full((20, 6), 255, np.uint8), ((4, 4), (11, 11)))).save(buffer, "PNG")
    app = open_page(interpolate_t="0.0")
    before = point(app)
    app.file_uploader(key="a_file").set_value([("my *one*.png", buffer.getvalue(), "image/png")])
    ran(app)
    assert app.session_state["a"].startswith("picture:")
    assert not app.error
    assert point(app) != pytest.approx(before, abs=1e-3)
    assert any("my \\*one\\*" in element.value for element in app.markdown)


def test_a_long_name_of_a_file_is_shortened():
    buffer = io.BytesIO()
    Image.new("L", (28, 28), 90).save(buffer, "PNG")
    app = open_page()
    app.file_uploader(key="a_file").set_value([(f"{'x' * 166}.png", buffer.getvalue(), "image/png")])
    (said,) = [element.value for element in ran(app).markdown if element.value.startswith("**A** ·")]
    assert "x…x" in said
    assert said.endswith("png")
    assert len(said) < 50


def test_a_file_that_is_no_picture_is_said_and_changes_nothing():
    app = open_page()
    before = point(app)
    app.file_uploader(key="b_file").set_value([("notes.png", b"not a picture", "image/png")])
    ran(app)
    assert [error.value for error in app.error] == [error.value for error in app.error if "notes.png" in error.value]
    assert len(app.error) == 1
    assert point(app) == pytest.approx(before)


def test_the_traversals_go_from_a_point_of_their_own_until_the_path_moves():
    app = open_page(interpolate_point="z:0.5,-1")
    assert app.text_input(key="interpolate_point").value == "z:0.5,-1"
    app.number_input(key="interpolate_t").set_value(0.1)
    assert ran(app).text_input(key="interpolate_point").value == ""


def test_a_point_that_is_none_is_said_below_the_path():
    app = open_page(interpolate_point="z:0.5")
    assert len(app.error) == 1
    assert "2 numbers" in app.error[0].value


def test_the_point_can_become_an_end():
    app = open_page(interpolate_point="z:0.5,-1", interpolate_t="1.0")
    next(button for button in app.button if button.label == "Use as B").click()
    assert point(ran(app)) == pytest.approx([0.5, -1])


@pytest.mark.parametrize("model", ["mnist-d2", "mnist-d16"])
def test_how_much_of_the_prior_lies_where_a_straight_line_may_lead_is_told_with_the_ways(model):
    d = 16 if model == "mnist-d16" else 2
    about = next(group.help for group in open_page(model).get("button_group") if group.label == "Way")
    near = (np.linalg.norm(latent.sample_prior(20_000, d, 0), axis=1) < 0.5 * d**0.5).mean()
    (share,) = re.findall(r"(\d+)% of the prior", about)
    assert int(share) / 100 == pytest.approx(near, abs=0.015)
    assert f"√d = {d**0.5:.2f}" in about


def test_log_prior_is_that_of_torch():
    z = np.array([0.5, -2.0, 3.0])
    prior = torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), 1.0)
    assert log_prior(z) == pytest.approx(float(prior.log_prob(torch.tensor(z)).sum()), abs=1e-12)


def test_prior_inside_agrees_with_draws():
    draws = latent.sample_prior(20_000, 5, 0)
    z = np.array([1.0, -0.5, 0.8, 0.1, 1.2])
    share = (np.linalg.norm(draws, axis=1) < np.linalg.norm(z)).mean()
    assert prior_inside(z) == pytest.approx(share, abs=0.015)
    assert prior_inside(np.zeros(5)) == 0


def test_the_chart_ends_at_the_ends():
    a, b = np.array([3.0, 4.0]), np.array([0.0, 1.0])
    curves = {curve.name: curve for curve in interpolation.radius_curves(a, b, "linear")}
    assert {name: (curve.y[0], curve.y[-1]) for name, curve in curves.items()} == {
        "Linear": (5, 1),
        "Spherical": (5, 1),
        "√d = 1.41": (2**0.5, 2**0.5),
    }
    middle = interpolation.FRAMES // 2
    assert curves["Linear"].y[middle] == pytest.approx(np.linalg.norm((a + b) / 2))
    assert curves["Spherical"].y[middle] == pytest.approx(3)
    assert curves["Linear"].width > curves["Spherical"].width


@pytest.mark.parametrize("now", [0.0, 0.537, -2.999, 3.0, 4.2, -7.5])
def test_a_traversal_contains_the_place_it_starts_from(now):
    values, index = interpolation._values(now)
    assert values[index] == np.float32(now)
    assert (np.diff(values) > 0).all()
    assert values[0] < -2.9 < 2.9 < values[-1]


def test_the_gif_goes_there_and_back():
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((1, 1, 4, 4), 50, np.uint8)
    with Image.open(io.BytesIO(interpolation.gif(frames))) as picture:
        shades = []
        for place in range(picture.n_frames):
            picture.seek(place)
            shades.append(picture.convert("L").getpixel((0, 0)))
    assert shades == [0, 50, 100, 150, 200, 150, 100, 50]


def test_mosaics_stand_side_by_side():
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 3, 5, 6), dtype=np.uint8)
    drawn = mosaics(frames)
    assert drawn.shape == (3, 3, 5, 4 * 7 - 1)
    for place in range(4):
        assert (drawn[..., 7 * place : 7 * place + 6] == frames[:, place]).all()
    assert (drawn[..., 6] == 128).all()


@pytest.mark.parametrize(("side", "times"), [(8, 3), (14, 2), (28, 1), (64, 1)])
def test_small_pictures_are_drawn_finer(side, times):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 1, side, side), dtype=np.uint8)
    drawn = finer(pictures)
    assert drawn.shape == (2, 1, times * side, times * side)
    assert (drawn[..., ::times, ::times] == pictures).all()


def test_a_point_survives_its_way_through_the_address():
    z = latent.sample_prior(1, 16, 3)[0]
    assert [float(value) for value in spec_of(z).removeprefix("z:").split(",")] == pytest.approx(z, rel=1e-4)


def test_of_many_bad_files_in_a_zip_a_few_are_named():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for place in range(40):
            archive.writestr(f"{place}.png", b"no picture")
    app = open_page("digits-d2")
    app.file_uploader(key="a_file").set_value([("many.zip", buffer.getvalue(), "application/zip")])
    ran(app)
    assert len(app.error) == 4
    assert app.error[-1].value == "37 more files were left out."
