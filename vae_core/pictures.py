"""People's own pictures, read safely: from any file's bytes to what a model is given."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageOps

from vae_core.errors import UserError

__all__ = [
    "FORMATS",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "centre_like_mnist",
    "fit",
    "flatten",
    "ink_share",
    "is_dark_on_light",
    "read",
    "shown_name",
    "suggest_invert",
]

MAX_FILE_BYTES = 40 * 2**20
MAX_PIXELS = 50_000_000

# What Pillow decodes by itself. Left out: formats that start other programs (EPS, WMF) or carry no pixels.
FORMATS = (
    "PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "ICO",
    "CUR", "ICNS", "QOI", "PSD", "DDS", "SGI", "SUN", "PCX", "XBM", "XPM", "TGA",
)  # fmt: skip

_OTHER_KINDS = (
    (4, b"ftypheic", "a HEIC photo", "Save it as JPEG"),
    (4, b"ftypheix", "a HEIC photo", "Save it as JPEG"),
    (4, b"ftypmif1", "a HEIF photo", "Save it as JPEG"),
    (4, b"ftyp", "a video", "Save one frame as PNG"),
    (0, b"%PDF", "a PDF document", "Save the page as PNG"),
    (0, b"%!PS", "a PostScript file", "Save it as PNG"),
    (0, b"<svg", "an SVG drawing", "Save it as PNG"),
    (0, b"<?xml", "an XML or SVG file", "Save it as PNG"),
    (0, b"PK\x03\x04", "a zip archive", "Unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "Pack the pictures as a zip"),
    (0, b"7z\xbc\xaf", "a 7z archive", "Pack the pictures as a zip"),
    (0, b"Rar!", "a RAR archive", "Pack the pictures as a zip"),
)

_ORIENTATION = 0x0112  # the EXIF tag
_DRAFT_SIDE = 512  # photos are decoded no larger than they need be, and no smaller than this
_MOST_KEPT = 2_000_000  # pixels
_LARGE = 4_000_000  # pixels; larger pictures are decoded one at a time
_BAND = 250_000  # pixels that are converted at a time
_UNSURE = ("ICO", "ICNS")  # which may hold a larger picture than they say
_one_large_picture = threading.Semaphore(1)

# glibc gives freed blocks of over 32 MB back to the system; smaller ones may stay with the thread that took them.
Image.core.set_block_size(64 * 2**20)


def read(data: bytes, name: str) -> Image.Image:
    """Decode one picture file: its first frame, upright, without transparency, in mode "L" or "RGB".

    `data` is the file's content and `name` what its owner calls it (used in messages only). Sizes are
    checked before anything is decoded. A side over 1024 pixels may be reduced, to no less than 512;
    otherwise the size is kept, but for pictures so long and narrow that they would keep over 2 million pixels.

    Raises UserError, and nothing else, for what is not a readable picture; its sentence names the file.
    """
    name = shown_name(name)
    if not data:
        raise UserError(f"{name} is empty (0 bytes). Choose the file again.")
    if len(data) > MAX_FILE_BYTES:
        raise UserError(
            f"{name} has {len(data) / 2**20:.0f} MB; {MAX_FILE_BYTES // 2**20} MB is the most for a picture. "
            "Make it smaller first."
        )
    # For the whole process and never undone: warnings.catch_warnings is not safe between threads.
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image.size, name)
            alone = _pixels(image.size) > _LARGE or image.format in _UNSURE
            with _one_large_picture if alone else contextlib.nullcontext():
                _load(image, name)
                return _flattened(image, _factor(image.size))
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{name} would unpack to an enormous picture; {_limit()} is the most. Make it smaller first."
        ) from error
    except Exception as error:  # decoders meet hostile bytes here and fail in any way they like
        raise UserError(_what_is_wrong(data, name, error)) from error


def flatten(image: Image.Image) -> Image.Image:
    """Any Pillow image as mode "L" or "RGB": upright by its EXIF data, deep values scaled to 8 bits.

    16-bit values map 0–65535 to 0–255; 32-bit and float ones too where they lie within 0–65535, 0–255 or
    0–1 (the smallest of these ranges that holds them; integers count as 16-bit), and are stretched from
    their least to their greatest value where they do not. Transparent pictures are laid on black, or on
    white where what is visible is darker than mid-grey, so that a black drawing on nothing stays visible.
    """
    return _flattened(image, 1)


def fit(image: Image.Image, image_shape: tuple[int, int, int], *, invert: bool = False) -> np.ndarray:
    """A picture as a model of `image_shape` = (C, H, W) is given it: uint8 (C, H, W).

    `flatten`, then the largest middle part with the aspect of W:H, resized with an anti-aliasing filter;
    grey where C = 1. `invert` swaps dark and light. A picture that has the right size already keeps its
    pixels.

    Raises UserError where C is neither 1 nor 3.
    """
    channels, height, width = image_shape
    if channels not in (1, 3):
        raise UserError(f"Pictures have 1 or 3 channels; this model has {channels}. Choose another model.")
    image = flatten(image).convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    pixels = np.array(image, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
    return np.ascontiguousarray(255 - pixels if invert else pixels)


def is_dark_on_light(image: Image.Image) -> bool:
    """Whether a picture's border is light (median over 127), as with ink on paper."""
    grey = flatten(image).convert("L")
    grey.thumbnail((128, 128))
    return bool(_border(np.asarray(grey)[None]) > 127)


def ink_share(image: Image.Image) -> float | None:
    """The share of a picture that is ink, if it shows a sign on paper: two tones, one of them nearly all the border.

    Otsu's threshold parts light from dark. None where it leaves over a fifth of the variance of the grey values, or
    where a twentieth of the border lies on either side: in photographs, and where all is one grey. Source: Otsu 1979,
    "A threshold selection method from gray-level histograms".
    """
    grey = flatten(image).convert("L")
    grey.thumbnail((128, 128))
    pixels = np.asarray(grey)
    below = np.bincount(pixels.ravel(), minlength=256).cumsum()[:-1] / pixels.size
    mean_below = np.bincount(pixels.ravel(), pixels.ravel(), minlength=256).cumsum()[:-1] / pixels.size
    apart = np.clip(below * (1 - below), 1e-9, None)
    between = (pixels.mean() * below - mean_below) ** 2 / apart
    light = pixels > between.argmax()
    border = light[_ring(*light.shape)].mean()
    if between.max() < 0.8 * pixels.var() or 0.05 < border < 0.95 or not pixels.var():
        return None
    return float((light != (border > 0.5)).mean())


def suggest_invert(image: Image.Image, sample: np.ndarray) -> bool:
    """Whether `image` should be inverted to look like `sample`, pictures of a data set or of a model.

    True where four in five of the sample's borders are black (under 64) and the picture's is light, or the
    other way round; sets without such a habit, photographs for one, never ask for it. Shape: sample (N, C,
    H, W), uint8.
    """
    borders = _border(sample.mean(axis=1))
    if np.mean(borders < 64) >= 0.8:
        return is_dark_on_light(image)
    return bool(np.mean(borders > 191) >= 0.8) and not is_dark_on_light(image)


def centre_like_mnist(image: Image.Image, size: int = 28, *, invert: bool | None = None) -> np.ndarray:
    """A drawn or photographed sign, cropped, scaled and centred like MNIST's: uint8 (1, size, size).

    The ink is cropped out, scaled with its aspect kept into a square of 20/28 of `size`, and moved by whole
    pixels until its centre of mass is in the middle, which in MNIST's own files is the middle of pixel 14
    of 0 … 27. The result is light on black, its contrast stretched; `invert` says whether the ink is dark
    (None: seen by the border).

    Raises UserError where there is no ink, or too little to be seen at this size. Source: LeCun, Cortes,
    Burges, "The MNIST database of handwritten digits", http://yann.lecun.com/exdb/mnist/ (section on the
    file's origin: 20 × 20 box, centre of mass, 28 × 28 field).
    """
    grey = flatten(image).convert("L")
    grey.thumbnail((1024, 1024))
    pixels = np.asarray(grey).astype(np.float32)
    dark = is_dark_on_light(grey) if invert is None else invert
    ink = 255 - pixels if dark else pixels
    ink = np.clip(ink - _border(ink[None]), 0, None)
    if ink.max() < 16:
        raise UserError("There is nothing drawn in this picture. Draw on it, or choose one with more contrast.")
    ink *= 255 / ink.max()
    rows, columns = np.flatnonzero((ink > 64).any(1)), np.flatnonzero((ink > 64).any(0))
    crop = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].round().astype(np.uint8))

    scale = size * 20 / 28 / max(crop.size)
    box = tuple(max(1, round(side * scale)) for side in crop.size)
    scaled = crop.resize(box, Image.Resampling.LANCZOS)
    mass = np.asarray(scaled, np.float64)
    if not mass.any():
        raise UserError(
            f"There is nothing drawn that is thick enough to be seen at {size} × {size} pixels. Draw thicker."
        )
    centre_x = (mass.sum(0) @ (np.arange(box[0]) + 0.5)) / mass.sum()
    centre_y = (mass.sum(1) @ (np.arange(box[1]) + 0.5)) / mass.sum()
    middle = size * 14.5 / 28
    field = Image.new("L", (size, size))
    field.paste(scaled, (round(middle - centre_x), round(middle - centre_y)))
    return np.array(field, np.uint8)[None]


def _load(image: Image.Image, name: str) -> None:
    """Decode the first frame, photos at a reduced size."""
    image.draft(None, (_DRAFT_SIDE, _DRAFT_SIDE))
    image.load()
    _check_pixels(image.size, name)  # some decoders learn the true size only now
    if min(image.size) < 1:
        raise UserError(f"{name} has no pixels. Choose another picture.")


def _factor(size: tuple[int, int]) -> int:
    """How many times smaller `read` makes a picture of this size."""
    factor = max(1, min(size) // _DRAFT_SIDE)
    while _pixels([-(-side // factor) for side in size]) > _MOST_KEPT:
        factor += 1
    return factor


def _flattened(image: Image.Image, factor: int) -> Image.Image:
    """`flatten`, with every square of `factor` × `factor` pixels averaged to one."""
    flat = _upright(_in_bytes(image, factor), image)
    return _without_alpha(flat) if flat.mode in ("LA", "RGBA") else flat


def _in_bytes(image: Image.Image, factor: int) -> Image.Image:
    """An image in mode L, RGB, LA or RGBA, averaged as `_flattened` says, and made band by band: to convert it whole
    would take many times its own memory."""
    deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
    if not deep and image.has_transparency_data:
        mode = "LA" if image.mode in ("LA", "La") else "RGBA"
    else:
        mode = "L" if deep or image.mode in ("1", "L") else "RGB"
    low, span = _range(image) if deep else (0, 255)
    averaged = Image.new(mode, tuple(-(-side // factor) for side in image.size))
    y = 0
    for band in _bands(image, factor):
        if deep:
            band = Image.fromarray(np.round((_values(band) - low) * (255 / span)).astype(np.uint8))
        elif band.mode == "La":
            band = band.convert("LA")
        band = band.convert(mode).reduce(factor)
        averaged.paste(band, (0, y))
        y += band.height
    return averaged


def _bands(image: Image.Image, factor: int = 1) -> Iterator[Image.Image]:
    """An image from top to bottom, in bands of some multiple of `factor` rows."""
    rows = factor * max(1, _BAND // (factor * image.width))
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _values(image: Image.Image) -> np.ndarray:
    """The pixels of a deep image, float64 (H, W), with 0 for those that are no number or infinite."""
    return np.nan_to_num(np.asarray(image, np.float64), copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _range(image: Image.Image) -> tuple[float, float]:
    """What becomes 0 in bytes, and how far above it lies what becomes 255, by the rule that `flatten` states."""
    if image.mode not in ("I", "F"):
        return 0, 65535
    ends = np.array([(values.min(), values.max()) for values in map(_values, _bands(image))])
    low, high = ends.min(), ends.max()
    if low < 0 or high > 65535:
        return low, (high - low) or 1
    return 0, 65535 if image.mode == "I" or high > 255 else 255 if high > 1 else 1


def _upright(image: Image.Image, original: Image.Image) -> Image.Image:
    """`image` turned as the EXIF data of `original` say."""
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to refuse the picture
        image.getexif()[_ORIENTATION] = original.getexif()[_ORIENTATION]
        return ImageOps.exif_transpose(image)
    return image


def _without_alpha(image: Image.Image) -> Image.Image:
    """A picture in mode LA or RGBA, laid on black or white as `flatten` states."""
    light = 0.0
    for band in _bands(image):
        alpha, visible = (np.asarray(part, np.float64) for part in (band.getchannel("A"), band.convert("L")))
        light += np.vdot(alpha, visible - 127.5)
    mode = "L" if image.mode == "LA" else "RGB"
    flat = Image.new(mode, image.size, "black" if light >= 0 else "white")
    flat.paste(image.convert(mode), mask=image.getchannel("A"))
    return flat


def _border(images: np.ndarray) -> np.ndarray:
    """The median of each picture's outermost ring, a sixteenth of the side wide: (N, H, W) → (N,)."""
    return np.median(images[:, _ring(*images.shape[1:])], axis=1)


def _ring(height: int, width: int) -> np.ndarray:
    ring = np.ones((height, width), bool)
    y, x = max(1, height // 16), max(1, width // 16)
    ring[y : height - y, x : width - x] = False
    return ring


def _pixels(size: Sequence[int]) -> int:
    return size[0] * size[1]


def _limit() -> str:
    return f"{MAX_PIXELS // 1_000_000} million pixels"


def _check_pixels(size: tuple[int, int], name: str) -> None:
    if _pixels(size) > MAX_PIXELS:
        raise UserError(f"{name} has {size[0]:,} × {size[1]:,} pixels; {_limit()} is the most. Make it smaller first.")


def _what_is_wrong(data: bytes, name: str, error: Exception) -> str:
    for start, magic, kind, remedy in _OTHER_KINDS:
        if data[start : start + 64].lstrip().startswith(magic):
            return f"{name} is {kind}, which cannot be read here. {remedy}, then choose that."
    if isinstance(error, Image.UnidentifiedImageError):
        return f"{name} is not a picture in a format that can be read. Save it as PNG or JPEG."
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return f"{name} is cut off before its end. Copy or download it again."
    return f"{name} is damaged and cannot be read. Save it again as PNG or JPEG."


def shown_name(name: str) -> str:
    """A file's name fit for a sentence: no control characters, not longer than a line."""
    name = "".join(character if character.isprintable() else "?" for character in name) or "The file"
    return name if len(name) <= 60 else f"{name[:28]}…{name[-28:]}"
