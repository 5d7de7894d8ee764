"""Pictures come out with the pixels that went in."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from vae_core import imaging
from vae_core.errors import UserError


def pictures(count: int, channels: int = 1, height: int = 5, width: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def cell(canvas: np.ndarray, index: int, columns: int, height: int, width: int, gap: int = 0) -> np.ndarray:
    row, column = divmod(index, columns)
    top, left = row * (height + gap), column * (width + gap)
    return canvas[top : top + height, left : left + width]


def test_floats_are_rounded_and_clipped():
    values = np.array([-0.5, 0.0, 0.5, 1.0, 1.5], np.float32).reshape(5, 1, 1, 1)
    assert imaging.to_uint8(values).ravel().tolist() == [0, 0, 128, 255, 255]


def test_uint8_survives_the_way_to_unit_floats_and_back():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(imaging.to_uint8(images / np.float32(255)), images)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((2, 2, 8, 8), np.uint8),
        np.zeros((0, 1, 8, 8), np.uint8),
        np.zeros((1, 1, 8, 8), np.int64),
        np.full((1, 1, 8, 8), np.nan),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(images):
    with pytest.raises(UserError, match=r"\."):
        imaging.to_uint8(images)


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_keeps_every_pixel_at_whole_multiples(channels):
    images = pictures(7, channels)
    scale, gap, columns = 3, 2, 3
    drawn = imaging.grid(images, columns, scale=scale, gap=gap, background=9)
    assert drawn.mode == ("L" if channels == 1 else "RGB")
    assert drawn.size == (scale * (3 * 7 + 2 * 2), scale * (3 * 5 + 2 * 2))
    canvas = np.asarray(drawn).reshape(drawn.height, drawn.width, channels)
    small = canvas[::scale, ::scale]
    assert np.array_equal(np.repeat(np.repeat(small, scale, 0), scale, 1), canvas)
    for index, image in enumerate(images):
        assert np.array_equal(cell(small, index, columns, 5, 7, gap), image.transpose(1, 2, 0))
    assert (cell(small, 8, columns, 5, 7, gap) == 9).all()
    assert (small[:, 7:9] == 9).all()


def test_grid_is_no_wider_than_its_pictures():
    assert imaging.grid(pictures(2), columns=10, gap=0).size == (14, 5)


@pytest.mark.parametrize("options", [{"columns": 0}, {"columns": 2, "scale": 0}, {"columns": 2, "gap": -1}])
def test_impossible_grids_are_refused(options):
    with pytest.raises(UserError, match="cannot be drawn"):
        imaging.grid(pictures(2), **options)


def test_png_is_lossless():
    drawn = imaging.grid(pictures(4, 3), 2)
    again = opened(imaging.png_bytes(drawn))
    assert again.format == "PNG"
    assert np.array_equal(np.asarray(again), np.asarray(drawn))


def test_gif_has_its_frames_and_times():
    frames = [imaging.grid(pictures(1, seed=seed), 1) for seed in range(5)]
    movie = opened(imaging.gif_bytes(frames, milliseconds=60))
    assert (movie.format, movie.n_frames, movie.info["duration"], movie.info["loop"]) == ("GIF", 5, 60, 0)
    for index, frame in enumerate(frames):
        movie.seek(index)
        assert np.array_equal(np.asarray(movie.convert("L")), np.asarray(frame))


@pytest.mark.parametrize(("frames", "milliseconds"), [([], 100), ([Image.new("L", (2, 2))], 10)])
def test_impossible_gifs_are_refused(frames, milliseconds):
    with pytest.raises(UserError):
        imaging.gif_bytes(frames, milliseconds)


@pytest.mark.parametrize(
    ("count", "channels", "height", "width"), [(1, 1, 28, 28), (31, 1, 28, 28), (5, 3, 9, 4), (300, 1, 8, 64)]
)
def test_sheet_holds_every_frame_where_it_says(count, channels, height, width):
    frames = pictures(count, channels, height, width)
    sheet = imaging.sprite_sheet(frames)
    picture = opened(sheet.data)
    assert f"image/{picture.format.lower()}" == sheet.mime
    assert picture.size == (sheet.columns * sheet.width, sheet.rows * sheet.height)
    assert max(picture.size) <= imaging.MAX_SIDE
    assert (sheet.count, sheet.height, sheet.width) == (count, height, width)
    canvas = np.asarray(picture.convert("L" if channels == 1 else "RGB")).reshape(*picture.size[::-1], channels)
    for index, frame in enumerate(frames):
        assert np.array_equal(cell(canvas, index, sheet.columns, height, width), frame.transpose(1, 2, 0))


def test_sheet_is_the_same_bytes_for_the_same_frames():
    assert imaging.sprite_sheet(pictures(20)) == imaging.sprite_sheet(pictures(20))


def test_colour_frames_without_colour_cost_no_more_than_grey():
    frames = pictures(20)
    assert imaging.sprite_sheet(np.repeat(frames, 3, axis=1)).data == imaging.sprite_sheet(frames).data


def test_webp_is_taken_where_it_saves_much_and_is_quick():
    speckles = 17 * np.random.default_rng(0).integers(0, 16, (30, 3, 190, 190), dtype=np.uint8)
    assert imaging.sprite_sheet(speckles[:25]).mime == "image/webp"
    assert imaging.sprite_sheet(speckles[:2]).mime == "image/png"
    assert imaging.sprite_sheet(speckles).mime == "image/png"


@pytest.mark.parametrize("shape", [(1, 1, 8, 8193), (1, 1, 8193, 8), (257, 1, 512, 512)])
def test_sheets_that_browsers_cannot_draw_are_refused(shape):
    with pytest.raises(UserError, match="do not fit"):
        imaging.sprite_sheet(np.zeros(shape, np.uint8))


def test_data_url_gives_the_bytes_back():
    url = imaging.data_url(b"\x00\xffpicture", "image/png")
    head, _, body = url.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == b"\x00\xffpicture"
