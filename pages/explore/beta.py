"""β and rate–distortion: what a nat of code buys, from one model of every β, and models of one β beside it."""

import streamlit as st

from ui import (
    beta_view,
    curve_view,
    dimensions_view,
    disentanglement_view,
    holes_view,
    information_view,
    layout,
    state,
    sweep,
)
from ui.components.beta_strip import beta_strip
from ui.components.film_strip import film_strip_index
from ui.guards import say_errors
from vae_core import rate_distortion

SIDE = 48  # screen pixels for a picture in the strip
BELOW = "beta_below"


def strip_section(entry, checkpoint):
    """The thumb for β, and everything that moves under it."""
    betas = rate_distortion.steps(checkpoint.model.config.beta_range)
    beta_strip(
        beta_view.strip_content(entry, checkpoint, state.seed("beta_seed")),
        key="beta_strip",
        index=betas.index(beta_view.chosen_beta(checkpoint)),
        scale=layout.whole_scale(checkpoint.model.config.image_shape[-1], SIDE),
        on_release=lambda: go_to(betas[film_strip_index("beta_strip")]),
    )
    st.button(
        "Other pictures",
        icon=":material/casino:",
        help="Other test images, and other noise.",
        on_click=state.next_seed,
        args=("beta_seed",),
    )


def go_to(beta):
    """Show the model at this β: in the frame, and below the strip, where alone there is something to draw anew."""
    st.session_state["beta"] = beta
    st.rerun([state.BETA_PICKER, BELOW])


def one_beta_section(entry, checkpoint):
    """What there is to say of a model of one β, and what a model of a range would add."""
    seen = beta_view.seen(entry, checkpoint)
    trained = state.beta_words(None, checkpoint.record["train"]["beta"], seen.beta)
    st.info(
        f"This model was trained for {trained}, not for a range: it is one point of the curve. A model of a range of β "
        "answers for every β of it, and has a slider that moves its pictures, its latent map and its place on the "
        "whole curve together.",
        icon=":material/balance:",
    )
    ranged = {key: other for key, other in state.entries().items() if beta_view.is_ranged(other)}
    same = [key for key in ranged if key in beta_view.comparable(entry)]
    with st.container(horizontal=True):
        for key in same or ranged:
            st.button(f"Open {state.title(ranged[key])}", key=f"beta_open_{key}", on_click=state.choose, args=(key,))
        sweep.train_button(seen)
    if seen.objective == "iwae":
        st.caption(
            "It is an IWAE: it maximises the importance-weighted bound, not the ELBO, so D + R may lie above that of "
            "a β-VAE, and a slope of −1 says nothing of it."
        )
    if seen.objective == "beta-tcvae":
        st.caption(
            f"It is a β-TCVAE: β = {seen.beta:g} weighs its total correlation alone. It minimises "
            "D + R + (β − 1) · total correlation, not D + βR, so a slope of −β says nothing of it."
        )


@st.fragment(key=BELOW)
@say_errors
def below():
    """The numbers at the β that is chosen, and the section that is open."""
    seen = beta_view.seen(*state.selected())
    beta_view.numbers(seen)
    # The whole page runs: with this part alone, what a closed section still sends may find its place gone.
    tabs = st.tabs(list(SECTIONS), key="beta_section", bind="query-params", on_change=st.rerun)
    for tab, section in zip(tabs, SECTIONS.values(), strict=True):
        if tab.open:
            with tab:
                section(seen)


SECTIONS = {
    "Curve": curve_view.show,
    "Latent dimensions": dimensions_view.show,
    "Information": information_view.show,
    "Aggregate posterior": holes_view.show,
    "Disentanglement": disentanglement_view.show,
}

layout.head(
    "β and rate–distortion",
    "A VAE minimises D + βR: the distortion D of what it draws again, and the rate R that its code costs. "
    "β is the price of a nat of code.",
)
entry, checkpoint = state.selected()
if checkpoint.model.config.beta_range:
    strip_section(entry, checkpoint)
else:
    one_beta_section(entry, checkpoint)
below()
