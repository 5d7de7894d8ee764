"""What the ELBO lab computes: the decoded plane, the true posterior of one picture, and a q improved step by step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from ui import layout, turns, understand
from ui.components.gaussian import Gaussian, gaussian
from ui.components.posterior_pad import PadView
from ui.components.sheets import content_digest
from ui.state import Entry
from ui.true_posterior import latent_plane, true_posterior
from vae_core import amortisation, latent
from vae_core.checkpoint import Checkpoint
from vae_core.evaluate import binarise, encode
from vae_core.evidence import Evidence, Mode, TruePosteriors
from vae_core.imaging import to_uint8
from vae_core.objective import log_prior

__all__ = [
    "LOOKED_THROUGH",
    "Climb",
    "Lab",
    "begin_from",
    "begun",
    "beyond_words",
    "climb",
    "exact",
    "gap_sentence",
    "keep",
    "look",
    "matched",
    "modes",
    "numbers",
    "pad_view",
    "peaks_words",
    "reached",
    "worst",
]

LOOKED_THROUGH = 200
"""Test images among which the page looks for the worst."""

_STEPS = 200  # of a climb
_WINDOW_STEPS = 81
_SIDE = 15
_EVERY = 4  # a point of the walk for so many steps
_FOUND, _AT_ONCE = 12, 16
_CAUGHT = 0.1  # nats
_FEW = 1e-3  # nats: fewer are not shown
_REACHED = "elbo_reached"
_A_PEAK = 0.01  # the least share of the mass that is called a peak
_LEFT, _LINKS, _ADDRESS = "elbo_left", "elbo_links", "elbo_address"


@dataclass(frozen=True, eq=False)
class Lab:
    """One picture: its name for caches, its true posterior, and the encoder's q."""

    id: str
    image: np.ndarray
    posteriors: TruePosteriors
    encoder: Gaussian

    def against(self, q: Gaussian) -> Evidence:
        """The exact numbers of any q."""
        return self.posteriors.against(np.array([q.mu]), 2 * np.log(np.array([q.sigma])))


def look(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> Lab:
    """The true posterior of a uint8 picture (C, H, W) and the encoder's q for it."""
    name = f"{entry.id}/{entry.modified}/{checkpoint.model.beta:g}/{content_digest(image)}"
    mu, logvar = encode(checkpoint.model, image[None])
    encoder = Gaussian(tuple(map(float, mu[0])), tuple(map(float, np.exp(0.5 * logvar[0]))))
    return Lab(name, image, true_posterior(entry, checkpoint, image), encoder)


@st.cache_resource(max_entries=16, show_spinner=False)
@turns.in_turn
def _exact(name: str, q: Gaussian, _lab: Lab) -> Evidence:  # noqa: ARG001
    return _lab.against(q)


def exact(lab: Lab, q: Gaussian) -> Evidence:
    """The exact numbers of q, computed once."""
    return _exact(lab.id, q, lab)


def numbers(lab: Lab, q: Gaussian) -> dict[str, float]:
    """The exact numbers of q as the pad shows them, in nats."""
    found = exact(lab, q)
    rows = {
        "evidence": found.log_likelihood,
        "elbo": found.elbo,
        "reconstruction": found.reconstruction,
        "kl": found.kl,
        "gap": found.kl_to_true_posterior,
    }
    return {name: float(value[0]) for name, value in rows.items()}


@st.cache_resource(max_entries=64, show_spinner=False)
def _modes(name: str, _lab: Lab) -> list[Mode]:  # noqa: ARG001
    return _lab.posteriors.modes(0)


def modes(lab: Lab) -> list[Mode]:
    """The peaks of the true posterior, the one with most mass first, found once."""
    return _modes(lab.id, lab)


def peaks_words(masses: Sequence[float], latent_dim: int) -> str:
    """What the shares of mass at a posterior's peaks, the largest first, say of any Gaussian q: a q that stays at the
    largest peak has KL(q(z|x) ‖ p(z|x)) ≥ −log(its share), and one that does not covers places of low density."""
    shares = [mass for mass in masses if mass > _A_PEAK]
    if len(shares) < 2:
        shape = "its tilt and its bends, which a q along the axes" if latent_dim > 1 else "its shape, which a Gaussian"
        return f"This posterior has one peak. The gap that **Improve q** leaves comes of {shape} cannot follow."
    least = -math.log(shares[0])
    listed = ", ".join(f"{share:.0%}" for share in shares)
    short = f"A Gaussian at the largest alone leaves a gap of {layout.nats(least, 2)} or more"
    end = "the others matter little." if least < _CAUGHT else "one Gaussian must fail here."
    return f"This posterior has **{len(shares)} peaks**, with {listed} of its mass. {short}: {end}"


def beyond_words(outside: float) -> str:
    """What is said where mass may lie beyond the z that are summed over, `outside` nats at most; nothing if few."""
    if outside <= _FEW:
        return ""
    return (
        "This picture’s code lies so far from the prior that log p(x) is not exact: what lies beyond the z that are "
        f"summed over could raise it, and the gap, by up to {outside:,.3g} nats."
    )


def begun(lab: Lab) -> tuple[Gaussian, int]:
    """Where q starts, and the version of the pad that takes it from there.

    Another address than the app has written last says where: a link's, or the one that Back leads to, if it was not
    written for another picture. Else q is where it was left in this visit, and at first the encoder's.
    """
    asked = st.query_params.get("q")
    mine = st.session_state.get(_LINKS, {}).get(asked, lab.id) == lab.id
    if mine and asked != st.session_state.get(_ADDRESS) and (q := _read(asked or "", len(lab.encoder.mu))):
        begin_from(lab, q)
    return _left().get(lab.id, lab.encoder), st.session_state.setdefault("elbo_version", 0)


def begin_from(lab: Lab, q: Gaussian) -> None:
    """Put q into the pad."""
    _left()[lab.id] = q
    st.session_state["elbo_version"] = st.session_state.get("elbo_version", 0) + 1


def keep(lab: Lab, q: Gaussian) -> None:
    """Remember where q was left, in this visit and in the page's address; there not where it is the encoder's."""
    _left()[lab.id] = q
    if _written(q) == _written(lab.encoder):
        st.query_params.pop("q", None)
    else:
        st.query_params["q"] = _written(q)
        st.session_state.setdefault(_LINKS, {})[_written(q)] = lab.id
    st.session_state[_ADDRESS] = st.query_params.get("q")


def _left() -> dict[str, Gaussian]:
    """Where q was left, by the ids of labs."""
    return st.session_state.setdefault(_LEFT, {})


def _read(text: str, d: int) -> Gaussian | None:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return gaussian(values[:d], values[d:], d)


def _written(q: Gaussian) -> str:
    return ",".join(f"{value:.6g}" for value in (*q.mu, *q.sigma))


def pad_view(lab: Lab, checkpoint: Checkpoint, *, wide: bool, walk: np.ndarray | None, version: int) -> PadView:
    """The part of the plane around the posterior and the encoder's q, or all of it that holds those and the prior to
    4 σ; a new `version` gives q back to Python."""
    window, grid, pictures = _window(lab.id, wide, lab, checkpoint)
    return PadView(f"{lab.id}/{wide}/{version}", window, grid, float(lab.posteriors.log_likelihood[0]), pictures, walk)


@st.cache_resource(max_entries=16, show_spinner="Decoding …")
@turns.in_turn
def _window(name: str, wide: bool, _lab: Lab, _checkpoint: Checkpoint) -> tuple:  # noqa: ARG001
    mean, covariance = _lab.posteriors.moments(0)
    mu, sigma = np.array(_lab.encoder.mu), np.array(_lab.encoder.sigma)
    spread = np.sqrt(covariance.diagonal())
    low = np.minimum(mean - 4 * spread, mu - 4 * sigma)
    high = np.maximum(mean + 4 * spread, mu + 4 * sigma)
    if wide:
        peaks = [abs(mode.z).max() for mode in modes(_lab) if mode.mass > _A_PEAK]
        centre, reach = np.zeros(2), float(max(4.0, 1.05 * max(-low.min(), high.max(), *peaks)))
    else:
        centre, reach = (low + high) / 2, 0.6 * float((high - low).max())
    (x0, x1), (y0, y1) = ((float(c - reach), float(c + reach)) for c in centre)
    x, y = np.linspace(x0, x1, _WINDOW_STEPS), np.linspace(y0, y1, _WINDOW_STEPS)
    prior = log_prior(torch.from_numpy(np.stack(np.meshgrid(x, y, indexing="ij"), -1))).numpy()
    coarse = np.meshgrid(np.linspace(x0, x1, _SIDE), np.linspace(y1, y0, _SIDE))
    places = np.stack(coarse, -1).reshape(-1, 2).astype(np.float32)
    pictures = to_uint8(latent.decode(_checkpoint.model, places))
    return (x0, x1, y0, y1), _lab.posteriors.log_joint(0, x, y) - prior, pictures


@dataclass(frozen=True, eq=False)
class Climb:
    """How q was improved: where it ended, and its way there (T, 4), mu and sigma, a row for every fourth step.

    caught: where small steps from the start ended, if that is a local optimum and q has begun anew elsewhere.
    """

    q: Gaussian
    walk: np.ndarray
    caught: Gaussian | None = None


def climb(lab: Lab, checkpoint: Checkpoint, start: Gaussian, progress: Callable[[int, int], None]) -> Climb:
    """From `start` to the best diagonal Gaussian in small steps, and again from a likelier draw of the prior, if there
    is one: the better of both. Steps are made from draws, so the end is no worse than `start`, nor than `matched` where
    that is as near. `progress` is called with the steps that are done, and all of them; if it does not come back,
    `reached` says how far it was."""
    st.session_state.pop(_REACHED, None)
    model, images = checkpoint.model, lab.image[None]
    mu, sigma = torch.tensor([start.mu, start.sigma]).to(next(model.parameters())).unsqueeze(1)
    begin = amortisation.GaussianPosterior(mu, torch.diag_embed(sigma))
    owner, begin = amortisation.starts(model, images, begin)
    states = []
    with turns.turn():
        for one in amortisation.improve(model, images[owner], start=begin, steps=_STEPS, samples=32):
            if one.step % _EVERY == 0:
                states.append(torch.cat([one.q.mu, one.q.sigma], 1).cpu().numpy())
                st.session_state.setdefault(_REACHED, {})[lab.id] = _gaussian(states[-1][0])
                progress(one.step, one.total)
                turns.pass_on()
    st.session_state[_REACHED].pop(lab.id, None)
    walks = np.stack(states, 1)  # (1 or 2, T, 2 d)
    ends = [_gaussian(walk[-1]) for walk in walks]
    gaps = [_gap(lab, end) for end in ends]
    if gaps[0] <= gaps[-1] + _CAUGHT:
        return Climb(_refined(lab, ends[0], start), walks[0])
    return Climb(_refined(lab, ends[1], start), np.concatenate(walks), ends[0])


def reached(lab: Lab) -> Gaussian | None:
    """Where a climb that was broken off had got to; said once."""
    return st.session_state.get(_REACHED, {}).pop(lab.id, None)


def _gaussian(row: np.ndarray) -> Gaussian:
    """q of its mu and sigma, (2 d,)."""
    return Gaussian(*(tuple(map(float, part)) for part in np.split(row, 2)))


def _gap(lab: Lab, q: Gaussian) -> float:
    return float(exact(lab, q).kl_to_true_posterior[0])


def _refined(lab: Lab, end: Gaussian, start: Gaussian) -> Gaussian:
    """The nearest to the posterior of where a climb ended, where it began, and `matched`, where that is as near."""
    over = matched(lab)
    near = [over] if _gap(lab, over) >= _gap(lab, end) - _CAUGHT else []
    return min([end, start, *near], key=lambda q: _gap(lab, q))


def matched(lab: Lab) -> Gaussian:
    """The true posterior's mean, with the σ of the diagonal Gaussian that is nearest, were it a Gaussian itself."""
    mean, covariance = lab.posteriors.moments(0)
    return Gaussian(tuple(mean.tolist()), tuple((np.diag(np.linalg.inv(covariance)) ** -0.5).tolist()))


def gap_sentence(
    encoder: Evidence, best: Evidence, over_it: Evidence, caught: Evidence | None = None, *, latent_dim: int
) -> str:
    """What the encoder's gap is made of, by the best q that was found for this picture alone, or by a Gaussian over
    the posterior itself, where that is nearer. `caught` is where small steps from the start had ended before."""
    gap, found, known = (float(one.kl_to_true_posterior[0]) for one in (encoder, best, over_it))
    independent = " with independent dimensions" if latent_dim > 1 else ""
    said = f"The encoder’s gap is **{gap:.2f} nats**. "
    if caught:
        said += (
            f"From where q was, small steps end in a local optimum, with {float(caught.kl_to_true_posterior[0]):.2f} "
            "nats; begun anew from a likelier draw of the prior, "
        )
    said += f"{'q' if caught else 'For this picture alone, q'} was improved to **{found:.2f} nats**"
    if min(found, known) > gap + _CAUGHT / 2:
        return (
            f"{said}: a local optimum, and no better than the encoder’s q itself. Go back to that, and improve it from "
            "there."
        )
    if known < found - _CAUGHT:
        return (
            f"{said}, and is caught there: a Gaussian over the posterior itself, which small steps did not reach, has "
            f"**{known:.2f} nats**. So at least {gap - known:.2f} nats are the *amortisation gap*, the price of one "
            f"encoder for all pictures, and at most {known:.2f} nats the *approximation gap* of Gaussians{independent} "
            "(Cremer et al. 2018)."
        )
    return (
        f"{said}. So {max(0.0, gap - found):.2f} nats are the *amortisation gap*, the price of one encoder for all "
        f"pictures, and {found:.2f} nats the *approximation gap*: no Gaussian{independent} near here closes it "
        "(Cremer et al. 2018)."
    )


def worst(
    entry: Entry, checkpoint: Checkpoint, images: np.ndarray, *, compute: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Of the first test images, uint8 (N, C, H, W), those with the largest gap: their numbers and gaps, the largest
    first. None where they are not known and not to be computed."""
    images = images[:LOOKED_THROUGH]
    key = understand.result_key("worst", entry, checkpoint.model.beta, images)

    def look_through(progress: Callable[[float], None]) -> tuple[np.ndarray, np.ndarray]:
        plane, gaps = latent_plane(entry, checkpoint), []
        pictures = binarise(images, 0) if understand.is_bernoulli(checkpoint) else images
        for start in range(0, len(pictures), _AT_ONCE):
            piece = pictures[start : start + _AT_ONCE]
            gaps.append(plane.posteriors(piece).against(*encode(plane.model, piece)).kl_to_true_posterior)
            progress(min(1.0, (start + _AT_ONCE) / len(pictures)))
        gap = np.concatenate(gaps)
        order = np.argsort(-gap)[:_FOUND]
        return order, gap[order]

    if not compute:
        return understand.peek(key)
    return understand.kept(key, look_through, f"Integrating for {len(images):,} test images", asked=True)
