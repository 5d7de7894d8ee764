"""The aggregate posterior over the prior in a plane of the latent space, and what is decoded in the holes between."""

import math

import numpy as np
import plotly.colors
import streamlit as st
import torch
from PIL import Image

from ui import layout, samples, theme
from ui.beta_view import Seen
from ui.components.latent_map import Background, ByClass, Mark, latent_map, latent_map_props, read_selection
from ui.information_view import codes
from ui.state import Entry
from vae_core import latent
from vae_core.checkpoint import Checkpoint, LatentSnapshot
from vae_core.imaging import to_uint8
from vae_core.information import log_aggregate
from vae_core.objective import kl_standard_normal

__all__ = ["deepest_hole", "log_ratio", "show", "verdict"]

_GRID = 121
_LEAST_EXTENT, _MOST_EXTENT = 3.5, 8.0
_LOW, _HIGH = -5.0, 2.0  # nats, the ends of the colours
_WITHIN = 2.0  # standard deviations of the prior in which holes are looked for
_BAR = (240, 12)


def show(seen: Seen) -> None:
    """Draw the section: the map, and the place in it that is chosen."""
    found = codes(seen)
    if found.mu.shape[1] == 1:
        st.markdown("With one latent dimension there is no plane to look at: choose a model of two or more.")
        return
    st.fragment(_plane)(seen.entry, seen.checkpoint, found, seen.beta)


def _plane(entry: Entry, checkpoint: Checkpoint, found: LatentSnapshot, beta: float) -> None:
    """The map of log q − log p in two dimensions, and what is decoded where it is clicked."""
    d = found.mu.shape[1]
    st.markdown(
        "Samples are drawn from the prior p(z), but the decoder has only seen codes from q(z). Bright: more codes than "
        "the prior puts there. Dark: a **hole**, where the prior draws and no code has been. **Click** anywhere."
    )
    first, second = _dimensions(found) if d > 2 else (0, 1)
    mu, logvar = (part[:, [first, second]] for part in (found.mu, found.logvar))
    extent = float(np.clip(1.1 * np.abs(mu).max(), _LEAST_EXTENT, _MOST_EXTENT))
    values = np.linspace(-extent, extent, _GRID)
    ratio = log_ratio(values, mu, logvar)
    left, right = st.columns([3, 2], gap="medium")
    with right:
        about = f"Within {_WITHIN:g} standard deviations of the prior."
        if st.button("Show the deepest hole", icon=":material/search:", help=about, key="information_deepest"):
            st.session_state["information_place"] = deepest_hole(values, ratio)
    name = f"{entry.id} {beta:.4g} {first} {second}"
    place = _chosen(name, len(found))
    with left:
        _map(name, found, (first, second), ratio, extent, place)
        _legend()
    with right:
        if place is None:
            st.markdown("Click the map, a hole or a crowded place: what the decoder makes of it appears here.")
            return
        z = np.zeros(d, np.float32)
        z[[first, second]] = place
        _place(checkpoint, found, beta, z, (first, second))


def _dimensions(found: LatentSnapshot) -> tuple[int, int]:
    kl = kl_standard_normal(torch.from_numpy(found.mu), torch.from_numpy(found.logvar)).mean(0).numpy()
    d = len(kl)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first, second = (
            st.selectbox(
                label,
                range(d),
                index=int(best),
                format_func=layout.dimension_name,
                key=f"information_{key}",
                bind="query-params",
                persist_state="session",
                width=90,
            )
            % d
            for label, key, best in zip(("Across", "Up"), "xy", latent.rank_by_kl(kl), strict=False)
        )
    if first == second:
        second = (first + 1) % d
        st.caption(f"Two different dimensions make a plane: {layout.dimension_name(second)} is taken for the second.")
    return first, second


@st.cache_data(max_entries=32, show_spinner="Adding up the posteriors …")
def log_ratio(values: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """log q(z) − log p(z), in nats, where two dimensions take `values` each.

    Shapes: values (G,), mu, logvar (N, 2) → (G, G): columns are the first dimension, rows the second.
    """
    points = np.stack([axis.ravel() for axis in np.meshgrid(values, values)], axis=1)
    prior = -0.5 * np.square(points).sum(1) - math.log(2 * math.pi)
    return (log_aggregate(points, mu, logvar)[0] - prior).reshape(len(values), -1)


def deepest_hole(values: np.ndarray, ratio: np.ndarray) -> tuple[float, float]:
    """Where log q − log p is lowest within two standard deviations of the prior: (first, second) dimension."""
    inside = values[:, None] ** 2 + values**2 <= _WITHIN**2
    row, column = np.unravel_index(np.where(inside, ratio, np.inf).argmin(), ratio.shape)
    return float(values[column]), float(values[row])


def _map(
    name: str,
    found: LatentSnapshot,
    dimensions: tuple[int, int],
    ratio: np.ndarray,
    extent: float,
    place: tuple[float, float] | None,
) -> None:
    half = extent / (_GRID - 1)  # cells stand around their points
    edge = extent + half
    shares = (np.clip(ratio[::-1], _LOW, _HIGH) - _LOW) / (_HIGH - _LOW)
    points = ByClass(np.zeros(len(found), int), (), ("#ffffff",))
    props = latent_map_props(
        found.mu[:, list(dimensions)],
        points,
        id=name,
        view=name,
        axes=tuple(layout.dimension_name(j) for j in dimensions),
        item="Test image",
        label="Aggregate posterior over the prior",
        file="aggregate-posterior",
        background=Background(_shades(shares), (-edge, edge, -edge, edge)),
        contours=True,
        marks=[Mark(*place, "here")] if place else [],
        placeable=True,
    )
    latent_map(props, key="information_map")


def _shades(shares: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1 as colours of the continuous map: (…) → (…, 3) uint8."""
    ramp = plotly.colors.sample_colorscale(theme.CONTINUOUS, np.linspace(0, 1, 256), colortype="tuple")
    return (np.array(ramp) * 255).round().astype(np.uint8)[np.round(shares * 255).astype(int)]


def _legend() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, _BAR[0]), _BAR[::-1])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{_LOW:g}".replace("-", "−"), width="content")
        st.image(Image.fromarray(_shades(ramp)), width=_BAR[0], output_format="PNG")
        st.caption(f"{_HIGH:+g} nats, log q(z) − log p(z)", width="content")


def _chosen(name: str, count: int) -> tuple[float, float] | None:
    """The place that was chosen last: by a click that is new, or else by the button; known before the map is drawn."""
    reported = (st.session_state.get("information_map") or {}).get("selection")
    selection = read_selection(reported, id=name, view=name, count=count)
    new = selection is not None and selection != st.session_state.get("information_selection")
    if new and selection.kind != "lasso":
        st.session_state["information_place"] = (selection.x, selection.y)
    st.session_state["information_selection"] = selection
    return st.session_state.get("information_place")


def _place(
    checkpoint: Checkpoint, found: LatentSnapshot, beta: float, z: np.ndarray, dimensions: tuple[int, int]
) -> None:
    """The decoded picture at z, and how dense codes and prior are there."""
    model = checkpoint.model if checkpoint.model.config.beta_range is None else checkpoint.model.at(beta)
    at = [float(z[j]) for j in dimensions]
    names = ", ".join(f"{layout.dimension_name(j)} = {z[j]:.2f}" for j in dimensions).replace("-", "−")
    st.markdown(f"**Decoded at {names}**" + ("" if len(z) == 2 else ", all others 0"))
    layout.picture(to_uint8(latent.decode(model, z[None]))[0], target=168)
    pair = list(dimensions)
    joint = float(log_aggregate(z[None].astype(float), found.mu.astype(float), found.logvar.astype(float))[0][0])
    plane = log_aggregate(np.array([at]), found.mu[:, pair].astype(float), found.logvar[:, pair].astype(float))
    with st.container(horizontal=True, gap="large"):
        st.metric("log q(z)", layout.nats(joint, 2), width="content")
        st.metric("log p(z)", layout.nats(samples.log_prior(z), 2), width="content")
    st.markdown(verdict(float(plane[0][0]) - samples.log_prior(np.array(at))))
    if len(z) > 2:
        st.caption("The sentence speaks of the two dimensions of the map; the numbers of all.")


def verdict(difference: float) -> str:
    """What log q − log p says of a place, in a sentence."""
    times = math.exp(min(abs(difference), 700))
    how = f"{times:.1f} times" if times < 10 else f"{times:,.0f} times" if times < 1e4 else "more than 10,000 times"
    if difference < -1:
        return (
            f"A hole: the prior draws here {how} as often as codes of pictures come here, so that little has taught "
            "the decoder what to draw."
        )
    if difference > 1:
        return f"A crowded place: codes of pictures come here {how} as often as the prior draws."
    return "Codes of pictures come here about as often as the prior draws: what is decoded here has been practised."
