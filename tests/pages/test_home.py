"""The frame and the home page, run as Streamlit runs them."""

from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.toys import images
from tests.waiting import PATIENCE
from ui.layout import plain
from ui.ways import SECTIONS
from vae_core import data, runs
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.train_config import TrainConfig
from vae_core.worker import train_run

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted(path.stem for path in (ROOT / "checkpoints").glob("*.safetensors"))
PAGES = {way.path: way.label for ways in SECTIONS.values() for way in ways}


def _app(model: str | None = None) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    if model:
        app.query_params["model"] = model
    return app


def test_every_page_is_in_the_navigation():
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "pages").glob("*/*.py")} == set(PAGES)


def test_every_page_can_be_the_first_one_asked_of_a_server():
    addresses = {Path(script).stem.replace("_", "-") for script in PAGES} - {"home"}
    assert {path.stem for path in (ROOT / "pages").glob("*.py")} == addresses


def test_models_ship():
    assert {"mnist-d2", "mnist-d2-beta"} <= set(CHECKPOINTS)


@pytest.mark.parametrize("model", CHECKPOINTS)
def test_every_page_runs_with_every_shipped_model(model):
    app = _app(model).run()
    for page, title in PAGES.items():
        app.switch_page(page).run()
        assert not app.exception, page
        assert not app.error, page
        assert app.title[0].value == {"Home": "A laboratory for variational autoencoders"}.get(title, title)
        assert app.session_state["model"] == model


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    """The id of a model with one latent dimension, trained on the fewest pictures that there may be."""
    folder = tmp_path_factory.mktemp("smallest")
    for i, picture in enumerate(images(10, (3, 28, 28))):
        Image.fromarray(picture.transpose(1, 2, 0)).save(folder / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("VAE_DATA", str(tmp_path_factory.mktemp("data")))
        train = TrainConfig(data.folder_name(folder, 28), epochs=2, batch_size=8)
        run = runs.create(RunConfig(ModelConfig((3, 28, 28), 1, likelihood="gaussian-optimal", widths=(16,)), train))
        train_run(run)
        yield f"run-{run.name}"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs_with_the_smallest_model(page, smallest):
    app = _app(smallest)
    app.query_params["run"] = smallest.removeprefix("run-")
    app.run().switch_page(page).run()
    assert not app.exception
    assert all("two latent dimensions, and this model has one" in error.value for error in app.error)
    assert app.session_state["model"] == smallest


def test_home_has_a_way_into_every_page():
    app = _app().run()
    assert {link.page for link in app.get("page_link")} == {
        Path(script).stem.replace("_", "-") for script in PAGES if script != "pages/start/home.py"
    }


def test_the_default_model_is_mnist_at_every_beta():
    app = _app().run()
    assert app.session_state["model"] == "mnist-d2-beta"
    assert [metric.label for metric in app.metric] == ["ELBO", "Reconstruction", "KL", "Stranger than"]


def test_the_numbers_on_the_page_add_up():
    app = _app().run()
    elbo, reconstruction, kl = (
        float(metric.value.removesuffix(" nats").replace("−", "-").replace(",", "")) for metric in app.metric[:3]
    )
    assert elbo == pytest.approx(-(reconstruction + kl), abs=0.11)  # each is rounded to 0.1 or 0.01 nats


@pytest.mark.parametrize(("model", "said"), [("mnist-burda", True), ("mnist-d16", False)])
def test_dimensions_that_the_diagram_leaves_out_are_said(model, said):
    app = _app(model).run()
    text = "The 16 dimensions with the largest KL; 34 more have less."
    assert (text in [caption.value for caption in app.caption]) == said


@pytest.mark.parametrize(("asked", "followed"), [("4", 4), ("12", 0), ("-1", 0), ("²", 0), ("seven", 0)])
def test_a_link_names_the_picture_to_follow(asked, followed):
    app = _app("mnist-d16")
    app.query_params["picture"] = asked
    app.run()
    assert not app.exception
    assert app.session_state["home_picture/position"].index == followed
    assert dict(app.query_params).get("picture", "0") in (str(followed), [str(followed)])


@pytest.mark.parametrize("gone", ["run-gone", "[Sign in](https://example.org)"])
def test_a_model_that_is_gone_is_said_in_a_sentence(gone):
    app = _app(gone).run()
    assert not app.exception
    assert any(f"“{plain(gone)}” is not here" in warning.value for warning in app.warning)
    assert app.session_state["model"] == "mnist-d2-beta"


def test_no_models_at_all_is_said_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("ui.state.SHIPPED", tmp_path)
    monkeypatch.setenv("VAE_RUNS", str(tmp_path))
    app = _app().run()
    assert not app.exception
    assert any("Train" in info.value for info in app.info)


def test_a_damaged_checkpoint_is_said_in_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"not a checkpoint")
    monkeypatch.setattr("ui.state.SHIPPED", tmp_path)
    monkeypatch.setenv("VAE_RUNS", str(tmp_path))
    app = _app().run()
    assert not app.exception
    assert any("broken.safetensors" in error.value for error in app.error)
