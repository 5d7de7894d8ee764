"""Where a thumb or a selection is, agreed between Python and the browser without sending pictures again."""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

__all__ = ["Position", "current_index", "settle", "settle_in_session"]


@dataclass(frozen=True)
class Position:
    """What both sides know of one strip or grid.

    index: where it is now; None where nothing is selected.
    sent: the index in the component's data. It stays what it was while the visitor moves, so that the data,
        pictures included, stay the same and are not sent again.
    version: counts the times Python moved it. The browser keeps its own index while the version stands.
    content: digest of the pictures. given: what the caller asked for last.
    """

    index: int | None
    sent: int | None
    version: int
    content: str
    given: int | None


def settle(
    previous: Position | None,
    reported: object,
    *,
    content: str,
    count: int,
    given: int | None,
    start: int | None,
    keep: bool,
) -> Position:
    """The position for this run of the script.

    reported: what the browser says, {"index", "version"}; anything else counts as nothing.
    count: frames or pictures there are now.
    given: where the caller wants it: its place at first (`start` if None), and a command whenever it differs
        from the last one given (None unselects, but moves no slider). What the visitor has just done wins.
    keep: new pictures leave it where it is (a slider) instead of starting over (a selection).
    """
    report = _parsed(reported)
    beginning = start if given is None else given
    if previous is None:
        index = _within(report[0], count) if report and keep else beginning
        return Position(index, index, report[1] + 1 if report else 0, content, given)
    if content != previous.content and not keep:
        return Position(beginning, beginning, previous.version + 1, content, given)
    index, version = previous.index, previous.version
    if report and report[1] == version and report[0] != index:
        index = report[0]
    elif given not in (index, previous.given) and not (given is None and keep):
        index, version = given, version + 1
    index = _within(index, count)
    unchanged = content == previous.content and version == previous.version
    return Position(index, previous.sent if unchanged else index, version, content, given)


def settle_in_session(key: str, state: str, **wanted) -> Position:
    """`settle`, with its keyword arguments, for the component `key`, whose browser side reports in `state`.

    The outcome is remembered for the session, also while the component is not on the page.
    """
    position = settle(st.session_state.get(_slot(key)), _reported(key, state), **wanted)
    st.session_state[_slot(key)] = position
    return position


def current_index(key: str, state: str) -> int | None:
    """Where the component `key` is, before this run has drawn it; None if it has never been drawn."""
    previous, report = st.session_state.get(_slot(key)), _parsed(_reported(key, state))
    if previous is None:
        return None
    return report[0] if report and report[1] == previous.version else previous.index


def _slot(key: str) -> str:
    return f"{key}/position"


def _reported(key: str, state: str) -> object:
    return (st.session_state.get(key) or {}).get(state)


def _parsed(reported: object) -> tuple[int, int] | None:
    if not isinstance(reported, Mapping):
        return None
    index, version = reported.get("index"), reported.get("version")
    if type(index) is not int or type(version) is not int or index < 0 or version < 0:
        return None
    return index, version


def _within(index: int | None, count: int) -> int | None:
    return None if index is None else min(index, count - 1)
