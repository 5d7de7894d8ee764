"""Long computations take turns: so many at a time, first come, first served, and nobody waits for ever."""

import threading
import time

import pytest

from ui import turns

PATIENCE = 20.0


@pytest.fixture
def one_at_a_time(monkeypatch):
    monkeypatch.setattr(turns, "_free", 1)


def start(work, *args):
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def in_a_row(work, names):
    """Threads that ask for a turn in this order."""
    threads = []
    for name in names:
        before = len(turns._waiting)
        threads.append(start(work, name))
        wait_for(lambda before=before: len(turns._waiting) > before)
    return threads


@pytest.mark.usefixtures("one_at_a_time")
def test_turns_go_by_the_order_of_asking_one_at_a_time():
    order, inside = [], []

    def work(name):
        with turns.turn(), turns.turn():  # the inner one is the same
            inside.append(name)
            order.append((name, len(inside)))
            inside.remove(name)

    with turns.turn():
        threads = in_a_row(work, "abcde")
        assert order == []
    for thread in threads:
        thread.join(PATIENCE)
    assert order == [(name, 1) for name in "abcde"]
    assert turns._free == 1


@pytest.mark.usefixtures("one_at_a_time")
def test_a_long_turn_is_passed_on_and_taken_up_again(monkeypatch):
    seen = []
    with turns.turn():
        (thread,) = in_a_row(lambda name: turns.in_turn(seen.append)(name), "b")
        turns.pass_on()
        assert seen == []  # it has only begun
        monkeypatch.setattr(turns, "_SLICE", 0.0)
        time.sleep(0.001)
        turns.pass_on()
        assert seen == ["b"]
        assert turns._free == 0
    thread.join(PATIENCE)
    assert turns._free == 1


@pytest.mark.usefixtures("one_at_a_time")
def test_who_waits_for_another_computation_holds_no_turn():
    """Without `aside`, each of the two would wait for the other."""
    cached = threading.Lock()

    def other():
        with cached, turns.turn():
            pass

    with turns.turn():
        thread = start(other)
        wait_for(lambda: turns._waiting)
        with turns.aside():
            assert cached.acquire(timeout=PATIENCE)
        assert turns._free == 0
    thread.join(PATIENCE)
    assert turns._free == 1


@pytest.mark.usefixtures("one_at_a_time")
def test_who_waits_is_told_and_may_leave(monkeypatch):
    monkeypatch.setattr(turns, "_TELL_EVERY", 0.001)
    told = []

    def tell():
        told.append(1)
        if len(told) == 3:
            raise InterruptedError

    def work():
        with pytest.raises(InterruptedError), turns.turn(tell):
            told.append("computed")

    with turns.turn():
        thread = start(work)
        thread.join(PATIENCE)
        assert told == [1, 1, 1]
        assert not turns._waiting
    assert turns._free == 1
