"""Where the picture comes from that pages are about: the test set, a visitor's files, or a drawing."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from ui import carried, layout, own_pictures, reconstruction, state
from ui.components.draw_pad import draw_pad
from ui.components.picture_grid import picture_grid
from ui.own_pictures import OwnPicture, Preparation
from ui.state import Entry
from vae_core.checkpoint import Checkpoint

__all__ = [
    "DRAWN",
    "TEST_IMAGE",
    "UPLOADED",
    "Given",
    "choose",
    "chosen",
    "drawing",
    "own_picture",
    "source",
    "test_image",
    "upload",
]

TEST_IMAGE, UPLOADED, DRAWN = SOURCES = "Test image", "Upload", "Draw"

_SENTENCES = 12  # about files that cannot be shown
_KEPT, _KNOWN, _CHOSEN = "kept_uploads", "known_uploads", "chosen_upload"
_BEFORE = 224  # screen pixels for a picture as it came


class Given(NamedTuple):
    """What the model is given: a name, the uint8 picture (C, H, W), and its spec for `state.resolve`, if it has one."""

    name: str
    image: np.ndarray
    spec: str | None = None


def source() -> str:
    """Ask which of SOURCES the picture comes from, the same on all pages."""
    return carried.setting(
        "picture_source",
        lambda text: text if text in SOURCES else None,
        TEST_IMAGE,
        lambda: st.segmented_control(
            "Where the picture comes from",
            SOURCES,
            required=True,
            key="picture_source",
            label_visibility="collapsed",
        ),
    )


def test_image(checkpoint: Checkpoint, population: np.ndarray) -> Given:
    """Ask for one of the held-out images; population (N,) are their ELBOs."""
    last = len(population) - 1
    index = carried.setting(
        "test_image",
        lambda text: int(text) if text.isdecimal() and int(text) <= last else None,
        0,
        lambda: st.number_input("Test image", 0, last, key="test_image"),
    )
    with st.container(horizontal=True, gap="xsmall"):
        anywhere = int(np.random.default_rng().integers(last + 1))
        _go_to("Random", anywhere, "Any test image.")
        _go_to("Strangest", int(population.argmin()), "The test image with the lowest ELBO.")
        median = int(population.argsort()[last // 2])
        _go_to("Typical", median, "The test image with the median ELBO: half of the others are stranger.")
    images, real = state.pictures(checkpoint, np.array([index]))
    if not real:
        st.caption(
            "The data set is not at hand, so this picture is decoded from the stored posterior mean of the test image: "
            "smoother, and less strange, than the real one."
        )
    name = state.picture_name(checkpoint, index)
    return Given(name[0].upper() + name[1:], images[0], f"test:{index}")


def _go_to(label: str, index: int, about: str) -> None:
    st.button(label, help=about, on_click=st.session_state.__setitem__, args=("test_image", index))


def drawing(entry: Entry, checkpoint: Checkpoint) -> Given | None:
    """Let the visitor draw; None while nothing is drawn."""
    data = draw_pad(key="reconstruct_pad", label="Draw with the mouse or a finger")
    if data is None:
        return None
    picture = own_pictures.read_drawing(data)
    return Given(picture.name, _prepared_by_hand(picture, [picture], entry, checkpoint))


def upload() -> list[OwnPicture]:
    """Ask for files, and say of each that cannot be shown why. What was uploaded stays for all pages of the visit,
    whose uploaders are their own, until other files are chosen or these are taken away."""
    files = st.file_uploader(
        "Your pictures",
        accept_multiple_files=True,
        key="reconstruct_files",
        on_change=st.session_state.pop,
        args=(_KEPT, None),
        help="One or many, in any common format, or a zip of them. They are kept in memory, for this visit alone. "
        + own_pictures.sizes(),
    )
    found, problems = own_pictures.read_files(files, key="reconstruct_read")
    if problems:
        st.warning(
            "\n\n".join(map(layout.plain, own_pictures.first(problems, _SENTENCES))),
            icon=":material/broken_image:",
        )
    if files:
        known = st.session_state.get(_KNOWN, set())
        added = [one.id for one in found if one.id not in known]
        if known and added:
            st.session_state[_CHOSEN] = added[0]
        st.session_state[_KEPT], st.session_state[_KNOWN] = found, {one.id for one in found}
    elif st.session_state.get(_KEPT):
        st.caption("As it was on the page before. What you choose now takes its place.")
    return st.session_state.get(_KEPT, [])


def chosen(found: list[OwnPicture]) -> OwnPicture | None:
    """The picture among `found` that was chosen, or added to the others, last; at first, the first one."""
    wanted = st.session_state.get(_CHOSEN)
    return next((one for one in found if one.id == wanted), found[0] if found else None)


def own_picture(picture: OwnPicture, found: list[OwnPicture], entry: Entry, checkpoint: Checkpoint) -> Given:
    """Show one of the pictures `found` as it came, with the switches that prepare it."""
    if max(picture.image.size) <= _BEFORE // 2:
        as_array = np.asarray(picture.image).reshape(*picture.image.size[::-1], -1).transpose(2, 0, 1)
        layout.picture(as_array, "as it came", target=_BEFORE)
    else:
        width, height = picture.image.size
        shown = max(round(_BEFORE * width / max(width, height)), math.ceil(width / height))  # at least 1 high
        st.image(picture.image, "as it came", width=shown)
    return Given(picture.name, _prepared_by_hand(picture, found, entry, checkpoint))


def choose(found: list[OwnPicture], entry: Entry, checkpoint: Checkpoint, population: np.ndarray) -> OwnPicture:
    """Show many pictures over their reconstructions, with a table, and let one be chosen."""
    images = [own_pictures.prepare(one, checkpoint, _preparation(one, entry, checkpoint)) for one in found]
    scores = reconstruction.scores(images, checkpoint)
    table = reconstruction.score_table([one.name for one in found], scores, population)
    by_elbo = st.toggle("Strangest first", key="reconstruct_sorted", **state.KEPT)
    order = np.argsort(table["elbo"], kind="stable") if by_elbo else np.arange(len(found))
    wanted = st.session_state.get(_CHOSEN)
    at = next((place for place, i in enumerate(order) if found[i].id == wanted), 0)
    place = picture_grid(
        reconstruction.stacked(images, scores)[order],
        key="reconstruct_grid",
        label="Your pictures, each over its reconstruction",
        captions=[layout.number(scores[i].elbo, 0) for i in order],
        selected=at,
        scale=layout.whole_scale(images[0].shape[-1], 64),
    )
    st.caption("Each picture over its reconstruction, with its ELBO in nats. Select one to look into it.")
    _table(table.iloc[order], entry)
    picked = found[order[at if place is None else place]]
    st.session_state[_CHOSEN] = picked.id
    return picked


def _table(table: pd.DataFrame, entry: Entry) -> None:
    with st.expander("Table of all pictures", icon=":material/table:"):
        _rows(table)
        layout.download(
            "Table as CSV", lambda: table.to_csv(index=False), f"{entry.id}-pictures.csv", key="reconstruct_csv"
        )


@st.cache_data(max_entries=64, show_spinner=False)  # made once for each content, then sent again
def _rows(table: pd.DataFrame) -> None:
    nats = st.column_config.NumberColumn
    digits = {"elbo": 1, "standard_error": 2, "reconstruction": 1, "kl": 2}
    st.dataframe(
        table.style.format({name: lambda value, n=n: layout.number(value, n) for name, n in digits.items()}),
        hide_index=True,
        column_config={
            "name": "Picture",
            "elbo": nats("ELBO (nats)"),
            "standard_error": nats("Standard error (nats)"),
            "reconstruction": nats("Reconstruction (nats)"),
            "kl": nats("KL (nats)"),
            "stranger_than": st.column_config.ProgressColumn("Stranger than", format="percent"),
        },
    )


def _preparation(picture: OwnPicture, entry: Entry, checkpoint: Checkpoint) -> Preparation:
    """How a picture is prepared: as the visitor said, else as the data set suggests."""
    said = st.session_state.get("reconstruct_said", {})
    return said.get((entry.id, picture.id)) or own_pictures.suggest(picture, checkpoint)


def _prepared_by_hand(picture: OwnPicture, found: list[OwnPicture], entry: Entry, checkpoint: Checkpoint) -> np.ndarray:
    now = _preparation(picture, entry, checkpoint)
    keys = [f"reconstruct_{field}_{entry.id}_{picture.id}" for field in now._fields]

    def say(affected: list[OwnPicture]) -> None:
        wanted = Preparation(*(st.session_state.get(key, old) for key, old in zip(keys, now, strict=True)))
        said = st.session_state.setdefault("reconstruct_said", {})
        said.update({(entry.id, one.id): wanted for one in affected})

    st.toggle(
        "Invert",
        now.invert,
        key=keys[0],
        on_change=say,
        args=([picture],),
        help="Swap dark and light. Guessed by comparing this picture's border with those of the data set.",
    )
    if own_pictures.can_centre(checkpoint):
        st.toggle(
            "Centre like MNIST",
            now.centre,
            key=keys[1],
            on_change=say,
            args=([picture],),
            help="Crop to the ink, scale it to 20/28 of the field, and put its centre of mass in the middle.",
        )
    if len(found) > 1:
        st.button("Prepare all pictures so", icon=":material/done_all:", on_click=say, args=(found,))
    return own_pictures.prepare(picture, checkpoint, now)
