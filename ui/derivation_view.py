"""How the lines of the derivation stand on the page: formula, value, reason, and the way to where it can be touched."""

import streamlit as st

from ui.derivation import Step

__all__ = ["show", "words_table"]

_PLACES = {  # address: page, label
    "train": ("pages/train/train.py", "Train"),
    "latent-space": ("pages/explore/latent_space.py", "Latent space"),
    "reconstruct": ("pages/explore/reconstruct.py", "Reconstruct"),
    "beta": ("pages/explore/beta.py", "β and rate–distortion"),
    "bounds": ("pages/understand/bounds.py", "Bounds"),
    "reparameterisation": ("pages/understand/reparameterisation.py", "Reparameterisation"),
    "amortised-and-classical": ("pages/understand/amortised_and_classical.py", "Amortised and classical"),
}


def words_table(rows: list[tuple[str, str, str]]) -> None:
    """The terminology as a table: symbol (LaTeX), name, what it is here."""
    lines = [f"| ${symbol}$ | {name} | {here.replace('|', chr(92) + '|')} |" for symbol, name, here in rows]
    st.markdown("\n".join(["| Symbol | Name | Here |", "|---|---|---|", *lines]))


def show(step: Step, model: str, picture: str) -> None:
    """Draw one step; its links lead to the same model and, where a page takes one, the same picture."""
    st.subheader(step.title, anchor=False)
    st.markdown(step.about)
    for line in step.lines:
        with st.container(border=True):
            formula, words = st.columns([1.15, 1], gap="medium", vertical_alignment="center")
            formula.latex(line.formula)
            with words:
                st.markdown("\n\n".join(filter(None, (line.value, line.why))))
                if line.touch in _PLACES:
                    page, label = _PLACES[line.touch]
                    parameters = {"model": model} | _picture(line.touch, picture)
                    st.page_link(page, label=label, icon=":material/touch_app:", query_params=parameters)


def _picture(place: str, spec: str) -> dict[str, str]:
    """How a page is told of the picture."""
    if place in ("reconstruct", "elbo-lab"):
        kind, _, index = spec.partition(":")
        return {"reconstruct_image": index} if kind == "test" else {}
    if place == "latent-space":
        return {"map_point": spec}
    return {"x": spec} if place in ("bounds", "amortised-and-classical") else {}
