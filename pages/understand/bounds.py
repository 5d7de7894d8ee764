"""Bounds: from the ELBO to log p(x), by averaging more and more weights under the logarithm."""

import streamlit as st

from ui import bounds_view, layout, state, understand
from vae_core.bounds import bound_curve

layout.head(
    "Bounds",
    "Draw z from the encoder’s q(z|x) and weigh it, w = p(x, z) / q(z|x). The average of w is p(x), whatever q is; but "
    "the average of log w, the ELBO, lies below log p(x): Jensen’s inequality. Average K weights under the logarithm "
    "and the bound $L_K$ climbs from the ELBO towards log p(x).",
)
entry, checkpoint = state.selected()
MODEL = st.column_config.TextColumn(width=280)  # wide enough for the longest name that ships


def image_part():
    """One test image: its bounds, and the weights that they come from."""
    subject, main = understand.subject(entry, checkpoint)
    with main:
        log_weights = understand.draws(entry, checkpoint, subject.image).log_weights
        exact = bounds_view.exact_log_likelihood(entry, checkpoint, subject.image)
        curve = bound_curve(log_weights[None])
        numbers = st.container(horizontal=True, gap="medium")
        asked = st.button(
            "Anneal",
            icon=":material/local_fire_department:",
            help=f"A second estimate that owes nothing to q’s shape: {bounds_view.CHAINS} chains start from the prior "
            f"and move by Hamiltonian Monte Carlo while p(x|z) is turned up in {bounds_view.TEMPERATURES} steps "
            "(annealed importance sampling).",
        )
        with st.container():  # there even when empty, so that what follows stays where it is
            second = (
                bounds_view.anneal(entry, checkpoint, subject.image)
                if asked
                else bounds_view.annealed_before(entry, checkpoint, subject.image)
            )
        metrics(numbers, curve, exact, second)
        st.markdown(bounds_view.verdict(log_weights, exact))
        if second is not None:
            st.markdown(bounds_view.annealed_verdict(second, exact))
    rising, jensen = st.columns(2, gap="medium")
    with rising:
        st.subheader("The bound rises with K", anchor=False)
        layout.chart(bounds_view.curve_figure(curve, exact, second), "The bound L_K against K", key="bounds_curve")
        st.caption(
            f"From one set of {len(log_weights):,} draws: $L_K$ is the mean over disjoint groups of K of them. Each K "
            "divides the next, so on the same draws the curve can only rise."
        )
        layout.download("CSV of the curve", lambda: bounds_view.curve_csv(curve), f"{entry.id}-{subject.id}-bounds.csv")
    with jensen:
        st.subheader("The weights behind it", anchor=False)
        alt = "Histogram of log w: where the draws lie, and where their weight lies"
        layout.chart(bounds_view.histogram(log_weights, exact), alt, key="bounds_histogram")
        st.caption(
            "Grey: where the draws lie. Orange: where their weight lies, the further right the fewer draws carry it. "
            r"The arrow goes from $\mathbb{E}_q[\log w]$, the ELBO, to $\log \mathbb{E}_q[w]$ as these draws have it. "
            "The lowest 1 % are cut off."
        )


def metrics(row, curve, exact, second):
    """The numbers of one image, in the order in which they bound each other."""
    with row:
        st.metric("ELBO = L₁", layout.nats(curve.values[0, 0], 2), width="content")
        st.metric("L₅₀₀₀", layout.nats(curve.values[-1, 0], 2), width="content")
        if second is not None:
            st.metric(
                "By annealing",
                f"{layout.number(second.values[0], 2)} ± {second.standard_errors[0]:.2f} nats",
                width="content",
            )
        if exact is not None:
            st.metric(
                "log p(x), exact",
                layout.nats(exact, 2),
                help="By a sum over the whole latent space.",
                width="content",
            )


def columns(draws):
    """What the table's columns mean."""
    number = st.column_config.NumberColumn
    return {
        "Model": MODEL,
        "± by draws, nats": number(
            format="%.3f", help=f"The Monte Carlo standard error of the bound, of {draws:,} draws an image."
        ),
        "log p(x), exact, nats": number(help="By a sum over the latent space, where it has one or two dimensions."),
        "± by images, nats": number(
            format="%.1f", help="The standard error of the average, as one over all test images."
        ),
        "Bits per dimension": number(
            format="%.4f",
            help="Of the exact value, where it is known, else of the bound; of a Gaussian for pixels from 0 to 255.",
        ),
        "Images under 2 %": number(
            format="percent",
            help=f"Images in which fewer than 2 % of the {draws:,} draws count: their bound may be nats too low.",
        ),
    }


def test_sets():
    """Every shipped model's log-likelihood over its whole test set, as it was measured once."""
    st.subheader("Test log-likelihood of the shipped models", anchor=False)
    shipped = [one for one in state.entries().values() if one.run is None]
    number = st.column_config.NumberColumn
    st.markdown(
        "Averages over whole test sets, pixels drawn black or white where the likelihood is Bernoulli, which is new to "
        "all but the models trained on such pixels; models of a range of β at β = 1. Numbers compare models of the "
        "same data."
    )
    layout.table(
        bounds_view.whole_sets(shipped),
        ["log p(x), nats"],
        {
            "Model": MODEL,
            "Test images": number(format="localized"),
            "± draws": number(format="%.3f", help="In nats. The Monte Carlo standard error; 0 where it is exact."),
            "± images": number(
                format="%.2f",
                help="In nats. The standard error of the average, as one over all images there could be.",
            ),
            "Bits per dimension": number(format="%.4f"),
        },
        key="bounds_whole",
    )
    for words in filter(None, map(bounds_view.measured_words, shipped)):
        st.markdown(words)
    return shipped


def table_part(shipped):
    """The same for the first test images, measured here."""
    st.subheader("Measured here", anchor=False)
    draws = bounds_view.TABLE_DRAWS
    st.markdown(
        f"$L_{{{draws}}}$ averaged over the first {bounds_view.TABLE_IMAGES} test images of each model’s data, from "
        f"{draws:,} draws each; with one or two latent dimensions, log p(x) itself as well. Models of the same data "
        "meet the same images, so that the chance in their choice (± by images) is mostly common to them."
    )
    asked = st.button("Measure all", icon=":material/play_arrow:", key="bounds_measure")
    in_nats = ["ELBO, nats", f"{layout.with_index('L', draws)}, nats", "log p(x), exact, nats"]
    place, found = st.empty(), []
    for one in shipped:
        row = bounds_view.table_row(one, compute=asked)
        if row is None:
            continue
        found.append(row)
        if asked:
            with place:
                layout.table(bounds_view.table(found), in_nats, columns(draws))
    if not found:
        return
    table = bounds_view.table(found)
    with place:
        layout.table(table, in_nats, columns(draws))
    if not all(row.real for row in found):
        st.caption(understand.DECODED)
    layout.download("CSV of the table", lambda: table.to_csv(index=False), "test-log-likelihood.csv")


image_part()
table_part(test_sets())
