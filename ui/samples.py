"""What the page Generate says of one sample: what lies near it, in pixels and in z, and how probable its z is."""

import numpy as np
import streamlit as st

from ui import caching, layout, state, turns
from ui.components.sheets import content_digest
from vae_core import imaging, latent
from vae_core.checkpoint import Checkpoint
from vae_core.evaluate import rank
from vae_core.memorisation import nearest_distances, nearest_images

__all__ = ["TEMPERATURES", "memorised", "neighbours_in_z", "verdict"]

TEMPERATURES = np.linspace(0, 2, 41)
_NEIGHBOURS = 5
_SEARCHED = 100_000  # training images among which the nearest are looked for: seconds
_TESTED = 256  # test images whose nearest training image says what is usual
_RARE = 0.01
_MUCH_NEARER = 0.5  # the least ratio among 400 prior samples of four shipped models was 0.49


def memorised(checkpoint: Checkpoint, picture: np.ndarray) -> None:
    """Is the sample, uint8 (C, H, W), a copy? Its nearest training images, and how near test images come to theirs."""
    st.markdown("**Nearest training images**", help="By Euclidean distance over pixels in [0, 1].")
    trained, shape = checkpoint.record["train"], checkpoint.model.config.image_shape
    images = caching.train_images(trained, shape)
    if images is None:
        st.caption("The training images are not at hand, so only neighbours in z can be shown.")
        return
    if len(images) > _SEARCHED:
        st.caption(f"Among {_SEARCHED:,} of the {len(images):,} training images.")
        images = images[:_SEARCHED]
    name = (trained["dataset"], trained.get("pictures", ""))
    index, distance = _nearest(name, shape, len(images), content_digest(picture), images, picture)
    _row(images[index[0]], [f"{value:.2f}" for value in distance[0]])
    tests = state.held_out(checkpoint)
    usual = _usual_distances(name, shape, images, tests)
    _, unseen = _nearest((*name, "test"), shape, len(tests), content_digest(picture), tests, picture)
    st.caption(verdict(float(distance[0, 0]), float(unseen[0, 0]), usual))


def verdict(distance: float, unseen: float, usual: np.ndarray) -> str:
    """What a sample's `distance` from its nearest training image says, beside that from its nearest test image, which
    the model has not seen, and beside those of test images from training images, `usual` (n,).
    """
    low, middle, high = np.percentile(usual, [5, 50, 95])
    farther = rank(distance, usual)
    judgement = "No sign of a copy."
    if farther > 1 - _RARE and distance < _MUCH_NEARER * unseen:
        judgement = "It lies much nearer to a training image than to any unseen one: look for a copy."
    elif farther < _RARE:
        judgement = "Hardly any test image is so far off: it resembles no training image."
    return (
        f"Nearest training image: distance {distance:.2f} (root of summed squared pixel differences); nearest unseen "
        f"test image: {unseen:.2f}. Test images lie {middle:.2f} from theirs in the median, nine in ten between "
        f"{low:.2f} and {high:.2f}; mean pictures, being smooth, lie nearer to all.  \n**{judgement}**"
    )


@st.cache_data(max_entries=2048, show_spinner=False)
def _nearest(
    name: tuple[str, ...],  # noqa: ARG001
    image_shape: tuple,  # noqa: ARG001
    count: int,  # noqa: ARG001
    digest: str,  # noqa: ARG001
    _images: np.ndarray,
    _picture: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    return nearest_images(_images, _picture[None], _NEIGHBOURS)


@st.cache_data(max_entries=16, show_spinner="Measuring how near test images come to training images …")
@turns.in_turn
def _usual_distances(name: tuple, image_shape: tuple, _images: np.ndarray, _tests: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return nearest_distances(_images, _tests[:_TESTED])


def neighbours_in_z(checkpoint: Checkpoint, z: np.ndarray) -> None:
    """The held-out images whose posterior means lie nearest to z (d,)."""
    index, distance = latent.nearest(checkpoint.snapshot.mu, z[None], _NEIGHBOURS)
    pictures, real = state.pictures(checkpoint, index[0])
    st.markdown("**Neighbours in z**", help="Test images, by the distance of their posterior means from z.")
    _row(pictures, [f"{value:.2f}" for value in distance[0]])
    if not real:
        st.caption("Decoded from posterior means: the data set is not at hand.")


def _row(pictures: np.ndarray, captions: list[str]) -> None:
    scale = layout.whole_scale(pictures.shape[-1], 56)
    with st.container(horizontal=True, gap="xsmall"):
        for picture, caption in zip(pictures, captions, strict=True):
            layout.drawing(imaging.grid(picture[None], columns=1, scale=scale, gap=0), caption)
