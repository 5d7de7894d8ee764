"""Pictures that visitors drop or draw: read safely once a session, and made into what a model is given."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import streamlit as st
from PIL import Image

from ui import state
from vae_core import archives, hosted, pictures
from vae_core.checkpoint import Checkpoint
from vae_core.errors import UserError
from vae_core.words import shortened

__all__ = [
    "MEGABYTES",
    "MOST",
    "OwnPicture",
    "Preparation",
    "can_centre",
    "first",
    "prepare",
    "read_drawing",
    "read_dropped",
    "read_files",
    "sizes",
    "suggest",
]

MOST = 200
"""Pictures that are looked at together."""

MEGABYTES = pictures.MAX_FILE_BYTES >> 20
"""The most that one picture may have."""

_SIDE = 256  # what is kept of a picture: enough to show it, and four times the largest model's input
_CENTRED = ("mnist", "digits")  # data sets in which every sign was centred by its makers
_MOST_INK = 0.3  # of a sign's picture; nine in ten of MNIST's have less than 0.2
_SAMPLE = 64


@dataclass(frozen=True)
class OwnPicture:
    """One picture of a visitor's: an id from its pixels, its file's name, the picture, in mode L or RGB, and whether it
    was drawn on the pad."""

    id: str
    name: str
    image: Image.Image
    drawn: bool = False


class Preparation(NamedTuple):
    """How a picture is made into a model's input: dark and light swapped; cropped and centred like MNIST's."""

    invert: bool
    centre: bool


def read_files(files: Sequence, *, key: str) -> tuple[list[OwnPicture], list[str]]:
    """The pictures in uploaded files, zip archives among them, and a sentence for each that cannot be shown.

    `files` are what `st.file_uploader` returned. What is read is kept in the session under `key` while its file
    is there. While new files are read a spinner turns, which takes no place on the page: it may be in a callback.
    """
    known = st.session_state.get(key, {})
    kept, found, problems = {}, [], []
    with st.spinner("Reading pictures …"):
        for file in files:
            if len(found) > MOST:
                break
            kept[file.file_id] = known.get(file.file_id) or _read_file(file.name, file.getvalue())
            found += kept[file.file_id][0]
            problems += kept[file.file_id][1]
    st.session_state[key] = kept
    if len(found) > MOST:
        problems.append(f"These are over {MOST} pictures; the first {MOST} are shown. Drop fewer to see the others.")
    return found[:MOST], problems


def first(problems: list[str], most: int) -> list[str]:
    """The first few of what was wrong with files, and how many more there are."""
    more = len(problems) - most
    return problems[:most] + (
        [f"{more:,} more {'file was' if more == 1 else 'files were'} left out."] if more > 0 else []
    )


def sizes() -> str:
    """What may be uploaded, in words."""
    return f"A picture may have {MEGABYTES} MB, a zip {st.get_option('server.maxUploadSize')} MB."


def read_drawing(data: bytes) -> OwnPicture:
    """The picture that a drawing pad sent. Raises UserError where it is none."""
    return _own(pictures.read(data, "The drawing"), "Your drawing", drawn=True)


def read_dropped(name: str, data: bytes) -> OwnPicture:
    """The one picture in a file called `name`. Raises UserError where it is none."""
    return _own(pictures.read(data, name), name)


def _read_file(name: str, data: bytes) -> tuple[list[OwnPicture], list[str]]:
    try:
        members, problems = archives.unpack([(name, data)], **hosted.most_unpacked())
    except UserError as problem:
        return [], [str(problem)]
    found = []
    for member, content in members:
        if len(found) == MOST:
            problems.append(f"{name} holds {len(members):,} files; its first {MOST} pictures are shown.")
            break
        try:
            found.append(_own(pictures.read(content, member), member))
        except UserError as problem:
            problems.append(str(problem))
    return found, problems


def _own(image: Image.Image, name: str, *, drawn: bool = False) -> OwnPicture:
    image.thumbnail((_SIDE, _SIDE))
    digest = hashlib.blake2b(repr((image.size, image.mode)).encode() + image.tobytes(), digest_size=8).hexdigest()
    return OwnPicture(digest, shortened(name), image, drawn)


def can_centre(checkpoint: Checkpoint) -> bool:
    """Whether MNIST's centring is of use: the model's pictures are square, grey, and light on dark."""
    channels, height, width = checkpoint.model.config.image_shape
    white = Image.new("L", (width, height), 255)
    return channels == 1 and height == width and pictures.suggest_invert(white, _sample(checkpoint))


def suggest(picture: OwnPicture, checkpoint: Checkpoint) -> Preparation:
    """The preparation that makes a picture look most like those that the model was trained on.

    A picture of exactly the model's size is not moved. Others are left as they came unless they are drawn, or show a
    sign on paper (`pictures.ink_share`): of a photograph centring would leave a part.
    """
    _, height, width = checkpoint.model.config.image_shape
    fits, ink = picture.image.size == (width, height), pictures.ink_share(picture.image)
    invert = (fits or picture.drawn or ink is not None) and pictures.suggest_invert(picture.image, _sample(checkpoint))
    centred = checkpoint.record["train"]["dataset"] in _CENTRED
    sign = picture.drawn or (ink is not None and ink < _MOST_INK)
    return Preparation(invert, centred and sign and not fits)


def prepare(picture: OwnPicture, checkpoint: Checkpoint, preparation: Preparation) -> np.ndarray:
    """What the model is given: uint8 (C, H, W). A picture in which there is nothing to centre is not centred."""
    return _prepared(picture.id, tuple(checkpoint.model.config.image_shape), preparation, picture.image)


@st.cache_data(max_entries=1024, show_spinner=False)
def _prepared(
    digest: str,  # noqa: ARG001 (stands for the picture in the cache's key)
    image_shape: tuple[int, int, int],
    preparation: Preparation,
    _image: Image.Image,
) -> np.ndarray:
    if preparation.centre:
        try:
            return pictures.centre_like_mnist(_image, image_shape[1], invert=preparation.invert)
        except UserError:
            pass
    return pictures.fit(_image, image_shape, invert=preparation.invert)


def _sample(checkpoint: Checkpoint) -> np.ndarray:
    return state.pictures(checkpoint, np.arange(min(_SAMPLE, len(checkpoint.snapshot))))[0]
