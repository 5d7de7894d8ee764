"""Streamlit's side of the laboratory."""

import vae_core  # noqa: F401 (before torch, see there)
