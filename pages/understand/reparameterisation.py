"""Reparameterisation: noise outside, parameters inside, and why gradients need it so."""

import numpy as np
import streamlit as st

from ui import gradient_view, layout, state, understand
from ui.components.noise_map import noise_map
from vae_core.posterior import posterior

CLOUD, NOISE = 800, 96
RATES = ("0.00001", "0.0001", "0.001", "0.01", "0.1")
SAMPLES = (2, 4, 16, 64)

layout.head(
    "Reparameterisation",
    "Training needs the gradient of an average over z ~ q(z|x) by q’s own parameters. The trick: draw noise ε once, "
    "outside, and write z = μ + σ ⊙ ε. Then z is a smooth function of μ and σ, and the gradient goes straight through.",
)
entry, checkpoint = state.selected()


def picture_part():
    """The ellipse that is dragged: the test image, the two dimensions, and q in all of them."""
    subject, main = understand.subject(entry, checkpoint)
    encoder = posterior(checkpoint.model, subject.image, 2)
    pair = gradient_view.two_dimensions(checkpoint.snapshot)
    names = tuple(layout.dimension_name(j) for j in pair)
    start = gradient_view.start_of(encoder, pair)
    with main:
        dragged = noise_map(
            np.random.default_rng(0).standard_normal((NOISE, 2)),
            checkpoint.snapshot.mu[:CLOUD, pair],
            start,
            key="reparameterisation_map",
            subject=f"{entry.id} {checkpoint.model.beta:g} {subject.id}",
            names=names,
            label="The latent plane with q(z|x); arrow keys move μ, with Shift they change σ",
        )
        st.caption(
            f"Starts at the encoder’s μ for this image, with a σ of {gradient_view.WIDE:g} or more, as early in "
            "training. Make it smaller: the score function’s spread grows as 1/σ. Grey: means μ of test images. "
            + ("" if len(encoder.mu) == 2 else "The other dimensions stay at the encoder’s q.")
        )
    mu, sigma = encoder.mu.astype(np.float64), encoder.sigma.astype(np.float64)
    mu[list(pair)], sigma[list(pair)] = dragged.mu, dragged.sigma
    return subject, pair, names, mu, sigma


def gradient_part(subject, pair, names, mu, sigma):
    """Clouds of gradients by three estimators: one mean, three spreads."""
    found = gradient_view.gradients(entry, checkpoint, subject.image, mu, sigma)
    st.subheader("One gradient, three ways to estimate it", anchor=False)
    st.markdown(
        r"The gradient of $\mathbb{E}_q[\log p(x|z)]$ by μ and log σ, for the q above. **Reparameterised**: the slope "
        "of log p(x|z) at z = μ + σ ⊙ ε. **Score function** (REINFORCE): log p(x|z) times the slope of log q(z|x), "
        "which needs no slope of the decoder, and knows only *how good* z was, not *which way* is better. **With a "
        "baseline**: the same, with log p(x|z) counted from its average over the other draws. All have the same mean."
    )
    st.markdown("Draws that it takes to be as exact as one reparameterised draw, and the variance of a gradient:")
    figures, costs = gradient_view.clouds(found, pair, names), gradient_view.costs(found)
    variances = gradient_view.variances(found)
    for column, (one, figure) in zip(st.columns(len(figures)), figures.items(), strict=True):
        with column:
            st.metric(
                gradient_view.NAMES[one],
                gradient_view.draws_needed(*costs[one]),
                help="The ratio of its variance to that of the reparameterised gradient.",
            )
            st.caption(f"total variance {gradient_view.two_digits(variances[one])} nats²")
            alt = f"{gradient_view.NAMES[one]}: a cloud of gradients, and their mean"
            layout.chart(figure, alt, key=f"reparameterisation_{one}")
    st.caption(
        f"{gradient_view.DRAWS} gradients each, one draw of z for each, on the same axes; the cross is their mean. "
        "The total variance is that of all components of (μ, log σ) together, "
        + ("by quadrature." if found.exact else "from these draws, ± a standard error.")
    )
    table = gradient_view.summary(found, pair)
    with st.expander("Means and spreads as a table", icon=":material/table:"):
        st.dataframe(layout.nats_in(table, table.columns[2:]), hide_index=True)
        layout.download("Table as CSV", lambda: table.to_csv(index=False), f"{entry.id}-{subject.id}-gradients.csv")


def training_part(subject, pair, names, mu, sigma):
    """Sixty steps of ascent with each estimator."""
    st.subheader("What that does to training", anchor=False)
    st.markdown(
        f"{gradient_view.STEPS} steps of plain gradient ascent on this image’s ELBO, from the q above, with each "
        "estimator. A small rate calms the noise, and takes for ever; many draws a step buy calm with work."
    )
    with st.container(horizontal=True, gap="medium"):
        rate = st.select_slider("Learning rate", RATES, "0.001", key="reparameterisation_rate", **state.KEPT, width=260)
        samples = st.segmented_control(
            "Draws a step", SAMPLES, default=4, required=True, key="reparameterisation_samples", **state.KEPT
        )
    found = gradient_view.walks(entry, checkpoint, subject.image, mu, sigma, samples=samples, learning_rate=float(rate))
    climbing, plane = st.columns([1.3, 1], gap="medium")
    with climbing:
        alt = "The ELBO against the step, by kind of gradient"
        layout.chart(gradient_view.elbo_figure(found), alt, key="reparameterisation_elbo")
    with plane:
        layout.chart(
            gradient_view.walk_figure(found, pair, names, checkpoint.snapshot.mu[:CLOUD, pair]),
            "The ways of μ over the latent plane, by kind of gradient",
            key="reparameterisation_walk",
        )
    st.markdown(gradient_view.lesson(found))
    st.caption(
        f"Each ELBO is averaged over {gradient_view.ELBO_DRAWS} draws, the same for all; what lies far below the chart "
        "is cut off."
    )


if checkpoint.model.config.latent_dim < 2:
    understand.offer(
        "This page drags two latent dimensions, and this model has one.",
        state.with_latent_dim(2),
    )
seen = picture_part()
gradient_part(*seen)
training_part(*seen)
