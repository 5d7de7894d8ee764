"""Work in steps behind a page: what is found is drawn as it comes, Stop ends it within a step, and it can go on."""

import threading

import pytest
from streamlit.testing.v1 import AppTest

from tests.waiting import PATIENCE, until
from ui import turns
from ui.background import Task
from vae_core.errors import UserError


class Counting:
    """Steps that take a turn each and return ten times their number, once `allowed` is over it."""

    def __init__(self) -> None:
        self.of, self.numbers, self.allowed, self.log = "something", range(3), 0, []

    def step(self, number: int):
        def count(tell) -> int:
            self.log.append(f"asked {number}")
            try:
                with turns.turn(lambda: tell(0.0)):
                    while self.allowed <= number:
                        tell(0.5)
                    if number == 9:
                        raise UserError("Nobody counts to 9.")
                    return 10 * number
            finally:
                self.log.append(f"left {number}")

        return count


def _script():
    import streamlit as st

    from ui.stepwise import stepwise
    from vae_core.errors import UserError

    def draw(found):
        if "undrawable" in st.session_state:
            raise UserError("This cannot be drawn.")
        st.text(str(found))

    counting = st.session_state["counting"]
    steps = {number: counting.step(number) for number in counting.numbers}
    try:
        stepwise(steps, draw, of=counting.of, key="work", label="Counting")
    except UserError as error:
        st.error(str(error))


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr(turns, "_free", 1)
    monkeypatch.setattr(turns, "_TELL_EVERY", 0.01)
    app = AppTest.from_function(_script, default_timeout=PATIENCE)
    app.session_state["counting"] = counting = Counting()
    yield app
    counting.allowed = 10
    until(lambda: turns._free == 1)


def labels(app):
    return [button.label for button in app.button]


def drawn(app):
    app.run()
    assert not app.exception
    return app.text[0].value


def test_what_is_found_is_drawn_while_the_rest_is_worked_on(app):
    counting = app.session_state["counting"]
    assert drawn(app) == "{}"
    assert [bar.value for bar in app.get("progress")] == [16]
    assert labels(app) == ["Stop"]
    counting.allowed = 1
    until(lambda: drawn(app) == "{0: 0}")
    assert [bar.value for bar in app.get("progress")] in ([33], [50])
    counting.allowed = 3
    until(lambda: drawn(app) == "{0: 0, 1: 10, 2: 20}" and not labels(app))
    assert counting.log == [f"{word} {number}" for number in range(3) for word in ("asked", "left")]


def test_stop_ends_a_step_in_its_midst_gives_its_turn_back_and_go_on_begins_there(app):
    counting = app.session_state["counting"]
    counting.allowed = 1
    until(lambda: drawn(app) == "{0: 0}" and turns._free == 0)
    app.button(key="work_stop").click().run()
    until(lambda: counting.log[-1] == "left 1")
    assert turns._free == 1
    assert drawn(app) == "{0: 0}"
    assert labels(app) == ["Go on"]
    assert "Counting: stopped after 1 of 3." in app.caption[0].value
    counting.allowed = 3
    app.button(key="work_go_on").click().run()
    until(lambda: drawn(app) == "{0: 0, 1: 10, 2: 20}")
    assert not labels(app)


def test_who_waits_for_a_turn_is_stopped_as_well(app):
    with turns.turn():
        drawn(app)
        until(lambda: turns._in_background)
        app.button(key="work_stop").click().run()
        until(lambda: not turns._in_background)
    assert app.session_state["counting"].log == ["asked 0", "left 0"]


def test_something_else_ends_what_was_begun_and_is_worked_on_instead(app):
    counting = app.session_state["counting"]
    drawn(app)
    counting.of, counting.numbers = "something else", (5,)
    assert drawn(app) == "{}"
    until(lambda: "left 0" in counting.log)
    counting.allowed = 6
    until(lambda: drawn(app) == "{5: 50}")


def test_what_goes_wrong_is_raised_to_the_page(app):
    counting = app.session_state["counting"]
    counting.allowed, counting.numbers = 10, (9,)
    until(lambda: app.run().error)
    assert app.error[0].value == "Nobody counts to 9."


def test_what_goes_wrong_while_it_is_drawn_is_said(app):
    counting = app.session_state["counting"]
    counting.allowed, counting.numbers = 10, ()
    app.session_state["undrawable"] = True
    app.run()
    assert not app.exception
    assert [error.value for error in app.error] == ["This cannot be drawn."]


def test_work_that_nobody_watches_ends():
    reported, ended = [], threading.Event()

    def work(report) -> None:
        try:
            while True:
                report(0.5, "Working")
                reported.append(1)
        finally:
            ended.set()

    task = Task("something", work, abandoned_after=0.01)
    assert ended.wait(PATIENCE)
    until(lambda: not task.running)
    assert reported
    assert not task.cancelled
    assert task.outcome() is None
