"""z = μ + σ ⊙ ε in two dimensions: noise that stays, and a Gaussian that is dragged."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from ui.components.gaussian import Gaussian, read_gaussian
from ui.components.scripts import script, style

__all__ = ["noise_map", "noise_map_props"]

_SMALLEST_SIGMA, _LARGEST_SIGMA = 0.01, 4.0
_component = st.components.v2.component(
    "vae_laboratory.noise_map", js=script("save", "noise_map"), css=style("noise_map", "save")
)


def noise_map(
    noise: np.ndarray,
    cloud: np.ndarray,
    start: Gaussian,
    *,
    key: str,
    subject: str,
    names: Sequence[str],
    label: str,
) -> Gaussian:
    """Draw ε (K, 2) on the left, and z = μ + σ ⊙ ε over a cloud of codes (N, 2) on the right; q as it was left.

    The ellipse is moved by its middle and widened by its handles, also by the arrow keys; z follows at once, in the
    browser. `start` is where q is for a new `subject`; names are those of the two dimensions.
    """
    dragged = read_gaussian((st.session_state.get(key) or {}).get("dragged"), subject)
    left = st.session_state.setdefault(f"{key}/left", {})  # by subject, as the browser keeps them
    if dragged is not None:
        left[subject] = dragged
    props = noise_map_props(noise, cloud, start, subject, names, label)
    _component(key=key, data=props, on_dragged_change=lambda: None)
    return left.get(subject, start)


def noise_map_props(
    noise: np.ndarray, cloud: np.ndarray, start: Gaussian, subject: str, names: Sequence[str], label: str
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
        "smallest": _SMALLEST_SIGMA,
        "largest": _LARGEST_SIGMA,
    }
