"""A folder of pictures as one file that is mapped into memory: built once, recalled at once, remade when it changes.

The file is a safetensors file in the cache folder, its pictures in the order of `splits.split`, so that either split
is one stretch of it. What a training run reads of it stays with the system, which drops it when memory is short.
"""

import hashlib
import json
import mmap
import os
import shutil
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from vae_core import splits
from vae_core.decoding import CHUNK, Decoded, decode
from vae_core.downloads import Arrays, Progress
from vae_core.errors import UserError

__all__ = ["CACHE_BYTES", "Listing", "list_files", "read", "read_ahead", "wants_reading_ahead"]

CACHE_BYTES = 20 * 2**30  # what all caches may take together; the one that is made may take more

_MADE_BY = 1  # counts up when the same files would give other pictures
_TYPES = {"U8": np.uint8, "I64": np.int64}
_KEEPING = 5000  # pictures kept between two reports
_DECODING = 0.9  # of the time that a cache takes, roughly; the rest goes into writing it


@dataclass(frozen=True)
class Listing:
    """The files of a folder and of its sub-folders, hidden ones left out, in the order of their paths' parts.

    chunks: the paths inside the folder, a JSON list of `decoding.CHUNK` of them each. directories: the sub-folders,
    and for each file the index of its own, directory_of (N,) int32. stamp: a hash of names, sizes and times of change.
    A million files take 34 MB.
    """

    folder: Path
    count: int
    chunks: list[bytes]
    directories: list[str]
    directory_of: np.ndarray
    stamp: str


def list_files(folder: Path, cache: Path, progress: Progress | None = None) -> Listing:
    """List `folder`, without `cache` if that lies in it; sub-folders that may not be read and links to folders are left
    out.

    Raises UserError where the folder cannot be read.
    """
    digest, chunks, names = hashlib.blake2b(digest_size=8), [], []
    directories: dict[str, int] = {}
    directory_of = array("i")
    try:
        for inside, name in _walk(str(folder), "", str(cache)):
            names.append(inside + name)
            about = os.stat(f"{folder}/{names[-1]}")  # noqa: PTH116 (a million Path objects take seconds)
            digest.update(f"{names[-1]}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape"))
            directory_of.append(directories.setdefault(inside, len(directories)))
            if len(names) == CHUNK:
                chunks.append(json.dumps(names).encode())
                names.clear()
                if progress and len(directory_of) % (256 * CHUNK) == 0:
                    progress(0.0, f"Listing files: {len(directory_of):,}")
    except OSError as error:
        raise UserError(f"The folder {folder.name} cannot be read: {error.strerror}.") from error
    chunks += [json.dumps(names).encode()] if names else []
    where = np.frombuffer(directory_of, np.int32) if directory_of else np.empty(0, np.int32)
    return Listing(folder, len(directory_of), chunks, list(directories), where, digest.hexdigest())


def _walk(folder: str, inside: str, cache: str) -> Iterator[tuple[str, str]]:
    """The files below `folder` as (sub-folder with its last slash or "", name)."""
    names, directories = [], set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    directories.add(entry.name)
                elif not (Path(entry).is_file() if entry.is_symlink() else entry.is_file()):
                    continue
                names.append(entry.name)
    except PermissionError:
        if not inside:
            raise
    for name in sorted(names):
        if name not in directories:
            yield inside, name
        elif (path := f"{folder}/{name}") != cache:
            yield from _walk(path, f"{inside}{name}/", cache)


def read(listing: Listing, size: int, cache: Path, progress: Progress | None = None) -> tuple[Arrays, tuple[str, ...]]:
    """Train images, train labels, test images, test labels, and the names of the classes.

    Images (N, C, size, size) uint8, mapped from a file in `cache`, which is made first where there is none for the
    listing; they cannot be written. Labels (N,) int64 or None. Caches of what the folder was before are removed, and
    of all others the least recently used where together they take more than CACHE_BYTES.

    Raises UserError where there are too few pictures or no room for them.
    """
    made_of = f"{_MADE_BY}\0{listing.folder}\0{size}"
    key = hashlib.blake2b(made_of.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    path = cache / f"{key}-{listing.stamp}.safetensors"
    if (found := _recall(path, progress)) is not None:
        return found
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache, key, progress):
            if (found := _recall(path, progress)) is None:  # another process may just have made it
                _build(listing, size, path, progress)
                _sweep(cache, path)
                found = _recall(path, progress)
    except OSError as error:
        raise UserError(
            f"The cache of {listing.folder.name} could not be written: {error.strerror or error}. "
            "Free some disk space, or set $VAE_DATA to a folder with room."
        ) from error
    if found is None:
        raise UserError(f"The cache of {listing.folder.name} vanished while it was made. Try again.")
    return found


def _recall(path: Path, progress: Progress | None) -> tuple[Arrays, tuple[str, ...]] | None:
    """What `_write` wrote, or None where it is not there, whole."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        said = header.pop("__metadata__")
        found = {name: _mapped(path, 8 + length, about) for name, about in header.items()}
        labels = [found.get(f"{part}_labels") for part in ("train", "test")]
        class_names = tuple(json.loads(said["class_names"]))
        with suppress(OSError):  # somebody else's
            os.utime(path)  # for _sweep: when it was last used
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):  # damaged in any way
        return None
    if progress and said["problem"]:
        progress(1.0, said["problem"])
    return (found["train"], labels[0], found["test"], labels[1]), class_names


def _mapped(path: Path, start: int, about: dict[str, Any]) -> np.ndarray:
    dtype, shape, (begin, _) = _TYPES[about["dtype"]], tuple(about["shape"]), about["data_offsets"]
    return np.asarray(np.memmap(path, dtype, "r", start + begin, shape))


def wants_reading_ahead(images: np.ndarray) -> bool:
    """Whether `images` are mapped from a file that the system will not hold in memory whole: over half of it."""
    most = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 2 if hasattr(mmap, "MADV_WILLNEED") else images.nbytes
    return images.nbytes > most and _map(images) is not None


def read_ahead(images: np.ndarray, index: Iterable[int]) -> None:
    """Let the system read rows `index` of mapped `images` (N, C, H, W) from disk while other work goes on.

    Read only when they are needed, rows in a random order take their neighbours along, which they are dropped for:
    many times as much is read, and all of it waited for (bench/README.md).
    """
    mapped, row = _map(images), images[0].nbytes
    start = images.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    for i in index:
        first = start + i * images.strides[0]
        page = first // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, first + row - page)


def _map(images: np.ndarray) -> mmap.mmap | None:
    """The map that `images` are a view of."""
    owner: Any = images
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) else None


@contextmanager
def _alone(cache: Path, key: str, progress: Progress | None) -> Iterator[None]:
    """Hold the lock of `key`; say so while another process holds it."""
    lock = FileLock(cache / f"{key}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=1)
        except Timeout:
            if progress:
                progress(0.0, "Another process is reading these pictures …")
    try:
        yield
    finally:
        with suppress(OSError):
            (cache / f"{key}.lock").unlink()
        lock.release()


def _build(listing: Listing, size: int, path: Path, progress: Progress | None) -> None:
    work = _work_folder(path)
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
    needed, free = 2 * listing.count * 3 * size * size, shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(28, f"while it is made it takes {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free")
    work.mkdir()
    try:
        (work / "names").write_bytes(b"\n".join(listing.chunks))
        images = work / "images"
        reading = progress and (lambda fraction, text: progress(_DECODING * fraction, text))
        decoded = decode(listing.folder, work / "names", images, size, listing.count, reading)
        _write(listing, decoded, images, size, work / "whole", progress)
        (work / "whole").replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _work_folder(path: Path) -> Path:
    return path.with_name(f"{path.name.partition('-')[0]}.building")


def _write(listing: Listing, decoded: Decoded, images: Path, size: int, path: Path, progress: Progress | None) -> None:
    """Write the pictures in the order of their split, grey where all are, with labels and a header, and sync."""
    kept = np.flatnonzero(decoded.readable)
    splits.check_enough(len(kept), f"the folder {listing.folder.name}", decoded.problem)
    parts = dict(zip(("train", "test"), splits.split(len(kept)), strict=True))
    labels, class_names = _labels(listing, kept)
    left_out = listing.count - len(kept)
    said = f"Left out {left_out:,} of {listing.count:,} files: {decoded.problem}" if left_out else ""
    shape = (1 if decoded.grey else 3, size, size)
    arrays = {} if labels is None else {f"{part}_labels": labels[order] for part, order in parts.items()}
    about = [(name, "I64", (len(rows),), rows.nbytes) for name, rows in arrays.items()]
    about += [(part, "U8", (len(order), *shape), len(order) * int(np.prod(shape))) for part, order in parts.items()]
    with path.open("wb") as file:
        file.write(_header(about, {"class_names": json.dumps(class_names), "problem": said}))
        for rows in arrays.values():
            file.write(rows.tobytes())
        order = np.concatenate(list(parts.values()))
        for done, picture in enumerate(_pictures(images, kept[order], size, shape[0]), start=1):
            file.write(picture)
            if progress and done % _KEEPING == 0:
                fraction = _DECODING + (1 - _DECODING) * done / len(kept)
                progress(fraction, f"Keeping pictures: {done:,} of {len(kept):,}")
        file.flush()
        os.fsync(file.fileno())


def _labels(listing: Listing, kept: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The labels (n,) of the files `kept` (n,), and the names of the classes, from the folders that they lie in."""
    used, place = np.unique(listing.directory_of[kept], return_inverse=True)
    labels, class_names = splits.classes([f"{listing.directories[i]}file" for i in used])
    return None if labels is None else labels[place], class_names


def _header(about: Iterable[tuple[str, str, tuple[int, ...], int]], said: dict[str, str]) -> bytes:
    """The header of a safetensors file whose arrays are (name, dtype, shape, bytes)."""
    header: dict[str, Any] = {"__metadata__": said}
    end = 0
    for name, dtype, shape, length in about:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (end, end + length)}
        end += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _pictures(images: Path, order: np.ndarray, size: int, channels: int) -> Iterator[bytes]:
    """The pictures `order` of a file of uint8 (N, 3, size, size), or the first channel of each."""
    with images.open("rb", buffering=0) as file:
        for index in order.tolist():
            file.seek(index * 3 * size * size)
            yield file.read(channels * size * size)


def _sweep(cache: Path, made: Path) -> None:
    """Remove caches of what the folder was before, what killed processes left, and caches over the budget."""
    for path in cache.glob(f"{made.name.partition('-')[0]}-*"):
        if path != made:
            _remove(path)
    for work in cache.glob("*.building"):
        with suppress(Timeout), FileLock(work.with_suffix(".lock"), timeout=0):
            shutil.rmtree(work, ignore_errors=True)
            _remove(work.with_suffix(".lock"))
    total, found = made.stat().st_size, []
    for path in set(cache.glob("*.safetensors")) - {made}:
        with suppress(OSError):  # another process may just have removed it
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    for _, length, path in sorted(found, reverse=True):
        total += length
        if total > CACHE_BYTES:
            _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):  # another process maps it, on systems that mind
        path.unlink()
