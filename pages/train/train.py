"""Train: choose data, network and β; watch the loss split in two; steer; go back to past runs."""

import streamlit as st

from ui import launching, layout, run_table, run_watch, train_form
from ui.guards import say_errors
from vae_core import standby

layout.head(
    "Train",
    "Choose what to train, then watch reconstruction and KL pull against each other. Training goes on in a process "
    "of its own: leave this page, or close the browser, and come back to it by its address.",
)

standby.prepare()
watched = launching.watched()


@st.fragment
@say_errors
def new_run() -> None:
    """The form; only it runs again while it is filled in."""
    if config := train_form.train_form():
        launching.start(config)
        st.rerun()


folds = f"train_new_{watched.name if watched else ''}"  # where a run began: another name is another expander
with st.expander("New run", expanded=watched is None, icon=":material/tune:", key=folds):
    new_run()

with st.container():  # there even when empty, so that the charts below stay where they are
    if problem := st.session_state.pop("train_problem", None):
        st.error(problem, icon=":material/error:")
if watched:
    run_watch.run_watch(watched)

st.subheader("Runs", anchor=False)
run_table.run_table()
