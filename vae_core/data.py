"""Data sets behind one small interface: uint8 images, labels and factors where known, a fixed split."""

import difflib
import functools
import hashlib
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vae_core import archives, downloads, folders, hosted, pictures, splits, sprites
from vae_core.downloads import Progress
from vae_core.errors import UserError
from vae_core.files import write_whole
from vae_core.imaging import without_colour

__all__ = [
    "NAMES",
    "SIZES",
    "Dataset",
    "Split",
    "available",
    "data_folder",
    "folder_name",
    "from_uploads",
    "load",
    "save_upload",
    "title",
]

NAMES = ("digits", "sprites", "sprites-64", "mnist", "fashion-mnist", "cifar10")
SIZES = (28, 32, 64)

_DEFAULT_SIZE = 32
_TITLES = {"digits": "Digits (8 px)", "sprites": "Sprites (32 px)", "sprites-64": "Sprites (64 px)"}
_UPLOAD = re.compile(r"upload:([0-9a-f]{16})")
_SIZED = re.compile(r"(.+)@([0-9]{1,5})", re.DOTALL)
_SLOW_SECONDS = 0.1
_TRUSTED = 20  # times as long as it took to list

# So says torch of arrays that cannot be written. Those of a folder are such, and none here ever is.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set: images (N, C, H, W) uint8, labels (N,) int64, factors (N, F) float32."""

    images: np.ndarray
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, its arrays shared between all who load it: never change them in place.

    `name` is what `load` takes. `class_names[label]` is a label's name, () where there are no labels;
    `factor_names[j]` is the name of column j of the factors, () where there are none. The test split is in a
    fixed order with its classes mixed, so that its first n images are a fair sample. (MNIST's is in the order
    of its makers, as others report on it; they note that its second half is the harder one.)
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...] = ()
    factor_names: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.train.images.shape[1:])

    @functools.cached_property
    def contents(self) -> str:
        """What tells sets of other pictures apart: the numbers of pictures, and a hash of some hundreds of them."""
        digest = hashlib.blake2b(digest_size=4)
        for images in (self.train.images, self.test.images):
            digest.update(images[:: max(1, len(images) // 256)].tobytes())
        return f"{len(self.train)}-{len(self.test)}-{digest.hexdigest()}"

    @property
    def fingerprint(self) -> str:
        """The `contents` of a folder's set, whose name does not say what is in it; '' for all others."""
        return self.contents if _SIZED.fullmatch(self.name) else ""


def data_folder() -> Path:
    """Where downloads and uploads are kept: $VAE_DATA, or data/ beside the packages."""
    return Path(os.environ.get("VAE_DATA") or Path(__file__).resolve().parent.parent / "data")


def folder_name(folder: str | Path, size: int = _DEFAULT_SIZE) -> str:
    """The name under which `load` reads a folder of pictures at `size` pixels a side: "/home/me/cats@64".

    Raises UserError where `size` is not one of SIZES.
    """
    _check_size(size)
    return f"{_absolute(folder)}@{size}"


def available(name: str) -> bool:
    """Whether `load(name)` needs no download: embedded, or (as far as file sizes tell) already on disk."""
    if name in downloads.SOURCES:
        return downloads.present(name, data_folder())
    if upload := _UPLOAD.fullmatch(name):
        return _upload_path(upload[1]).is_file()
    return name in NAMES or (_is_folder(name) and _split_size(name)[1] in SIZES)


def title(name: str) -> str:
    """What people call the set `name`: "Fashion-MNIST", "cats (64 px)". Loads nothing; shows no path."""
    if name in downloads.SOURCES:
        return downloads.SOURCES[name].title
    if name in _TITLES:
        return _TITLES[name]
    if _UPLOAD.fullmatch(name):
        return "Uploaded pictures"
    if not name:
        return "Unknown pictures"
    folder, size = _split_size(name)
    return f"{folder.name} ({size} px)"


def load(name_or_folder: str, *, download: bool = False, progress: Progress | None = None) -> Dataset:
    """Load a data set by its name; the `name` of what is returned loads the same again, anywhere.

    - One of NAMES. `digits`, `sprites` and `sprites-64` are embedded; the others are read from
      `data_folder()`, and fetched first where they are missing or damaged and `download` is true.
    - "FOLDER" or "FOLDER@SIZE": a folder of pictures, resized and centre-cropped to 28, 32 (the default) or
      64 pixels; the sub-folders below what all pictures share are classes. Split 90 to 10. Files that cannot
      be read are left out, which the last call of `progress` says. The images are mapped from a file in
      `data_folder()`/cache, which is made anew when the folder has changed, and cannot be written. A folder that
      takes long to list may be trusted to be as it was for 20 times as long. Links to folders are not followed.
    - "upload:" and 16 hexadecimal digits: what `save_upload` returned.

    `progress` is called with (fraction 0 … 1, text) while something is fetched or a folder is read. Sets are
    kept in memory once loaded: the embedded ones, and the last four of the others.

    Raises UserError where the name is unknown, files are missing or damaged, or a folder has too few
    pictures.
    """
    name = str(name_or_folder)
    if name == "digits":
        return _digits()
    if name in ("sprites", "sprites-64"):
        return _sprites(name, 64 if name == "sprites-64" else 32)
    if name in downloads.SOURCES:
        return _downloaded(name, download, progress)
    if upload := _UPLOAD.fullmatch(name):
        return _uploaded(upload[1])
    if not _is_folder(name):
        raise UserError(_unknown(name))
    folder, size = _split_size(name)
    _check_size(size)
    return _folder(folder, size, progress)


def from_uploads(
    files: Iterable[tuple[str, bytes]], size: int = _DEFAULT_SIZE, progress: Progress | None = None
) -> tuple[Dataset, list[str]]:
    """A data set of uploaded pictures: files, the files of a folder, zip archives, or all of them mixed.

    `files` are (name, content); a name may hold folders, and the sub-folders below what all names share are the
    classes. Beside other files, each zip gives its own sub-folders, or, where it has none, is a class itself.
    Grey where every picture is, else RGB; resized and centre-cropped to `size` (28, 32 or 64); split 90 to 10 by
    a fixed shuffle. The name is that which `save_upload` will give it.

    Returns the set, and a sentence for each file that was left out. Raises UserError where fewer than 10
    pictures are left, or the limits of vae_core.pictures, or of a public demo, are passed.
    """
    _check_size(size)
    files = list(files)
    found, problems = archives.unpack(files, **hosted.most_unpacked())
    jobs = [(name, functools.partial(pictures.read, content, name)) for name, content in found]
    images, names, unread = _read_all(jobs, size, progress)
    problems += unread
    splits.check_enough(len(images), "this upload", problems[0] if problems else None)
    labels, class_names = splits.classes(names, [re.sub(r"\.zip$", "", name, flags=re.I) for name, _ in files])
    train, test = (Split(images[part], None if labels is None else labels[part]) for part in splits.split(len(images)))
    dataset = Dataset("", train, test, class_names)
    return replace(dataset, name=f"upload:{_digest(_serialised(dataset))}"), problems


def save_upload(dataset: Dataset) -> str:
    """Keep a set that `from_uploads` made, whole, in one safetensors file under `data_folder()`/uploads.

    Returns its name, "upload:<hash of the content>", which `load` takes in any process with the same data
    folder. Raises UserError where it cannot be written.
    """
    data = _serialised(dataset)
    digest = _digest(data)
    path = _upload_path(digest)
    try:
        os.utime(path)  # the oldest are the first to go
    except FileNotFoundError:
        write_whole(path, data)
    return f"upload:{digest}"


@functools.lru_cache(maxsize=1)
def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = train_test_split(np.arange(len(images)), test_size=297, random_state=0, stratify=bunch.target)
    labels = bunch.target.astype(np.int64)
    return Dataset(
        "digits",
        Split(images[train], labels[train]),
        Split(images[test], labels[test]),
        tuple("0123456789"),
    )


@functools.lru_cache(maxsize=2)
def _sprites(name: str, size: int) -> Dataset:
    images, factors = sprites.draw(size)
    labels = factors[:, 0].astype(np.int64)
    test = len(images) // 10
    return Dataset(
        name,
        Split(images[test:], labels[test:], factors[test:]),
        Split(images[:test], labels[:test], factors[:test]),
        sprites.CLASS_NAMES,
        sprites.FACTOR_NAMES,
    )


def _downloaded(name: str, download: bool, progress: Progress | None) -> Dataset:
    root = data_folder()
    shown = "$VAE_DATA" if os.environ.get("VAE_DATA") else "data"

    def make() -> Dataset:
        train, train_labels, test, test_labels = downloads.read(name, root, shown, download, progress)
        return Dataset(name, Split(train, train_labels), Split(test, test_labels), downloads.SOURCES[name].class_names)

    return _keep((name, root), make)


_listed: dict[Path, tuple[float, str]] = {}  # when a slow folder is listed again, and its stamp


def _folder(folder: Path, size: int, progress: Progress | None) -> Dataset:
    until, stamp = _listed.get(folder, (0.0, ""))
    if time.monotonic() < until and (kept := _kept.get((folder, size, stamp))):
        return kept
    cache, began = data_folder().absolute() / "cache", time.monotonic()
    listing = folders.list_files(folder, cache, progress)
    if (seconds := time.monotonic() - began) > _SLOW_SECONDS:
        _listed[folder] = (began + (1 + _TRUSTED) * seconds, listing.stamp)

    def make() -> Dataset:
        (train, train_labels, test, test_labels), class_names = folders.read(listing, size, cache, progress)
        return Dataset(folder_name(folder, size), Split(train, train_labels), Split(test, test_labels), class_names)

    return _keep((folder, size, listing.stamp), make)


def _uploaded(digest: str) -> Dataset:
    path = _upload_path(digest)

    def make() -> Dataset:
        import safetensors
        from safetensors.numpy import load as load_arrays

        try:
            data = path.read_bytes()
            if _digest(data) != digest:
                raise ValueError("the content is not what the name says")
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            class_names = tuple(json.loads(header["__metadata__"]["class_names"]))
            arrays = load_arrays(data)
            splits = [Split(arrays[part], arrays.get(f"{part}_labels")) for part in ("train", "test")]
        except FileNotFoundError as error:
            raise UserError(
                "These uploaded pictures are no longer here. Upload them again, or choose another data set."
            ) from error
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise UserError(f"The file {path.name} of uploaded pictures is damaged. Upload them again.") from error
        return Dataset(f"upload:{digest}", *splits, class_names)

    return _keep(path, make)


_keeping = threading.Lock()
_kept: dict[object, Dataset] = {}


def _keep(key: object, make: Callable[[], Dataset]) -> Dataset:
    """What `make` returned for `key` before, of the four asked for last; else what it returns now."""
    with _keeping:
        dataset = _kept.get(key)
    if dataset is None:
        dataset = make()
    with _keeping:
        _kept.pop(key, None)
        _kept[key] = dataset
        while len(_kept) > 4:
            del _kept[next(iter(_kept))]
    return dataset


def _read_all(
    jobs: Sequence[tuple[str, Callable[[], Image.Image]]], size: int, progress: Progress | None
) -> tuple[np.ndarray, list[str], list[str]]:
    """Decode and fit pictures: images (n, 1 or 3, size, size), their n names, and a sentence per failure."""
    images, names, problems = np.empty((len(jobs), 3, size, size), np.uint8), [], []

    def decode(job: tuple[str, Callable[[], Image.Image]]) -> np.ndarray | str:
        try:
            return pictures.fit(job[1](), (3, size, size))
        except UserError as problem:
            return str(problem)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (job, result) in enumerate(zip(jobs, pool.map(decode, jobs), strict=True), start=1):
            if isinstance(result, str):
                problems.append(result)
            else:
                images[len(names)] = result
                names.append(job[0])
            if progress and (done % 50 == 0 or done == len(jobs)):
                progress(done / len(jobs), f"Reading pictures: {done:,} of {len(jobs):,}")
    return np.ascontiguousarray(without_colour(images[: len(names)])), names, problems


def _serialised(dataset: Dataset) -> bytes:
    from safetensors.numpy import save

    arrays = {"train": dataset.train.images, "test": dataset.test.images}
    if dataset.train.labels is not None:
        arrays |= {"train_labels": dataset.train.labels, "test_labels": dataset.test.labels}
    arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    return save(arrays, {"class_names": json.dumps(dataset.class_names)})


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _upload_path(digest: str) -> Path:
    return data_folder() / "uploads" / f"{digest}.safetensors"


def _split_size(name: str) -> tuple[Path, int]:
    """The folder and the size that "cats@64" names."""
    sized = _SIZED.fullmatch(name)
    folder, size = (sized[1], int(sized[2])) if sized else (name, _DEFAULT_SIZE)
    return _absolute(folder), size


def _absolute(folder: str | Path) -> Path:
    return Path(os.path.expanduser(folder)).absolute()  # noqa: PTH111 (unlike Path's, it never raises)


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and _split_size(name)[0].is_dir()
    except (OSError, ValueError):  # a name that no file system would take
        return False


def _check_size(size: int) -> None:
    if size not in SIZES:
        raise UserError(f"Pictures are not resized to {size} pixels here. Choose 28, 32 or 64.")


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), NAMES, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Choose one of {', '.join(NAMES)}, or a folder of pictures."
    return f'There is no data set and no folder called "{name[:80]}". {hint}'
