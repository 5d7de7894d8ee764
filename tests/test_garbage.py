"""Garbage is collected now and then, and what was made before a library was imported is collected as well."""

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ui import garbage


class Knot:
    """Refers to itself, so that only the collector ends it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time, which only the test moves; nothing has been collected at its beginning."""
    now = [1000.0]
    monkeypatch.setattr(garbage, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for name in ("_known", "_last", "_last_thorough"):
        monkeypatch.setattr(garbage, name, 0)  # and as they were at the end
    gc.disable()
    garbage.collect()
    yield now
    gc.enable()
    gc.unfreeze()


def untied() -> weakref.ref:
    """A knot that nobody holds."""
    return weakref.ref(Knot())


def test_it_is_collected_where_the_last_time_was_a_while_ago(clock: list[float]) -> None:
    knot = untied()
    garbage.collect()
    assert knot() is not None
    clock[0] += garbage._EVERY
    garbage.collect()
    assert knot() is None


def test_what_lived_through_a_thorough_collection_is_left_to_the_next(clock: list[float]) -> None:
    held = Knot()
    knot = weakref.ref(held)
    clock[0] += garbage._THOROUGHLY_EVERY
    garbage.collect()
    del held
    clock[0] += garbage._EVERY
    garbage.collect()
    assert knot() is not None
    clock[0] += garbage._THOROUGHLY_EVERY
    garbage.collect()
    assert knot() is None


@pytest.mark.usefixtures("clock")
def test_new_modules_are_exempt_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_freeze_count()
    many = [Knot() for _ in range(1000)]
    garbage.collect()
    assert gc.get_freeze_count() == pytest.approx(before, abs=500)
    monkeypatch.setattr(garbage, "_known", 0)
    garbage.collect()
    assert gc.get_freeze_count() > before + len(many) / 2
