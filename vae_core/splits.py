"""Which pictures train and which test, and the class of each: by their number and their folders alone."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from vae_core.errors import UserError

__all__ = ["check_enough", "classes", "split"]

_FEWEST = 10
_FEWEST_TESTED = 2  # a map of one point has no axes
_NO_FOLDER = "(no folder)"


def check_enough(count: int, where: str, problem: str | None) -> None:
    """Raise UserError where `count` pictures are too few; `problem` is the first file that could not be read."""
    if count < _FEWEST:
        why = f" The first that could not be read: {problem}" if problem else ""
        raise UserError(
            f"There {'is 1 readable picture' if count == 1 else f'are {count} readable pictures'} in {where}; "
            f"at least {_FEWEST} are needed. Add more.{why}"
        )


def split(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the training and of the test pictures, in the order in which they are given to a model.

    Nine tenths for training, one for testing (at least two), by a shuffle that depends on their number alone.
    """
    order = np.random.RandomState(0).permutation(count)
    tested = max(_FEWEST_TESTED, count // 10)
    return order[tested:], order[:tested]


def classes(names: Sequence[str], zips: Sequence[str] = ()) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels (N,) from the first folder in which paths differ; None and () where there are not two of them.

    `zips`: folders, if there are such, that are looked at one by one. Where their sub-folders tell nothing apart,
    they themselves do.
    """
    paths, roots = [_path(name) for name in names], {_path(name) for name in zips}
    origins = [next((folder for folder in path.parents if folder in roots), PurePosixPath()) for path in paths]
    folders = {
        origin: [path.parts[:-1] for path, one in zip(paths, origins, strict=True) if one == origin]
        for origin in set(origins)
    }
    kinds = {origin: iter(_first_difference(parts)) for origin, parts in folders.items()}
    kinds = [next(kinds[origin]) for origin in origins]
    if len(set(kinds)) < 2:
        kinds = [origin.name or _NO_FOLDER for origin in origins]
    class_names = tuple(sorted(set(kinds)))
    if len(class_names) < 2:
        return None, ()
    index = {name: label for label, name in enumerate(class_names)}
    return np.array([index[name] for name in kinds], np.int64), class_names


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _first_difference(folders: Sequence[tuple[str, ...]]) -> list[str]:
    """The first part of each path in which they differ; the last part of all where they are equal."""
    shared = 0
    while len({parts[shared : shared + 1] for parts in folders}) == 1 and folders[0][shared:]:
        shared += 1
    if all(len(parts) == shared for parts in folders):
        shared = max(0, shared - 1)
    return [parts[shared] if len(parts) > shared else _NO_FOLDER for parts in folders]
