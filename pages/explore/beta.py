"""β and rate–distortion: what a nat of code buys, from one model of every β, and models of one β beside it."""

import math

import streamlit as st

from ui import beta_view, disentanglement_view, holes_view, information_view, layout, state, sweep
from ui.components.beta_strip import beta_strip
from ui.components.film_strip import film_strip_index
from ui.guards import say_errors
from ui.refreshing import refreshing
from vae_core import rate_distortion
from vae_core.evaluate import ACTIVE_VARIANCE

SIDE = 48  # screen pixels for a picture in the strip
REFRESH_SECONDS = 2.0
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
    objective = checkpoint.record["train"].get("objective")
    if objective == "iwae":
        st.caption(
            "It is an IWAE: it maximises the importance-weighted bound, not the ELBO, so D + R may lie above that of "
            "a β-VAE, and a slope of −1 says nothing of it."
        )
    if objective == "beta-tcvae":
        st.caption(
            f"It is a β-TCVAE: β = {seen.beta:g} weighs its total correlation alone. It minimises "
            "D + R + (β − 1) · total correlation, not D + βR, so a slope of −β says nothing of it."
        )


@st.fragment(key=BELOW)
@say_errors
def below():
    """The numbers at the β that is chosen, and the section that is open."""
    seen = beta_view.seen(*state.selected())
    numbers(seen)
    # The whole page runs: with this part alone, what a closed section still sends may find its place gone.
    tabs = st.tabs(list(SECTIONS), key="beta_section", bind="query-params", on_change=st.rerun)
    for tab, section in zip(tabs, SECTIONS.values(), strict=True):
        if tab.open:
            with tab:
                section(seen)


def numbers(seen):
    """Both terms at this β, and whether they lie where training should have brought them."""
    at, config = seen.curve.at(seen.beta), seen.checkpoint.model.config
    rate = rate_distortion.bits_per_dimension(at.rate[0], config.image_shape)
    distortion = rate_distortion.pixel_bits(at.distortion[0], config)
    shown = [
        ("β", f"{seen.beta:.3g}", None),
        ("Rate R", layout.nats(at.rate[0], 2), f"KL(q(z|x) ‖ p(z)), the code’s price: {rate:.4f} bits a dimension."),
        (
            "Distortion D",
            layout.nats(at.distortion[0], 2),
            f"−E[log p(x|z)]: {distortion:.4f} bits a dimension{layout.of_pixels(config.likelihood)}.",
        ),
        ("D + βR", layout.nats(at.objective[0], 2), beta_view.objective_words(seen)),
        ("Active units", f"{at.active_units[0]} of {at.kl.shape[1]}", None),
    ]
    if seen.is_ranged:
        about = (
            "dD/dR between neighbouring values of β: −β where training has done its work, for a nat more of rate then "
            "buys β nats of distortion. These are test images: at small β more rate may serve those of training alone, "
            "and the slope comes out above 0. At the ends of the range there is no neighbour on the other side."
        )
        slope = seen.curve.slope(seen.beta)
        shown.append(("Slope dD/dR", f"{slope:.3g}" if math.isfinite(slope) else "–", about))
    with st.container(horizontal=True, gap="medium"):
        for label, value, about in shown:
            st.metric(label, layout.true_minus(value), help=about, width="content")


def curve_section(seen):
    """D against R, and other models on the same axes: those that are there, and those that train."""
    st.markdown(beta_view.ends_sentence(seen.curve) if seen.is_ranged else beta_view.point_sentence(seen))
    sweep.notice(seen)
    live = sweep.in_progress()
    refreshing(lambda: chart(seen), now=sweep.in_progress, seen=live, seconds=REFRESH_SECONDS if live else None)
    with st.expander("Train models of one β", icon=":material/model_training:"):
        sweep.sweep_form(seen)


def chart(seen):
    """The chart and what is on it, which changes while models train."""
    others, key = beta_view.comparable(seen.entry), f"beta_beside_{seen.entry.id}"
    chosen = st.session_state.get(f"{key}/chosen", beta_view.beside_at_first(seen.entry, others))
    with st.container(horizontal=True):
        unit = st.segmented_control(
            "Unit", beta_view.UNITS, default=beta_view.UNITS[0], required=True, key="beta_unit", **state.KEPT
        )
        beside = st.multiselect(
            "Beside it",
            list(others),
            [one for one in chosen if one in others],
            format_func=lambda one: state.title(others[one]),
            key=key,
            on_change=lambda: st.session_state.update({f"{key}/chosen": st.session_state[key]}),  # for this visit
            placeholder="Choose models of the same pictures",
            help="Models of the same pictures and likelihood: each of one β is a point, each of a range a curve.",
        )
    shown = dict.fromkeys([*beside, *sweep.landed(others)])
    curves = beta_view.curves(seen, [others[one] for one in shown])
    layout.chart(
        beta_view.rate_distortion_figure(seen, curves, unit),
        "Distortion against rate, with lines of equal D + βR",
        key="beta_curve",
    )
    if far := beta_view.beyond(seen, curves):
        st.caption(f"Far outside the chart (a double-click shows all): {'; '.join(far)}.")
    sweep.progress()
    ranged = seen.is_ranged or any(beta_view.is_ranged(others[one]) for one in shown)
    st.caption(
        f"Averages over the first {seen.curve.images:,} test images, {draws(ranged)}.{beta_view.likelihood_words(seen)}"
    )
    downloads(seen)


def draws(ranged):
    """With how many posterior draws the distortion is measured; ranged: there is a model of a range of β."""
    if not ranged:
        return "with one posterior draw each"
    return "with four posterior draws each and the same noise at every β; models of one β with one draw"


def downloads(seen):
    """The numbers behind the charts."""
    layout.download(
        "CSV of the curve",
        lambda: beta_view.curve_csv(seen.curve, seen.checkpoint.model.config),
        f"{seen.entry.id}-beta.csv",
    )


def dimensions_section(seen):
    """KL and active units against β."""
    if not seen.is_ranged:
        st.markdown("For a model of a range of β, this shows each latent dimension’s KL against β.")
        return
    st.markdown(
        f"Each curve is one latent dimension’s KL. {beta_view.collapse_words(seen.curve)} An active unit is one whose "
        f"posterior mean still has a variance over {ACTIVE_VARIANCE:g} across the test images."
    )
    layout.chart(beta_view.kl_figure(seen.curve, seen.beta), "KL by latent dimension against β", key="beta_kl")
    further = seen.curve.kl.shape[1] - beta_view.SHOWN_DIMENSIONS
    if further > 0:
        st.caption(f"The {beta_view.SHOWN_DIMENSIONS} dimensions with the largest KL; {further} more have less.")
    layout.chart(beta_view.units_figure(seen.curve, seen.beta), "Active units against β", key="beta_units")


SECTIONS = {
    "Curve": curve_section,
    "Latent dimensions": dimensions_section,
    "Information": information_view.show,
    "Aggregate posterior": holes_view.show,
    "Disentanglement": disentanglement_view.show,
}

layout.head(
    "β and rate–distortion",
    "A VAE minimises D + βR: the distortion D of what it draws again, and the rate R that its code costs. "
    "β is the price of a nat of code. Move it, and watch what is bought.",
)
entry, checkpoint = state.selected()
(strip_section if checkpoint.model.config.beta_range else one_beta_section)(entry, checkpoint)
below()
