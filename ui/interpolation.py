"""The parts of the page Interpolate: a path, the square between four corners, and a slider for each dimension."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from ui import layout, state, theme
from ui.components.film_strip import film_strip, film_strip_index
from ui.components.live_chart import Series, VerticalMark, live_chart
from ui.components.picture_grid import picture_grid, picture_grid_index
from ui.decoded import decoded
from ui.endpoints import endpoint, spec_of
from ui.guards import errors_said
from ui.prior import prior_inside, radius_words
from ui.state import Entry
from vae_core import evaluate, imaging, latent
from vae_core.checkpoint import Checkpoint
from vae_core.words import percent

__all__ = [
    "FRAMES",
    "about_ways",
    "corners_section",
    "gif",
    "grid_png",
    "path_section",
    "radius_curves",
    "traversals_section",
]

FRAMES, _STEPS = 61, 11  # of a path
_EVERY = (FRAMES - 1) // (_STEPS - 1)  # frames from one step to the next
_MIDDLE = 0.5
_POINT = "interpolate_point"  # the text field that names where the traversals start
_TRAVERSAL_FRAMES = 31
_TRAVERSAL_EXTENT = 3.0
_FILE_SIDE = 224  # pixels a side of a picture in a GIF, about


def about_ways(d: int) -> str:
    """What tells the ways apart, and how much of the prior lies where the straight one may lead."""
    if d == 1:
        return "In one latent dimension both are the same."
    near = prior_inside(np.full(d, 0.5))
    return (
        "A straight line may pass close to the origin; a great circle stays as far out as its ends. With this model’s "
        f"d = {d}, {percent(near)} of the prior’s draws lie within half of √d = {d**0.5:.2f} from the origin."
    )


def path_section(entry: Entry, checkpoint: Checkpoint, a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray:
    """Draw the way from a to b (d,): the film strip, its numbers, a row of steps, and the files. Returns the place z
    (d,) on it."""
    points = latent.path(a, b, FRAMES, method)
    frames = decoded(entry, checkpoint, points)
    picture, numbers = st.columns([2, 3], gap="large")
    with numbers:
        metrics = st.container(horizontal=True, gap="medium")
        chart, at = st.container(), st.container(horizontal=True, vertical_alignment="bottom")
    with at:
        t = _position()
        index = round(t * (FRAMES - 1))
        z = points[index]
        st.code(spec_of(z), language=None, width="stretch")
    with picture:
        _strip(frames, index)
    with metrics:
        _place_numbers(checkpoint, z, frames[index])
    with chart:
        _radius_chart(a, b, method, t)
    _steps(frames, index)
    with st.container(horizontal=True):
        layout.download("GIF of the path", lambda: gif(frames), f"{entry.id}-path.gif")
        layout.download("PNG of the steps", lambda: grid_png(frames[::_EVERY], _STEPS), f"{entry.id}-path.png")
    return z


def _position() -> float:
    """The place t on the path, from 0 to 1: where the thumb is, or what is written here."""
    if st.session_state.get("interpolate_t") is None:
        st.session_state["interpolate_t"] = _MIDDLE
    t = st.number_input("Position t", 0.0, 1.0, None, 0.05, key="interpolate_t", **state.KEPT, width=160)
    return _MIDDLE if t is None else t


def _strip(frames: np.ndarray, index: int) -> None:
    """The path under a slider, which stands at frame `index`."""
    film_strip(
        frames,
        key="interpolate_path",
        label="From A to B",
        labels=[f"t = {step / (FRAMES - 1):.2f}" for step in range(FRAMES)],
        index=index,
        scale=layout.whole_scale(frames.shape[-1], 300),
        fps=24,
        on_release=lambda: _go_to(film_strip_index("interpolate_path") / (FRAMES - 1)),
    )


def _place_numbers(checkpoint: Checkpoint, z: np.ndarray, picture: np.ndarray) -> None:
    """How far out z lies, and whether its picture is encoded there again."""
    st.metric(
        "‖z‖",
        f"{np.linalg.norm(z):.2f}",
        help=f"Distance from the origin. {radius_words(len(z))}",
        width="content",
    )
    st.metric(
        "Prior mass inside",
        percent(prior_inside(z)),
        help="The share of N(0, I) that lies closer to the origin than z.",
        width="content",
    )
    st.metric(
        "Encoded again",
        f"{_encoded_again(checkpoint, z, picture):.2f}",
        help="How far from z the encoder puts the decoded picture: far where no training image lies near.",
        width="content",
    )


def _radius_chart(a: np.ndarray, b: np.ndarray, method: str, t: float) -> None:
    """‖z‖ along both ways from a to b, with a mark at t."""
    curves = radius_curves(a, b, method)
    live_chart(
        curves,
        key="interpolate_radius",
        label="Distance from the origin",
        x="position t",
        y="‖z‖",
        marks=[VerticalMark(t, f"t = {t:.2f}")],
        y_range=[0, 1.08 * max(max(curve.y) for curve in curves)],
        height=220,
        subject=f"{a} {b}",
    )


def _steps(frames: np.ndarray, index: int) -> None:
    """Eleven pictures of the path in a row; a click on one moves there."""
    picture_grid(
        frames[::_EVERY],
        key="interpolate_steps",
        label="Steps from A to B",
        captions=[f"{step / (_STEPS - 1):.1f}" for step in range(_STEPS)],
        selected=index // _EVERY if index % _EVERY == 0 else None,
        scale=layout.whole_scale(frames.shape[-1], 56),
        on_pick=lambda: _go_to(picture_grid_index("interpolate_steps") / (_STEPS - 1)),
    )


def _go_to(t: float) -> None:
    """Move to place `t` of the path."""
    st.session_state["interpolate_t"] = round(t, 3)


def _encoded_again(checkpoint: Checkpoint, z: np.ndarray, picture: np.ndarray) -> float:
    """|μ(x̂(z)) − z|: how far the encoder's mean for the decoded picture, uint8 (C, H, W), lies from z (d,)."""
    mu, _ = evaluate.encode(checkpoint.model, picture[None])
    return float(np.linalg.norm(mu[0] - z))


def radius_curves(a: np.ndarray, b: np.ndarray, method: str) -> list[Series]:
    """|z| along both ways from a to b (d,), the chosen one strong, and √d, the prior's root mean square."""
    along = np.linspace(0, 1, FRAMES)
    curves = [
        Series(
            way.capitalize(),
            along,
            np.linalg.norm(latent.path(a, b, FRAMES, way), axis=1),
            colour,
            3 if way == method else 1.5,
        )
        for way, colour in zip(latent.METHODS, theme.LINE_COLOURS, strict=False)
    ]
    expected = len(a) ** 0.5
    return [*curves, Series(f"√d = {expected:.2f}", along, np.full(FRAMES, expected), theme.TERM_COLOURS["total"], 1)]


def gif(frames: np.ndarray) -> bytes:
    """The path there and back as an animated GIF. frames (F, C, H, W) uint8."""
    scale = layout.whole_scale(frames.shape[-1], _FILE_SIDE)
    there = [imaging.grid(frame[None], columns=1, scale=scale, gap=0) for frame in frames]
    return imaging.gif_bytes(there + there[-2:0:-1], milliseconds=50)


def grid_png(pictures: np.ndarray, columns: int) -> bytes:
    """Pictures (N, C, H, W) uint8 in rows of `columns` as a PNG file."""
    scale = layout.whole_scale(pictures.shape[-1], _FILE_SIDE // 2)
    return imaging.png_bytes(imaging.grid(pictures, columns, scale=scale))


def corners_section(
    entry: Entry, checkpoint: Checkpoint, a: np.ndarray, b: np.ndarray, method: str, defaults: Sequence[str]
) -> None:
    """Draw the square between a and b (d,) at the top, C and D, which are `defaults` at first, at the bottom; a click
    takes that point along to the traversals."""
    st.subheader("Four corners", anchor=False)
    problems = st.container()
    side, square = st.columns([2, 3], gap="large")
    with side:
        st.markdown("A and B at the top, C and D at the bottom. Click a picture to walk on from it below.")
        c = endpoint("c", entry, checkpoint, defaults[0], problems)
        d = endpoint("d", entry, checkpoint, defaults[1], problems)
        n = st.segmented_control(
            "Pictures a side", [5, 7, 9, 11], default=7, required=True, key="interpolate_side", **state.KEPT
        )
    points = latent.corner_grid(np.stack([a, b, c.z, d.z]), n, method)
    pictures = decoded(entry, checkpoint, points)
    with square:
        picture_grid(
            pictures,
            key="interpolate_corners",
            label="Between four corners",
            scale=layout.whole_scale(pictures.shape[-1], 56),
            columns=n,
            on_pick=lambda: _set(_POINT, spec_of(points[picture_grid_index("interpolate_corners")])),
        )
    with side:
        layout.download("PNG of the square", lambda: grid_png(pictures, n), f"{entry.id}-corners.png")


def _forget_when_moved(z: np.ndarray) -> None:
    """Empty the field of the traversals' point when the path's place z is not what it was in the run before: it is then
    outdated."""
    place = f"{_POINT}/from"
    before = st.session_state.get(place)
    if before is not None and not np.array_equal(before, z):
        st.session_state[_POINT] = ""
    st.session_state[place] = z


def traversals_section(entry: Entry, checkpoint: Checkpoint, z: np.ndarray) -> None:
    """Draw a slider for each dimension around the point that was chosen: z (d,), which is on the path, until then."""
    _forget_when_moved(z)
    st.subheader("One dimension at a time", anchor=False)
    st.markdown(
        "Each slider moves one latent dimension and holds the others, the one with the largest KL first. "
        "Let go, and all of them go on from the new point."
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        face = st.container(width="content")
        spec = st.text_input(
            "Point",
            key=_POINT,
            **state.KEPT,
            placeholder="the point on the path",
            help="test:12, prior:7, or z: and its coordinates. Empty: the point on the path.",
            width=320,  # so that the buttons stand beside it on a screen of 1280
        ).strip()
        back = st.button(
            "Back to the path", icon=":material/undo:", disabled=not spec, on_click=_set, args=(_POINT, "")
        )
        for name in ("a", "b"):
            if st.button(f"Use as {name.upper()}", disabled=not spec, on_click=_set, args=(name, spec)):
                st.rerun()
    if spec and not back:
        with errors_said():
            z = state.resolve(spec, checkpoint).z
    with face:
        layout.picture(decoded(entry, checkpoint, z[None])[0], f"‖z‖ = {np.linalg.norm(z):.2f}", target=112)
    _traversals(entry, checkpoint, z)
    layout.say_left_out(len(z))


def _traversals(entry: Entry, checkpoint: Checkpoint, z: np.ndarray) -> None:
    """One live slider for each of the dimensions with the largest KL, around the point z (d,), in two columns.

    Letting one go writes the new point to the field.
    """
    kl = checkpoint.snapshot.kl.mean(0)
    ranked = latent.rank_by_kl(kl)[: layout.MOST_DIMENSIONS]
    grids = [_values(z[dimension]) for dimension in ranked]
    ways = np.stack([latent.traversal(z, j, values) for j, (values, _) in zip(ranked, grids, strict=True)])
    frames = decoded(entry, checkpoint, ways)
    half = -(-len(ranked) // 2)
    columns = st.columns(2, gap="large")
    for place, (dimension, (values, index)) in enumerate(zip(ranked, grids, strict=True)):
        with columns[place // half]:
            film_strip(
                frames[place],
                key=f"interpolate_z{dimension}",
                label=f"{layout.dimension_name(dimension)} · {kl[dimension]:.2f} nats",
                labels=[layout.number(value, 2) for value in values],
                index=index,
                scale=layout.whole_scale(frames.shape[-1], 112 if half <= 2 else 56),
                compact=True,
                on_release=lambda j=dimension, place=place: _set(
                    _POINT, spec_of(ways[place][film_strip_index(f"interpolate_z{j}")])
                ),
            )


def _set(key: str, value: str) -> None:
    st.session_state[key] = value


def _values(now: float) -> tuple[np.ndarray, int]:
    """Where a dimension is taken, and which of these places is exactly where it is now."""
    extent = max(_TRAVERSAL_EXTENT, float(np.ceil(abs(now))))
    values = np.linspace(-extent, extent, _TRAVERSAL_FRAMES, dtype=np.float32)
    index = int(np.abs(values - now).argmin())
    values[index] = now
    return values, index
