"""The router and the frame: pages in sections, and the model that they share."""

import streamlit as st

from ui import caching, state

st.set_page_config(
    page_title="VAE laboratory", page_icon="ui/favicon.png", layout="wide", initial_sidebar_state="auto"
)

st.logo("ui/logo.svg", size="large")

page = st.navigation(
    {
        "": [
            st.Page("pages/start/home.py", title="Home", icon=":material/home:", default=True),
            st.Page("pages/train/train.py", title="Train", icon=":material/model_training:", url_path="train"),
        ],
        "Explore": [
            st.Page(
                "pages/explore/latent_space.py",
                title="Latent space",
                icon=":material/scatter_plot:",
                url_path="latent-space",
            ),
            st.Page(
                "pages/explore/interpolate.py",
                title="Interpolate",
                icon=":material/linear_scale:",
                url_path="interpolate",
            ),
            st.Page("pages/explore/generate.py", title="Generate", icon=":material/casino:", url_path="generate"),
            st.Page(
                "pages/explore/reconstruct.py",
                title="Reconstruct",
                icon=":material/image_search:",
                url_path="reconstruct",
            ),
        ],
    }
)

with st.sidebar:
    state.model_picker()
    st.caption(f"Computing on {caching.compute_device()}")

page.run()
