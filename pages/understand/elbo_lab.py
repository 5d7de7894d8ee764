"""ELBO lab: log p(x) = ELBO + gap as three numbers, with the true posterior, and q moved by hand."""

import streamlit as st

from ui import elbo_lab_view, layout, picture_source, posterior_line, state, understand
from ui.components.picture_grid import picture_grid
from ui.components.posterior_pad import posterior_pad

PARTS = ("Around the posterior", "Whole plane")

layout.head(
    "ELBO lab",
    "With one or two latent dimensions nothing is intractable: log p(x) and the true posterior p(z|x) are sums over "
    "all z. Move q(z|x) by hand: log p(x) = ELBO + KL(q(z|x) ‖ p(z|x)), whatever q is.",
)
entry, checkpoint = state.selected()
latent_dim = checkpoint.model.config.latent_dim
if latent_dim > 2:
    understand.offer(
        f"This model has {latent_dim} latent dimensions, and the lab draws the line of one or the plane of two. "
        "With more, log p(x) cannot be summed over all z, only estimated.",
        [*state.with_latent_dim(1), *state.with_latent_dim(2)],
    )

subject, after = understand.subject(entry, checkpoint)
lab = elbo_lab_view.look(entry, checkpoint, subject.image)
start, version = elbo_lab_view.begun(lab)
climb = st.session_state.get("elbo_climb", {}).get(lab.id)


def begin_from(q, climb=None) -> None:
    """Put q into the pad, for this picture, with the climb that led there."""
    st.session_state["elbo_climb"] = {lab.id: climb}
    elbo_lab_view.begin_from(lab, q)


def stop_here() -> None:
    """Leave q where the climb has got to."""
    if q := elbo_lab_view.reached(lab):
        begin_from(q)


def on_the_plane():
    """q over the true posterior of two dimensions, moved by hand: returns where it was left."""
    part = st.segmented_control(
        "Part of the plane",
        PARTS,
        default=PARTS[0],
        required=True,
        key="elbo_part",
        **state.KEPT,
        label_visibility="collapsed",
    )
    walk = climb and climb.walk
    view = elbo_lab_view.pad_view(lab, checkpoint, wide=part == PARTS[1], walk=walk, version=version)
    left = posterior_pad(view, start, lab.encoder, lambda q: elbo_lab_view.numbers(lab, q), key="elbo_pad")
    st.caption(
        "Shade: p(z|x). Ellipses: q to 1 σ and, thinner, 2 σ, with draws from it, and handles that widen it; dashed: "
        "the encoder’s q to 1 σ. Thin circles: the prior, every quarter of a σ. "
        + ("Path: the way of q’s middle as it was improved. " if walk is not None else "")
        + "Numbers beside it are read off a grid while q moves, and exact where it is left."
    )
    return left


def improved(q):
    """Ask for a better q, and say what the best one tells of the encoder's."""
    with st.container(horizontal=True):
        improve = st.button("Improve q", icon=":material/trending_up:", type="primary")
        st.button("Back to the encoder’s q", icon=":material/undo:", on_click=begin_from, args=(lab.encoder,))
        st.button(
            "Over the posterior",
            icon=":material/filter_center_focus:",
            help="Where small steps may not lead: to the true posterior’s mean, with the σ of the nearest such "
            "Gaussian, were the posterior a Gaussian itself.",
            on_click=begin_from,
            args=(elbo_lab_view.matched(lab),),
        )
    if improve:
        with st.container(horizontal=True, vertical_alignment="center"):
            bar = st.progress(0.0, "Climbing …")
            st.button("Stop", icon=":material/stop:", key="elbo_stop", on_click=stop_here)
        found = elbo_lab_view.climb(
            lab, checkpoint, q, lambda step, total: bar.progress(step / total, f"Step {step} of {total}")
        )
        begin_from(found.q, found)
        st.rerun()
    if climb:
        known = (elbo_lab_view.exact(lab, one) for one in (lab.encoder, climb.q, elbo_lab_view.matched(lab)))
        caught = climb.caught and elbo_lab_view.exact(lab, climb.caught)
        st.markdown(elbo_lab_view.gap_sentence(*known, caught, latent_dim=latent_dim))


with after:
    st.subheader(layout.plain(subject.name), anchor=False)
    q = on_the_plane() if latent_dim == 2 else posterior_line.moved(lab, start, version)
    elbo_lab_view.keep(lab, q)
    improved(q)

exact = elbo_lab_view.exact(lab, q)
st.subheader("The three numbers, each by a sum of its own", anchor=False)
with st.container(horizontal=True, gap="large"):
    for label, value, about in (
        ("log p(x)", exact.log_likelihood, "A sum over all z, refined where the posterior is."),
        ("ELBO", exact.elbo, "−(reconstruction + KL) at β = 1, by Gauss–Hermite quadrature on q."),
        ("Gap", exact.kl_to_true_posterior, "KL(q(z|x) ‖ p(z|x)), on a lattice around q."),
    ):
        st.metric(label, layout.nats(value[0], 3), help=about, width="content")
    st.metric(
        "What is left",
        layout.nats(exact.residual[0], 4),
        help="log p(x) − ELBO − gap: the three sums’ errors together, but for what lies beyond the z that are summed "
        f"over. That could raise log p(x) and the gap alike, by at most {exact.outside[0]:.1e} nats.",
        width="content",
    )

if beyond := elbo_lab_view.beyond_words(float(exact.outside[0])):
    st.caption(beyond)
st.markdown(elbo_lab_view.peaks_words([mode.mass for mode in elbo_lab_view.modes(lab)], latent_dim))

st.subheader("Where q fails worst", anchor=False)
images = state.held_out(checkpoint)
if images is None:
    st.caption("The data set is not at hand, so its pictures cannot be looked through.")
    st.stop()
asked = st.button(f"Look through {elbo_lab_view.LOOKED_THROUGH} test images", icon=":material/search:")
found = elbo_lab_view.worst(entry, checkpoint, images, compute=asked)
if found is not None:
    order, gaps = found
    picked = picture_grid(
        understand.images_of(checkpoint, order)[0],
        key="elbo_worst_grid",
        label="Test images with the largest gap",
        captions=[f"{gap:.1f}" for gap in gaps],
        scale=layout.whole_scale(images.shape[-1], 64),
    )
    st.caption("KL(q ‖ p(z|x)) of the encoder’s q in nats, the largest first. Select one to look into it.")
    understand.say_if_strange(checkpoint)
    if picked is not None:
        st.button(
            f"Look into test image {order[picked]}",
            icon=":material/arrow_upward:",
            on_click=st.session_state.update,
            kwargs={"test_image": int(order[picked]), "picture_source": picture_source.TEST_IMAGE},
        )
