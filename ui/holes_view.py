"""The aggregate posterior over the prior in a plane of the latent space, and what is decoded in the holes between."""

import functools
import math
from dataclasses import replace

import numpy as np
import plotly.colors
import streamlit as st
from PIL import Image

from ui import latent_view, layout, seen_codes, state, theme, turns
from ui.beta_view import Seen
from ui.components.latent_map import Background, ByClass, Mark, latent_map, latent_map_props, read_selection, send_atlas
from ui.guards import say_errors
from ui.information_view import codes
from ui.prior import log_prior
from ui.seen_codes import Codes
from ui.stepwise import stepwise
from vae_core import latent
from vae_core.checkpoint import Checkpoint, LatentSnapshot
from vae_core.holes import HOLE_NATS, code_share, depths_on_grid, hole_depth, prior_share
from vae_core.imaging import to_uint8
from vae_core.information import log_density
from vae_core.words import drawn_share, percent

__all__ = ["deepest_hole", "log_ratio", "search_label", "shares_sentence", "show", "verdict"]

_GRID = 121
_LEAST_EXTENT, _MOST_EXTENT = 3.5, 8.0
_LOW, _HIGH = -5.0, 2.0  # nats, the ends of the colours
_WITHIN = 2.0  # standard deviations of the prior in which holes are looked for
_EVEN = 1.0  # nats
_BAR = (240, 12)
_INKS = ("#ffffff", "#000000")


def show(seen: Seen) -> None:
    """Draw the section: the map, and the place in it that is chosen."""
    found = codes(seen)
    st.subheader("The aggregate posterior over the prior", anchor=False)
    if found.mu.shape[1] == 1:
        st.markdown("With one latent dimension there is no plane to look at: choose a model of two or more.")
        return
    st.markdown(
        "Samples are drawn from the prior p(z), but the decoder has only seen codes from the aggregate posterior q(z). "
        "Bright: more codes than the prior puts there. Dark, within the prior’s circles: a **hole**, where the prior "
        "draws and few codes come. Dots are codes of test images, white on dark and black on bright. "
        "**Point** at a place to see it decoded; **click** for its numbers."
    )
    dimensions = _dimensions(found) if found.mu.shape[1] > 2 else (0, 1)
    checkpoint = _answering(seen)
    plane = _Plane(seen, checkpoint, found, _trained_on(seen, checkpoint), dimensions)
    _map_and_place(plane)
    send_atlas(latent_view.plane_atlas(plane.key, plane.checkpoint, plane.projection), key="information_atlas")


def _answering(seen: Seen) -> Checkpoint:
    """The checkpoint as it answers at the β that is looked at."""
    return replace(seen.checkpoint, model=seen.checkpoint.model.at(seen.beta)) if seen.is_ranged else seen.checkpoint


def _trained_on(seen: Seen, checkpoint: Checkpoint) -> Codes | None:
    """The codes of the images that the decoder was trained on, once they are worked out in the background."""
    encode = seen_codes.encoding(seen.entry, checkpoint)
    found = stepwise(
        {"codes": encode} if encode else {},
        lambda _: None,
        of=(*seen.entry.version, seen.beta),
        key="information_seen",
        label="Encoding the images that the decoder was trained on",
    )
    return found.get("codes")


class _Plane:
    """Two dimensions of a model at one β: the codes there of the images that it was trained on, or else of test images,
    the model that answers for this β, and log q − log p."""

    def __init__(
        self,
        seen: Seen,
        checkpoint: Checkpoint,
        found: LatentSnapshot,
        trained_on: Codes | None,
        dimensions: tuple[int, int],
    ) -> None:
        self.found, self.dimensions, self.checkpoint, self.trained_on = found, dimensions, checkpoint, trained_on
        self.codes = trained_on or (found.mu, found.logvar)
        self.projection = latent_view.straight_projection(found, "dimensions", dimensions)
        self.key = f"{latent_view.version(seen.entry, self.checkpoint)} {self.projection.key}"
        self.held_out = tuple(part[:, list(dimensions)] for part in (found.mu, found.logvar))
        self.there = tuple(part[:, list(dimensions)] for part in self.codes)
        extent = float(np.clip(1.1 * np.abs(self.held_out[0]).max(), _LEAST_EXTENT, _MOST_EXTENT))
        self.values = np.linspace(-extent, extent, _GRID)
        self.name = f"{self.key} of {len(self.codes[0])}"
        self.ratio = log_ratio(self.values, *self.there)


@st.fragment
@say_errors
def _map_and_place(plane: _Plane) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with right:
        about = f"Within {_WITHIN:g} standard deviations of the prior."
        deepest = deepest_hole(plane.values, plane.ratio)
        named = search_label(-hole_depth(np.array([deepest]), *plane.there)[0], trained_on=plane.trained_on is not None)
        if st.button(named, icon=":material/search:", help=about, key="information_deepest"):
            st.session_state["information_place"] = deepest
    place = _chosen(plane)
    with left:
        _map(plane, place)
        _legend()
    with right:
        if place is None:
            st.markdown("Click the map, a hole or a crowded place: what the decoder makes of it appears here.")
        else:
            _place(plane, place)
        st.caption(shares_sentence(plane.trained_on, len(plane.found), *_shares(plane.name, plane)))


def _dimensions(found: LatentSnapshot) -> tuple[int, int]:
    kl = found.kl.mean(0)
    d = len(kl)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first, second = (
            st.selectbox(
                label,
                range(d),
                index=int(best),
                format_func=layout.dimension_name,
                key=f"information_{key}",
                **state.KEPT,
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
@turns.in_turn
def log_ratio(values: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """log q(z) − log p(z), in nats, where two dimensions take `values` each.

    Shapes: values (G,), mu, logvar (N, 2) → (G, G): columns are the first dimension, rows the second.
    """
    return -depths_on_grid(values, mu, logvar)


@st.cache_data(max_entries=256, show_spinner=False)
@turns.in_turn
def _shares(name: str, _plane: _Plane) -> tuple[float, float]:  # noqa: ARG001 (the cache's key)
    """Of draws from the prior, and of codes of held-out images: the shares in holes."""
    return prior_share(*_plane.there), code_share(*_plane.held_out, _plane.there if _plane.trained_on else None)


def shares_sentence(trained_on: Codes | None, held_out: int, prior: float, codes: float) -> str:
    """What the shares of the prior and of held-out images' codes that lie in holes say."""
    dense = f"where the prior is {math.exp(HOLE_NATS):.0f} times as dense as q(z), or more"
    if trained_on:
        return (
            f"q(z) is that of the {len(trained_on[0]):,} pictures that the decoder was trained on. Of the prior’s "
            f"draws, {percent(prior)} fall into holes of this plane, {dense}; of {held_out:,} unseen pictures’ "
            f"codes, {drawn_share(codes, held_out)} do."
        )
    return (
        f"q(z) is that of {held_out:,} test pictures alone. Of the prior’s draws, {percent(prior)} fall into gaps "
        f"between their codes, {dense}; of these codes, {drawn_share(codes, held_out)} fall into gaps that the "
        "others leave. Only if that is far less are the gaps holes of the model."
    )


def deepest_hole(values: np.ndarray, ratio: np.ndarray) -> tuple[float, float]:
    """Where log q − log p is lowest within two standard deviations of the prior: (first, second) dimension."""
    inside = values[:, None] ** 2 + values**2 <= _WITHIN**2
    row, column = np.unravel_index(np.where(inside, ratio, np.inf).argmin(), ratio.shape)
    return float(values[column]), float(values[row])


def search_label(difference: float, *, trained_on: bool) -> str:
    """What the button that shows the lowest log q − log p is called, as `verdict` calls the place."""
    if difference < -HOLE_NATS:
        return f"Show the deepest {'hole' if trained_on else 'gap'}"
    return "Show the thinnest place"


def _map(plane: _Plane, place: tuple[float, float] | None) -> None:
    props = latent_map_props(
        plane.projection.positions,
        ByClass(_inks(plane.projection.positions, plane.values, plane.ratio), (), _INKS),
        id=plane.key,
        view=plane.key,
        axes=plane.projection.axes,
        label="Aggregate posterior over the prior",
        file="aggregate-posterior",
        background=_background(plane.name, plane.values, plane.ratio),
        contours=True,
        marks=[Mark(*place, "here")] if place else [],
        placeable=True,
        plane=latent_view.decoded_plane(plane.key, plane.projection),
    )
    latent_map(plane.projection.positions, props, key="information_map")


@st.cache_resource(max_entries=32, show_spinner=False)
def _background(key: str, _values: np.ndarray, _ratio: np.ndarray) -> Background:  # noqa: ARG001 (the cache's key)
    edge = _values[-1] + (_values[1] - _values[0]) / 2  # cells stand around their points
    return Background(_shades(_on_ramp(_ratio[::-1])), (-edge, edge, -edge, edge), opacity=1.0)


def _inks(positions: np.ndarray, values: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Which of `_INKS` stands out more from the map under each of positions (N, 2): (N,) bool."""
    columns, rows = np.rint((positions.T - values[0]) / (values[1] - values[0])).clip(0, len(values) - 1).astype(int)
    grounds = _shades(_on_ramp(ratio[rows, columns]))
    return np.array([theme.ink_on(f"#{bytes(ground).hex()}") == "black" for ground in grounds])


def _on_ramp(ratio: np.ndarray) -> np.ndarray:
    """Where on the ramp of colours a ratio lies, from 0 to 1."""
    return (np.clip(ratio, _LOW, _HIGH) - _LOW) / (_HIGH - _LOW)


@functools.cache
def _ramp() -> np.ndarray:
    ramp = plotly.colors.sample_colorscale(theme.CONTINUOUS, np.linspace(0, 1, 256), colortype="tuple")
    return (np.array(ramp) * 255).round().astype(np.uint8)


def _shades(shares: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1 as colours of the continuous map: (…) → (…, 3) uint8."""
    return _ramp()[np.round(shares * 255).astype(int)]


@st.cache_data(show_spinner=False)
def _legend() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, _BAR[0]), _BAR[::-1])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(layout.true_minus(f"{_LOW:g}"), width="content")
        layout.drawing(Image.fromarray(_shades(ramp)), alt="Colours from the lowest to the highest value")
        st.caption(f"{_HIGH:+g} nats, log q(z) − log p(z)", width="content")


def _chosen(plane: _Plane) -> tuple[float, float] | None:
    """The place that was chosen last: by a click that is new, or else by the button; known before the map is drawn."""
    reported = (st.session_state.get("information_map") or {}).get("selection")
    selection = read_selection(reported, id=plane.key, view=plane.key, count=len(plane.found))
    new = selection is not None and selection != st.session_state.get("information_selection")
    if new and selection.kind != "lasso":
        st.session_state["information_place"] = (selection.x, selection.y)
    st.session_state["information_selection"] = selection
    return st.session_state.get("information_place")


def _place(plane: _Plane, place: tuple[float, float]) -> None:
    """The picture that is decoded there, and how dense codes and prior are."""
    at = np.array([place])
    z = plane.projection.lift(at).astype(np.float32)
    axes = zip(plane.projection.axes, place, strict=True)
    names = ", ".join(f"{name} = {layout.number(value, 2)}" for name, value in axes)
    flat = z.shape[1] == 2
    st.markdown(f"**Decoded at {names}**{'' if flat else ', all others 0'}")
    layout.picture(to_uint8(latent.decode(plane.checkpoint.model, z))[0], target=168)
    joint = log_density(z, *plane.codes)[0]
    with st.container(horizontal=True, gap="large"):
        st.metric("log q(z)", layout.nats(joint, 2), width="content")
        st.metric("log p(z)", layout.nats(log_prior(z[0]), 2), width="content")
    st.markdown(verdict(-hole_depth(at, *plane.there)[0], trained_on=plane.trained_on is not None))
    if not flat:
        st.caption("The sentence speaks of the two dimensions of the map; the numbers of all.")


def verdict(difference: float, *, trained_on: bool) -> str:
    """What log q − log p says of a place, in a sentence; trained_on: q is of what the decoder was trained on."""
    times = math.exp(min(abs(difference), 700))
    how = f"{times:.1f} times" if times < 10 else f"{times:,.0f} times" if times < 1e4 else "more than 10,000 times"
    if difference < -HOLE_NATS and not trained_on:
        return (
            f"A gap between codes: the prior draws here {how} as often as those of these pictures come here. With more "
            "pictures it may close."
        )
    if difference < -HOLE_NATS:
        return (
            f"A hole: the prior draws here {how} as often as codes of pictures come here, so that little has taught "
            "the decoder what to draw."
        )
    if difference < -_EVEN:
        return f"A thin place: the prior draws here {how} as often as codes of pictures come here."
    if difference > _EVEN:
        return f"A crowded place: codes of pictures come here {how} as often as the prior draws."
    return "Codes of pictures come here about as often as the prior draws: what is decoded here has been practised."
