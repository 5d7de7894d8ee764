"""The reader of people's own pictures: a valid one fits the model, any other raises a sentence."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw

from vae_core import data, pictures
from vae_core.errors import UserError

MODES = [mode for mode in Image.MODES if mode != "I;16N"]
SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 20, 64), (1, 64, 20)]
slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns * 255 // (width - 1), rows * 255 // (height - 1), (rows + columns) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def rough() -> Image.Image:
    return Image.fromarray(noise((30, 40, 3)))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to nothing in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


# Any bytes


@slow
@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_a_sentence(content):
    try:
        image = pictures.read(content, "thing.png")
    except UserError as error:
        assert "thing.png" in str(error)
    else:
        assert image.mode in ("L", "RGB")


HEADS = [
    encoded(gradient(), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "PPM", "TGA", "QOI")
]


@settings(slow, max_examples=200)
@given(
    st.sampled_from(HEADS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_damaged_files_raise_nothing_but_a_sentence(content, changes, kept):
    broken = bytearray(content)
    for place, value in changes:
        broken[min(int(place * len(broken)), len(broken) - 1)] = value
    broken = bytes(broken[: max(1, int(kept * len(broken)))])
    try:
        image = pictures.read(broken, "thing")
    except UserError as error:
        assert "thing" in str(error)
    else:
        assert pictures.fit(image, (1, 28, 28)).shape == (1, 28, 28)


@slow
@given(st.sampled_from(MODES), st.integers(1, 90), st.integers(1, 90), st.sampled_from(SHAPES), st.booleans())
def test_every_mode_and_size_gives_the_shape_asked_for(mode, width, height, shape, invert):
    fitted = pictures.fit(Image.new(mode, (width, height)), shape, invert=invert)
    assert fitted.shape == shape
    assert fitted.dtype == np.uint8
    assert fitted.flags.c_contiguous


@slow
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    st.sampled_from(["PNG", "TIFF", "BMP", "PPM", "TGA", "QOI"]),
)
def test_lossless_formats_give_back_their_pixels(pixels, kind):
    image = pictures.read(encoded(Image.fromarray(pixels), kind), "a")
    fitted = pictures.fit(image, (3, *pixels.shape[:2]))
    np.testing.assert_array_equal(fitted, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "PCX", "SGI"]
)
def test_formats_show_the_same_picture(kind):
    image = pictures.read(encoded(gradient(64, 64), kind), f"a.{kind}")
    expected = pictures.fit(gradient(64, 64), (3, 28, 28)).astype(int)
    assert np.abs(pictures.fit(image, (3, 28, 28)) - expected).mean() < 6


def test_formats_that_run_other_programs_are_not_opened():
    assert not {"EPS", "WMF", "PDF"} & set(pictures.FORMATS)
    with pytest.raises(UserError, match="PostScript"):
        pictures.read(encoded(gradient(), "EPS"), "a.eps")


# Modes


def test_one_pixel():
    assert (pictures.fit(pictures.read(encoded(Image.new("L", (1, 1), 200)), "a"), (1, 28, 28)) == 200).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(kind):
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    image = pictures.read(encoded(Image.fromarray(deep), kind), "a")
    assert np.asarray(image).tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[-1.0, np.nan, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0, 32896, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 50_000, 100_000]], np.int32), [0, 128, 255]),
        (np.array([[-3.0, -3.0]], np.float32), [0, 0]),
    ],
)
def test_deep_tiffs_are_scaled(values, expected):
    image = pictures.read(encoded(Image.fromarray(values), "TIFF"), "a")
    assert np.asarray(image).tolist() == [expected]


def test_cmyk():
    image = pictures.read(encoded(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "TIFF"), "a")
    red, green, blue = np.asarray(image)[0, 0]
    assert red > 200
    assert max(green, blue) < 60


def test_palette_with_transparency():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 250, 250, 250])
    image.paste(1, (0, 0, 4, 8))
    pixels = np.asarray(pictures.read(encoded(image, transparency=0), "a"))
    assert pixels[0, 0].tolist() == [250, 250, 250]
    assert pixels[0, 7].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("ink", "background"), [((255, 255, 255), 0), ((0, 0, 0), 255), ((20, 20, 90), 255)])
def test_transparent_drawings_stay_visible(ink, background):
    image = Image.new("RGBA", (20, 20))
    ImageDraw.Draw(image).rectangle((5, 5, 14, 14), fill=(*ink, 255))
    pixels = np.asarray(pictures.read(encoded(image), "a"))
    assert pixels[10, 10].tolist() == list(ink)
    assert (pixels[0, 0] == background).all()


def test_wholly_transparent_is_black():
    assert not pictures.fit(Image.new("RGBA", (5, 5), (90, 200, 10, 0)), (3, 8, 8)).any()


def test_animations_show_their_first_frame():
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.asarray(pictures.read(content, "a"))[3, 3, 0] > 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("size", [(40, 30), (2400, 1600)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation, size, kind):
    undo = [None, *(Image.Transpose(method) for method in (0, 3, 1, 5, 2, 6, 4))][orientation - 1]
    upright = gradient(*size)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if undo is None else upright.transpose(undo)
    image = pictures.read(encoded(stored, kind, exif=exif), "photo")
    expected = pictures.fit(upright, (3, 20, 30)).astype(int)
    assert np.abs(pictures.fit(image, (3, 20, 30)) - expected).mean() < 6


def test_large_photos_are_decoded_small_enough():
    image = pictures.read(encoded(gradient(6000, 4000), "JPEG"), "photo.jpg")
    assert 512 <= min(image.size) < 1024


PEAK = """
import json, sys
from pathlib import Path
from vae_core import pictures
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
content = Path(sys.argv[1]).read_bytes()
pictures.read(b"P5 1 1 255 \\0", "small")
before = peak()
image = pictures.read(content, "large")
print(json.dumps([*image.size, peak() - before]))
"""


def in_mode(mode: str, size: tuple[int, int]) -> Image.Image:
    """A gradient in any mode that a PNG or a TIFF can hold; "Pt" is a palette with a transparent colour."""
    grey = gradient(*size).convert("L")
    if mode in ("I", "F", "I;16"):
        dtype, top = {"I": (np.int32, 257), "F": (np.float32, 1 / 255), "I;16": (np.uint16, 257)}[mode]
        return Image.fromarray((np.asarray(grey) * np.float64(top)).astype(dtype))
    if mode == "Pt":
        grey = grey.quantize()
        grey.info["transparency"] = 0
        return grey
    return gradient(*size).convert(mode)


def stored(image: Image.Image) -> bytes:
    if image.mode in ("I", "F", "CMYK"):
        return encoded(image, "TIFF", compression="tiff_adobe_deflate")
    return encoded(image)


STORED = ["1", "L", "LA", "P", "Pt", "RGB", "RGBA", "I;16", "I", "F", "CMYK"]


@pytest.mark.parametrize("mode", STORED)
def test_pictures_of_every_mode_are_reduced_alike(mode):
    image = in_mode(mode, (1700, 2300))
    read = pictures.read(stored(image), "large")
    assert 512 <= min(read.size) < 1024
    expected = pictures.fit(image, (3, 27, 20)).astype(int)
    assert np.abs(pictures.fit(read, (3, 27, 20)) - expected).mean() < 1.5
    assert pictures.read(stored(in_mode(mode, (1000, 900))), "small").size == (1000, 900)


def test_very_long_pictures_are_reduced_as_a_whole():
    width, height = pictures.read(encoded(Image.new("1", (600, 40_000))), "long").size
    assert width * height <= 2_000_000
    assert height / width == pytest.approx(40_000 / 600, rel=0.01)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is read from Linux")
@pytest.mark.parametrize("mode", STORED)
def test_a_large_picture_takes_little_more_memory_than_its_own(mode, tmp_path):
    (tmp_path / "large").write_bytes(stored(in_mode(mode, (400, 400)).resize((4000, 4000), Image.Resampling.NEAREST)))
    command = [sys.executable, "-c", PEAK, str(tmp_path / "large")]
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    width, height, megabytes = json.loads(run.stdout)
    assert max(width, height) < 1024
    pixel = 1 if mode in ("1", "L", "P", "Pt") else 2 if mode == "I;16" else 4
    assert megabytes < pixel * 16 + 30


DEEP = {
    "0 to 1": lambda values: values / 255,
    "0 to 255": lambda values: values,
    "one pixel tells the range": lambda values: np.where(values == values.max(), 255.0, values / 255),
    "one pixel is under 0": lambda values: np.where(values == values.min(), -3.0, values / 255),
    "to a million": lambda values: values * 4000,
    "no numbers": lambda values: np.where(values > 250, np.nan, np.where(values < 3, -np.inf, values)),
}


@pytest.mark.parametrize("values", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_deep_pictures_are_scaled_by_the_range_that_they_have_before_they_are_reduced(values, dtype):
    grey = np.asarray(gradient(1100, 1300).convert("L"), np.float64)
    deep = values(grey) if dtype is np.float32 else np.nan_to_num(values(grey), neginf=0)
    image = Image.fromarray(deep.astype(dtype))
    expected = np.asarray(pictures.flatten(image).reduce(2)).astype(int)
    assert np.abs(np.asarray(pictures.read(stored(image), "deep")) - expected).max() <= 1


class Entered(list):
    """Stands for the semaphore, and keeps how often it was held and whether it still is."""

    def __enter__(self):
        self.append("held")

    def __exit__(self, *_):
        self.append("free")


def icon(width: int, content: bytes) -> bytes:
    """An icon of `width` pixels, as it says."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, width, width, 0, 0, 1, 8, len(content), 22) + content


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
@pytest.mark.parametrize(
    ("content", "alone"),
    [
        (encoded(Image.new("P", (2100, 2000))), True),
        (icon(16, encoded(Image.new("P", (2100, 2000)))), True),
        (encoded(Image.new("P", (300, 200))), False),
    ],
)
def test_large_pictures_are_decoded_and_reduced_one_at_a_time(content, alone, monkeypatch):
    entered = Entered()
    flattened = pictures._flattened
    monkeypatch.setattr(pictures, "_one_large_picture", entered)
    monkeypatch.setattr(pictures, "_flattened", lambda *given: entered.append("reduced") or flattened(*given))
    assert max(pictures.read(content, "a").size) < 1024
    assert entered == (["held", "reduced", "free"] if alone else ["reduced"])


# What cannot be read


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a text file\n" * 20, "not a picture"),
        (b"%PDF-1.7 and so on", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b'<?xml version="1.0"?><svg/>', "SVG"),
        (encoded(rough())[:900], "cut off"),
        (encoded(rough(), "JPEG")[:900], "cut off"),
        (encoded(rough(), "GIF")[:900], "cut off|damaged"),
        (png_header(20_000, 20_000), "enormous picture; 50 million"),
        (png_header(8_000, 8_000), r"8,000 × 8,000 pixels"),
        (png_header(30, 30), "cut off"),
    ],
)
def test_what_is_wrong_is_said(content, reason):
    with pytest.raises(UserError, match=reason) as caught:
        pictures.read(content, "mine.png")
    assert "mine.png" in str(caught.value)
    assert str(caught.value).count(". ") >= 1  # what was wrong, and what to do


def test_a_real_picture_of_20_000_by_20_000_is_refused_before_it_is_decoded(monkeypatch):
    content = encoded(Image.new("1", (20_000, 20_000)))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("was decoded"))
    with pytest.raises(UserError, match="enormous picture; 50 million"):
        pictures.read(content, "wide.png")


def test_the_bomb_warning_is_an_error(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a warning from 1000 pixels on, an error from 2000
    with pytest.raises(UserError, match="enormous"):
        pictures.read(encoded(gradient(40, 30)), "bomb.png")
    with pytest.raises(UserError, match="enormous"):
        pictures.read(encoded(gradient(60, 60)), "bomb.png")


def test_files_over_the_cap_are_refused(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", 100)
    with pytest.raises(UserError, match="heavy"):
        pictures.read(encoded(gradient()), "heavy.png")


def test_names_in_messages_are_short_and_printable():
    with pytest.raises(UserError) as caught:
        pictures.read(b"", "\x1b[31m" + "a" * 500)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 120


def test_a_model_with_two_channels_is_refused():
    with pytest.raises(UserError, match="2"):
        pictures.fit(gradient(), (2, 28, 28))


# Fitting


def test_the_middle_is_kept_with_its_aspect():
    image = Image.new("L", (300, 100), 0)
    image.paste(255, (100, 0, 200, 100))
    assert pictures.fit(image, (1, 50, 50)).mean() > 250


def test_small_lines_survive_the_resize():
    """Nearest-neighbour would drop them; an anti-aliased resize keeps their mean."""
    stripes = np.tile(np.array([0, 255], np.uint8), (128, 64))
    assert np.abs(pictures.fit(Image.fromarray(stripes), (1, 32, 32))[0, 4:-4, 4:-4] - 127.0).max() < 20


def test_invert():
    plain, swapped = (pictures.fit(gradient(), (3, 16, 16), invert=invert) for invert in (False, True))
    np.testing.assert_array_equal(plain, 255 - swapped)


def test_fit_leaves_the_picture_alone():
    image = gradient()
    before = image.tobytes()
    pictures.fit(image, (1, 28, 28), invert=True)
    pictures.centre_like_mnist(image)
    assert image.tobytes() == before


# Dark and light


def drawing(ink: int, paper: int, size: int = 200) -> Image.Image:
    image = Image.new("L", (size, size), paper)
    ImageDraw.Draw(image).line((60, 30, 110, 30, 110, 170), fill=ink, width=12)
    return image


def test_ink_on_paper_is_inverted_for_digits_and_nothing_is_for_photographs():
    digits = data.load("digits").test.images[:100]
    assert pictures.is_dark_on_light(drawing(20, 240))
    assert pictures.suggest_invert(drawing(20, 240), digits)
    assert not pictures.suggest_invert(drawing(240, 20), digits)
    assert pictures.suggest_invert(drawing(240, 20), 255 - digits)
    photographs = noise((100, 3, 32, 32))
    assert not pictures.suggest_invert(drawing(20, 240), photographs)


@pytest.mark.parametrize("size", [8, 28, 32, 64])
@pytest.mark.parametrize("invert", [False, None])
def test_a_drawing_is_centred(size, invert):
    field = pictures.centre_like_mnist(drawing(250, 10), size, invert=invert)
    assert field.shape == (1, size, size)
    assert field.dtype == np.uint8
    mass = field[0].astype(float)
    index = np.arange(size) + 0.5
    for axis in (0, 1):
        centre = (mass.sum(axis) @ index) / mass.sum()
        assert centre == pytest.approx(size * 14.5 / 28, abs=0.6)
    rows = np.flatnonzero((mass > 64).any(1))
    assert np.ptp(rows) + 1 == pytest.approx(size * 20 / 28, abs=1.5)


def test_place_size_and_polarity_of_a_drawing_do_not_matter():
    plain = pictures.centre_like_mnist(drawing(255, 0)).astype(int)
    assert np.abs(pictures.centre_like_mnist(drawing(0, 255)) - plain).max() <= 1
    moved = Image.new("L", (300, 260))
    moved.paste(drawing(255, 0), (70, 5))
    assert np.abs(pictures.centre_like_mnist(moved) - plain).mean() < 2
    doubled = drawing(255, 0).resize((400, 400), Image.Resampling.BICUBIC)
    assert np.abs(pictures.centre_like_mnist(doubled) - plain).mean() < 6


def test_an_empty_canvas_is_a_sentence():
    with pytest.raises(UserError, match="nothing drawn"):
        pictures.centre_like_mnist(Image.new("RGBA", (280, 280)))


def dots(places: list[tuple[int, int]]) -> np.ndarray:
    pixels = np.zeros((256, 256), np.uint8)
    for place in places:
        pixels[place] = 255
    return pixels


def test_dots_too_small_to_be_seen_are_a_sentence():
    drawn = Image.fromarray(dots([(10, 10), (245, 245)]))
    with pytest.raises(
        UserError, match=r"nothing drawn that is thick enough to be seen at 8 × 8 pixels\. Draw thicker"
    ):
        pictures.centre_like_mnist(drawn, 8)
    assert pictures.centre_like_mnist(drawn, 64).any()


@slow
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60)))
    | st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=6).map(dots),
    st.sampled_from([8, 28, 64]),
)
def test_any_drawing_is_centred_or_refused(pixels, size):
    try:
        field = pictures.centre_like_mnist(Image.fromarray(pixels), size)
    except UserError as error:
        assert "nothing drawn" in str(error)
    else:
        assert field.shape == (1, size, size)


@pytest.mark.skipif(not data.available("mnist"), reason="the MNIST files are not in the data folder")
def test_mnist_itself_is_left_as_it_is():
    """Its makers' recipe, applied to their own result, changes next to nothing."""
    images = data.load("mnist").test.images[:200]
    again = np.stack([pictures.centre_like_mnist(Image.fromarray(image[0]), invert=False) for image in images])
    assert np.median(np.abs(again.astype(int) - images).mean((1, 2, 3))) < 0.5
    moved = np.pad(images, ((0, 0), (0, 0), (3, 9), (12, 0)))
    again_moved = [pictures.centre_like_mnist(Image.fromarray(image[0]), invert=False) for image in moved]
    np.testing.assert_array_equal(again, again_moved)


def seven(ink: int, paper: int, width: int = 14) -> Image.Image:
    picture = Image.new("L", (200, 160), paper)
    ImageDraw.Draw(picture).line([(60, 40), (130, 40), (90, 130)], fill=ink, width=width, joint="curve")
    return picture


def compressed(image: Image.Image, quality: int = 20) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality)))


def shaded(image: Image.Image) -> Image.Image:
    """By three tenths from left to right, as a sheet under a lamp."""
    pixels = np.asarray(image) * np.linspace(1, 0.7, image.width)
    return Image.fromarray(pixels.astype(np.uint8))


def portrait(above: tuple[int, int, int], below: tuple[int, int, int]) -> Image.Image:
    """Head and shoulders before a background that passes from one colour to another."""
    down = np.linspace(0, 1, 240)[:, None, None]
    picture = Image.fromarray((np.array(above) * (1 - down) + np.array(below) * down).astype(np.uint8).repeat(240, 1))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((70, 40, 170, 180), fill=(225, 180, 150))
    draw.pieslice((65, 25, 175, 120), 180, 360, fill=(60, 40, 30))
    draw.rectangle((50, 190, 190, 240), fill=(40, 60, 120))
    for x in (95, 135):
        draw.ellipse((x, 95, x + 14, 105), fill="white")
    return picture


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0), (90, 220), (150, 220)])
@pytest.mark.parametrize("width", [4, 14, 40])
@pytest.mark.parametrize("spoilt", [lambda image: image, compressed], ids=["clean", "compressed"])
def test_a_sign_on_paper_has_the_share_of_its_ink(ink, paper, width, spoilt):
    drawn = float((np.asarray(seven(ink, paper, width)) != paper).mean())
    assert pictures.ink_share(spoilt(seven(ink, paper, width))) == pytest.approx(drawn, rel=0.3)


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_a_strong_sign_is_told_from_paper_under_a_lamp(ink, paper):
    assert pictures.ink_share(shaded(seven(ink, paper))) == pytest.approx(0.07, abs=0.02)


@pytest.mark.parametrize(
    "picture",
    [
        portrait((200, 190, 170), (120, 150, 190)),
        portrait((255, 255, 255), (255, 255, 255)),
        compressed(portrait((128, 128, 128), (128, 128, 128)), 40),
        gradient(),
        rough(),
        Image.new("L", (50, 50), 120),
        Image.new("RGB", (50, 50), "white"),
        Image.new("L", (1, 1), 7),
    ],
    ids=["portrait", "white behind", "grey behind", "gradient", "noise", "grey", "white", "dot"],
)
def test_a_photograph_is_no_sign_on_paper_nor_is_one_grey(picture):
    assert pictures.ink_share(picture) is None
