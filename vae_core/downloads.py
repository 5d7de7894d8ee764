"""MNIST, Fashion-MNIST and CIFAR-10, fetched from where torchvision says and kept in its folder layout."""

import functools
import gzip
import hashlib
import http.client
import os
import ssl
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae_core.errors import UserError
from vae_core.files import write_whole

__all__ = ["SOURCES", "Arrays", "Progress", "Source", "present", "read"]

Progress = Callable[[float, str], None]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_TIMEOUT_S = 30
_CHUNK = 1 << 16
_IDX = (
    ("train-images-idx3-ubyte", 60_000),
    ("train-labels-idx1-ubyte", 60_000),
    ("t10k-images-idx3-ubyte", 10_000),
    ("t10k-labels-idx1-ubyte", 10_000),
)
_CIFAR_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_NETWORK_ERRORS = (
    *(urllib.error.URLError, http.client.HTTPException, ssl.SSLError),
    *(TimeoutError, ConnectionError),
)
_one_download = threading.Lock()


@dataclass(frozen=True)
class Source:
    """A set that torchvision knows: title, torchvision's class, folder, bytes to download, class names."""

    title: str
    torchvision_class: str
    folder: str
    download_bytes: tuple[int, ...]
    class_names: tuple[str, ...]


SOURCES = {
    "mnist": Source("MNIST", "MNIST", "MNIST/raw", (9_912_422, 28_881, 1_648_877, 4_542), tuple("0123456789")),
    "fashion-mnist": Source(
        "Fashion-MNIST",
        "FashionMNIST",
        "FashionMNIST/raw",
        (26_421_880, 29_515, 4_422_102, 5_148),
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    "cifar10": Source(
        "CIFAR-10",
        "CIFAR10",
        "cifar-10-batches-py",
        (170_498_071,),
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
}


class _MissingError(Exception):
    """A set's files are not there, or not whole; the message ends the sentence "… its files are …"."""


def present(name: str, root: Path) -> bool:
    """Whether every file of the set `name` lies under `root`, with the size that it must have."""
    folder = root / SOURCES[name].folder
    if name == "cifar10":
        return all((folder / file).is_file() for file in _CIFAR_FILES)
    return all(_size(folder / stem) == _idx_bytes(stem, count) for stem, count in _IDX)


def read(name: str, root: Path, shown: str, download: bool, progress: Progress | None) -> Arrays:
    """The set `name` as train images, train labels, test images, test labels, in the order of its makers.

    Shapes: images (N, C, H, W) uint8, labels (N,) int64. `root` is the data folder and `shown` how messages
    call it. Files that are missing or not whole are fetched where `download` says so, and `progress` is told
    (fraction of the bytes, text).

    Raises UserError where the files are not there, are damaged, or cannot be fetched or written.
    """
    source = SOURCES[name]
    reader = _read_cifar10 if name == "cifar10" else _read_idx
    place = f"{shown}/{source.folder}"
    instead = "or use digits, sprites or sprites-64, which need no download"
    try:
        return reader(root / source.folder)
    except _MissingError as missing:
        if not download:
            raise UserError(
                f"{source.title} cannot be loaded, its files in {place} are {missing}: "
                f"download it, put its unpacked files there, {instead}."
            ) from None
    except OSError as error:
        raise UserError(f"{source.title}'s files in {place} cannot be read ({error.strerror}).") from error
    try:
        with _one_download:
            with suppress(_MissingError):  # somebody else has fetched it meanwhile
                return reader(root / source.folder)
            _download(name, root, progress or (lambda *_: None))
        return reader(root / source.folder)
    except (*_NETWORK_ERRORS, _MissingError) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise UserError(
            f"{source.title} could not be downloaded ({reason}): put its unpacked files into {place}, {instead}."
        ) from error
    except OSError as error:
        raise UserError(
            f"{source.title} could not be saved in {place} ({error.strerror or error}): "
            f"free some disk space, {instead}."
        ) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _idx_bytes(stem: str, count: int) -> int:
    return 16 + count * 784 if "images" in stem else 8 + count


def _read_idx(folder: Path) -> Arrays:
    """The four files of an MNIST-like set: a big-endian header, then bytes."""
    arrays = []
    for stem, count in _IDX:
        path = folder / stem
        if not path.is_file():
            raise _MissingError("missing" if not folder.is_dir() else f"incomplete ({stem} is missing)")
        shape = (count, 28, 28) if "images" in stem else (count,)
        header = np.array([0x800 + len(shape), *shape], ">i4").tobytes()
        content = np.fromfile(path, np.uint8)
        if len(content) != _idx_bytes(stem, count) or content[: len(header)].tobytes() != header:
            raise _MissingError(f"damaged ({stem} is not what it should be)")
        body = content[len(header) :].reshape(shape)
        if body.ndim == 1 and body.max() > 9:
            raise _MissingError(f"damaged ({stem} is not what it should be)")
        arrays.append(body[:, None] if body.ndim == 3 else body.astype(np.int64))
    return tuple(arrays)


def _read_cifar10(folder: Path) -> Arrays:
    if not folder.is_dir():
        raise _MissingError("missing")
    from torchvision.datasets import CIFAR10

    arrays = []
    for train in (True, False):
        try:
            # torchvision compares every file with its known checksum before it opens it.
            part = CIFAR10(folder.parent, train=train)
        except RuntimeError:
            raise _MissingError("incomplete or damaged") from None
        arrays += [np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)), np.array(part.targets, np.int64)]
    return tuple(arrays)


def _download(name: str, root: Path, progress: Progress) -> None:
    """Fetch and unpack what torchvision's class lists: addresses and checksums are its own."""
    from torchvision import datasets

    source = SOURCES[name]
    known = getattr(datasets, source.torchvision_class)
    folder = root / source.folder
    total = sum(source.download_bytes)

    def report(received: int, file: int = 0) -> None:
        done = sum(source.download_bytes[:file]) + min(received, source.download_bytes[file])
        progress(0.99 * done / total, f"Downloading {source.title}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    if name == "cifar10":
        archive = root / known.filename
        fetched = _fetch([known.url], archive, known.tgz_md5, report)
        progress(0.99, f"Unpacking {source.title}")
        known(root, download=True)
        if fetched:
            archive.unlink()
    else:
        for number, (file, md5) in enumerate(known.resources):
            packed = folder / file
            urls = [mirror + file for mirror in known.mirrors]
            fetched = _fetch(urls, packed, md5, functools.partial(report, file=number))
            write_whole(packed.with_suffix(""), gzip.decompress(packed.read_bytes()))
            if fetched:
                packed.unlink()
    progress(1.0, f"{source.title} is here")


def _fetch(urls: list[str], path: Path, md5: str, report: Callable[[int], None]) -> bool:
    """Write what the first of `urls` to work answers to `path`, which never holds less than the whole file.

    False where it was there already.
    """
    if _md5(path) == md5:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    for url in urls:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                for received, chunk in _chunks(url):
                    file.write(chunk)
                    report(received)
            if _md5(Path(temporary)) != md5:
                raise _MissingError("cut off or altered on the way")
            Path(temporary).replace(path)
            return True
        except (*_NETWORK_ERRORS, _MissingError) as error:
            problem = error
        finally:
            Path(temporary).unlink(missing_ok=True)
    raise problem


def _chunks(url: str) -> Iterator[tuple[int, bytes]]:
    """Yield (bytes received so far, the newest of them)."""
    request = urllib.request.Request(url, headers={"User-Agent": "vae-laboratory"})
    received = 0
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        while chunk := response.read(_CHUNK):
            received += len(chunk)
            yield received, chunk


def _md5(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
