"""A run's learning curves, read from its metrics file as it grows and thinned to what a chart can show."""

import json
import threading
from array import array
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["MAX_POINTS", "Curves", "entry_of", "thin"]

MAX_POINTS = 300
_TRAIN = ("epoch", "loss", "reconstruction", "kl")
_TEST = ("epoch", "loss", "reconstruction", "kl", "elbo")
_EVENT = ("step", "epoch", "beta", "learning_rate")
_RECORD = (*_EVENT, "images_per_second", "loss", "reconstruction", "kl", "gradient_norm", "seconds")
_EVALUATION = ("elbo", "reconstruction", "kl", "active_units", "second_moment")


def entry_of(line: bytes) -> dict[str, Any] | None:
    """A line of a run's metrics file: the fields of `train.Progress`, or an event {"event", "step", "epoch", "beta",
    "learning_rate"}. None where it is neither: cut short, or changed by hand.
    """
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    if "event" in entry:
        return entry if _has(entry, _EVENT) else None
    test, own = entry.get("test"), entry.get("test_loss")
    whole = _has(entry, _RECORD, "kl_per_dimension") and (own is None or _is_number(own))
    evaluated = test is None or (isinstance(test, dict) and _has(test, _EVALUATION, "kl_per_dimension"))
    return entry if whole and evaluated else None


def _has(entry: dict[str, Any], numbers: tuple[str, ...], row: str | None = None) -> bool:
    values = entry.get(row) if row else []
    return isinstance(values, list) and all(map(_is_number, [*values, *(entry.get(name) for name in numbers)]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def thin(rows: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
    """Rows (n, k) → at most `limit` rows: means over 2, 4, 8, … consecutive ones.

    Groups begin at fixed places, so that a curve which grows does not change where it is already drawn, but for
    the moments when the groups double. The last group may be smaller.
    """
    size = 1
    while -(-len(rows) // size) > limit:
        size *= 2
    starts = np.arange(0, len(rows), size)
    if size == 1:
        return rows
    counts = np.diff(np.append(starts, len(rows)))
    return np.add.reduceat(rows, starts, axis=0) / counts[:, None]


class Curves:
    """Follows one metrics.jsonl: `refresh` reads only what is new, in one pass for all who share the object.

    last: the newest record, and last_test the newest with a test evaluation (fields of train.Progress), or None.
    events: {"event", "step", "epoch", …} in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._offset, self._line = 0, b""  # how far it was read, and the line that ends there
        self._train, self._test = array("d"), array("d")
        self.last: dict[str, Any] | None = None
        self.last_test: dict[str, Any] | None = None
        self.events: list[dict[str, Any]] = []

    def refresh(self) -> "Curves":
        """Read what was written since the last time; start over where the file was written anew."""
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    self._read(file)
            except OSError:
                self._forget()
        return self

    def _read(self, file: BinaryIO) -> None:
        file.seek(self._offset - len(self._line))
        if file.read(len(self._line)) != self._line:
            self._forget()
            file.seek(0)
        whole, newline, _ = file.read().rpartition(b"\n")
        if not newline:
            return
        lines = whole.split(b"\n")
        self._offset += len(whole) + 1
        self._line = lines[-1] + newline
        for entry in filter(None, map(entry_of, lines)):
            self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        if "event" in entry:
            self.events.append(entry)
            return
        row, test = [entry[name] for name in _TRAIN], entry.get("test")
        if test:
            loss = entry.get("test_loss")
            loss = test["reconstruction"] + entry["beta"] * test["kl"] if loss is None else loss
            self._test.extend([row[0], loss, test["reconstruction"], test["kl"], test["elbo"]])
            self.last_test = entry
        self._train.extend(row)
        self.last = entry

    def train(self) -> dict[str, np.ndarray]:
        """Columns epoch, loss, reconstruction and kl of the training records, at most MAX_POINTS long, in nats."""
        return self._columns(self._train, _TRAIN)

    def test(self) -> dict[str, np.ndarray]:
        """Columns epoch, loss (what training minimises), reconstruction, kl and elbo on the test set; see `train`."""
        return self._columns(self._test, _TEST)

    def _columns(self, flat: array, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        with self._lock:
            rows = np.array(flat).reshape(-1, len(names))
        return dict(zip(names, thin(rows).T, strict=True))
