"""A Gaussian that is moved by hand over the true posterior, with its ELBO and gap while it moves."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import streamlit as st

from ui.components.gaussian import LARGEST_SIGMA, Gaussian, read_gaussian
from ui.components.scripts import script, style
from ui.components.sheets import packed, sheet

__all__ = ["PadView", "posterior_pad", "posterior_pad_props"]

_pad = st.components.v2.component(
    "vae_laboratory.posterior_pad", js=script("save", "posterior_pad"), css=style("posterior_pad", "save")
)


@dataclass(frozen=True, eq=False)
class PadView:
    """What the pad shows of one image.

    content: a name for the image, the model and the part of the plane; a new one takes q from Python.
    window: (x0, x1, y0, y1); log_likelihood (n, n): log p(x|z) in nats over it, first index z₁; log_evidence: log p(x).
    pictures: (side², C, H, W) uint8, decoded over the window in reading order, z₂ growing upwards.
    walk: where q went while it was improved, mu and sigma (T, 4), or nothing; the pad plays it once.
    """

    content: str
    window: tuple[float, float, float, float]
    log_likelihood: np.ndarray
    log_evidence: float
    pictures: np.ndarray
    walk: np.ndarray | None = None


def posterior_pad(
    view: PadView, q: Gaussian, encoder: Gaussian, numbers: Callable[[Gaussian], Mapping[str, float]], *, key: str
) -> Gaussian:
    """Draw the pad, and return the q that the visitor left there: `q` until one is moved in this view.

    numbers: what the pad shows in nats where q is left: evidence, elbo, reconstruction, kl and gap. While q moves, the
    pad reads them off its grid.
    """
    left = read_gaussian((st.session_state.get(key) or {}).get("released"), view.content) or q
    props = posterior_pad_props(view, q, encoder, left, numbers(left))
    _pad(key=key, data=props, on_released_change=lambda: None)
    return left


def posterior_pad_props(
    view: PadView, q: Gaussian, encoder: Gaussian, left: Gaussian, numbers: Mapping[str, float]
) -> dict:
    """What the browser is given; the same while the visitor moves q."""
    _, picture = sheet(view.pictures)
    return {
        "content": view.content,
        "window": list(view.window),
        "steps": len(view.log_likelihood),
        "logLikelihood": packed(view.log_likelihood, "<f4"),
        "logEvidence": view.log_evidence,
        "sprite": picture.url,
        "frame": picture.frame,
        "side": math.isqrt(len(view.pictures)),
        "q": {"mu": list(q.mu), "sigma": list(q.sigma)},
        "encoder": {"mu": list(encoder.mu), "sigma": list(encoder.sigma)},
        "left": {"mu": list(left.mu), "sigma": list(left.sigma)},
        "numbers": dict(numbers),
        "largest": LARGEST_SIGMA,
        "walk": [] if view.walk is None else view.walk.tolist(),
    }
