"""Choosing a point of the latent space: a test image, a draw from the prior, an own picture, or a text."""

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui import layout, own_pictures, state
from ui.components.picture_grid import picture_grid, picture_grid_index
from ui.decoded import decoded
from ui.guards import say_errors
from vae_core.checkpoint import Checkpoint
from vae_core.errors import UserError

__all__ = ["endpoint", "spec_of"]

_SHOWN = 40  # test images on a page of the picker
_LARGEST_SEED = 2**31 - 1
_SPEC_CHARACTERS = 4000


def spec_of(z: np.ndarray) -> str:
    """The text that names the point z (d,) in a URL; see `state.resolve`."""
    return "z:" + ",".join(f"{value:.5g}" for value in z + 0.0)  # no −0


def endpoint(
    name: str, entry: state.Entry, checkpoint: Checkpoint, default: str, problems: DeltaGenerator
) -> state.Point:
    """Draw the picker of endpoint `name` ("a"), which stands in the URL as ?a=…, and return the point it names.

    A text that names no point of this model is said in the container `problems`, and `default` taken.
    """
    title = name.upper()
    with st.container(horizontal=True, vertical_alignment="center"):
        face = st.container(width="content")
        with st.container(gap="small", width="stretch"):
            words = st.container()
            with st.container(gap="xsmall"):
                _choice(name, entry, checkpoint, default)
                _dice(name, checkpoint)
    spec = _spec(name, default)
    try:
        point = state.resolve(spec, checkpoint)
    except UserError as error:
        problems.error(f"{title}: {error}", icon=":material/error:")
        spec, point = default, state.resolve(default, checkpoint)
    else:
        st.session_state[f"{name}/model"] = entry.id
    if st.session_state.get(f"{name}/replaced") == entry.id and spec == default:
        words.caption(f"{title} was chosen for another model; {_called(spec, point, checkpoint)} is shown.")
    with face:
        picture = decoded(entry, checkpoint, point.z[None])[0] if point.picture is None else point.picture
        layout.picture(picture, target=84)
    words.markdown(f"**{title}** · {_called(spec, point, checkpoint)}")
    return point


def _spec(name: str, default: str) -> str:
    return st.session_state[name].strip() or default


@st.fragment
@say_errors
def _choice(name: str, entry: state.Entry, checkpoint: Checkpoint, default: str) -> None:
    """The button that opens the picker. What is chosen in it draws the whole page again, but opening it does not.

    Closed, it holds no more than what has a part in the address and what keeps a visitor's file.
    """
    popover = st.popover("Choose", on_change="rerun", key=f"{name}_choice")
    tests, prior, own, text = popover.tabs(["Test images", "Prior", "Your picture", "Text"])
    with own:
        _own(name, checkpoint)
    _leave_other_model(name, entry, checkpoint, default)
    text.text_input(
        f"Point {name.upper()}",
        key=name,
        **state.KEPT,
        max_chars=_SPEC_CHARACTERS,
        help="test:12 is a test image, prior:7 a draw from N(0, I) with seed 7, z:0.5,-1 a point by its coordinates.",
        on_change=st.rerun,
    )
    if popover.open:
        with tests:
            _test_images(name, _spec(name, default), checkpoint)
        with prior:
            _prior(name, _spec(name, default))


def _leave_other_model(name: str, entry: state.Entry, checkpoint: Checkpoint, default: str) -> None:
    """Put `default` in the place of a point that was good for the model before, and is none of this one."""
    chosen_for, replaced_for = f"{name}/model", f"{name}/replaced"
    if not st.session_state.get(name):
        st.session_state[name] = default
    elif st.session_state.get(chosen_for, entry.id) != entry.id:
        st.session_state[replaced_for] = None
        try:
            state.resolve(st.session_state[name].strip(), checkpoint)
        except UserError:
            st.session_state[name], st.session_state[replaced_for] = default, entry.id


def _called(spec: str, point: state.Point, checkpoint: Checkpoint) -> str:
    index = _number(spec, "test")
    if index is not None:
        return state.picture_name(checkpoint, index)
    if point.label != "z":
        return layout.plain(point.label)
    return f"z = {layout.coordinates(point.z)}"


def _number(spec: str, kind: str) -> int | None:
    """7 for "test:7" where kind is "test"; None for anything else."""
    found, _, rest = spec.partition(":")
    return int(rest) if found == kind and rest.isdecimal() and len(rest) < 10 else None


def _dice(name: str, checkpoint: Checkpoint) -> None:
    count = len(checkpoint.snapshot)
    st.button(
        "Random",
        help="Another test image, by chance.",
        key=f"{name}_random",
        on_click=lambda: _set(name, f"test:{np.random.default_rng().integers(count)}"),
    )


def _set(name: str, spec: str) -> None:
    st.session_state[name] = spec


def _choose(name: str, spec: str) -> None:
    """For callbacks of the picker, which else would draw itself alone again."""
    _set(name, spec)
    st.rerun()


def _test_images(name: str, spec: str, checkpoint: Checkpoint) -> None:
    """The page of test images on which the chosen one is, and its number."""
    count = len(checkpoint.snapshot)
    chosen = _number(spec, "test")
    chosen = chosen if chosen is not None and chosen < count else None
    first = (chosen or 0) // _SHOWN * _SHOWN
    shown, real = state.pictures(checkpoint, np.arange(first, min(first + _SHOWN, count)))
    key, number = f"{name}_grid", f"{name}_number"
    st.session_state[number] = chosen
    st.number_input(
        "Test image",
        0,
        count - 1,
        key=number,
        placeholder=f"0–{count - 1:,}",
        on_change=lambda: _choose(name, f"test:{st.session_state[number] or 0}"),
    )
    picture_grid(
        shown,
        key=key,
        label="Test images",
        selected=None if chosen is None else chosen - first,
        scale=layout.whole_scale(shown.shape[-1], 28),
        on_pick=lambda: _choose(name, f"test:{first + (picture_grid_index(key) or 0)}"),
    )
    if not real:
        st.caption("Decoded from posterior means: the data set is not at hand.")


def _prior(name: str, spec: str) -> None:
    key = f"{name}_seed"
    seed = _number(spec, "prior")
    st.session_state[key] = None if seed is None else min(seed, _LARGEST_SEED)
    st.number_input(
        "Seed",
        0,
        _LARGEST_SEED,
        key=key,
        placeholder="any whole number",
        help="The same seed draws the same z from N(0, I).",
        on_change=lambda: _choose(name, f"prior:{st.session_state[key] or 0}"),
    )
    st.button(
        "Draw from the prior",
        icon=":material/casino:",
        key=f"{name}_draw",
        on_click=lambda: _choose(name, f"prior:{np.random.default_rng().integers(10_000)}"),
    )


def _own(name: str, checkpoint: Checkpoint) -> None:
    """Make the dropped picture the endpoint: once, and again where another model wants another shape."""
    file = st.file_uploader(
        "A picture of your own",
        max_upload_size=own_pictures.MEGABYTES,
        key=f"{name}_file",
        on_change=st.rerun,
        help="Cut to the middle, brought to the model's size and, where that suits the data, inverted and centred.",
    )
    found, problems = own_pictures.read_files([file] if file else [], key=f"{name}_pictures")
    for problem in own_pictures.first(problems, 3):
        st.error(layout.plain(problem), icon=":material/error:")
    if not found:
        return
    key, shape = f"{name}_taken", checkpoint.model.config.image_shape
    before = st.session_state.get(key, (None, None))
    st.session_state[key] = file.file_id, shape
    in_use = st.session_state.get(name, "").startswith("picture:")
    if before[0] != file.file_id or (before[1] != shape and in_use):
        picture = own_pictures.prepare(found[0], checkpoint, own_pictures.suggest(found[0], checkpoint))
        _set(name, state.keep_picture(picture, found[0].name))
