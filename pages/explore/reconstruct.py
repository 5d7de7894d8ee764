"""Reconstruct: give the model a picture, and see what comes back, what it costs, and how strange it is."""

import streamlit as st

from ui import layout, picture_source, reconstruction, state
from vae_core import imaging, pixels
from vae_core.evaluate import rank
from vae_core.posterior import posterior
from vae_core.rate_distortion import pixel_bits
from vae_core.words import percent

ERRORS = ("Absolute error", "Cost in nats")
SIDE = 136  # screen pixels for a picture: three and the colour bar stand in a row on a screen of 1280
DRAWS, COLUMNS, GRID = 16, 4, 345  # the last in screen pixels: fits a phone

layout.head(
    "Reconstruct",
    "Give the model a picture: the encoder squeezes it into a few numbers, and the decoder draws it again from them. "
    "What comes back, what is lost and what it costs, in nats, tell how well the model knows such pictures.",
)
entry, checkpoint = state.selected()
model, snapshot = checkpoint.model, checkpoint.snapshot
population = state.snapshot_elbo(snapshot)

source = picture_source.source()
found = picture_source.upload() if source == picture_source.UPLOADED else []
picked = found[0] if found else None
if len(found) > 1:
    picked = picture_source.choose(found, entry, checkpoint, population)

before, after = st.columns([1, 2.15], gap="medium")
with before:
    if source == picture_source.TEST_IMAGE:
        given = picture_source.test_image(checkpoint, population)
    elif source == picture_source.DRAWN:
        given = picture_source.drawing(entry, checkpoint)
    else:
        given = picked and picture_source.own_picture(picked, found, entry, checkpoint)
if given is None:
    after.info(
        "Draw something on the square: the model answers as soon as you let go."
        if source == picture_source.DRAWN
        else "Drop pictures above: a photo of a digit on paper will do, a screenshot, or a zip of many.",
        icon=":material/gesture:" if source == picture_source.DRAWN else ":material/add_photo_alternate:",
    )
    st.stop()

name, image, spec = given
seen = posterior(model, image, reconstruction.SAMPLES)
height, width = image.shape[-2:]
scale = layout.whole_scale(max(height, width), SIDE)

with after:
    st.subheader(layout.plain(name), anchor=False)
    with st.container(horizontal=True):
        with st.container(width=width * scale):
            layout.picture(image, "x, as given", target=height * scale)
        with st.container(width=width * scale):
            layout.picture(seen.mean_picture, "x̂, the reconstruction", target=height * scale)
        errors = st.container(width=width * scale + reconstruction.BAR)
    kind = st.segmented_control(
        "Error map", ERRORS, default=ERRORS[0], required=True, key="reconstruct_error", **state.KEPT
    )
    if kind == ERRORS[0]:
        values, title, top = pixels.absolute_error(image, seen.mean_picture), "|x − x̂|, white = 1", 1.0
        about = f"|x − x̂| of each pixel; {values.mean():.3f} on average."
    else:
        values, title, top = pixels.pixel_cost(model, image, seen.z), "−log p(x|z), nats", None
        about = f"−log p(x|z) of each pixel, averaged over z ~ q(z|x): {layout.nats(values.sum())} together."
    errors.plotly_chart(
        reconstruction.pixel_map(values, scale, title, top),
        width="content",
        config={"displayModeBar": False},
        key="reconstruct_map",
        alt=f"Error map. {about}",
    )
    st.caption(about)

bits = pixel_bits(-seen.elbo, model.config)
with st.container(horizontal=True, gap="large"):
    st.metric(
        "ELBO",
        f"{layout.number(seen.elbo, 1)} ± {layout.nats(seen.standard_error)}",
        help=f"−(reconstruction + KL) at β = 1, with the standard error of its {len(seen.z)} draws of z. "
        f"In bits per dimension{layout.of_pixels(model.config.likelihood)}: {layout.number(bits, 3)}.",
        width="content",
    )
    st.metric(
        "Reconstruction",
        layout.nats(seen.reconstruction.mean()),
        help="−log p(x|z), averaged over z ~ q(z|x).",
        width="content",
    )
    st.metric(
        "KL",
        layout.nats(seen.kl.sum(), 2),
        help="KL(q(z|x) ‖ p(z)): what it costs to say z beyond the prior.",
        width="content",
    )
    st.metric(
        "Stranger than",
        percent(rank(seen.elbo, population)),
        help="The share of test images that have a higher ELBO than this picture.",
        width="content",
    )
reconstruction.say_if_a_loss(checkpoint, image)

rank_column, kl_column, *landing_column = st.columns(3 if model.config.latent_dim <= 2 else 2, gap="medium")
with rank_column:
    st.subheader("Among the test images", anchor=False)
    st.markdown(reconstruction.rank_sentence(seen.elbo, population))
    histogram = reconstruction.elbo_histogram(population, seen.elbo)
    layout.chart(histogram, "Histogram of the test images’ ELBOs, with this picture’s marked", key="reconstruct_rank")
with kl_column:
    st.subheader("What the code costs", anchor=False)
    st.markdown(f"KL(q(z|x) ‖ p(z)) by latent dimension, {layout.nats(seen.kl.sum(), 2)} together.")
    layout.chart(reconstruction.kl_bars(seen.kl), "KL by latent dimension", key="reconstruct_kl")
for column in landing_column:
    with column:
        st.subheader("Where it lands", anchor=False)
        st.markdown("q(z|x), to 1 and 2 σ, over the means of test images.")
        layout.chart(
            reconstruction.landing(seen, snapshot, checkpoint.record["class_names"]),
            "q(z|x) over the means of test images",
            key="reconstruct_landing",
        )

seed = state.seed("reconstruct_seed")
drawn = posterior(model, image, DRAWS, seed=seed)
means = reconstruction.contact_sheet(drawn.decoded, COLUMNS, GRID)
draws = reconstruction.contact_sheet(pixels.draw(model, drawn.z, seed), COLUMNS, GRID)

st.subheader("Drawn again from the code", anchor=False)
row = st.container(horizontal=True, gap="medium")
for grid, caption in (
    (means, "mean pictures of p(x|z), one for each z"),
    (draws, "pictures x ~ p(x|z), for the same z"),
):
    with row.container(width=grid.width):
        layout.drawing(grid, caption)
with row.container():
    st.markdown(
        f"{DRAWS} codes z are drawn from q(z|x). For each, the decoder says what to expect of every pixel: the mean "
        "pictures. A picture of the model’s own is a draw from these expectations, pixel by pixel, and shows its noise."
    )
    with st.container(horizontal=True):
        st.button(
            "Draw again",
            icon=":material/casino:",
            on_click=state.next_seed,
            args=("reconstruct_seed",),
        )
        if st.button("Interpolate from here", icon=":material/linear_scale:"):
            state.send("pages/explore/interpolate.py", a=spec or state.keep_picture(image, name))
        if st.button("Find it on the latent map", icon=":material/scatter_plot:"):
            state.send("pages/explore/latent_space.py", map_point=spec or state.keep_picture(image, name))
        with st.popover("Download", icon=":material/download:"):
            reconstructed = imaging.grid(seen.mean_picture[None], 1, scale)
            for title, picture in (("Reconstruction", reconstructed), ("Mean pictures", means), ("Draws", draws)):
                layout.download(
                    f"{title} (PNG)",
                    lambda picture=picture: imaging.png_bytes(picture),
                    f"{entry.id}-{title.lower().replace(' ', '-')}.png",
                    icon=None,
                    key=f"reconstruct_png_{title}",
                    width="stretch",
                )
