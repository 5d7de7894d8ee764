"""The head of a page, and how pictures and numbers stand on it."""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from pandas.io.formats.style import Styler
from PIL import Image

from vae_core import imaging

__all__ = [
    "MOST_DIMENSIONS",
    "chart",
    "coordinates",
    "dimension_name",
    "download",
    "drawing",
    "head",
    "nats",
    "nats_in",
    "number",
    "of_pixels",
    "picture",
    "plain",
    "say_left_out",
    "table",
    "true_minus",
    "whole_scale",
    "with_index",
]


MOST_DIMENSIONS = 16
"""The most latent dimensions side by side on a page; of more, those with the largest KL."""

_CHART_CONFIG = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}
_MIME_TYPES = {".csv": "text/csv", ".gif": "image/gif", ".png": "image/png"}


def dimension_name(dimension: int) -> str:
    """'z₁' for latent dimension 0: people count from one."""
    return with_index("z", dimension + 1)


def with_index(name: str, index: int) -> str:
    """'L₅₀₀₀' for L and 5000, where there are no formulas."""
    return name + str(index).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def say_left_out(latent_dim: int) -> None:
    """Say how many latent dimensions are not shown, where there are over MOST_DIMENSIONS."""
    further = latent_dim - MOST_DIMENSIONS
    if further > 0:
        st.caption(f"The {MOST_DIMENSIONS} dimensions with the largest KL; {further} more have less.")


def head(title: str, about: str) -> None:
    """A page's title and the one sentence that says what it is for."""
    st.title(title, anchor=False)
    st.markdown(about)


def nats(value: float, digits: int = 1) -> str:
    """A number of nats for people: '−95.1 nats'."""
    return f"{number(value, digits)} nats"


def number(value: float, digits: int) -> str:
    """A number for people: '−1,095.1', with a true minus sign and no −0."""
    return true_minus(f"{round(float(value), digits) + 0.0:,.{digits}f}")


def true_minus(text: str) -> str:
    """A text in whose numbers the minus sign is no hyphen."""
    return text.replace("-", "−")


def coordinates(z: np.ndarray, most: int = 3) -> str:
    """'(0.12, −0.40, 1.00, …)': the first coordinates of a code z (d,)."""
    return f"({', '.join(number(value, 2) for value in z[:most])}{', …' if len(z) > most else ''})"


def nats_in(frame: pd.DataFrame, columns: Sequence[str]) -> Styler:
    """A table whose `columns` read as people write nats: two decimals, a true minus sign, nothing where there is no
    number."""
    return frame.style.format(lambda value: number(value, 2), subset=list(columns), na_rep="")


def of_pixels(likelihood: str) -> str:
    """Of what pixels bits per dimension are, to follow them: a Gaussian's are a density of something."""
    return "" if likelihood == "bernoulli" else ", for pixels from 0 to 255"


@st.cache_data(max_entries=64, show_spinner=False)
def table(frame: pd.DataFrame, in_nats: Sequence[str], column_config: dict[str, Any], key: str | None = None) -> None:
    """Draw a table whose columns `in_nats` read as `nats_in` has them: made once for each content, then sent again."""
    st.dataframe(nats_in(frame, in_nats), hide_index=True, placeholder="", column_config=column_config, key=key)


def chart(figure: go.Figure | dict[str, Any], alt: str, *, key: str | None = None) -> None:
    """A Plotly figure; `alt` says what it shows to those who do not see it."""
    st.plotly_chart(figure, config=_CHART_CONFIG, key=key, alt=alt)


def download(
    label: str,
    data: bytes | str | Callable[[], bytes | str],
    name: str,
    *,
    key: str | None = None,
    icon: str | None = ":material/download:",
    width: str = "content",
) -> None:
    """A button that saves a file called `name`, of the kind that its ending says; `data` may be made when it is
    pressed."""
    mime = _MIME_TYPES.get(PurePath(name).suffix, "application/octet-stream")
    st.download_button(label, data, name, mime, key, on_click="ignore", icon=icon, width=width)


def whole_scale(side: int, target: int) -> int:
    """The whole multiple by which a picture of `side` pixels comes closest to `target` screen pixels."""
    return max(1, round(target / side))


def picture(image: np.ndarray, caption: str | None = None, *, target: int = 140) -> None:
    """A picture (C, H, W), uint8 or float in [0, 1], hard pixels, its longer side about `target` screen pixels."""
    scale = whole_scale(max(image.shape[-2:]), target)
    drawing(imaging.grid(image[None], columns=1, scale=scale, gap=0), caption)


def drawing(drawn: Image.Image, caption: str | None = None, *, alt: str | None = None) -> None:
    """A picture at its own size. It travels with the page: files beside a page go when it runs again, at times before a
    slow browser has asked for them."""
    st.image(imaging.data_url(imaging.png_bytes(drawn), "image/png"), caption, width=drawn.width, alt=alt)


def plain(text: str) -> str:
    """A text of a visitor's, such as a file's name, to be shown as it is, not as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-!|~$:])", r"\\\1", text)
