"""Past runs in a table: sort them, compare their curves, open, resume, delete and download them."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from ui import caching, live_charts, visitor
from ui.components.live_chart import live_chart
from ui.launching import forget, guarded, resumable, resume, watch
from ui.layout import download, nats_in, plain
from ui.refreshing import refreshing
from ui.run_watch import curves_of, describe, open_in
from vae_core import export, hosted, runs
from vae_core.errors import UserError
from vae_core.likelihood import LIKELIHOODS
from vae_core.run_config import RunConfig
from vae_core.runs import LIVE, Metrics, Run

__all__ = ["metrics_csv", "run_table"]

_REFRESH_SECONDS = 4.0
_NATS = ("elbo", "reconstruction", "kl")
_COLUMNS = {
    "name": st.column_config.TextColumn("Run", width=240),
    "status": st.column_config.TextColumn("Status"),
    "epochs": st.column_config.ProgressColumn("Epochs", width=100, format="%.0f%%", min_value=0, max_value=100),
    "elbo": st.column_config.NumberColumn("Test ELBO", help="In nats, at β = 1; higher is better."),
    "reconstruction": st.column_config.NumberColumn("Reconstruction", help="In nats, on the test set."),
    "kl": st.column_config.NumberColumn("KL", help="In nats, on the test set."),
    "active": st.column_config.NumberColumn("Active", help="Latent dimensions in use."),
    "d": st.column_config.NumberColumn("d", help="Latent size"),
    "beta": st.column_config.NumberColumn(
        "β", format="%g", help="Empty where one model learns a range of β, and for IWAE, which has none."
    ),
    "network": st.column_config.TextColumn("Network"),
    "started": st.column_config.DatetimeColumn("Started", format="distance"),
    "likelihood": st.column_config.TextColumn("Likelihood"),
}


def run_table() -> None:
    """Draw the table of all runs this visitor may see, and what can be done with those that are selected."""
    live = _any_live()
    refreshing(_table, now=_any_live, seen=live, seconds=_REFRESH_SECONDS if live else None)


def _any_live() -> bool:
    return any(run.state()["status"] in LIVE for run in runs.list_runs())


def _table() -> None:
    found = [run for run in runs.list_runs() if hosted.visible(run, visitor.token())]
    rows = [(run, _row(run)) for run in found]
    if not rows:
        st.caption("No runs yet. Start one above.")
        return
    selection = st.dataframe(
        _styled([row for _, row in rows]),
        column_config=_COLUMNS,
        column_order=list(_COLUMNS),
        hide_index=True,
        placeholder="",
        on_select="rerun",
        selection_mode="multi-row",
        key=f"train_runs_{hash(tuple(run.name for run, _ in rows))}",
    )
    chosen = [rows[i][0] for i in selection.selection.rows if i < len(rows)]
    if not chosen:
        st.caption("Select one run to open, resume, download or delete it; several to compare their curves.")
        return
    _actions(chosen)
    if len(chosen) > 1:
        _compare(chosen)


def _styled(rows: list[dict[str, Any]]) -> Styler:
    frame = pd.DataFrame(rows).astype(dict.fromkeys((*_NATS, "beta"), float) | {"active": "Int64"})
    return nats_in(frame, _NATS)


def _beta_now(run: Run, config: RunConfig) -> float:
    """The β that the run was steered to, or began with."""
    return run.control().get("beta", config.train.beta)


def _config(run: Run) -> RunConfig | None:
    """The run's config; None where it cannot be read."""
    with suppress(UserError):
        return run.config()
    return None


def _row(run: Run) -> dict[str, Any]:
    config, state = _config(run), run.state()
    if config is None:
        return dict.fromkeys(_COLUMNS) | {"name": run.name, "status": "unreadable"}
    test = _tested(run)
    return {
        "name": describe(run, config),
        "status": state["status"],
        "network": config.model.arch,
        "d": config.model.latent_dim,
        "beta": None if config.model.beta_range or config.train.objective == "iwae" else _beta_now(run, config),
        "likelihood": LIKELIHOODS[config.model.likelihood],
        "epochs": min(100.0, 100 * state.get("epoch", 0) / config.train.epochs),
        "elbo": test.get("elbo"),
        "reconstruction": test.get("reconstruction"),
        "kl": test.get("kl"),
        "active": test.get("active_units"),
        "started": _time(state.get("created", state.get("updated", 0.0))),
    }


def _time(seconds: float) -> datetime | None:
    with suppress(OSError, OverflowError, ValueError):  # a state that was changed by hand may name no time at all
        return datetime.fromtimestamp(seconds, UTC)
    return None


def _tested(run: Run) -> dict[str, Any]:
    """The test evaluation in the run's checkpoint, {} before there is one."""
    try:
        return caching.read_header(run.checkpoint)["record"]["test"] or {}
    except UserError:
        return {}


def _actions(chosen: list[Run]) -> None:
    token = visitor.token()
    mine = [run for run in chosen if hosted.owns(run, token)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(chosen) == 1:
            run = chosen[0]
            if st.button("Show", key="train_show", icon=":material/monitoring:"):
                watch(run)
                st.rerun()
            if run.checkpoint.exists():
                open_in(run, "table")
            resting = resumable(run, run.state()["status"]) and _config(run)
            if mine and resting and st.button("Resume", key="train_resume", icon=":material/play_arrow:"):
                guarded(resume, run)
                watch(run)
                st.rerun()
            _downloads(run)
        if len(mine) == len(chosen) and st.button("Delete", key="train_delete", icon=":material/delete:"):
            _confirm(mine)


def _downloads(run: Run) -> None:
    if run.checkpoint.exists():
        download("Checkpoint", run.checkpoint.read_bytes, f"{run.name}.safetensors", key="train_checkpoint")
    download("Metrics", lambda: metrics_csv(run.metrics()), f"{run.name}.csv", key="train_metrics")


def _confirm(chosen: list[Run]) -> None:
    st.dialog("Delete run" if len(chosen) == 1 else "Delete runs")(_ask_to_delete)(chosen)


def _ask_to_delete(chosen: list[Run]) -> None:
    for run in chosen:
        config = _config(run)
        st.markdown(f"- {plain(describe(run, config)) if config else 'A run that cannot be read'} (`{run.name}`)")
    whose = "Its checkpoint" if len(chosen) == 1 else "Their checkpoints"
    st.write(f"{whose}, metrics and pictures are removed for good.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Cancel", key="train_delete_not"):
            st.rerun()
        if st.button(":red[:material/delete_forever: Delete for good]", key="train_delete_sure"):
            for run in chosen:
                guarded(run.delete)
                if not run.path.exists():
                    forget(run.name)
            st.rerun()


def _compare(chosen: list[Run]) -> None:
    readable = {run: config for run in chosen if (config := _config(run))}
    chosen, names = list(readable), [describe(run, config) for run, config in readable.items()]
    names = [run.name if names.count(name) > 1 else name for run, name in zip(chosen, names, strict=True)]
    tests = {name: curves_of(run).test() for run, name in zip(chosen, names, strict=True)}
    tests = {name: test for name, test in tests.items() if len(test["epoch"])}
    if not tests:
        return
    for column, (term, label) in zip(st.columns(3), live_charts.COMPARED.items(), strict=True):
        with column:
            st.markdown(f"**{label}, test**")
            live_chart(
                live_charts.comparison(term, tests),
                key=f"train_compare_{term}",
                label=f"{label}, test",
                x="epoch",
                y="nats",
                y_range=live_charts.useful_range(*(test[term] for test in tests.values())),
                subject=" ".join(tests),
            )


def metrics_csv(metrics: Metrics) -> bytes:
    """All records as CSV: a column for each number, kl_1 … for the dimensions, test_… for the test evaluation."""
    rows = [_flat(record) for record in metrics.records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return export.csv_bytes(names, ([row.get(name, "") for name in names] for row in rows))


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}_")
        elif isinstance(value, list | tuple):
            flat |= {f"{before}{name.replace('_per_dimension', '')}_{i}": part for i, part in enumerate(value, 1)}
        elif value is not None:
            flat[f"{before}{name}"] = value
    return flat
