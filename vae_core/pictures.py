"""People's own pictures, read safely: from any file's bytes to what a model is given."""

import contextlib
import io
import stat
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image, ImageOps

from vae_core.errors import UserError

__all__ = [
    "FORMATS",
    "MAX_ARCHIVE_BYTES",
    "MAX_EXPANDED_BYTES",
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "centre_like_mnist",
    "fit",
    "flatten",
    "is_dark_on_light",
    "read",
    "read_zip",
    "suggest_invert",
    "unpack",
]

MAX_FILE_BYTES = 40 * 2**20
MAX_PIXELS = 50_000_000
MAX_FILES = 20_000
MAX_ARCHIVE_BYTES = 200 * 2**20
MAX_EXPANDED_BYTES = 500 * 2**20

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
_ARCHIVE_ENDINGS = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_CLUTTER = ("thumbs.db", "desktop.ini")

_ORIENTATION = 0x0112  # the EXIF tag
_DRAFT_SIDE = 512  # photos are decoded no larger than they need be, and no smaller than this
_LARGE = 4_000_000
_one_large_picture = threading.Semaphore(1)


def read(data: bytes, name: str) -> Image.Image:
    """Decode one picture file: its first frame, upright, without transparency, in mode "L" or "RGB".

    `data` is the file's content and `name` what its owner calls it (used in messages only). Sizes are
    checked before anything is decoded. A side over 1024 pixels may be reduced, to no less than 512;
    otherwise the size is kept.

    Raises UserError, and nothing else, for what is not a readable picture; its sentence names the file.
    """
    name = _shown(name)
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
            with _one_large_picture if _pixels(image.size) > _LARGE else contextlib.nullcontext():
                return flatten(_load(image, name))
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
    image = _upright(image)
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(image)))
    if image.has_transparency_data:
        return _without_alpha(image)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


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

    Raises UserError where there is no ink. Source: LeCun, Cortes, Burges, "The MNIST database of
    handwritten digits", http://yann.lecun.com/exdb/mnist/ (section on the file's origin: 20 × 20 box,
    centre of mass, 28 × 28 field).
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
    centre_x = (mass.sum(0) @ (np.arange(box[0]) + 0.5)) / mass.sum()
    centre_y = (mass.sum(1) @ (np.arange(box[1]) + 0.5)) / mass.sum()
    middle = size * 14.5 / 28
    field = Image.new("L", (size, size))
    field.paste(scaled, (round(middle - centre_x), round(middle - centre_y)))
    return np.array(field, np.uint8)[None]


def read_zip(data: bytes, name: str = "The archive") -> tuple[list[tuple[str, bytes]], list[str]]:
    """Unpack a zip archive in memory; nothing is written to disk.

    Returns the members as (path inside the archive, content), by path, and a sentence for each one that was
    skipped: names that are absolute or climb out with "..", links, locked or damaged members, archives in
    the archive, members over MAX_FILE_BYTES. Folders, hidden files and the clutter of operating systems are
    passed over in silence.

    Raises UserError where it is no readable zip, is over MAX_ARCHIVE_BYTES, holds over MAX_FILES members,
    or unpacks to over MAX_EXPANDED_BYTES.
    """
    name = _shown(name)
    if len(data) > MAX_ARCHIVE_BYTES:
        raise UserError(
            f"{name} has {len(data) / 2**20:.0f} MB; {MAX_ARCHIVE_BYTES // 2**20} MB is the most for a zip. Split it."
        )
    # Every directory entry begins with these bytes, so this bounds their number before any is parsed.
    if data.count(b"PK\x01\x02") > MAX_FILES:
        raise UserError(f"{name} holds over {MAX_FILES:,} files, which is the most. Split it.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # zipfile, too, meets hostile bytes here
        raise UserError(f"{name} is not a zip archive that can be read. Pack the pictures again.") from error
    with archive:
        listed = (m for m in archive.infolist() if not m.is_dir() and not _is_clutter(m.filename))
        wanted = sorted(listed, key=lambda member: member.filename)
        if sum(member.file_size for member in wanted) > MAX_EXPANDED_BYTES:
            raise UserError(_too_much(name))
        members, problems, total = [], [], 0
        for member in wanted:
            try:
                content = _read_member(archive, member)
            except UserError as problem:
                problems.append(str(problem))
                continue
            total += len(content)
            if total > MAX_EXPANDED_BYTES:
                raise UserError(_too_much(name))
            members.append((member.filename.replace("\\", "/"), content))
    return members, problems


def unpack(files: Iterable[tuple[str, bytes]]) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Uploads, as (name, content) and zip archives among them, as a list of files by name, not yet decoded.

    A name may hold folders ("cats/1.png"); a zip's members lie in a folder called after it. Returns the
    files, and a sentence for each that was left out. Raises UserError where there are over MAX_FILES in
    all, or where the zips unpack to over MAX_EXPANDED_BYTES.
    """
    found, problems = [], []
    for name, data in files:
        if not (name.lower().endswith(".zip") or data[:4] in (b"PK\x03\x04", b"PK\x05\x06")):
            found += [] if _is_clutter(name) else [(name, data)]
            continue
        try:
            members, skipped = read_zip(data, name)
        except UserError as problem:
            problems.append(str(problem))
            continue
        if not members and not skipped:
            skipped = [f"{_shown(name)} holds no files. Put pictures into it."]
        folder = name[:-4] if name.lower().endswith(".zip") else name
        found += [(f"{folder}/{member}", content) for member, content in members]
        problems += skipped
        if sum(len(content) for _, content in found) > MAX_EXPANDED_BYTES:
            raise UserError(_too_much("All these files together"))
    if len(found) > MAX_FILES:
        raise UserError(f"These are {len(found):,} files; {MAX_FILES:,} are the most. Choose fewer.")
    return sorted(found, key=lambda file: file[0]), problems


def _load(image: Image.Image, name: str) -> Image.Image:
    """Decode the first frame, photos and large pictures at a reduced size."""
    image.draft(None, (_DRAFT_SIDE, _DRAFT_SIDE))
    image.load()
    _check_pixels(image.size, name)  # some decoders learn the true size only now
    if min(image.size) < 1:
        raise UserError(f"{name} has no pixels. Choose another picture.")
    factor = min(image.size) // _DRAFT_SIDE
    if factor > 1 and image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        reduced = image.reduce(factor)
        reduced.info = image.info
        with contextlib.suppress(Exception):
            reduced.getexif()[_ORIENTATION] = image.getexif()[_ORIENTATION]
        return reduced
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block is no reason to refuse the picture
        return image.copy()


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """32-bit integers or floats (H, W) scaled to uint8 by the rule that `flatten` states."""
    integer = values.dtype.kind == "i"
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        values, top = values - low, high - low
    else:
        top = 65535 if integer or high > 255 else 255 if high > 1 else 1
    return np.round(values * (255 / top)).astype(np.uint8)


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    grey = image.mode == "LA"
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    weights = np.asarray(alpha, np.float32)
    visible = np.asarray(image.convert("RGB").convert("L"), np.float32)
    light = not weights.any() or np.average(visible, weights=weights) >= 127.5
    flat = Image.new("RGB", image.size, (0, 0, 0) if light else (255, 255, 255))
    flat.paste(image.convert("RGB"), mask=alpha)
    return flat.convert("L") if grey else flat


def _border(images: np.ndarray) -> np.ndarray:
    """The median of each picture's outermost ring, a sixteenth of the side wide: (N, H, W) → (N,)."""
    height, width = images.shape[1:]
    ring = np.ones((height, width), bool)
    y, x = max(1, height // 16), max(1, width // 16)
    ring[y : height - y, x : width - x] = False
    return np.median(images[:, ring], axis=1)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """One member's content, or a UserError that says why not."""
    name = _shown(member.filename)
    path = PurePosixPath(member.filename.replace("\\", "/"))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.is_absolute() or PureWindowsPath(path).drive or ".." in path.parts:
        raise UserError(f"{name} was skipped: its name points outside the archive.")
    if kind not in (0, stat.S_IFREG):
        raise UserError(f"{name} was skipped: it is a link or a device, not a file.")
    if path.suffix.lower() in _ARCHIVE_ENDINGS:
        raise UserError(f"{name} was skipped: it is an archive inside the archive. Unpack it first.")
    if member.flag_bits & 1:
        raise UserError(f"{name} was skipped: it is locked with a password.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{name} was skipped: it is packed in an unusual way. Pack it as an ordinary zip.")
    try:
        with archive.open(member) as file:
            content = file.read(MAX_FILE_BYTES + 1)  # never by the size that the archive claims
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, struct.error):
        raise UserError(f"{name} was skipped: it is damaged. Pack it again.") from None
    if len(content) > MAX_FILE_BYTES:
        raise UserError(f"{name} was skipped: it has over {MAX_FILE_BYTES // 2**20} MB.")
    return content


def _is_clutter(name: str) -> bool:
    """Hidden files and what operating systems leave in folders."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    hidden = any(part.startswith(".") and part != ".." for part in parts)
    return hidden or "__MACOSX" in parts or (bool(parts) and parts[-1].lower() in _CLUTTER)


def _too_much(name: str) -> str:
    return f"{name} would unpack to over {MAX_EXPANDED_BYTES // 2**20} MB, the most there may be. Send less."


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


def _shown(name: str) -> str:
    """A file's name fit for a sentence: no control characters, not longer than a line."""
    name = "".join(character if character.isprintable() else "?" for character in name) or "The file"
    return name if len(name) <= 60 else f"{name[:28]}…{name[-28:]}"
