"""Finding, starting and resuming runs, under the rules of a public demo; which of them a visitor watches."""

import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from ui import visitor
from ui.layout import plain
from vae_core import data, hosted, runs
from vae_core.errors import UserError
from vae_core.run_config import RunConfig
from vae_core.runs import LIVE, Run
from vae_core.trainers import launch

__all__ = [
    "forget",
    "guarded",
    "place",
    "progress_line",
    "resumable",
    "resume",
    "start",
    "start_sweep",
    "watch",
    "watched",
]


def watched() -> Run | None:
    """The run that the URL names (?run=…), or the one this visitor watched last."""
    for name in dict.fromkeys((st.query_params.get("run"), st.session_state.get("train_run"))):
        if not name:
            continue
        run = Run(runs.runs_folder() / name)
        here = re.fullmatch(r"\w[\w.-]{,200}", name) and run.is_here()
        if here and hosted.visible(run, visitor.token()):
            watch(run)
            return run
        forget(name)
        st.warning(f"The run “{plain(name[:80])}” is not here any more.", icon=":material/search_off:")
    return None


def watch(run: Run) -> None:
    """Watch `run` from now on, here and at the address of this page."""
    st.session_state["train_run"] = run.name
    st.query_params["run"] = run.name


def forget(name: str) -> None:
    """Watch the run called `name` no longer."""
    if st.session_state.get("train_run") == name:
        del st.session_state["train_run"]
    if st.query_params.get("run") == name:
        del st.query_params["run"]


def start(config: RunConfig) -> None:
    """Watch the run of this config, and train it where it has not been trained to its end.

    Raises UserError where a public demo's rules are against it, or the disk is full.
    """
    watch(_begin([config])[0])


def start_sweep(configs: list[RunConfig]) -> list[Run]:
    """The runs of these configs; those that have not been trained to their end are trained one after the other.

    Raises UserError as `start` does.
    """
    return _begin(configs, in_turn=True)


def _begin(configs: list[RunConfig], *, in_turn: bool = False) -> list[Run]:
    token = visitor.token()
    with runs.door():
        found = [place(config) for config in configs]
        new = [pair for pair in zip(found, configs, strict=True) if not _is_done(pair[0])]
        for _, config in new:
            hosted.check_config(config)
        if new:
            hosted.check_turn(runs.list_runs(), token, len(new))
        for run, config in new:
            first = not run.is_here()
            runs.create(config, run.path)
            if first:
                hosted.claim(run, token)
                hosted.clean_up(runs.list_runs(), data.data_folder() / "uploads", keep=found)
            launch(run, in_turn=in_turn)
        return found


def place(config: RunConfig) -> Run:
    """Where this visitor finds the run of this config: what another left half-trained is not this one's to resume."""
    return runs.place(config, lambda run: not run.steered() and (_is_done(run) or hosted.owns(run, visitor.token())))


def _is_done(run: Run) -> bool:
    """Whether the run is in training, or was trained to its end."""
    status = run.state()["status"]
    return run.is_here() and status in (*LIVE, "finished") and not resumable(run, status)


def resumable(run: Run, status: str) -> bool:
    """Whether a run of this status can be trained on, be it only because its checkpoint has vanished."""
    return status in ("stopped", "interrupted", "failed") or (status == "finished" and not run.checkpoint.exists())


def resume(run: Run) -> None:
    """Train a run on from where it stands. Raises UserError as `start` does."""
    token = visitor.token()
    with runs.door():
        hosted.check_turn(runs.list_runs(), token)
        launch(run)


def progress_line(name: str, said: dict[str, Any], epochs: int) -> None:
    """How far the run that a page calls `name` is on its way through `epochs`; said: its state."""
    epoch = said.get("epoch", 0)
    st.progress(min(1.0, epoch / epochs), f"{name} · {said['status']} · epoch {epoch} of {epochs}")


def guarded(action: Callable[..., None], *arguments: Any) -> None:
    """A callback that turns a UserError into the sentence which the page shows next."""
    try:
        action(*arguments)
    except UserError as error:
        st.session_state["train_problem"] = str(error)
