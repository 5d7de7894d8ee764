"""The router and the frame: pages in sections, and the model that they share."""

from pathlib import Path

import streamlit as st

from ui import ahead, caching, cores, garbage, history, state, visitor

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


def main() -> None:
    """Draw the frame and run the page that the address names."""
    st.set_page_config(page_title="VAE laboratory", page_icon="ui/favicon.png", layout="wide")
    st.logo("ui/logo.svg", size="large")
    visitor.greet()
    page = st.navigation({name: [_page(*row) for row in rows] for name, rows in SECTIONS.items()}, expanded=True)
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
