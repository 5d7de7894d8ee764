"""The router and the frame: pages in sections, and the model that they share."""

import functools
from pathlib import Path

import streamlit as st

from ui import ahead, caching, cores, garbage, guards, history, state, visitor
from vae_core import imaging

SECTIONS = {
    "": (
        ("pages/start/home.py", "Home", ":material/home:"),
        ("pages/train/train.py", "Train", ":material/model_training:"),
    ),
    "Explore": (
        ("pages/explore/beta.py", "β and rate–distortion", ":material/balance:"),
        ("pages/explore/latent_space.py", "Latent space", ":material/scatter_plot:"),
        ("pages/explore/interpolate.py", "Interpolate", ":material/linear_scale:"),
        ("pages/explore/generate.py", "Generate", ":material/casino:"),
        ("pages/explore/reconstruct.py", "Reconstruct", ":material/image_search:"),
    ),
    "Understand": (
        ("pages/understand/elbo_lab.py", "ELBO lab", ":material/science:"),
        ("pages/understand/derivation.py", "Derivation", ":material/function:"),
        ("pages/understand/bounds.py", "Bounds", ":material/stacked_line_chart:"),
        ("pages/understand/reparameterisation.py", "Reparameterisation", ":material/swap_calls:"),
        ("pages/understand/amortised_and_classical.py", "Amortised and classical", ":material/speed:"),
        ("pages/understand/posterior_collapse_and_holes.py", "Posterior collapse and holes", ":material/blur_on:"),
    ),
}


def _page(script: str, title: str, icon: str) -> st.Page:
    address = Path(script).stem.replace("_", "-")
    return st.Page(script, title=title, icon=icon, url_path=address, default=title == "Home")


@functools.cache
def _icon() -> str:
    """As a data URL: a file of its own may be gone before the browser asks for it."""
    return imaging.data_url(Path("ui/favicon.png").read_bytes(), "image/png")


def main() -> None:
    """Draw the frame and run the page that the address names."""
    st.set_page_config(page_title="VAE laboratory", page_icon=_icon(), layout="wide")
    st.logo("ui/logo.svg", size="large")
    visitor.greet()
    page = st.navigation({name: [_page(*row) for row in rows] for name, rows in SECTIONS.items()}, expanded=True)
    guards.drop_unusable(page)
    with st.sidebar:
        state.model_picker()
        state.beta_picker()
        st.caption(f"Computing on {caching.compute_device()}")
        history.keep_tidy()
    try:
        with cores.shared():
            page.run()
    finally:
        garbage.exempt_modules()
        ahead.import_libraries()


if __name__ == "__main__":
    main()
