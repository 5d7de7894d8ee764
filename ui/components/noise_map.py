"""z = μ + σ ⊙ ε in two dimensions: noise that stays, and a Gaussian that is dragged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from ui.components.scripts import script, style

__all__ = ["SMALLEST_SIGMA", "Dragged", "noise_map", "noise_map_props", "parse_dragged"]

SMALLEST_SIGMA, _LARGEST_SIGMA, _LARGEST_MU = 0.01, 4.0, 12.0
_component = st.components.v2.component(
    "vae_laboratory.noise_map", js=script("save", "noise_map"), css=style("noise_map", "save")
)


@dataclass(frozen=True)
class Dragged:
    """Two of q's dimensions: mu (2,), sigma (2,)."""

    mu: tuple[float, float]
    sigma: tuple[float, float]


def noise_map(
    noise: np.ndarray,
    cloud: np.ndarray,
    start: Dragged,
    *,
    key: str,
    subject: str,
    names: Sequence[str],
    label: str,
) -> Dragged:
    """Draw ε (K, 2) on the left, and z = μ + σ ⊙ ε over a cloud of codes (N, 2) on the right; q as it was left.

    The ellipse is moved by its middle and widened by its handles, also by the arrow keys; z follows at once, in the
    browser. `start` is where q is for a new `subject`; names are those of the two dimensions.
    """
    dragged = parse_dragged((st.session_state.get(key) or {}).get("dragged"), subject)
    left = st.session_state.setdefault(f"{key}/left", {})  # by subject, as the browser keeps them
    if dragged is not None:
        left[subject] = dragged
    props = noise_map_props(noise, cloud, start, subject, names, label)
    _component(key=key, data=props, on_dragged_change=lambda: None)
    return left.get(subject, start)


def noise_map_props(
    noise: np.ndarray, cloud: np.ndarray, start: Dragged, subject: str, names: Sequence[str], label: str
) -> dict:
    """What the browser is given: the same until the subject changes."""
    reach = 1.1 * max(3.0, float(np.abs(cloud).max(initial=0)), *(abs(m) for m in start.mu))
    return {
        "label": label,
        "subject": subject,
        "names": list(names),
        "noise": np.round(noise, 4).astype(float).tolist(),
        "cloud": np.round(cloud, 2).astype(float).tolist(),
        "mu": list(start.mu),
        "sigma": list(start.sigma),
        "reach": reach,
        "smallest": SMALLEST_SIGMA,
        "largest": _LARGEST_SIGMA,
    }


def parse_dragged(reported: object, subject: str) -> Dragged | None:
    """What the browser says, or None where it is about another subject or makes no sense."""
    if not isinstance(reported, Mapping) or reported.get("subject") != subject:
        return None
    mu, sigma = reported.get("mu"), reported.get("sigma")
    for values, low, high in ((mu, -_LARGEST_MU, _LARGEST_MU), (sigma, SMALLEST_SIGMA, _LARGEST_SIGMA)):
        if not isinstance(values, list) or len(values) != 2:
            return None
        if not all(isinstance(v, int | float) and low <= v <= high for v in values):
            return None
    return Dragged((float(mu[0]), float(mu[1])), (float(sigma[0]), float(sigma[1])))
