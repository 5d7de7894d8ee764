"""The model as a living diagram: x → q(z|x) → z → p(x|z), drawing z again and again in the browser."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from ui.components.scripts import script, style
from ui.components.sheets import sheet
from ui.layout import dimension_name
from ui.theme import class_colour

__all__ = ["diagram"]

_component = st.components.v2.component(
    "vae_laboratory.diagram", js=script("save", "diagram"), css=style("diagram", "save")
)


def diagram(
    picture: np.ndarray,
    decoded: np.ndarray,
    *,
    key: str,
    caption: str,
    z: np.ndarray,
    reconstruction: np.ndarray,
    mu: np.ndarray,
    sigma: np.ndarray,
    cloud: np.ndarray,
    labels: np.ndarray | None,
    order: Sequence[int],
) -> None:
    """Draw the diagram for one picture.

    picture (C, H, W) is x, and caption what to call it; z (K, d) are draws from q(z|x) = N(mu, diag sigma²),
    mu and sigma (d,); decoded (K, C, H, W) the mean pictures of p(x|z) and reconstruction (K,) −log p(x|z) in
    nats; cloud (N, d) posterior means of other images, with labels (N,), drawn behind where d = 2; order is
    which latent dimensions to show where d > 2, from the top.
    """
    _, given = sheet(picture[None])
    _, drawn = sheet(decoded)
    plane = cloud if cloud.shape[1] == 2 else cloud[:0, :2]
    colours = ["#8a93a3"] if labels is None else [class_colour(label) for label in range(int(labels.max()) + 1)]
    props = {
        "given": {"sprite": given.url, "frame": given.frame},
        "drawn": {"sprite": drawn.url, "frame": drawn.frame},
        "caption": caption,
        "z": np.round(z, 3).tolist(),
        "reconstruction": np.round(reconstruction, 1).tolist(),
        "mu": np.round(mu, 4).tolist(),
        "sigma": np.round(sigma, 4).tolist(),
        "cloud": np.round(plane, 2).tolist(),
        "labels": [0] * len(plane) if labels is None else labels[: len(plane)].tolist(),
        "colours": colours,
        "order": [int(j) for j in order],
        "names": [dimension_name(j) for j in order],
    }
    _component(key=key, data=props)
