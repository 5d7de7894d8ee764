"""The Reconstruct page, run as Streamlit runs it: every shipped model, test images, drawings, good and bad files."""

import io
import re
import struct
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from streamlit.testing.v1 import AppTest

from tests.charts import read
from tests.waiting import PATIENCE
from ui import caching, layout, own_pictures, reconstruction, state
from vae_core import data, pixels
from vae_core.checkpoint import Checkpoint, load, save
from vae_core.data import Split
from vae_core.evaluate import snapshot
from vae_core.model import VAE, ModelConfig
from vae_core.posterior import posterior

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.safetensors"))
PAGE = "pages/explore/reconstruct.py"


def open_page(model: str = "mnist-d2", **settings: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["model"] = model
    for name, value in settings.items():
        app.query_params[name] = value
    app = app.switch_page(PAGE).run()
    assert not app.exception
    return app


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader(key="reconstruct_files").set_value([(name, data, "image/png") for name, data in files])
    app.run()
    assert not app.exception
    return app


def metric(app: AppTest, label: str) -> float:
    value = next(metric.value for metric in app.metric if metric.label == label)
    return float(value.removeprefix("over ").split(" ")[0].rstrip("%").replace(",", "").replace("−", "-"))


def words(app: AppTest) -> str:
    return "\n".join(element.value for kind in (app.warning, app.markdown, app.caption) for element in kind)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seven(mode: str = "L", ink: int = 0, paper: int = 255) -> Image.Image:
    """A hand-drawn seven of 200 × 160 pixels."""
    picture = Image.new("L", (200, 160), paper)
    ImageDraw.Draw(picture).line([(60, 40), (130, 40), (90, 130)], fill=ink, width=14, joint="curve")
    return picture.convert(mode)


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 60,000 × 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def animated() -> bytes:
    return encoded(seven(), "GIF", save_all=True, append_images=[Image.new("L", (200, 160), 9)] * 3, duration=50)


def with_alpha() -> Image.Image:
    picture = seven("RGBA")
    picture.putalpha(seven(ink=255, paper=0))
    return picture


GOOD = {
    "sixteen-bit.png": encoded(Image.fromarray(np.asarray(seven()).astype(np.uint16) * 257)),
    "cmyk.jpg": encoded(seven("CMYK"), "JPEG"),
    "palette.png": encoded(seven("P")),
    "alpha.png": encoded(with_alpha()),
    "animated.gif": animated(),
    "one-pixel.png": encoded(Image.new("L", (1, 1), 80)),
    "colour.webp": encoded(seven("RGB"), "WEBP"),
}
BAD = {
    "notes.txt": (b"Dear diary, " * 9, "not a picture"),
    "cut.jpg": (encoded(seven("RGB").resize((900, 700)), "JPEG")[:3000], "cut off"),
    "nothing.png": (b"", "empty"),
    "bomb.png": (bomb(), "million pixels"),
}


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("source", ["Test image", "Upload", "Draw"])
def test_every_source_with_every_shipped_model(path, source):
    app = open_page(path.stem, picture_source=source)
    assert not app.error
    if source == "Upload":
        upload(app, ("seven.png", encoded(seven())), ("photo.jpg", encoded(seven("RGB", 30, 200), "JPEG")))
        assert len(app.dataframe[0].value) == 2
    assert (len(app.metric) == 0) == (source == "Draw")


def test_an_upload_stays_for_the_visit_until_it_is_taken_away():
    app = upload(open_page("digits-d2", picture_source="Upload"), ("seven.png", encoded(seven())))
    elbo = metric(app, "ELBO")
    for page in ("pages/start/home.py", "pages/explore/reconstruct.py"):
        app.switch_page(page).run()
    assert metric(app, "ELBO") == elbo
    assert any("on the page before" in caption.value for caption in app.caption)
    app.switch_page("pages/understand/bounds.py").run()
    assert not app.exception
    assert any("seven" in caption.value for caption in app.caption)
    app.switch_page("pages/explore/reconstruct.py").run()
    upload(app, ("other.png", encoded(seven("L", 90))))
    upload(app)
    assert not app.metric


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_the_numbers_add_up(path):
    app = open_page(path.stem, test_image="3", reconstruct_error="Cost in nats")
    assert app.number_input(key="test_image").value == 3
    assert metric(app, "ELBO") == pytest.approx(-metric(app, "Reconstruction") - metric(app, "KL"), abs=0.11)
    together = next(text.value for text in app.caption if "nats together" in text.value)
    assert f"{metric(app, 'Reconstruction'):,.1f} nats together" in together


@pytest.mark.parametrize(
    (
        "model",
        "extreme",
    ),  # per cent; the 297 digits' ELBOs lie closer together than the noise of their one posterior draw
    [
        ("digits-d2", 10),
        pytest.param("mnist-d2", 2, marks=pytest.mark.skipif(not data.available("mnist"), reason="MNIST is not here")),
    ],
)
def test_strangest_and_most_typical_are_found_and_ranked(model, extreme):
    app = open_page(model)
    next(button for button in app.button if button.label == "Strangest").click().run()
    strange, at = metric(app, "ELBO"), app.number_input(key="test_image").value
    assert metric(app, "Stranger than") > 100 - extreme
    next(button for button in app.button if button.label == "Typical").click().run()
    assert metric(app, "ELBO") > strange
    assert app.number_input(key="test_image").value != at
    assert metric(app, "Stranger than") == pytest.approx(50, abs=extreme)


def test_the_name_of_a_class_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(state, "picture_name", lambda *_: "test image 3, “Ankle boot”")
    assert "Test image 3, “Ankle boot”" in [heading.value for heading in open_page("digits-d2").subheader]


def test_an_image_that_is_not_there_is_ignored():
    app = open_page(test_image="999999")
    assert app.number_input(key="test_image").value == 0


def test_a_smaller_models_test_set_takes_over():
    paths = [path for path in CHECKPOINTS if path.stem != "mnist-d2"]
    if not paths:
        pytest.skip("only one model ships")
    smallest = min(paths, key=lambda path: len(load(path).snapshot))
    app = open_page(test_image="4999")
    app.sidebar.selectbox(key="model").set_value(smallest.stem).run()
    assert not app.exception
    assert app.number_input(key="test_image").value < len(load(smallest).snapshot)


def test_without_the_data_set_the_page_says_that_pictures_are_decoded(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_DATA", str(tmp_path))
    app = open_page()
    assert "decoded from the stored posterior mean" in words(app)
    assert metric(app, "ELBO") < 0


@pytest.mark.parametrize("name", GOOD)
def test_pictures_of_every_kind_are_shown(name):
    app = upload(open_page(picture_source="Upload"), (name, GOOD[name]))
    assert not app.warning
    assert app.subheader[0].value == layout.plain(name)
    assert np.isfinite(metric(app, "ELBO"))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_its_sentence_and_the_session_goes_on(name):
    data, reason = BAD[name]
    app = upload(open_page(picture_source="Upload"), (name, data))
    assert not app.metric
    assert layout.plain(name) in app.warning[0].value
    assert reason in app.warning[0].value
    upload(app, ("seven.png", encoded(seven())))
    assert not app.warning
    assert len(app.metric) == 4


def test_the_picture_that_was_added_last_is_shown_here_and_on_the_pages_that_explain():
    files = [("seven.png", encoded(seven())), ("light.png", encoded(seven(ink=255, paper=0)))]
    app = upload(open_page("digits-d2", picture_source="Upload"), *files[:1])
    upload(app, *files)
    assert app.subheader[0].value == layout.plain("light.png")
    upload(app, *files, ("grey.png", encoded(seven(ink=90))))
    assert app.subheader[0].value == layout.plain("grey.png")
    app.switch_page("pages/understand/bounds.py").run()
    assert not app.exception
    assert "grey" in words(app)


def test_good_and_bad_files_together():
    files = [*GOOD.items(), *((name, data) for name, (data, _) in BAD.items())]
    app = upload(open_page(picture_source="Upload", reconstruct_sorted="true"), *files)
    table = app.dataframe[0].value
    assert set(table["name"]) == set(GOOD)
    assert table["elbo"].is_monotonic_increasing
    assert table["stranger_than"].is_monotonic_decreasing
    np.testing.assert_allclose(table["elbo"], -(table["reconstruction"] + table["kl"]), atol=1e-4)
    assert app.warning[0].value.count("\n\n") == len(BAD) - 1
    assert metric(app, "ELBO") == pytest.approx(table["elbo"].iloc[0], abs=0.06)


def test_of_hundreds_of_bad_files_a_few_are_named_and_the_others_counted():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for place in range(300):
            archive.writestr(f"{place}.png", b"no picture")
    app = upload(open_page(picture_source="Upload"), ("many.zip", buffer.getvalue()))
    said = app.warning[0].value.split("\n\n")
    assert len(said) < 20
    assert said[-1] == f"{300 - len(said) + 1} more files were left out."


def test_a_zip_is_opened_and_what_climbs_out_of_it_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", encoded(seven()))
        archive.writestr("b.png", encoded(seven(ink=255, paper=0)))
        archive.writestr("../outside.png", encoded(seven()))
    app = upload(open_page(picture_source="Upload"), ("many.zip", buffer.getvalue()))
    assert list(app.dataframe[0].value["name"]) == ["many/a.png", "many/b.png"]
    assert "outside" in app.warning[0].value


def test_more_pictures_than_are_looked_at_together(monkeypatch):
    read, names = [], [f"{place}.png" for place in range(own_pictures.MOST + 30)]
    files = [(name, encoded(Image.new("L", (28, 28), place % 256))) for place, name in enumerate(names)]
    decode = own_pictures.pictures.read
    monkeypatch.setattr(own_pictures.pictures, "read", lambda data, name: read.append(name) or decode(data, name))
    app = upload(open_page(picture_source="Upload"), *files)
    assert len(app.dataframe[0].value) == own_pictures.MOST
    assert len(read) <= own_pictures.MOST + 1, "the others are not decoded in vain"
    assert f"the first {own_pictures.MOST} are shown" in app.warning[0].value


def test_ink_on_paper_is_inverted_and_the_switch_changes_the_picture():
    app = upload(open_page(picture_source="Upload"), ("seven.png", encoded(seven())))
    invert, centre = (toggle for toggle in app.toggle if toggle.label in ("Invert", "Centre like MNIST"))
    assert invert.value
    assert centre.value
    guessed = metric(app, "ELBO")
    invert.set_value(False).run()
    assert metric(app, "ELBO") < guessed - 100
    app.toggle[0].set_value(True).run()
    assert metric(app, "ELBO") == guessed
    upload(app, ("light.png", encoded(seven(ink=255, paper=0))))
    assert not app.toggle[0].value


def test_a_photograph_is_left_as_it_is_and_can_be_prepared_by_hand():
    light, dark = np.full((160, 200, 3), (200, 190, 170)), np.full((160, 200, 3), (40, 60, 120))
    photo = np.where(np.mgrid[:160, :200][0][..., None] < 100, light, dark).astype(np.uint8)
    app = upload(open_page(picture_source="Upload"), ("photo.png", encoded(Image.fromarray(photo))))
    switches = [toggle for toggle in app.toggle if toggle.label in ("Invert", "Centre like MNIST")]
    assert [switch.value for switch in switches] == [False, False]
    left = metric(app, "ELBO")
    switches[0].set_value(True).run()
    assert metric(app, "ELBO") != left


def test_a_drawing_is_a_sign_wherever_its_ink_is():
    drawing = Image.new("L", (280, 280))
    ImageDraw.Draw(drawing).rectangle((0, 0, 279, 60), fill=255)
    drawn = own_pictures.read_drawing(encoded(drawing))
    assert own_pictures.suggest(drawn, load(ROOT / "checkpoints" / "mnist-d2.safetensors")).centre
    dropped = own_pictures.read_dropped("bar.png", encoded(drawing))
    assert not own_pictures.suggest(dropped, load(ROOT / "checkpoints" / "mnist-d2.safetensors")).centre


@pytest.mark.parametrize("size", [(3000, 10), (10, 3000), (16_000, 1), (1, 16_000)], ids=str)
def test_a_picture_of_any_proportions_is_shown(size):
    app = upload(open_page(picture_source="Upload"), ("strip.png", encoded(Image.new("L", size, 128))))
    assert not app.exception
    assert not app.error
    assert metric(app, "ELBO") < 0


def test_one_preparation_for_all_pictures():
    files = [("a.png", encoded(seven())), ("b.png", encoded(seven(ink=40)))]
    app = upload(open_page(picture_source="Upload"), *files)
    before = app.dataframe[0].value["elbo"]
    next(toggle for toggle in app.toggle if toggle.label == "Invert").set_value(False).run()
    one = app.dataframe[0].value["elbo"]
    assert one[0] != before[0]
    assert one[1] == before[1]
    next(button for button in app.button if button.label == "Prepare all pictures so").click().run()
    both = app.dataframe[0].value["elbo"]
    assert both[0] == one[0]
    assert both[1] < before[1] - 100


def test_drawing_again_changes_the_draws_and_not_the_numbers():
    app = open_page()
    numbers = [one.value for one in app.metric]
    next(button for button in app.button if button.label == "Draw again").click().run()
    assert app.session_state["reconstruct_seed"] == 1
    assert [one.value for one in app.metric] == numbers


def test_a_picture_is_kept_for_the_page_that_it_is_sent_to():
    app = upload(open_page(picture_source="Upload"), ("seven.png", encoded(seven())))
    next(button for button in app.button if button.label == "Interpolate from here").click().run()
    assert not app.exception
    (kept,) = app.session_state["kept_pictures"].items()
    assert kept[1][1] == "seven.png"
    assert app.query_params["a"] == f"picture:{kept[0]}"


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian-optimal"])
def test_a_colour_model_of_another_size(monkeypatch, tmp_path, likelihood):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 20, 32), np.uint8)
    model = VAE(ModelConfig((3, 20, 32), latent_dim=3, arch="conv", likelihood=likelihood)).eval()
    save(tmp_path / "colour.safetensors", Checkpoint(model, {}, snapshot(model, Split(images), 40)))
    monkeypatch.setattr("ui.state.SHIPPED", tmp_path)
    app = open_page("colour", picture_source="Upload")
    upload(app, ("seven.png", encoded(seven("RGB"))), ("one.png", encoded(Image.new("L", (1, 1)))))
    assert len(app.dataframe[0].value) == 2
    assert "Centre like MNIST" not in [toggle.label for toggle in app.toggle]
    assert "Bernoulli" not in words(app)
    app.segmented_control(key="reconstruct_error").set_value("Cost in nats").run()
    assert not app.exception


def test_a_files_name_is_shown_as_it_is():
    name = "![x](http://example.org/x.png) $a$ :red[b].png"
    app = upload(open_page(picture_source="Upload"), (name, b"no picture"))
    assert "![x](" not in app.warning[0].value
    assert "\\!\\[x\\]" in app.warning[0].value


@pytest.fixture(scope="module", params=CHECKPOINTS, ids=lambda path: path.stem)
def checkpoint(request):
    return load(request.param)


def test_pixel_costs_sum_to_the_reconstruction_term(checkpoint):
    image = np.random.default_rng(0).integers(0, 256, checkpoint.model.config.image_shape, np.uint8)
    seen = posterior(checkpoint.model, image, samples=8)
    cost = pixels.pixel_cost(checkpoint.model, image, seen.z)
    assert cost.shape == image.shape[1:]
    assert cost.sum() == pytest.approx(seen.reconstruction.mean(), rel=1e-4)


def test_drawn_pictures_average_to_the_mean_picture(checkpoint):
    z = np.zeros((4000, checkpoint.model.config.latent_dim), np.float32)
    drawn = pixels.draw(checkpoint.model, z, seed=1)
    mean = checkpoint.model.decode_mean(torch.zeros(1, z.shape[1]))[0].detach().numpy()
    spread = drawn.std(0) / np.sqrt(len(z))
    assert np.abs(drawn.mean(0) - mean).max() < 6 * spread.max()
    np.testing.assert_array_equal(drawn, pixels.draw(checkpoint.model, z, seed=1))


def test_absolute_error_is_zero_for_equals_and_one_for_opposites():
    image = np.zeros((3, 4, 5), np.uint8)
    assert (pixels.absolute_error(image, np.zeros((3, 4, 5), np.float32)) == 0).all()
    assert (pixels.absolute_error(image, np.ones((3, 4, 5), np.float32)) == 1).all()


def test_whether_a_set_is_at_hand_is_asked_once_a_second(monkeypatch):
    asked, now = [], iter([5.1, 5.9, 6.0])
    monkeypatch.setattr(data, "available", lambda name: asked.append(name))
    monkeypatch.setattr(caching, "time", SimpleNamespace(monotonic=lambda: next(now)))
    caching._available.cache_clear()
    assert [caching.test_images({"dataset": "mnist"}, (1, 28, 28)) for _ in range(3)] == [None] * 3
    caching._available.cache_clear()
    assert asked == ["mnist", "mnist"]


def test_pictures_of_a_folder_that_has_changed_are_not_those_that_the_model_was_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    folder = tmp_path / "pets"
    folder.mkdir()
    for i in range(20):
        Image.new("L", (32, 32), 10 * i).save(folder / f"{i}.png")
    dataset = data.load(str(folder))
    trained = {"dataset": dataset.name, "pictures": dataset.fingerprint}
    assert caching.test_images(trained, (1, 32, 32)) is dataset.test.images
    assert caching.train_images(trained, (1, 32, 32)) is dataset.train.images
    (folder / "3.png").unlink()
    assert caching.test_images(trained, (1, 32, 32)) is None
    assert caching.train_images(trained, (1, 32, 32)) is None


@pytest.mark.parametrize(
    ("elbo", "sentence"),
    [(-9.0, "every one of the 4"), (9.0, "none of the 4"), (-2.5, "than 50% of the test images**: 2 of 4")],
)
def test_the_rank_in_words(elbo, sentence):
    assert sentence in reconstruction.rank_sentence(elbo, np.array([-4.0, -3.0, -2.0, -1.0]))


def test_kl_bars_are_sorted():
    (bar,) = read(reconstruction.kl_bars(np.array([0.5, 3.0, 1.0], np.float32))).data
    assert list(bar.x) == ["z₂", "z₃", "z₁"]
    assert list(bar.y) == [3.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("elbo", "axis", "words"),
    [
        (-350.0, (-360, -90), "this picture"),
        (-2_115_281.0, (-205, -95), "← this picture<br>−2,115,281 nats"),
        (900.0, (-205, -95), "this picture →<br>900 nats"),
    ],
)
def test_the_histogram_has_room_for_the_test_images_however_strange_the_picture(elbo, axis, words):
    chart = read(reconstruction.elbo_histogram(np.linspace(-200, -100, 1000), elbo))
    assert chart.layout.xaxis.range == pytest.approx(axis, abs=6)
    (label,) = chart.layout.annotations
    assert label.text == words
    assert chart.layout.xaxis.range[0] <= label.x <= chart.layout.xaxis.range[1]


def landed(*mu: float):
    """The chart of a picture that lands at mu, over codes that reach from −3 to 3."""
    codes = np.linspace([-3] * len(mu), [3] * len(mu), 200)
    seen = SimpleNamespace(mu=np.array(mu), sigma=np.full(len(mu), 0.5))
    return read(reconstruction.landing(seen, SimpleNamespace(mu=codes, labels=np.zeros(200, int)), ("a",)))


def test_where_a_picture_lands_far_away_the_test_images_stay_in_sight():
    near, far, line = landed(5.0, -4.0), landed(158.5, -139.0), landed(-158.5)
    assert near.layout.xaxis.range[1] > 5
    name, mark = near.layout.annotations
    assert (name.text, mark.text, mark.x, mark.y) == ("<b>a</b>", "✕", 5.0, -4.0)
    assert far.layout.xaxis.range == far.layout.yaxis.range == pytest.approx((-3.15, 3.15))
    _, arrow, label = far.layout.annotations
    assert label.text == "this picture<br>(158.50, −139.00)"
    assert (arrow.x, arrow.y) == pytest.approx((3.15, -3.15 * 139 / 158.5))
    assert arrow.ax < 0 > arrow.ay
    assert line.layout.xaxis.range == pytest.approx((-3.24, 3.24))
    assert line.layout.annotations[0].text == "← this picture<br>z₁ = −158.50"


def test_large_numbers_have_commas():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8))
    app = upload(open_page("mnist-d2-beta", picture_source="Upload"), ("noise.png", encoded(noise)))
    elbo = next(metric.value for metric in app.metric if metric.label == "ELBO")
    together = next(text.value for text in app.markdown if "by latent dimension" in text.value)
    for text in (elbo, together):
        assert not re.search(r"\d{4}", text)
    assert re.fullmatch(r"−[\d,]+\.\d ± [\d,]+\.\d nats", elbo)


def test_a_picture_lands_on_the_line_of_a_model_with_one_dimension():
    model, split = VAE(ModelConfig((1, 8, 8), 1, widths=(8,))).eval(), data.load("digits").test
    held = snapshot(model, split, 50)
    seen = posterior(model, split.images[0], samples=4)
    chart = read(reconstruction.landing(seen, held, ()))
    np.testing.assert_array_equal(chart.data[0].x, held.mu[:, 0])
    one, two, middle = chart.layout.shapes
    mu, sigma = float(seen.mu[0]), float(np.exp(0.5 * seen.logvar[0]))
    assert (one.x0, one.x1) == (pytest.approx(mu - sigma), pytest.approx(mu + sigma))
    assert (two.x0, two.x1) == (pytest.approx(mu - 2 * sigma), pytest.approx(mu + 2 * sigma))
    assert middle.x0 == middle.x1 == pytest.approx(mu)
