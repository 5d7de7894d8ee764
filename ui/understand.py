"""What the pages of the section Understand share: the picture they are about, and results that are kept."""

import functools
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui import carried, layout, picture_source, state, turns
from ui.components.sheets import content_digest
from ui.state import Entry
from ui.true_posterior import latent_plane
from vae_core import bounds
from vae_core.bounds import Draws
from vae_core.checkpoint import Checkpoint
from vae_core.derivation import DRAWS
from vae_core.evaluate import binarise, is_a_loss

__all__ = [
    "DECODED",
    "Subject",
    "binarised",
    "draws",
    "exact_log_likelihoods",
    "images_of",
    "is_bernoulli",
    "kept",
    "peek",
    "result_key",
    "say_if_strange",
    "subject",
]

DECODED = (
    "The data set is not at hand: these pictures are decoded from the stored posterior means of test images, smoother "
    "and likelier than the real ones."
)
_COLUMNS = (1, 2)  # the left one holds a picture of 168 pixels in a window of 1024

_KEPT, _PASSING = 256, 32
_BAR_AFTER_SECONDS = 0.4
_TELLING = 0.04  # of the work, which tells how long the rest will take
_STOPPED = "understand_stopped"
_PICTURE = 168  # screen pixels


@dataclass(frozen=True)
class Subject:
    """The picture that a page is about: a name, uint8 (C, H, W), and its place among the test images, if it is one."""

    name: str
    image: np.ndarray
    index: int | None

    @property
    def id(self) -> str:
        """A short name for files and keys: 'test-5', or one made from the pixels."""
        return content_digest(self.image)[:8] if self.index is None else f"test-{self.index}"


def is_bernoulli(checkpoint: Checkpoint) -> bool:
    """Whether log p(x) is a log-probability on black and white pixels alone."""
    return checkpoint.model.config.likelihood == "bernoulli"


def binarised(image: np.ndarray, index: int) -> np.ndarray:
    """Test image `index` (C, H, W) uint8, its pixels drawn as `binarise` with seed 0 draws them among all."""
    return _drawn(image.tobytes(), image.shape, (index,))[0]


@functools.lru_cache(maxsize=64)
def _drawn(pixels: bytes, shape: tuple[int, int, int], index: tuple[int, ...]) -> np.ndarray:
    """Test images `index`, (n, C, H, W); those before them have their draws first, which takes time."""
    places, images = list(index), np.zeros((max(index) + 1, *shape), np.uint8)
    images[places] = np.frombuffer(pixels, np.uint8).reshape(-1, *shape)
    return binarise(images, 0)[places]


def images_of(checkpoint: Checkpoint, index: np.ndarray) -> tuple[np.ndarray, bool]:
    """Held-out pictures `index` (n,), black or white where the likelihood is Bernoulli: uint8 (n, C, H, W), and whether
    they are the real ones (see `DECODED`)."""
    images, real = state.pictures(checkpoint, index)
    if is_bernoulli(checkpoint):
        images = _drawn(images.tobytes(), images.shape[1:], tuple(map(int, index)))
    return images, real


def say_if_strange(checkpoint: Checkpoint) -> None:
    """Say that the encoder has not met pictures of black and white pixels, where it has learnt from grey ones."""
    if is_bernoulli(checkpoint) and not checkpoint.record["train"]["binarize"]:
        st.caption(
            "Pixels are drawn black or white here, and this model was trained on grey ones: its encoder finds such "
            "pictures strange, and a part of the gap comes from that."
        )


def exact_log_likelihoods(entry: Entry, checkpoint: Checkpoint, images: np.ndarray) -> np.ndarray | None:
    """log p(x) of uint8 images (N, C, H, W) by quadrature, (N,), or None where there are over two latent dimensions."""
    if checkpoint.model.config.latent_dim > 2:
        return None
    return latent_plane(entry, checkpoint).posteriors(images).log_likelihood


def offer(why: str, models: Sequence[Entry]) -> None:
    """Say why the page is not for this model, offer those that it is for, and stop."""
    st.info(f"{why} {'Choose one of these:' if models else 'Train one, or bring one here.'}", icon=":material/info:")
    for one in models:
        st.button(state.title(one), on_click=state.choose, args=(one.id,), key=f"offered_{one.id}")
    st.stop()


def subject(entry: Entry, checkpoint: Checkpoint) -> tuple[Subject, DeltaGenerator]:
    """Ask for the picture that the section is about, the same one on each of its pages, and show it on the left.

    Returns it and the column on its right. Stops the page with a hint while nothing has been dropped or drawn.
    """
    source = picture_source.source()
    left, right = st.columns(_COLUMNS, gap="medium")
    with left:
        return _shown(source, entry, checkpoint), right


def _shown(source: str, entry: Entry, checkpoint: Checkpoint) -> Subject:
    if source == picture_source.TEST_IMAGE:
        given = picture_source.test_image(checkpoint, state.snapshot_elbo(checkpoint.snapshot))
    elif source == picture_source.DRAWN:
        given = picture_source.drawing(entry, checkpoint)
    else:
        found = picture_source.upload()
        picked = picture_source.chosen(found)
        given = picked and picture_source.own_picture(picked, found, entry, checkpoint)
    if given is None:
        st.info(
            "Draw a picture: the page then follows it."
            if source == picture_source.DRAWN
            else "Drop a picture: the page is then about it.",
            icon=":material/image_search:",
        )
        st.stop()
    index = int(given.spec.removeprefix("test:")) if given.spec else None
    image = _black_and_white(checkpoint, given.image, index or 0)
    layout.picture(image, "x", target=_PICTURE)
    st.caption(layout.plain(given.name))
    return Subject(given.name, image, index)


def _black_and_white(checkpoint: Checkpoint, image: np.ndarray, index: int) -> np.ndarray:
    """The picture with its pixels drawn black or white, where the likelihood asks for it and the visitor agrees."""
    if not is_a_loss(checkpoint.model.config, image):
        return image
    if carried.setting(
        "understand_binarize",
        {"True": True, "False": False}.get,
        True,
        lambda: st.toggle(
            "Binarise",
            key="understand_binarize",
            help="Draw each pixel once, black or white, with the grey value as the chance of white. Only then is "
            "log p(x) the logarithm of a probability.",
        ),
    ):
        say_if_strange(checkpoint)
        return binarised(image, index)
    st.caption("Grey pixels under a Bernoulli likelihood: log p(x) is then not the logarithm of a probability.")
    return image


def result_key(what: str, entry: Entry, beta: float, images: np.ndarray, *settings: Hashable) -> tuple:
    """What a kept result depends on: the model's file and β, the pictures, and how it was computed."""
    return (what, *entry.version, beta, content_digest(images), *settings)


class _Results:
    """What was computed last, by its key, and who computes what now."""

    def __init__(self, most: int) -> None:
        self.lock, self.most, self._found = threading.Lock(), most, OrderedDict()
        self._computing: weakref.WeakValueDictionary = weakref.WeakValueDictionary()

    def get(self, key: Hashable) -> Any | None:
        with self.lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def keep(self, key: Hashable, result: Any) -> None:
        with self.lock:
            self._found[key] = result
            while len(self._found) > self.most:
                self._found.popitem(last=False)

    @contextmanager
    def alone(self, key: Hashable, tell: Callable[[], None]) -> Iterator[None]:
        """Nobody else computes what `key` names meanwhile; `tell` is called while someone still does."""
        with self.lock:
            mine = self._computing.setdefault(key, threading.Lock())
        while not mine.acquire(timeout=_BAR_AFTER_SECONDS):
            tell()
        try:
            yield
        finally:
            mine.release()


@st.cache_resource(show_spinner=False)
def _results(most: int) -> _Results:
    return _Results(most)


def peek(key: Hashable) -> Any | None:
    """The result kept under `key` by any visitor, or None."""
    return _results(_KEPT).get(key)


def kept(
    key: Hashable,
    compute: Callable[[Callable[[float, str], None]], Any],
    text: str,
    *,
    asked: bool = False,
    passing: bool = False,
) -> Any:
    """The result of `compute(progress)`, kept for all visitors, the last 256; never change it.

    Of what is `passing`, as each place is that something is dragged to, the last 32 are kept, apart from the others.

    Who asks for what is being computed waits for it, and computations take turns (`ui.turns`). A bar says `text` and
    the seconds left once it takes a moment; its Stop button, or any other widget, ends the computation, whose
    `progress` (a fraction, and a text in place of `text`) is called often. After Stop the page ends here, with a
    button to start again, unless the visitor has just `asked` for the result by another one.
    """
    here = st.empty()  # also where nothing is computed: else what follows would stand twice while a page is slow
    results = _results(_PASSING if passing else _KEPT)
    result = results.get(key)
    if result is None:
        with here.container():
            result = _computed(results, key, compute, text, asked)
        here.empty()
    return result


def draws(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> Draws:
    """5,000 draws from q(z|x) for one uint8 image (C, H, W), kept."""
    key = result_key("draws", entry, checkpoint.model.beta, image)
    text = f"Drawing {DRAWS:,} codes"
    return kept(key, lambda progress: bounds.draws(checkpoint.model, image, DRAWS, progress=progress), text)


def _computed(
    results: _Results,
    key: Hashable,
    compute: Callable[[Callable[[float, str], None]], Any],
    text: str,
    asked: bool,
) -> Any:
    place = st.empty()
    if asked:
        _start_again()
    if st.session_state.get(_STOPPED) == key:
        with place.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{text}: stopped.", width="content")
            st.button("Start again", icon=":material/play_arrow:", key="understand_again", on_click=_start_again)
        st.stop()
    with results.alone(key, lambda: place.caption(f"{text}: another visitor is about to have it …")):
        if (result := results.get(key)) is None:
            with turns.turn(lambda: place.caption(f"{text}: other visitors’ computations come first …")):
                result = compute(_Bar(place, text, key))
            results.keep(key, result)
    return result


def _stop(key: Hashable) -> None:
    st.session_state[_STOPPED] = key


def _start_again() -> None:
    st.session_state.pop(_STOPPED, None)


class _Bar:
    """A progress bar that appears only where there is something to wait for."""

    def __init__(self, place: Any, text: str, key: Hashable) -> None:
        self.place, self.text, self.key, self.bar = place, text, key, None
        self.began = self.drawn = time.monotonic()

    def __call__(self, done: float, text: str = "") -> None:
        turns.pass_on()
        now = time.monotonic()
        if now - self.drawn < _BAR_AFTER_SECONDS:
            return
        self.drawn = now
        if self.bar is None:
            with self.place.container(horizontal=True, vertical_alignment="center"):
                self.bar = st.progress(0.0)
                st.button(
                    "Stop",
                    icon=":material/stop:",
                    key=f"understand_stop_{self.text}",
                    on_click=_stop,
                    args=(self.key,),
                )
        left = ""
        if done > _TELLING:
            left = f" · about {(now - self.began) * (1 - done) / done:,.0f} s left"
        self.bar.progress(min(1.0, done), f"{text or self.text}{left}")
