"""Generate: pictures of draws from the prior, and what lies near each of them."""

import math

import numpy as np
import streamlit as st

from ui import carried, interpolation, layout, samples, state
from ui.components.film_strip import film_strip, film_strip_index
from ui.components.picture_grid import picture_grid, picture_grid_index
from ui.decoded import decoded, finer, mosaics
from ui.endpoints import spec_of
from ui.guards import say_errors
from ui.prior import log_prior, prior_inside, radius_words
from vae_core import export, latent
from vae_core.words import percent

MOST = 144
PREVIEWED = 8
MOST_SEED = 2**31 - 1
PRIOR = 1.0  # the temperature at which samples are draws from the prior


def settings():
    """How many samples, from which seed, and at which temperature."""
    count, seeds, warmth = st.columns(3, gap="medium", vertical_alignment="bottom")
    n = count.slider("Samples", 4, MOST, 64, key="generate_n", **state.KEPT)
    with seeds.container(horizontal=True, vertical_alignment="bottom"):
        seed = st.number_input("Seed", 0, MOST_SEED, key="generate_seed", **state.KEPT)
        st.button("New", icon=":material/casino:", help="Another seed, by chance.", on_click=draw_seed)
    if st.session_state.get("generate_temperature") is None:
        st.session_state["generate_temperature"] = PRIOR
    temperature = warmth.number_input(
        "Temperature T",
        0.0,
        2.0,
        None,
        0.05,
        key="generate_temperature",
        **state.KEPT,
        help="z is drawn from N(0, T²I). At T = 1 it is the prior; towards 0 all samples become the same picture.",
    )
    return n, seed, PRIOR if temperature is None else temperature


def draw_seed():
    """Choose another seed."""
    st.session_state["generate_seed"] = int(np.random.default_rng().integers(10_000))


def temperature_strip(entry, checkpoint, z, temperature):
    """The first samples, morphing with the temperature. z (n, d) are the draws at T = 1."""
    shown = len(z[:PREVIEWED])
    frames = finer(decoded(entry, checkpoint, samples.TEMPERATURES[:, None, None] * z[:shown]))
    film_strip(
        mosaics(frames),
        key="generate_strip",
        label="The first of them, hotter and colder",
        labels=[f"T = {value:.2f}" for value in samples.TEMPERATURES],
        index=int(np.abs(samples.TEMPERATURES - temperature).argmin()),
        scale=layout.whole_scale(frames.shape[-1], 56),
        on_release=lambda: choose_temperature(film_strip_index("generate_strip")),
    )


def choose_temperature(index):
    """Draw at the strip's temperature from the next run on."""
    st.session_state["generate_temperature"] = round(float(samples.TEMPERATURES[index]), 2)


def sample_details(checkpoint, z, picture):
    """One sample: its z, its neighbours, and where it can be sent."""
    with st.container(horizontal=True, gap="medium"):
        with st.container(width="content"):
            layout.picture(picture, target=140)
        with st.container(width="stretch"):
            st.metric(
                "‖z‖",
                f"{np.linalg.norm(z):.2f}",
                help=f"Distance from the origin. {radius_words(len(z))} "
                f"{percent(prior_inside(z))} of them lie closer in than this one.",
            )
            st.metric("log p(z)", layout.nats(log_prior(z)), help="Under N(0, I), whatever the temperature.")
    st.code(spec_of(z), language=None)
    samples.memorised(checkpoint, picture)
    samples.neighbours_in_z(checkpoint, z)
    with st.container(horizontal=True):
        for name in ("a", "b"):
            label, about = f"Use as {name.upper()}", "One end of an interpolation."
            if st.button(label, icon=":material/linear_scale:", help=about, key=f"generate_{name}"):
                state.send("pages/explore/interpolate.py", **{name: spec_of(z)})
        if st.button("On the map", icon=":material/scatter_plot:", key="generate_on_map"):
            state.send("pages/explore/latent_space.py", map_point=spec_of(z))


def sample_field(n):
    """Which of the n samples is looked at, counted from one; the last, where more are asked for.

    The field has no lower limit than MOST: Streamlit (1.67) shows one value and gives another where it falls quickly.
    """

    def read(text):
        return min(int(text), n) if text in map(str, range(1, MOST + 1)) else None

    def draw():
        if st.session_state["generate_sample"] > n:
            st.session_state["generate_sample"] = n
        return st.number_input("Sample", 1, MOST, key="generate_sample", width=160, help="In reading order.")

    return carried.setting("generate_sample", read, 1, draw)


def downloads(entry, pictures, z):
    """The grid as a picture, and its codes as a table."""
    header = ["sample", *(f"z{dimension + 1}" for dimension in range(z.shape[1]))]
    with st.container(horizontal=True):
        layout.download(
            "PNG of the grid",
            lambda: interpolation.grid_png(pictures, math.ceil(len(pictures) ** 0.5)),
            f"{entry.id}-samples.png",
        )
        layout.download(
            "CSV of z",
            lambda: export.csv_bytes(header, ([number, *row.tolist()] for number, row in enumerate(z, start=1))),
            f"{entry.id}-samples.csv",
        )


@st.fragment
@say_errors
def drawn(entry, checkpoint):
    """The samples and what is known of the chosen one; a change in them leaves the frame alone."""
    n, seed, temperature = settings()
    noise = latent.sample_prior(n, checkpoint.model.config.latent_dim, seed)
    z = np.float32(temperature) * noise
    pictures = decoded(entry, checkpoint, z)
    grid, details = st.columns([3, 2], gap="medium")
    with details:
        chosen = sample_field(n) - 1
    with grid:
        temperature_strip(entry, checkpoint, noise, temperature)
        picture_grid(
            pictures,
            key="generate_grid",
            label="Samples",
            selected=chosen,
            scale=layout.whole_scale(pictures.shape[-1], 56),
            on_pick=lambda: st.session_state.update(generate_sample=picture_grid_index("generate_grid") + 1),
        )
        downloads(entry, pictures, z)
    with details:
        sample_details(checkpoint, z[chosen], pictures[chosen])


layout.head(
    "Generate",
    "Draw z from the prior N(0, I) and decode it: pictures that nobody took. "
    "Click one to see what lies near it, and whether the model has merely remembered it.",
)
drawn(*state.selected())
