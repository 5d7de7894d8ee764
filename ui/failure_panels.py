"""The parts of the page of posterior collapse and holes: models side by side, all of them asked about the same z."""

from collections.abc import Iterator, Sequence

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui import failure_view, layout, reconstruction, state
from ui import latent_view as view
from ui.components.latent_map import latent_map, read_selection, send_atlas
from ui.components.picture_grid import picture_grid, picture_grid_index
from ui.decoded import decoded
from ui.endpoints import spec_of
from ui.failure_view import PER_ROW, Shown
from ui.guards import say_errors
from vae_core import export, failures, latent
from vae_core.errors import UserError
from vae_core.evaluate import ACTIVE_VARIANCE
from vae_core.holes import HOLE_NATS

__all__ = ["side_by_side"]

_SAMPLES = 3 * PER_ROW
_ICONS = {
    "holes": ("orange", "blur_on"),
    "narrow": ("orange", "grain"),
    "open": ("grey", "question_mark"),
    "collapse": ("red", "compress"),
    "partial": ("orange", "compress"),
    "spare": ("blue", "compress"),
}
_BY_HOLES = ("holes", "open", "narrow", "spare", "neither")  # verdicts that holes decide between
_SIDE = 56  # screen pixels for a picture
_ABOUT_HOLES = """
The aggregate posterior q(z) is the average of the posteriors q(z|x) of all images that the decoder was trained on: a
mixture of as many Gaussians, whose density is known exactly. Where log q(z) lies more than 3 nats below log p(z), codes
come less than a twentieth as often as samples from the prior: a hole. The share is that of the prior's probability.
With more than two latent dimensions, q and p are those of the two with the largest KL: other holes stay unseen. The
last row is the share of the test images' codes that lie in holes.

Where the training images are not at hand, q(z) is that of the test images. So few leave gaps of their own, so the last
row is then each code's chance to lie in a gap that the others leave: only if far fewer codes than samples do are these
holes of the model.
"""


@st.fragment
@say_errors
def side_by_side(shown: list[Shown]) -> None:
    """Everything about the models; a click draws only this anew."""
    _leave_other_dimensions(shown)
    _take_clicks(shown)
    pictures, glass, rest = st.container(), st.container(), st.container()
    with glass:  # first, so that a link's z is known to the maps
        _choose_z(len(shown))
        z = latent.sample_prior(_SAMPLES, len(shown[0].symptoms.kl), state.seed("collapse_seed"))
        here = _looked_at(shown, z)
    with pictures:
        _diagnoses(shown)
        beside = st.columns(2, gap="medium") if len(shown) == 1 else (st.container(), st.container())
        with beside[0]:
            _maps(shown, z, here)
        with beside[1]:
            index, tests = _grids(shown, z)
    with glass:
        _under_the_glass(shown, here)
    with rest:
        _comparison(shown, index, tests, z)


def _choose_z(models: int) -> None:
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


def _leave_other_dimensions(shown: list[Shown]) -> None:
    """Forget a z of models with other dimensions that were looked at before."""
    d = len(shown[0].symptoms.kl)
    if st.session_state.setdefault("collapse_d", d) != d:
        st.session_state["collapse_z"] = ""
    st.session_state["collapse_d"] = d


def _take_clicks(shown: list[Shown]) -> None:
    """Look at the place that was clicked on a map since the last run."""
    for i, model in enumerate(shown):
        report = (st.session_state.get(_map_key(i)) or {}).get("selection")
        chosen = read_selection(report, id=model.version, view=model.version, count=len(model.codes))
        if chosen is None or st.session_state.get(f"{_map_key(i)}_seen") == chosen:
            continue
        st.session_state[f"{_map_key(i)}_seen"] = chosen
        if chosen.kind == "point":
            _look_at(model.codes.mu[chosen.indices[0]])
        elif chosen.kind == "place":
            _look_at(failure_view.map_z(model, chosen.x, chosen.y))


def _look_at(z: np.ndarray) -> None:
    """Show what every model makes of z."""
    st.session_state["collapse_z"] = spec_of(z)


def _looked_at(shown: list[Shown], z: np.ndarray) -> np.ndarray:
    """The z (d,) that is looked at: at first the sample that lies deepest in a hole of the first model."""
    if spec := st.session_state.get("collapse_z"):
        try:
            return state.resolve(spec, shown[0].checkpoint).z
        except UserError as error:
            st.warning(str(error), icon=":material/warning:")
    return z[failure_view.depths(shown[0], z).argmax()]


def _columns(shown: list[Shown], align: str = "top") -> Iterator[tuple[DeltaGenerator, Shown]]:
    """A column for each model. At the "bottom", what is of one height stands side by side under captions of different
    lengths."""
    return zip(st.columns(len(shown), gap="medium", vertical_alignment=align), shown, strict=True)


def _diagnoses(shown: list[Shown]) -> None:
    """Each model's β, what it suffers from, and why."""
    for column, model in _columns(shown):
        with column:
            kind = failures.verdict(model.symptoms, model.at_one)
            colour, icon = _ICONS.get(kind, ("green", "check"))
            said = failures.VERDICTS[kind]
            if model.awaits_seen and kind in _BY_HOLES:
                said, colour, icon = "Holes not yet known", "grey", "hourglass_top"
            with st.container(horizontal=True, vertical_alignment="center"):
                st.subheader(model.title, anchor=False, width="content")
                st.badge(said, color=colour, icon=f":material/{icon}:")
            st.markdown(failures.diagnosis(model.symptoms, model.at_one))
    st.caption(
        "A dimension is silent where its posterior mean hardly varies from image to image, with a variance of at most "
        f"{ACTIVE_VARIANCE:g}; else it is active."
    )


def _maps(shown: list[Shown], z: np.ndarray, here: np.ndarray) -> None:
    """The latent maps, with the samples that fall into holes and the z that is looked at."""
    first = shown[0]
    atlas = view.atlas(f"{first.entry.id} {first.version} failures", first.checkpoint, len(first.codes))
    send_atlas(atlas, key="collapse_atlas")
    extent = failure_view.common_extent(shown, here) if len(shown) > 1 and _same_scale() else None
    for i, (column, model) in enumerate(_columns(shown, "bottom")):
        in_holes = np.flatnonzero(failure_view.depths(model, z) > HOLE_NATS)
        marks = [*((str(k + 1), z[k]) for k in in_holes), ("z", here)]
        send_atlas(failure_view.plane_pictures(model), key=f"collapse_plane_{i}")
        with column:
            count = f"{len(model.codes):,} test images"
            st.caption(f"**{model.title}:** codes of {count}; {_hatched(model)}")
            props = failure_view.map_props(model, atlas, marks, extent)
            latent_map(model.projection.positions, props, key=_map_key(i))


def _map_key(i: int) -> str:
    """The browser's name for the map in column i."""
    return f"collapse_map_{i}"


def _same_scale() -> bool:
    """Whether the maps are to be of one scale."""
    return st.toggle(
        "Same scale",
        value=True,
        key="collapse_same_scale",
        help="Every map shows the same part of its plane: the prior to 3 σ and, along each axis, 99 % of the codes of "
        "each model. Without, each shows all its codes.",
        **state.KEPT,
    )


def _hatched(model: Shown) -> str:
    """What is hatched on its map."""
    if model.symptoms.seen:
        return f"hatched: holes between those of all {model.symptoms.seen:,} training images; numbered: samples in them"
    return "hatched: where they leave gaps; numbered: samples in these"


def _grids(shown: list[Shown], z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Test images over their reconstructions, and samples from the prior; a click looks at one."""
    index, tests, real = failure_view.test_pictures(shown)
    for i, (column, model) in enumerate(_columns(shown, "bottom")):
        codes = model.codes.mu[index]
        with column:
            st.caption(f"**{model.title}:** test images{'' if real else ' (decoded)'} over their reconstructions")
            pictures = np.concatenate([tests, _drawn(model, codes)])
            _grid(f"collapse_tests_{i}", pictures, [*codes, *codes], (), "Test images", columns=len(index))
    for i, (column, model) in enumerate(_columns(shown, "bottom")):
        marked = np.flatnonzero(failure_view.depths(model, z) > HOLE_NATS).tolist()
        holes = "holes" if model.symptoms.seen else "gaps"
        with column:
            st.caption(f"**{model.title}:** samples, {len(marked)} of {len(z)} in {holes} (dashed)")
            _grid(f"collapse_samples_{i}", _drawn(model, z), z, marked, "Samples from the prior")
    return index, tests


def _drawn(model: Shown, z: np.ndarray) -> np.ndarray:
    """What a model makes of z (n, d)."""
    return decoded(model.entry, model.checkpoint, z)


def _grid(
    key: str, pictures: np.ndarray, z: Sequence[np.ndarray], marked: Sequence[int], label: str, columns: int = PER_ROW
) -> None:
    """Pictures of which a click looks at the z of one."""
    picture_grid(
        pictures,
        key=key,
        label=label,
        scale=layout.whole_scale(pictures.shape[-1], _SIDE),
        columns=columns,
        marked=marked,
        on_pick=lambda: _look_at(z[picture_grid_index(key)]),
    )


def _under_the_glass(shown: list[Shown], here: np.ndarray) -> None:
    """One z, and what each model makes of it."""
    for column, model in _columns(shown):
        with column, st.container(horizontal=True, vertical_alignment="center"):
            with st.container(width="content"):
                layout.picture(_drawn(model, here[None])[0], target=112)
            with st.container(width="stretch"):
                st.caption(f"**{model.title}**")
                st.markdown(failure_view.where(model, here))


def _comparison(shown: list[Shown], index: np.ndarray, tests: np.ndarray, z: np.ndarray) -> None:
    """KL of each dimension, all numbers, and files."""
    for i, (column, model) in enumerate(_columns(shown)):
        with column:
            st.caption(f"**{model.title}:** KL of each latent dimension, averaged over the test images")
            alt = f"{model.title}: KL by latent dimension"
            layout.chart(failure_view.kl_figure(model, shown), alt, key=f"collapse_kl_{i}")
    st.markdown(failures.comparison([model.symptoms for model in shown]))
    table = failure_view.numbers(shown)
    st.table(table)
    reconstruction.say_if_a_loss(shown[0].checkpoint, tests)
    with st.expander("How holes are counted", icon=":material/straighten:", type="compact"):
        st.markdown(_ABOUT_HOLES)
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
