"""Training models of one β each, one after the other, to see them land on the rate–distortion curve."""

from dataclasses import replace
from typing import Any

import streamlit as st

from ui import state, visitor
from ui.beta_view import Seen, belongs_beside
from ui.guards import errors_said
from ui.launching import progress_line, start_sweep
from ui.train_form import BETAS
from vae_core import data, hosted, runs
from vae_core.model import ModelConfig
from vae_core.objective import OBJECTIVES
from vae_core.run_config import RunConfig
from vae_core.runs import LIVE, Run
from vae_core.train_config import TrainConfig

__all__ = ["in_progress", "landed", "notice", "progress", "sweep_form", "train_button"]

_FIRST = (0.1, 0.3, 1.0, 3.0, 10.0)
_RANGE = (0.01, 10.0)
_WEIGHED = [name for name in OBJECTIVES if name != "iwae"]  # by a β
_RUNS = "beta_sweep"


def _config(seen: Seen, changes: dict[str, Any], beta_range: tuple[float, float] | None = None) -> RunConfig:
    """How the selected model was made, with other training."""
    model: ModelConfig = replace(seen.checkpoint.model.config, beta_range=beta_range)
    return RunConfig(model, TrainConfig(**seen.checkpoint.record["train"] | changes))


def train_button(seen: Seen) -> None:
    """Offers to train a model of a range of β like the selected one."""
    if not _trainable(seen):
        return
    if st.button("Train one like this for every β", icon=":material/model_training:", key="beta_train_range"):
        with errors_said():
            changes = {"beta": 1.0, "objective": "beta-vae", "importance_samples": 1}
            _remember(start_sweep([_config(seen, changes, _RANGE)]))
            st.rerun()


def _trainable(seen: Seen) -> bool:
    return data.available(seen.checkpoint.record["train"]["dataset"])


@st.fragment
def sweep_form(seen: Seen) -> None:
    """Asks for which β, with which objective and for how long; queues a run for each."""
    if not _trainable(seen):
        st.caption("The data set is not at hand, so no model can be trained on it here.")
        return
    limits, epochs = hosted.limits(), seen.checkpoint.record["train"]["epochs"]
    st.markdown("Models of one β each, otherwise made as the selected one. They train one after the other.")
    left, middle, right = st.columns([3, 1, 1], vertical_alignment="bottom")
    betas = left.multiselect(
        "β",
        BETAS,
        _FIRST[-limits.sweep :] if limits else _FIRST,
        format_func=lambda beta: f"{beta:g}",
        max_selections=limits.sweep if limits else None,
        key="beta_sweep_betas",
        persist_state="session",
    )
    objective = middle.selectbox(
        "Objective", _WEIGHED, format_func=OBJECTIVES.get, key="beta_sweep_objective", persist_state="session"
    )
    most = limits.epochs if limits else 100_000
    epochs = right.number_input(
        "Epochs", 1, most, min(epochs, most), key=f"beta_sweep_epochs_{seen.entry.id}", persist_state="session"
    )
    label = f"Train {len(betas)} models" if len(betas) != 1 else "Train 1 model"
    if st.button(label, icon=":material/play_arrow:", key="beta_sweep_start", type="primary", disabled=not betas):
        with errors_said():
            changes = {"epochs": int(epochs), "objective": objective, "importance_samples": 1}
            _remember(start_sweep([_config(seen, changes | {"beta": beta}) for beta in sorted(betas)]))
            st.rerun()


def _remember(started: list[Run]) -> None:
    names = [*st.session_state.get(_RUNS, ()), *(run.name for run in started)]
    st.session_state[_RUNS] = list(dict.fromkeys(names))


def notice(seen: Seen) -> None:
    """Take up this visitor's runs that train what belongs beside the selected model: asked for on another page, or
    here before the page was loaded anew."""
    known, token = st.session_state.get(_RUNS, ()), visitor.token()
    others = (run for run in runs.list_runs() if run.name not in known)
    live = [run for run in others if run.state()["status"] in LIVE and hosted.owns(run, token)]
    _remember([run for run in reversed(live) if belongs_beside(seen.entry, run)])  # the one that trains first on top


def _mine() -> list[Run]:
    found = (Run(runs.runs_folder() / name) for name in st.session_state.get(_RUNS, ()))
    return [run for run in found if run.is_here()]


def in_progress() -> bool:
    """Whether one of the models that were asked for or noticed trains or waits."""
    return any(run.state()["status"] in LIVE for run in _mine())


def landed(others: dict[str, state.Entry]) -> list[str]:
    """Of the comparable models, the ids of those that were asked for or noticed and have a checkpoint by now."""
    return [key for run in _mine() if (key := f"run-{run.name}") in others]


def progress() -> None:
    """One line a run that trains or waits, with a way to stop those of this visitor, and the sentences of those that
    failed. Raises UserError where a run cannot be told to stop."""
    for run in _mine():
        said = run.state()
        if said["status"] == "failed":
            st.error(said["message"], icon=":material/error:")
        if said["status"] not in LIVE:
            continue
        line, stop = st.columns([6, 1], vertical_alignment="center")
        with line:
            progress_line(_name(run), said, run.config().train.epochs)
        if hosted.owns(run, visitor.token()) and stop.button(
            "Stop", key=f"beta_stop_{run.name}", icon=":material/stop:"
        ):
            run.stop()


def _name(run: Run) -> str:
    config = run.config()
    if config.model.beta_range:
        low, high = config.model.beta_range
        return f"β from {low:g} to {high:g}"
    kind = "" if config.train.objective == "beta-vae" else f", {OBJECTIVES[config.train.objective]}"
    return f"β = {config.train.beta:g}{kind}"
