"""Three models of one β each, trained to fail and not to: β = 0, 1, and one that collapses."""

from dataclasses import replace
from typing import Any

import streamlit as st

from ui import launching, visitor
from ui.refreshing import refreshing
from ui.train_form import PRESETS
from vae_core import data, hosted
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.runs import LIVE, Run
from vae_core.train_config import TrainConfig

__all__ = ["alike", "finished", "make", "on_digits"]

_LARGE = {"bernoulli": 100.0, "gaussian": 1000.0, "gaussian-optimal": 1000.0}
_MOST_SHOWN = 600_000  # images in a training, each time counted
_REFRESH_SECONDS = 1.0


def alike(model: ModelConfig, train: dict[str, Any]) -> list[RunConfig]:
    """Three runs with the network, data and settings of a model, but for β, and without what softens the failures:
    KL warm-up, free bits and another objective. Long trainings are cut short. Raises UserError where the data set
    is not at hand.
    """
    images = len(data.load(train["dataset"]).train)
    epochs = max(1, min(train["epochs"], _MOST_SHOWN // images))
    plain = {"kl_warmup": 0.0, "free_bits": 0.0, "objective": "beta-vae", "importance_samples": 1}
    same = train | {"epochs": epochs} | plain
    return _trio(replace(model, beta_range=None), same)


def on_digits() -> list[RunConfig]:
    """The same on the embedded digits, in the latent plane: some seconds each."""
    preset = PRESETS["digits"]
    return _trio(
        ModelConfig((1, 8, 8), preset.latent_dim, preset.arch, preset.likelihood),
        {
            "dataset": "digits",
            "epochs": preset.epochs,
            "batch_size": preset.batch_size,
            "learning_rate": preset.learning_rate,
        },
    )


def _trio(model: ModelConfig, train: dict[str, Any]) -> list[RunConfig]:
    betas = (0.0, 1.0, _LARGE[model.likelihood])
    return [RunConfig(model, TrainConfig(**train | {"beta": beta})) for beta in betas]


def finished(configs: list[RunConfig]) -> list[Run] | None:
    """The runs of these configs, once all are trained to their end."""
    found = [launching.place(config) for config in configs]
    done = all(run.checkpoint.exists() and run.state()["status"] == "finished" for run in found)
    return found if done else None


def make(configs: list[RunConfig]) -> None:
    """Offers to train them, or shows how far they are; the page is drawn anew when that changes."""
    live = _in_progress(configs)
    refreshing(
        lambda: _progress(configs, live),
        now=lambda: _in_progress(configs),
        seen=live,
        seconds=_REFRESH_SECONDS if live else None,
    )


def _in_progress(configs: list[RunConfig]) -> bool:
    return any(run.state()["status"] in LIVE for run in map(launching.place, configs))


def _progress(configs: list[RunConfig], live: bool) -> None:
    found = [launching.place(config) for config in configs]
    for run, config in zip(found, configs, strict=True):
        _line(run, config)
    if live:
        own = [run for run in found if hosted.owns(run, visitor.token())]
        if own and st.button("Stop", key="collapse_stop", icon=":material/stop:"):
            _stop(own)
    elif st.button("Make them", key="collapse_make", icon=":material/play_arrow:", type="primary"):
        launching.start_sweep(configs)
        st.rerun()


def _line(run: Run, config: RunConfig) -> None:
    """How far one run is; nothing for one that has not begun."""
    if not run.is_here():
        return
    name, said = f"β = {config.train.beta:g}", run.state()
    if said["status"] == "failed":
        st.error(f"{name}: {said['message']}", icon=":material/error:")
    else:
        launching.progress_line(name, said, config.train.epochs)


def _stop(found: list[Run]) -> None:
    for run in found:
        if run.state()["status"] in LIVE:
            run.stop()
