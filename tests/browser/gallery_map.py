"""A page with one latent map over 10,000 points, every feature of it on a switch."""

import dataclasses

import numpy as np
import streamlit as st

from ui.components.latent_map import (
    Background,
    ByClass,
    ByValue,
    DecodedPlane,
    Mark,
    build_atlas,
    latent_map,
    latent_map_props,
    send_atlas,
)

COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee"]
N = int(st.query_params.get("n", 10_000))
far = float(st.query_params.get("far", 0))

rng = np.random.default_rng(0)
labels = rng.integers(0, 5, N)
angle = 2 * np.pi * labels / 5
positions = 2 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.5 * rng.standard_normal((N, 2))
positions[:3] = (0, 0), (-4, -4), (4, 4)  # so that point 0 lies in the middle of the first view
tiles = np.zeros((N, 1, 8, 8), np.uint8)
tiles[np.arange(N), 0, labels] = 255

st.set_page_config(layout="wide")
with st.container(horizontal=True):
    moved = st.toggle("Move the points")
    by_value = st.toggle("Colour by value")
    thumbnails = st.toggle("Thumbnails")
    backdrop = st.toggle("Background")
    padded = st.toggle("Plane")
if st.button("Rerun"):
    st.session_state.reruns = st.session_state.get("reruns", 0) + 1

atlas = build_atlas(tiles)
by_class = ByClass(labels, ["zero", "one", "two", "three", "four"], COLOURS)
ramp = ["#440154", "#21918c", "#fde725"]
ramps = np.linspace(20, 220, 5).round()[np.indices((5, 5))]  # grey grows downwards, then to the right
cells = np.repeat(np.stack([*ramps, ramps[0]], 2).reshape(25, 3, 1, 1), 8, 2).repeat(8, 3).astype(np.uint8)
decoded = dataclasses.replace(build_atlas(cells, quality=100), id="plane")
checker = (np.indices((64, 64)).sum(0) // 8 % 2 * 90 + 120).astype(np.uint8)
places = positions @ np.array([[0.0, 3.0], [-3.0, 0.0]]) if moved else positions
props = latent_map_props(
    places,
    ByValue(positions[:, 0], "First dimension", ramp) if by_value else by_class,
    id="gallery",
    view="plane",
    axes=("z₁", "z₂"),
    labels=by_class,
    atlas=atlas,
    background=Background(checker, (-3, 3, -3, 3)) if backdrop else None,
    contours=backdrop,
    placeable=backdrop,
    marks=[Mark(1.0, 0.0, "A")] if backdrop else [Mark(far, 0.0, "F")] if far else [],
    thumbnails=thumbnails,
    plane=DecodedPlane("plane", (-2, 2, -2, 2), 5) if padded else None,
)
send_atlas(atlas, key="atlas")
send_atlas(decoded, key="plane")
selection = latent_map(places, props, key="map")
if selection is None:
    st.text("Nothing selected")
else:
    st.text(f"Selected {selection.kind}: {len(selection.indices)} points, first {(*selection.indices, None)[0]}")
    st.text(f"At {selection.x:.2f}, {selection.y:.2f}")
    if selection.kind == "lasso":
        st.text(f"Classes in the lasso: {sorted(set(labels[list(selection.indices)].tolist()))}")
st.text(f"Reruns: {st.session_state.get('reruns', 0)}")
