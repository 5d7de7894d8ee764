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
    monkeypatch.setattr(turns, "_SLICE", PATIENCE)
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
def test_what_is_computed_in_the_background_comes_last_and_gives_way_at_once():
    order, begun = [], threading.Event()

    def page(name):
        with turns.turn():
            order.append(name)

    def background(name):
        with turns.yielding(), turns.turn():
            order.append(name)
            begun.set()
            while len(order) < 4:  # "page 2" comes although no slice of time has passed
                turns.pass_on()
                time.sleep(0.001)

    with turns.turn():
        behind = start(background, "background")
        wait_for(lambda: turns._in_background)
        pages = in_a_row(page, ["page 0", "page 1"])
        assert order == []
    assert begun.wait(PATIENCE)
    pages.append(start(page, "page 2"))
    for thread in (*pages, behind):
        thread.join(PATIENCE)
    assert order == ["page 0", "page 1", "background", "page 2"]
    assert turns._free == 1


@pytest.mark.usefixtures("one_at_a_time")
def test_in_the_background_turns_are_shared_as_well(monkeypatch):
    monkeypatch.setattr(turns, "_SLICE", 0.0)
    order, together = [], threading.Barrier(2)

    def work(name):
        with turns.yielding():
            together.wait(PATIENCE)
            for _ in range(2):
                with turns.turn():
                    order.append(name)
                    wait_for(lambda: turns._in_background or len(order) > 2)
                    time.sleep(0.001)
                    turns.pass_on()

    threads = [start(work, name) for name in "ab"]
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(order) == ["a", "a", "b", "b"]
    assert order[0] != order[1]
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
