"""What the latent map sends to the browser, and what it believes of what comes back."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from ui.components.latent_map import (
    Background,
    ByClass,
    ByValue,
    DecodedPlane,
    DroppedFile,
    Mark,
    Selection,
    build_atlas,
    latent_map_props,
    points_message,
    read_dropped,
    read_selection,
)

POSITIONS = np.array([[0.5, -1.25], [3.0, 4.0], [-2.0, 0.0]])
CLASSES = ByClass(np.array([0, 1, 0]), ["cat", "dog"], ["#000000", "#ffffff"])
NAMED = {"id": "points", "view": "plane", "axes": ("z₁", "z₂")}


def numbers(text: str, dtype: str) -> list[float]:
    """The array that the browser unpacks from base64."""
    return np.frombuffer(base64.b64decode(text), dtype).tolist()


def test_positions_travel_by_themselves_as_float32_after_their_name():
    props = latent_map_props(POSITIONS, CLASSES, **NAMED)
    message = points_message(POSITIONS, props)
    assert message[:32].decode("ascii") == props["positions"]
    assert np.frombuffer(message[32:], "<f4").tolist() == POSITIONS.ravel().tolist()


def test_props_are_json():
    props = json.loads(json.dumps(latent_map_props(POSITIONS, CLASSES, **NAMED)))
    assert numbers(props["colour"]["index"], "<u2") == [0, 1, 0]
    assert props["colour"]["names"] == ["cat", "dog"]
    assert props["axes"] == ["z₁", "z₂"]
    assert props["background"] is None
    assert props["fit"] == []


def test_ten_thousand_points_are_a_small_message():
    positions = np.random.default_rng(0).standard_normal((10_000, 2))
    colour = ByClass(np.zeros(10_000, int), ["all"], ["#000000"])
    props = latent_map_props(positions, colour, **NAMED)
    assert len(json.dumps(props)) < 30_000
    assert len(points_message(positions, props)) == 32 + 80_000


def test_moved_points_change_nothing_but_their_positions():
    before = latent_map_props(POSITIONS, CLASSES, **NAMED)
    after = latent_map_props(POSITIONS + 1, CLASSES, **NAMED)
    assert {name for name in before if before[name] != after[name]} == {"positions"}


def test_a_colour_bar_ignores_outliers_and_missing_values():
    values = np.concatenate([np.linspace(0, 100, 1_001), [1e9, np.nan, np.inf]])
    props = latent_map_props(np.zeros((1_004, 2)), ByValue(values, "ELBO (nats)", ["#000000", "#ffffff"]), **NAMED)
    assert props["colour"]["low"] == pytest.approx(1, abs=0.2)
    assert props["colour"]["high"] == pytest.approx(99, abs=0.3)
    assert props["colour"]["title"] == "ELBO (nats)"


def test_a_colour_bar_without_any_number_still_has_ends():
    props = latent_map_props(POSITIONS, ByValue(np.full(3, np.nan), "x", ["#000000", "#ffffff"]), **NAMED)
    assert (props["colour"]["low"], props["colour"]["high"]) == (0, 1)


def test_the_background_travels_without_loss():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    props = latent_map_props(
        POSITIONS,
        CLASSES,
        **NAMED,
        background=Background(image, (-3, 3, -2, 2)),
        contours=True,
        marks=[Mark(9, 9, "A")],
    )
    kind, data = props["background"]["image"].split(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), image)
    assert props["background"]["extent"] == [-3, 3, -2, 2]
    assert props["background"]["opacity"] == 0.75
    assert props["marks"] == [{"x": 9.0, "y": 9.0, "label": "A", "picture": None, "far": False}]
    assert [9.0, 9.0] in props["fit"], "the first view includes the marks"
    assert [3.0, 3.0] in props["fit"], "and the 3 σ circle"
    assert props["extent"] is None


@pytest.mark.parametrize("place", [(60.0, 0.0), (0.0, -60.0), (-40.0, 41.0)])
def test_a_mark_far_from_the_points_leaves_them_the_first_view_and_says_where_it_is(place):
    props = latent_map_props(POSITIONS, CLASSES, **NAMED, contours=True, marks=[Mark(*place, "A"), Mark(7, 5, "B")])
    far, near = props["marks"]
    assert far["far"]
    coordinates = far["label"].replace("−", "-").strip("A ()").split(", ")
    assert coordinates == [f"{value:.2f}" for value in place]
    assert not near["far"]
    assert near["label"] == "B"
    assert props["fit"] == [[-3, -3], [3, 3], [7, 5]]


@pytest.mark.parametrize("positions", [np.zeros((3, 2)), np.ones((3, 2)) * 5])
def test_points_in_one_place_make_no_mark_far(positions):
    assert not latent_map_props(positions, CLASSES, **NAMED, marks=[Mark(9, 9, "A")])["marks"][0]["far"]


def test_the_first_view_can_be_named():
    assert latent_map_props(POSITIONS, CLASSES, **NAMED, extent=(-5, 4, -3, 2))["extent"] == [[-5, -3], [4, 2]]


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 5, 4)])
def test_a_marks_picture_travels_without_loss(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    props = latent_map_props(POSITIONS, CLASSES, **NAMED, marks=[Mark(1, 2, "mine.png", picture)])
    kind, data = props["marks"][0]["picture"].split(",")
    assert kind == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    np.testing.assert_array_equal(pixels.reshape(5, 4, -1).transpose(2, 0, 1), picture)


@pytest.mark.parametrize(
    ("positions", "colour"),
    [
        (np.zeros((3, 3)), CLASSES),
        (np.zeros(6), CLASSES),
        (np.zeros((4, 2)), CLASSES),
        (np.zeros((4, 2)), ByValue(np.zeros(3), "x", ["#000000"])),
    ],
)
def test_lengths_must_agree(positions, colour):
    with pytest.raises(ValueError, match=r"positions|colours"):
        latent_map_props(positions, colour, **NAMED)


def tile(atlas, index: int) -> np.ndarray:
    """Cut tile `index` out of the atlas as the browser does."""
    page = np.asarray(Image.open(io.BytesIO(atlas.pages[index // atlas.per_page])).convert("RGB"))
    row, column = divmod(index % atlas.per_page, atlas.columns)
    width, height = atlas.tile
    return page[row * height : (row + 1) * height, column * width : (column + 1) * width]


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (1, 20, 12), (3, 64, 64)])
def test_every_tile_is_where_the_browser_looks_for_it(shape):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, 37)
    images = np.broadcast_to(grey[:, None, None, None], (37, *shape)).astype(np.uint8)
    atlas = build_atlas(images)
    for index in (0, 5, 6, 7, 36):
        assert abs(tile(atlas, index).mean() - grey[index]) < 8, "lossy, but the same picture"
    assert max(atlas.tile) <= 32


def test_large_sets_are_split_over_pages_that_every_device_draws():
    images = np.zeros((20_000, 1, 32, 32), np.uint8)
    images[19_999] = 255
    atlas = build_atlas(images)
    assert len(atlas.pages) == 2
    for page in atlas.pages:
        assert max(Image.open(io.BytesIO(page)).size) <= 4096
    assert tile(atlas, 19_999).mean() > 240
    assert tile(atlas, 19_998).mean() < 15


def test_an_atlas_is_named_by_what_it_shows():
    images = np.zeros((4, 1, 8, 8), np.uint8)
    assert build_atlas(images).id == build_atlas(images.copy()).id
    assert build_atlas(images).id != build_atlas(images + 1).id


GOOD = {"id": "points", "view": "plane", "kind": "point", "indices": [2], "x": 1.5, "y": -2}


def test_a_selection_is_read():
    assert read_selection(GOOD, id="points", view="plane", count=3) == Selection("point", (2,), 1.5, -2.0)
    lasso = GOOD | {"kind": "lasso", "indices": [0, 1]}
    assert read_selection(lasso, id="points", view="plane", count=3).indices == (0, 1)
    place = GOOD | {"kind": "place", "indices": []}
    assert read_selection(place, id="points", view="plane", count=3) == Selection("place", (), 1.5, -2.0)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "another model"},
        {"indices": [3]},
        {"indices": [-1]},
        {"indices": [True]},
        {"indices": ["0"]},
        {"indices": [0, 1]},
        {"indices": "2"},
        {"kind": "lasso", "indices": []},
        {"kind": "place", "indices": [], "view": "another projection"},
        {"kind": "drop table"},
        {"kind": []},
        {"x": float("nan")},
        {"x": -float("inf")},
        {"x": 10**400},
        {"x": "1"},
        {"y": None},
    ],
)
def test_a_forged_selection_is_no_selection(change):
    assert read_selection(GOOD | change, id="points", view="plane", count=3) is None


@pytest.mark.parametrize("value", [None, "point", 3, []])
def test_anything_else_is_no_selection(value):
    assert read_selection(value, id="points", view="plane", count=3) is None


DROPPED = {"id": "points", "name": "mine.png", "data": base64.b64encode(b"content").decode()}


def test_a_dropped_file_is_read():
    assert read_dropped(DROPPED, id="points") == DroppedFile("mine.png", b"content")
    assert read_dropped(DROPPED | {"data": ""}, id="points").data == b"", "said to be empty by whoever reads it"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "mine.png",
        DROPPED | {"id": "another model"},
        DROPPED | {"name": 3},
        DROPPED | {"data": None},
        DROPPED | {"data": "no base64!"},
        DROPPED | {"data": "A" * (23 * 2**20)},
    ],
)
def test_a_forged_or_too_large_file_is_no_file(value):
    assert read_dropped(value, id="points") is None


def test_a_plane_is_named_and_not_sent_again():
    plane = DecodedPlane("plane of digits", (-3, 3, -2, 4), 33)
    props = latent_map_props(POSITIONS, CLASSES, **NAMED, plane=plane)
    assert props["plane"] == {"atlas": "plane of digits", "extent": [-3, 3, -2, 4], "side": 33}


def test_files_can_be_dropped_only_where_the_page_takes_them():
    assert latent_map_props(POSITIONS, CLASSES, **NAMED)["droppable"] == 0
    assert latent_map_props(POSITIONS, CLASSES, **NAMED, droppable=True)["droppable"] == 16 * 2**20


def test_a_map_remembers_its_selection_only_where_it_is_asked_to():
    assert not latent_map_props(POSITIONS, CLASSES, **NAMED)["remembers"], "several on a page would share one"
    props = latent_map_props(POSITIONS, CLASSES, **NAMED, remembers=True, chosen=2)
    assert props["remembers"]
    assert props["chosen"] == 2
