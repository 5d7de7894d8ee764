"""What the browser components are given, and what is believed of what they say."""

import base64
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from ui.components import sheets
from ui.components.beta_strip import BetaStripContent, beta_strip_props
from ui.components.draw_pad import SIDE, decode_drawing, draw_pad_props
from ui.components.film_strip import film_strip, film_strip_props
from ui.components.picture_grid import picture_grid, picture_grid_props
from ui.components.position import Position, settle
from vae_core import pictures
from vae_core.errors import UserError
from vae_core.imaging import data_url, sprite_sheet

FRAMES = np.random.default_rng(0).integers(0, 256, (9, 1, 6, 4), dtype=np.uint8)
LABELS = [f"{i}" for i in range(9)]
STRIP = {"content": "a", "count": 9, "given": None, "start": 0, "keep": True}
GRID = {"content": "a", "count": 9, "given": None, "start": None, "keep": False}


def report(index, version=0):
    return {"index": index, "version": version}


def test_a_strip_starts_where_python_says_and_a_grid_with_nothing():
    assert settle(None, None, **STRIP) == Position(0, 0, 0, "a", None)
    assert settle(None, None, **STRIP | {"given": 4}).index == 4
    assert settle(None, None, **GRID).index is None
    assert settle(None, None, **GRID | {"given": 2}).index == 2


def test_a_release_changes_nothing_that_is_sent():
    start = settle(None, None, **STRIP)
    moved = settle(start, report(5), **STRIP)
    assert moved.index == 5
    assert (moved.sent, moved.version) == (start.sent, start.version)
    assert settle(moved, report(5), **STRIP) == moved


def test_a_changed_index_is_a_command_and_a_constant_one_is_not():
    start = settle(None, None, **STRIP | {"given": 3})
    moved = settle(start, report(5), **STRIP | {"given": 3})
    assert moved.index == 5
    commanded = settle(moved, report(5), **STRIP | {"given": 7})
    assert (commanded.index, commanded.sent, commanded.version) == (7, 7, 1)
    assert settle(commanded, report(5), **STRIP | {"given": 7}) == commanded
    assert settle(commanded, report(2, version=1), **STRIP | {"given": 7}).index == 2


def test_an_index_that_follows_the_result_one_run_late_does_not_pull_the_thumb_back():
    position = settle(None, None, **STRIP | {"given": 0})
    given = 0
    for released in (4, 8, 1):
        position = settle(position, report(released), **STRIP | {"given": given})
        assert (position.index, position.version) == (released, 0)
        given = position.index


def test_new_frames_leave_a_thumb_but_clear_a_selection():
    strip = settle(settle(None, None, **STRIP), report(5), **STRIP)
    renewed = settle(strip, report(5), **STRIP | {"content": "b"})
    assert (renewed.index, renewed.sent, renewed.version) == (5, 5, 0)
    assert settle(renewed, report(5), **STRIP | {"content": "c", "count": 3}).index == 2
    grid = settle(settle(None, None, **GRID), report(5), **GRID)
    assert grid.index == 5
    cleared = settle(grid, report(5), **GRID | {"content": "b"})
    assert (cleared.index, cleared.version) == (None, 1)
    assert settle(cleared, report(6), **GRID | {"content": "b"}) == cleared  # a click on the old pictures


def test_a_thumb_is_remembered_while_its_page_is_left_and_after_a_lost_session():
    strip = settle(settle(None, None, **STRIP), report(5), **STRIP)
    assert settle(strip, None, **STRIP) == strip
    again = settle(None, report(5, version=3), **STRIP)
    assert (again.index, again.sent, again.version) == (5, 5, 4)


@pytest.mark.parametrize(
    "reported",
    [
        {"index": "5", "version": 0},
        {"index": 5.0, "version": 0},
        {"index": True, "version": 0},
        {"index": -1, "version": 0},
        {"index": 5},
        {"index": 5, "version": 1},
        [5, 0],
        "5",
    ],
)
def test_what_no_strip_would_say_is_ignored(reported):
    start = settle(None, None, **STRIP)
    assert settle(start, reported, **STRIP) == start


def test_an_index_beyond_the_frames_is_the_last():
    assert settle(settle(None, None, **STRIP), report(10**9), **STRIP).index == 8


def strip_props(position, frames=FRAMES):
    options = {"key": "k", "label": "β", "labels": LABELS, "scale": 4, "fps": 12, "compact": False}
    return film_strip_props(sprite_sheet(frames), position, **options)


def test_props_are_json_and_hold_the_frames():
    start = settle(None, None, **STRIP)
    props = strip_props(start)
    assert json.loads(json.dumps(props)) == props
    data = base64.b64decode(props["sprite"].partition(",")[2])
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    columns, width, height = (props["frame"][name] for name in ("columns", "width", "height"))
    assert (width, height, props["frame"]["count"]) == (4, 6, 9)
    row, column = divmod(7, columns)
    assert np.array_equal(picture[row * 6 : row * 6 + 6, column * 4 : column * 4 + 4], FRAMES[7, 0])


def test_props_are_the_same_after_a_release_and_differ_after_a_command_or_new_frames():
    start = settle(None, None, **STRIP)
    moved = settle(start, report(5), **STRIP)
    assert strip_props(moved) == strip_props(start)
    assert strip_props(settle(moved, report(5), **STRIP | {"given": 2})) != strip_props(start)
    assert strip_props(start, 255 - FRAMES)["sprite"] != strip_props(start)["sprite"]


def test_grid_props_carry_captions_and_selection():
    position = settle(None, None, **GRID | {"given": 2})
    props = picture_grid_props(
        sprite_sheet(FRAMES), position, key="k", label="Samples", captions=tuple(LABELS), scale=2, marked=(1, 3)
    )
    assert json.loads(json.dumps(props)) == props
    assert (props["captions"], props["index"], props["frame"]["count"]) == (LABELS, 2, 9)
    assert props["marked"] == [1, 3]


def test_frames_are_encoded_once_for_each_content(monkeypatch):
    sheets._encoded.clear()
    encoded = []
    monkeypatch.setattr(sheets.imaging, "sprite_sheet", lambda frames: encoded.append(1) or sprite_sheet(frames))
    first, again = sheets.sheet(FRAMES), sheets.sheet(FRAMES.copy())
    assert first == again
    assert len(encoded) == 1
    large = np.zeros((1, 1, 2000, 1000), np.uint8)
    other = large.copy()
    other[0, 0, 1234, 567] = 1
    assert sheets.sheet(large)[0] != sheets.sheet(other)[0]
    assert len(encoded) == 3


def test_a_shape_is_part_of_the_content():
    assert sheets.content_digest(FRAMES) != sheets.content_digest(FRAMES.reshape(9, 1, 4, 6))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: film_strip(FRAMES, key="k", label="β", labels=LABELS[:3]), "9 frames was given 3 labels"),
        (lambda: film_strip(FRAMES, key="k", label="β", labels=LABELS, index=9), "Frame 9 does not exist"),
        (lambda: film_strip(FRAMES, key="k", label="β", labels=LABELS, fps=0), "fps is 1–60"),
        (lambda: film_strip(FRAMES[0], key="k", label="β", labels=LABELS), "cannot be drawn"),
        (lambda: picture_grid(FRAMES, key="k", label="g", captions=["a"]), "given 1 captions"),
        (lambda: picture_grid(FRAMES, key="k", label="g", selected=-1), "Picture -1 does not exist"),
        (lambda: picture_grid(FRAMES, key="k", label="g", scale=0), "Scale 0"),
    ],
)
def test_mistakes_are_sentences(call, words):
    with pytest.raises(UserError, match=words):
        call()


def png(size=(SIDE, SIDE), mode="RGB", file_format="PNG", ground="white"):
    buffer = io.BytesIO()
    Image.new(mode, size, ground).save(buffer, file_format)
    return buffer.getvalue()


def test_a_drawing_comes_back_as_its_bytes():
    assert decode_drawing(data_url(png(), "image/png")) == png()
    assert draw_pad_props("pad", "Draw a digit", held=True)["side"] == SIDE


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "https://example.org/picture.png",
        data_url(png(), "image/svg+xml"),
        data_url(png(file_format="JPEG"), "image/png"),
        data_url(png(size=(20_000, 20_000), mode="1"), "image/png"),
        data_url(png(size=(12_000, 12_000), mode="1"), "image/png"),
        data_url(png(size=(SIDE, SIDE - 1)), "image/png"),
        data_url(png(ground="black"), "image/png"),
        data_url(png()[:-40], "image/png"),
        data_url(b"", "image/png"),
        data_url(png() + b"x" * 300_000, "image/png"),
        data_url(png(), "image/png") + "!!",
    ],
    ids=lambda url: str(url)[:40],
)
def test_anything_but_a_whole_png_of_the_pad_is_no_drawing(url):
    pictures.read(png(), "a picture that was read before")  # large ones are then errors, for the whole process
    assert decode_drawing(url) is None


def page():
    import numpy as np
    import streamlit as st

    from ui.components.draw_pad import draw_pad
    from ui.components.film_strip import film_strip, film_strip_index
    from ui.components.picture_grid import picture_grid

    images = np.arange(5 * 64, dtype=np.uint8).reshape(5, 1, 8, 8)
    st.text(film_strip_index("strip"))
    given = 4 if st.button("To the end") else 2
    st.text(film_strip(images, key="strip", label="z", labels=list("abcde"), index=given))
    st.text(picture_grid(images, key="grid", label="Samples"))
    st.text(draw_pad(key="pad"))


def texts(app):
    assert not app.exception
    return [text.value for text in app.text]


def test_components_work_in_every_session_of_a_server():
    for _ in range(2):
        app = AppTest.from_function(page).run()
        assert texts(app) == ["0", "2", "None", "None"]
        app.button[0].click().run()
        assert texts(app) == ["2", "4", "None", "None"]


def beta_content(positions=None):
    """Seven frames of pictures over three values of β, for four points of two classes."""
    frames = np.random.default_rng(1).integers(0, 256, (7, 1, 5, 8), dtype=np.uint8)
    if positions is None:
        positions = np.random.default_rng(2).normal(size=(3, 4, 2)).astype(np.float32)
    return BetaStripContent(
        labels=[f"β {i}" for i in range(7)],
        reconstructions=frames,
        samples=frames[:, :, ::-1],
        positions=positions,
        classes=np.array([0, 1, 1, 0], np.uint8),
        colours=["#112233", "#445566"],
        axes=("z₁", "z₂"),
        betas=np.array([0.1, 1.0, 10.0]),
        rate=np.array([3.0, 2.0, 0.0]),
        distortion=np.array([20.0, 21.0, 30.0]),
        captions=("a", "b", "c", "d"),
    )


def beta_props(content, position):
    sprites = [(name, sprite_sheet(getattr(content, name))) for name in ("reconstructions", "samples")]
    return beta_strip_props(content, *sprites, position, "key", 6)


def test_the_beta_strip_sends_places_as_they_are_to_a_part_of_the_map():
    content = beta_content()
    sent = beta_props(content, settle(None, None, **STRIP))
    found = np.frombuffer(base64.b64decode(sent["map"]["positions"]), "<i2").reshape(3, 4, 2)
    reach = sent["map"]["reach"]
    np.testing.assert_allclose(found * reach / 32767, content.positions, atol=reach / 60_000)
    assert list(base64.b64decode(sent["map"]["classes"])) == [0, 1, 1, 0]
    assert (sent["every"], sent["ends"], len(sent["labels"])) == (3, ["0.1", "10"], 7)
    np.testing.assert_allclose(np.exp(sent["curve"]["logBeta"]), [0.1, 1, 10], rtol=1e-5)
    assert (sent["curve"]["rate"], sent["curve"]["distortion"]) == ([3, 2, 0], [20, 21, 30])
    assert sent["samples"]["frame"]["count"] == 7
    json.dumps(sent, allow_nan=False)


def test_a_release_of_the_beta_strip_changes_nothing_that_is_sent():
    content, start = beta_content(), settle(None, None, **STRIP)
    moved = settle(start, report(5), **STRIP | {"given": 5})
    assert beta_props(content, moved) == beta_props(content, start)


def test_codes_that_have_all_collapsed_still_have_a_map():
    sent = beta_props(beta_content(np.zeros((3, 4, 2), np.float32)), settle(None, None, **STRIP))
    assert (sent["map"]["extent"], sent["map"]["reach"]) == ([-3.15, 3.15], 1)


@pytest.mark.parametrize(("spread", "outliers"), [(0.5, 10), (2.0, 0), (2.0, 10), (20.0, 10)])
def test_the_beta_strip_s_map_holds_the_prior_and_all_but_few_points_whatever_the_outliers(spread, outliers):
    positions = np.random.default_rng(3).uniform(-spread, spread, (3, 1000, 2)).astype(np.float32)
    positions[0, :outliers] *= 50
    low, high = beta_props(beta_content(positions), settle(None, None, **STRIP))["map"]["extent"]
    assert low == -high
    assert (abs(positions) <= high).mean() >= 0.995
    assert 3 < high <= max(3.2, spread)


@pytest.mark.parametrize(("index", "called"), [(None, 0), (3, 1)])
def test_a_pick_of_pictures_that_were_replaced_is_not_reported(monkeypatch, index, called):
    module = sys.modules["ui.components.picture_grid"]

    calls = []
    monkeypatch.setattr(module, "current_index", lambda *_: index)
    module._tell("grid", lambda: calls.append(1))
    assert len(calls) == called
