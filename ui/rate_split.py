"""Where the rate goes of the codes that a page looks at: split once for all pages and visitors."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from ui import turns
from vae_core.information import RateSplit, split_rate

__all__ = ["rate_split"]


def _silently(_: float) -> None:
    pass


def rate_split(mu: np.ndarray, logvar: np.ndarray, tell: Callable[[float], None] = _silently) -> RateSplit:
    """`vae_core.information.split_rate`, kept; `tell` is called with the fraction done where it is not."""
    return _split(mu, logvar, tell)


@st.cache_data(max_entries=512, show_spinner=False)
def _split(mu: np.ndarray, logvar: np.ndarray, _tell: Callable[[float], None]) -> RateSplit:
    with turns.turn(lambda: _tell(0.0)):
        return split_rate(mu, logvar, progress=_tell)
