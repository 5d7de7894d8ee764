"""Posterior collapse and holes: the two failures of a VAE, made on purpose, beside a model that has neither."""

import streamlit as st

from ui import failure_panels, failure_runs, failure_view, layout, state
from vae_core import data, failures

RANGE, ALIKE, DIGITS = "One model at three β", "Three like this one", "Three on digits"


def sources(checkpoint):
    """Where three models can come from, the default first: what each is, in a sentence."""
    model, train = checkpoint.model.config, checkpoint.record["train"]
    found = {}
    if model.beta_range:
        found[RANGE] = (
            "The two ends of the selected model’s range of β, and between them the β that is chosen beside the page."
        )
    if data.available(train["dataset"]):
        found[ALIKE] = f"Trained apart on {data.title(train['dataset'])}, with the network of the selected model."
    if train["dataset"] != "digits" or model.latent_dim != 2:
        found[DIGITS] = "Trained apart on digits of 8 pixels, with two latent dimensions: some seconds each."
    return found


def trained(checkpoint, source):
    """The three that were made, or an offer to make them."""
    like_this = source == ALIKE
    config = checkpoint.model.config
    configs = failure_runs.alike(config, checkpoint.record["train"]) if like_this else failure_runs.on_digits()
    found = failure_runs.finished(configs)
    if found:
        return failure_view.of_runs(found)
    first, *_, last = (f"{config.train.beta:g}" for config in configs)
    st.markdown(
        f"Three ordinary runs of {configs[0].train.epochs} epochs, one after the other: β = {first}, 1 and {last}. "
        "They go on if you leave, and are kept: the next time they are here at once."
    )
    failure_runs.make(configs)
    return []


def ways(entries):
    """Buttons that select other models."""
    with st.container(horizontal=True):
        for key, other in entries.items():
            name = f"Open {state.title(other)}"
            st.button(name, key=f"collapse_open_{key}", on_click=state.choose, args=(key,), icon=":material/balance:")


def say_if_not_collapsed(model):
    """That the largest β here makes no collapse, where it does not, and what does."""
    if failures.verdict(model.symptoms, model.at_one) == "collapse":
        return
    st.caption(
        f"{model.title} is not enough to collapse this model all the way. **{DIGITS}** makes one that does, in some "
        "seconds; so does, without training:"
    )
    ways({key: other for key, other in failure_view.ranged().items() if failure_view.collapses(other)})


layout.head(
    "Posterior collapse and holes",
    "β is the price of a nat of code. Too low, and codes scatter: samples from the prior fall into holes between them. "
    "Too high, and the code falls silent. See either failure beside β = 1.",
)
entry, checkpoint = state.selected()
found = sources(checkpoint)
source = (
    next(iter(found))
    if len(found) == 1
    else st.segmented_control(
        "The models",
        list(found),
        default=next(iter(found)),
        required=True,
        key="collapse_source",
        **state.KEPT,
    )
)
source = source if source in found else next(iter(found))
st.caption(found[source])
if source == RANGE:
    shown = failure_view.at_several_betas(entry, checkpoint)
    say_if_not_collapsed(shown[-1])
else:
    shown = trained(checkpoint, source)
    if not shown:
        if others := failure_view.ranged():
            st.markdown("Or, without training, one model at three β:")
            ways(others)
        if not checkpoint.model.config.beta_range and len(checkpoint.snapshot) > 1:
            shown = [failure_view.one(entry, checkpoint)]
if shown:
    failure_panels.side_by_side(failure_view.examined(shown))
