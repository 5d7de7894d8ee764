"""How the lines of the derivation stand on the page: formula, value, reason, and the way to where it can be touched."""

import numpy as np
import streamlit as st

from ui import state, understand
from ui.derivation import Step, terms
from ui.rate_split import rate_split
from ui.state import Entry
from ui.true_posterior import latent_plane
from ui.understand import Subject
from ui.ways import BY_ADDRESS
from vae_core.checkpoint import Checkpoint
from vae_core.derivation import Derivation, derive
from vae_core.evidence import evidence
from vae_core.information import RateSplit

__all__ = ["numbers", "show", "split", "words_table"]

_IMAGES = 1000


def words_table(rows: list[tuple[str, str, str]]) -> None:
    """The terminology as a table: symbol (LaTeX), name, what it is here."""
    lines = [f"| ${{{symbol}}}$ | {name} | {here.replace('|', chr(92) + '|')} |" for symbol, name, here in rows]
    st.markdown("\n".join(["| Symbol | Name | Here |", "|---|---|---|", *lines]))


def numbers(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> Derivation:
    """The derivation's numbers for one uint8 image (C, H, W), kept: exact for one or two latent dimensions."""
    model, drawn = checkpoint.model, understand.draws(entry, checkpoint, image)

    def derived(_: object) -> Derivation:
        exact = evidence(latent_plane(entry, checkpoint), image[None]) if model.config.latent_dim <= 2 else None
        return derive(model, image, exact, drawn)

    return understand.kept(
        understand.result_key("derivation", entry, model.beta, image), derived, "Working out every line"
    )


def split(checkpoint: Checkpoint) -> RateSplit | None:
    """Where the rate of the first test images goes, kept; None where there are fewer than two."""
    mu, logvar = (part[:_IMAGES] for part in (checkpoint.snapshot.mu, checkpoint.snapshot.logvar))
    if len(mu) < 2:
        return None
    return rate_split(mu, logvar)


def show(step: Step, number: int, subject: Subject, *, exact: bool) -> None:
    """Draw one step; its links lead to the same model and, if it is a test image, the same picture."""
    shared = state.shared()
    st.subheader(f"{number}. {step.title}", anchor=False)
    st.markdown(step.about)
    for line in step.lines:
        with st.container(border=True):
            formula, words = st.columns([1.15, 1], gap="medium", vertical_alignment="center")
            formula.latex(line.formula)
            with words:
                st.markdown("\n\n".join(filter(None, (line.value, line.why))))
                with st.container(horizontal=True, gap="small"):
                    for place, label in _links(line.formula, line.touch, exact=exact).items():
                        parameters = shared | _picture(place, subject)
                        page = BY_ADDRESS[place].path
                        st.page_link(page, label=label, icon=":material/touch_app:", query_params=parameters)


def _links(formula: str, touch: str, *, exact: bool) -> dict[str, str]:
    """The pages where a line can be touched, its own first, each with its terms that are there: label by address."""
    there: dict[str, list[str]] = {touch: []}
    for name, place in terms(formula, exact=exact):
        there.setdefault(place, []).append(name)
    return {
        place: ": ".join(filter(None, (BY_ADDRESS[place].label, ", ".join(found)))) for place, found in there.items()
    }


def _picture(place: str, subject: Subject) -> dict[str, str]:
    if subject.index is None:
        return {}
    if place == "latent-space":
        return {"map_point": f"test:{subject.index}"}
    return {"amortised_first" if place == "amortised-and-classical" else "test_image": str(subject.index)}
