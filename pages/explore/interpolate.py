"""Interpolate: what lies between pictures, on a path, between four corners, and along each latent dimension."""

import numpy as np
import streamlit as st

from ui import interpolation, layout, state
from ui.components.film_strip import film_strip, film_strip_index
from ui.components.live_chart import VerticalMark, live_chart
from ui.components.picture_grid import picture_grid, picture_grid_index
from ui.decoded import decoded
from ui.endpoints import endpoint, spec_of
from ui.guards import errors_said, say_errors
from ui.interpolation import FRAMES, STEPS
from vae_core import latent
from vae_core.words import percent

MIDDLE = 0.5
EVERY = (FRAMES - 1) // (STEPS - 1)  # frames from one step to the next


def path_section(entry, checkpoint, a, b, method):
    """The way from a to b: the film strip, its numbers, a row of steps, and the files. Returns the point z."""
    points = latent.path(a.z, b.z, FRAMES, method)
    frames = decoded(entry, checkpoint, points)
    picture, numbers = st.columns([2, 3], gap="large")
    with numbers:
        metrics = st.container(horizontal=True, gap="medium")
        chart, at = st.container(), st.container(horizontal=True, vertical_alignment="bottom")
    with at:
        t = position()
        index = round(t * (FRAMES - 1))
        z = points[index]
        st.code(spec_of(z), language=None, width="stretch")
    with picture:
        strip(frames, index)
    with metrics:
        place_numbers(checkpoint, z, frames[index])
    with chart:
        radius_chart(a.z, b.z, method, t)
    steps(frames, index)
    with st.container(horizontal=True):
        layout.download("GIF of the path", lambda: interpolation.gif(frames), f"{entry.id}-path.gif")
        layout.download(
            "PNG of the steps", lambda: interpolation.grid_png(frames[::EVERY], STEPS), f"{entry.id}-path.png"
        )
    return z


def position():
    """The place t on the path, from 0 to 1: where the thumb is, or what is written here."""
    if st.session_state.get("interpolate_t") is None:
        st.session_state["interpolate_t"] = MIDDLE
    t = st.number_input("Position t", 0.0, 1.0, None, 0.05, key="interpolate_t", **state.KEPT, width=160)
    return MIDDLE if t is None else t


def strip(frames, index):
    """The path under a slider, which stands at frame `index`."""
    film_strip(
        frames,
        key="interpolate_path",
        label="From A to B",
        labels=[f"t = {step / (FRAMES - 1):.2f}" for step in range(FRAMES)],
        index=index,
        scale=layout.whole_scale(frames.shape[-1], 300),
        fps=24,
        on_release=lambda: go_to(film_strip_index("interpolate_path") / (FRAMES - 1)),
    )


def place_numbers(checkpoint, z, picture):
    """How far out z lies, and whether its picture is encoded there again."""
    st.metric(
        "‖z‖",
        f"{np.linalg.norm(z):.2f}",
        help=f"Distance from the origin. {interpolation.radius_words(len(z))}",
        width="content",
    )
    st.metric(
        "Prior mass inside",
        percent(interpolation.prior_inside(z)),
        help="The share of N(0, I) that lies closer to the origin than z.",
        width="content",
    )
    st.metric(
        "Encoded again",
        f"{interpolation.encoded_again(checkpoint, z, picture):.2f}",
        help="How far from z the encoder puts the decoded picture: far where no training image lies near.",
        width="content",
    )


def radius_chart(a, b, method, t):
    """‖z‖ along both ways from a to b, with a mark at t."""
    curves = interpolation.radius_curves(a, b, method)
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


def steps(frames, index):
    """Eleven pictures of the path in a row; a click on one moves there."""
    picture_grid(
        frames[::EVERY],
        key="interpolate_steps",
        label="Steps from A to B",
        captions=[f"{step / (STEPS - 1):.1f}" for step in range(STEPS)],
        selected=index // EVERY if index % EVERY == 0 else None,
        scale=layout.whole_scale(frames.shape[-1], 56),
        on_pick=lambda: go_to(picture_grid_index("interpolate_steps") / (STEPS - 1)),
    )


def go_to(t):
    """Move to place `t` of the path; None of it where nothing is selected."""
    st.session_state["interpolate_t"] = round(t, 3)


def corners_section(entry, checkpoint, a, b, method, defaults):
    """The square between A, B, C and D; a click takes that point along to the traversals."""
    st.subheader("Four corners", anchor=False)
    side, square = st.columns([2, 3], gap="large")
    with side:
        st.markdown("A and B at the top, C and D at the bottom. Click a picture to walk on from it below.")
        c = endpoint("c", entry, checkpoint, defaults[2])
        d = endpoint("d", entry, checkpoint, defaults[3])
        n = st.segmented_control(
            "Pictures a side", [5, 7, 9, 11], default=7, required=True, key="interpolate_side", **state.KEPT
        )
    points = latent.corner_grid(np.stack([a.z, b.z, c.z, d.z]), n, method)
    pictures = decoded(entry, checkpoint, points)
    with square:
        picture_grid(
            pictures,
            key="interpolate_corners",
            label="Between four corners",
            scale=layout.whole_scale(pictures.shape[-1], 56),
            columns=n,
            on_pick=lambda: walk_on(points[picture_grid_index("interpolate_corners")]),
        )
    with side:
        layout.download("PNG of the square", lambda: interpolation.grid_png(pictures, n), f"{entry.id}-corners.png")


def walk_on(z):
    """Make z the point from which the traversals go."""
    st.session_state["interpolate_point"] = spec_of(z)


def traversals_section(entry, checkpoint, z):
    """One slider a dimension around the point that was chosen, z on the path until then."""
    st.subheader("One dimension at a time", anchor=False)
    st.markdown(
        "Each slider moves one latent dimension and holds the others, the one with the largest KL first. "
        "Let go, and all of them go on from the new point."
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        face = st.container(width="content")
        spec = st.text_input(
            "Point",
            key="interpolate_point",
            **state.KEPT,
            placeholder="the point on the path",
            help="test:12, prior:7, or z: and its coordinates. Empty: the point on the path.",
            width=320,  # so that the buttons stand beside it on a screen of 1280
        ).strip()
        back = st.button(
            "Back to the path", icon=":material/undo:", disabled=not spec, on_click=lambda: clear("interpolate_point")
        )
        for name in ("a", "b"):
            if st.button(f"Use as {name.upper()}", disabled=not spec, on_click=lambda name=name: use_as(name, spec)):
                st.rerun()
    if spec and not back:
        with errors_said():
            z = state.resolve(spec, checkpoint).z
    with face:
        layout.picture(decoded(entry, checkpoint, z[None])[0], f"‖z‖ = {np.linalg.norm(z):.2f}", target=112)
    interpolation.traversals(entry, checkpoint, z, "interpolate_point")
    further = len(z) - interpolation.MOST_DIMENSIONS
    if further > 0:
        st.caption(f"The {interpolation.MOST_DIMENSIONS} dimensions with the largest KL; {further} more have less.")


@st.fragment
@say_errors
def walk(entry, checkpoint, a, b, method, below):
    """What follows the place on the path: letting its thumb go draws this again, and not the rest of the page.

    below: the container of the traversals, which start from that place.
    """
    z = path_section(entry, checkpoint, a, b, method)
    interpolation.forget_when_moved("interpolate_point", z)
    with below:
        traversals_section(entry, checkpoint, z)


def about_ways(d):
    """What tells the ways apart, and how much of the prior lies where the straight one may lead."""
    if d == 1:
        return "In one latent dimension both are the same."
    near = interpolation.prior_inside(np.full(d, 0.5))
    return (
        "A straight line may pass close to the origin; a great circle stays as far out as its ends. With this model’s "
        f"d = {d}, {percent(near)} of the prior’s draws lie within half of √d = {d**0.5:.2f} from the origin."
    )


def clear(key):
    """Empty a text field."""
    st.session_state[key] = ""


def use_as(name, spec):
    """Make the point an end of the path."""
    st.session_state[name] = spec


def swap():
    """Go the other way."""
    st.session_state["a"], st.session_state["b"] = st.session_state["b"], st.session_state["a"]


layout.head(
    "Interpolate",
    "A decoder makes a picture of every point, also of those that no image was ever encoded to. "
    "Drag from one code to another and watch what the model takes to lie between.",
)
entry, checkpoint = state.selected()
defaults = [f"test:{number % len(checkpoint.snapshot)}" for number in range(4)]
left, right, way = st.columns([5, 5, 4], vertical_alignment="center")
with left:
    a = endpoint("a", entry, checkpoint, defaults[0])
with right:
    b = endpoint("b", entry, checkpoint, defaults[1])
with way.container(horizontal=True, vertical_alignment="bottom"):
    method = st.segmented_control(
        "Way",
        latent.METHODS,
        default="spherical",
        required=True,
        format_func=str.capitalize,
        key="interpolate_way",
        **state.KEPT,
        help=about_ways(checkpoint.model.config.latent_dim),
    )
    st.button("", icon=":material/swap_horiz:", help="Swap A and B.", key="interpolate_swap", on_click=swap)
path, corners, traversals = (st.container() for _ in range(3))
with path:
    walk(entry, checkpoint, a, b, method, traversals)
with corners:
    corners_section(entry, checkpoint, a, b, method, defaults)
