"""Latent space: posterior means of the test images in the plane, and everything that can be asked of them."""

import streamlit as st

from ui import latent_panels, latent_view, layout, state

entry, checkpoint = state.selected()
layout.head(
    "Latent space",
    "Each dot is the mean μ of q(z|x) for one test image. Images that the model takes for similar lie together.",
)
images = state.held_out(checkpoint)
most = 0 if images is None else min(len(images), latent_view.MOST_POINTS)
whole = most > len(checkpoint.snapshot) and st.toggle(f"All {most:,} test images", key="map_whole", **state.KEPT)
found = latent_view.codes(entry, checkpoint, whole=whole)
latent_panels.explorer(entry, checkpoint, found, latent_panels.settings(entry, found))
