"""Amortised and classical: one encoder for all images, beside a Gaussian optimised for each."""

import numpy as np
import streamlit as st

from ui import amortised_view, layout, state, understand
from vae_core import imaging

ROW = 4  # pictures side by side: fits a phone at whole multiples
QUALITY = "The mean ELBO of these images against the seconds that it took"

layout.head(
    "Amortised and classical",
    "Classical variational inference optimises a q(z|x) for every image. A VAE’s encoder is *amortised*: it has learnt "
    "to answer in one go, for any image, also for those below, on which it was not trained. That is fast; what it "
    "gives away is the **amortisation gap**. What even the best q of its family, Gaussians of independent dimensions, "
    "gives away is the **approximation gap**. "
    "Together they are KL(q(z|x) ‖ p(z|x)).",
)
entry, checkpoint = state.selected()
ONE_FAMILY = checkpoint.model.config.latent_dim == 1  # a Gaussian in one dimension has but its variance


def chosen_images():
    """Eight test images, from one that the visitor chooses."""
    last = max(0, len(checkpoint.snapshot) - amortised_view.IMAGES)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = st.number_input("First test image", 0, last, key="amortised_first", **state.KEPT, width=168)
        st.button(
            "Random",
            help="Any eight in a row.",
            on_click=st.session_state.__setitem__,
            args=("amortised_first", int(np.random.default_rng().integers(last + 1))),
        )
        asked = st.button("Optimise q for each", icon=":material/play_arrow:", type="primary")
    index = np.arange(first, min(first + amortised_view.IMAGES, len(checkpoint.snapshot)))
    images, real = understand.images_of(checkpoint, index)
    scale = layout.whole_scale(images.shape[-1], 56)
    layout.drawing(imaging.grid(images, columns=ROW, scale=scale, gap=1), alt=f"Test images {index[0]} to {index[-1]}")
    if not real:
        st.caption(understand.DECODED)
    understand.say_if_strange(checkpoint)
    return index, images, asked


def results(found, names):
    """Quality against time, and the gaps as bars."""
    st.markdown(amortised_view.sentence(found))
    time_column, gap_column = st.columns(2, gap="medium")
    with time_column:
        st.subheader("Quality against time", anchor=False)
        layout.chart(
            amortised_view.quality(
                found.seconds, found.course, float(found.log_likelihood.mean()), one_family=ONE_FAMILY
            ),
            QUALITY,
            key="amortised_quality",
        )
        st.caption(
            "Measured on this server, on whatever else it was doing. Time spent on measuring the ELBO is not in. Each "
            "image counts with the best of its climbs: from the encoder’s q, and from a likelier draw of the prior."
        )
    with gap_column:
        st.subheader("Where the gap comes from", anchor=False)
        layout.chart(amortised_view.bars(found, names), "The parts of the gap of each image", key="amortised_gaps")
        st.caption(
            "The parts add up to log p(x) − ELBO. "
            + (
                "Both are exact, by sums over the latent space."
                if found.exact
                else f"ELBOs are averages over {amortised_view.DRAWS:,} draws, log p(x) is estimated by annealed "
                "importance sampling, which falls short for some images: the grey part is as uncertain as that (the "
                "standard errors are in the table), and lies below 0 there."
            )
        )
    table = amortised_view.gap_table(found, names)
    with st.expander("Table of all images", icon=":material/table:"):
        st.dataframe(layout.nats_in(table, table.columns[1:]), hide_index=True)
        layout.download("Table as CSV", table.to_csv(index=False), f"{entry.id}-gaps.csv")


index, images, asked = chosen_images()
found = amortised_view.compared(entry, checkpoint, images)
if found is None and asked:
    progress, live = st.container(), st.empty()

    def draw(seconds, course):
        with live:
            layout.chart(amortised_view.quality(seconds, course, one_family=ONE_FAMILY), QUALITY)

    with progress:
        found = amortised_view.compare(entry, checkpoint, images, draw)
    live.empty()
if found is None:
    st.info(
        "Start from the encoder’s q, and where a draw of the prior is likelier, from there as well; climb each "
        "image’s ELBO by gradient, by itself"
        + (
            ". It takes "
            if ONE_FAMILY
            else ": first with independent dimensions, then with a full covariance. It takes "
        )
        + ("some seconds." if checkpoint.model.config.latent_dim <= 2 else "a minute or more."),
        icon=":material/hiking:",
    )
else:
    results(found, [str(i) for i in index])
