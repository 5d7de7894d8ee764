"""Interpolate: what lies between pictures, on a path, between four corners, and along each latent dimension."""

import streamlit as st

from ui import interpolation, layout, state
from ui.endpoints import endpoint
from ui.guards import say_errors
from vae_core import latent


@st.fragment
@say_errors
def walk(entry, checkpoint, a, b, method, below):
    """What follows the place on the path: letting its thumb go draws this again, and not the rest of the page.

    below: the container of the traversals, which start from that place.
    """
    z = interpolation.path_section(entry, checkpoint, a, b, method)
    with below:
        interpolation.traversals_section(entry, checkpoint, z)


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
problems = st.container()
left, right, way = st.columns([5, 5, 4], vertical_alignment="center")
with left:
    a = endpoint("a", entry, checkpoint, defaults[0], problems)
with right:
    b = endpoint("b", entry, checkpoint, defaults[1], problems)
with way.container(horizontal=True, vertical_alignment="bottom"):
    method = st.segmented_control(
        "Way",
        latent.METHODS,
        default="spherical",
        required=True,
        format_func=str.capitalize,
        key="interpolate_way",
        **state.KEPT,
        help=interpolation.about_ways(checkpoint.model.config.latent_dim),
    )
    st.button("Swap", icon=":material/swap_horiz:", help="A for B, and B for A.", key="interpolate_swap", on_click=swap)
path, corners, traversals = (st.container() for _ in range(3))
with path:
    walk(entry, checkpoint, a.z, b.z, method, traversals)
with corners:
    interpolation.corners_section(entry, checkpoint, a.z, b.z, method, defaults[2:])
