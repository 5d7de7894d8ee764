"""Posterior collapse and holes: the two failures of a VAE, made on purpose, beside a model that has neither."""

import numpy as np
import streamlit as st

from ui import failure_runs, failure_view, layout, reconstruction, state
from ui import latent_view as view
from ui.components.latent_map import latent_map, read_selection, send_atlas
from ui.components.picture_grid import picture_grid, picture_grid_index
from ui.decoded import decoded
from ui.endpoints import spec_of
from ui.guards import say_errors
from vae_core import data, export, failures, latent
from vae_core.errors import UserError
from vae_core.evaluate import ACTIVE_VARIANCE
from vae_core.holes import HOLE_NATS

SAMPLES = 3 * failure_view.PER_ROW
RANGE, ALIKE, DIGITS = "One model at three β", "Three like this one", "Three on digits"
ICONS = {
    "holes": ("orange", "blur_on"),
    "narrow": ("orange", "grain"),
    "open": ("grey", "question_mark"),
    "collapse": ("red", "compress"),
    "partial": ("orange", "compress"),
    "spare": ("blue", "compress"),
}
SIDE = 56  # screen pixels for a picture


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


def map_key(i):
    """The browser's name for the map in column i."""
    return f"collapse_map_{i}"


def take_clicks(shown):
    """Look at the place that was clicked on a map since the last run."""
    for i, model in enumerate(shown):
        report = (st.session_state.get(map_key(i)) or {}).get("selection")
        chosen = read_selection(report, id=model.version, view=model.version, count=len(model.codes))
        if chosen is None or st.session_state.get(f"{map_key(i)}_seen") == chosen:
            continue
        st.session_state[f"{map_key(i)}_seen"] = chosen
        if chosen.kind == "point":
            look_at(model.codes.mu[chosen.indices[0]])
        elif chosen.kind == "place":
            look_at(failure_view.map_z(model, chosen.x, chosen.y))


def look_at(z):
    """Show what every model makes of z."""
    st.session_state["collapse_z"] = spec_of(z)


def leave_other_dimensions(shown):
    """Forget a z of models with other dimensions that were looked at before."""
    d = len(shown[0].symptoms.kl)
    if st.session_state.setdefault("collapse_d", d) != d:
        st.session_state["collapse_z"] = ""
    st.session_state["collapse_d"] = d


def looked_at(shown, z):
    """The z (d,) that is looked at: at first the sample that lies deepest in a hole of the first model."""
    if spec := st.session_state.get("collapse_z"):
        try:
            return state.resolve(spec, shown[0].checkpoint).z
        except UserError as error:
            st.warning(str(error), icon=":material/warning:")
    return z[failure_view.depths(shown[0], z).argmax()]


def diagnoses(shown):
    """Each model's β, what it suffers from, and why."""
    for column, model in columns(shown):
        with column:
            kind = failures.verdict(model.symptoms, model.at_one)
            colour, icon = ICONS.get(kind, ("green", "check"))
            with st.container(horizontal=True, vertical_alignment="center"):
                st.subheader(model.title, anchor=False, width="content")
                st.badge(failures.VERDICTS[kind], color=colour, icon=f":material/{icon}:")
            st.markdown(failures.diagnosis(model.symptoms, model.at_one))
    st.caption(
        "A dimension is silent where its posterior mean hardly varies from image to image, with a variance of at most "
        f"{ACTIVE_VARIANCE:g}; else it is active."
    )


def columns(shown, align="top"):
    """A column for each model. At the "bottom", what is of one height stands side by side under captions of different
    lengths."""
    return zip(st.columns(len(shown), gap="medium", vertical_alignment=align), shown, strict=True)


def maps(shown, z, here):
    """The latent maps, with the samples that fall into holes and the z that is looked at."""
    first = shown[0]
    atlas = view.atlas(f"{first.entry.id} {first.version} failures", first.checkpoint, len(first.codes))
    send_atlas(atlas, key="collapse_atlas")
    extent = failure_view.common_extent(shown, here) if len(shown) > 1 and same_scale() else None
    for i, (column, model) in enumerate(columns(shown, "bottom")):
        in_holes = np.flatnonzero(failure_view.depths(model, z) > HOLE_NATS)
        marks = [*((str(k + 1), z[k]) for k in in_holes), ("z", here)]
        send_atlas(failure_view.plane_pictures(model), key=f"collapse_plane_{i}")
        with column:
            count = f"{len(model.codes):,} test images"
            st.caption(f"**{model.title}:** codes of {count}; {hatched(model)}")
            props = failure_view.map_props(model, atlas, marks, extent)
            latent_map(model.projection.positions, props, key=map_key(i))


def same_scale():
    """Whether the maps are to be of one scale."""
    return st.toggle(
        "Same scale",
        value=True,
        key="collapse_same_scale",
        help="Every map shows the same part of its plane: the prior to 3 σ and, along each axis, 99 % of the codes of "
        "each model. Without, each shows all its codes.",
        **state.KEPT,
    )


def hatched(model):
    """What is hatched on its map."""
    if model.symptoms.seen:
        return f"hatched: holes between those of all {model.symptoms.seen:,} training images; numbered: samples in them"
    return "hatched: where they leave gaps; numbered: samples in these"


def grids(shown, z):
    """Test images over their reconstructions, and samples from the prior; a click looks at one."""
    index, tests, real = failure_view.test_pictures(shown)
    for i, (column, model) in enumerate(columns(shown, "bottom")):
        codes = model.codes.mu[index]
        with column:
            st.caption(f"**{model.title}:** test images{'' if real else ' (decoded)'} over their reconstructions")
            pictures = np.concatenate([tests, drawn(model, codes)])
            grid(f"collapse_tests_{i}", pictures, [*codes, *codes], (), "Test images", columns=len(index))
    for i, (column, model) in enumerate(columns(shown, "bottom")):
        marked = np.flatnonzero(failure_view.depths(model, z) > HOLE_NATS).tolist()
        holes = "holes" if model.symptoms.seen else "gaps"
        with column:
            st.caption(f"**{model.title}:** samples, {len(marked)} of {len(z)} in {holes} (dashed)")
            grid(f"collapse_samples_{i}", drawn(model, z), z, marked, "Samples from the prior")
    return index, tests


def drawn(model, z):
    """What a model makes of z (n, d)."""
    return decoded(model.entry, model.checkpoint, z)


def grid(key, pictures, z, marked, label, columns=failure_view.PER_ROW):
    """Pictures of which a click looks at the z of one."""
    picture_grid(
        pictures,
        key=key,
        label=label,
        scale=layout.whole_scale(pictures.shape[-1], SIDE),
        columns=columns,
        marked=marked,
        on_pick=lambda: look_at(z[picture_grid_index(key)]),
    )


def under_the_glass(shown, here):
    """One z, and what each model makes of it."""
    for column, model in columns(shown):
        with column, st.container(horizontal=True, vertical_alignment="center"):
            with st.container(width="content"):
                layout.picture(drawn(model, here[None])[0], target=112)
            with st.container(width="stretch"):
                st.caption(f"**{model.title}**")
                st.markdown(failure_view.where(model, here))


def comparison(shown, index, tests, z):
    """KL of each dimension, all numbers, and files."""
    for i, (column, model) in enumerate(columns(shown)):
        with column:
            st.caption(f"**{model.title}:** KL of each latent dimension, averaged over the test images")
            alt = f"{model.title}: KL by latent dimension"
            layout.chart(failure_view.kl_figure(model, shown), alt, key=f"collapse_kl_{i}")
    st.markdown(failures.comparison([model.symptoms for model in shown]))
    table = failure_view.numbers(shown)
    st.table(table)
    reconstruction.say_if_a_loss(shown[0].checkpoint, tests)
    with st.expander("How holes are counted", icon=":material/straighten:", type="compact"):
        st.markdown(ABOUT_HOLES)
    rows = [[name, *values] for name, values in zip(table.index, table.to_numpy().tolist(), strict=True)]
    with st.container(horizontal=True):
        layout.download(
            "CSV of the numbers",
            lambda: export.csv_bytes(["measure", *table.columns], rows),
            f"{shown[0].entry.id}-failures.csv",
        )
        layout.download(
            "PNG of the pictures",
            lambda: failure_view.pictures_png(shown, tests, index, z),
            f"{shown[0].entry.id}-failures.png",
        )


ABOUT_HOLES = """
The aggregate posterior q(z) is the average of the posteriors q(z|x) of all images that the decoder was trained on: a
mixture of as many Gaussians, whose density is known exactly. Where log q(z) lies more than 3 nats below log p(z), codes
come less than a twentieth as often as samples from the prior: a hole. The share is that of the prior's probability.
With more than two latent dimensions, q and p are those of the two with the largest KL: other holes stay unseen. The
last row is the share of the test images' codes that lie in holes.

Where the training images are not at hand, q(z) is that of the test images. So few leave gaps of their own, so the last
row is then each code's chance to lie in a gap that the others leave: only if far fewer codes than samples do are these
holes of the model.
"""


def choose_z(models):
    """Ask for the z that is looked at, and for other samples."""
    title = "**The same z in each.**" if models > 1 else "**A place to look at.**"
    st.markdown(f"{title} Click a sample, a test image, or any place on a map, or write it here.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("z", key="collapse_z", **state.KEPT, placeholder="z: and a number for each dimension", width=320)
        st.button(
            "Other samples",
            icon=":material/casino:",
            on_click=state.next_seed,
            args=("collapse_seed",),
        )


@st.fragment
@say_errors
def side_by_side(shown):
    """Everything about the models; a click draws only this anew."""
    leave_other_dimensions(shown)
    take_clicks(shown)
    pictures, glass, rest = st.container(), st.container(), st.container()
    with glass:  # first, so that a link's z is known to the maps
        choose_z(len(shown))
        z = latent.sample_prior(SAMPLES, len(shown[0].symptoms.kl), state.seed("collapse_seed"))
        here = looked_at(shown, z)
    with pictures:
        diagnoses(shown)
        beside = st.columns(2, gap="medium") if len(shown) == 1 else (st.container(), st.container())
        with beside[0]:
            maps(shown, z, here)
        with beside[1]:
            index, tests = grids(shown, z)
    with glass:
        under_the_glass(shown, here)
    with rest:
        comparison(shown, index, tests, z)


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
    side_by_side(failure_view.examined(shown))
