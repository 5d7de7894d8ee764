"""What the page of β and its sections know of a model: its curve, the strip's frames, its numbers at one β."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st

from ui import caching, layout, state, theme, turns
from ui.components.beta_strip import BetaStripContent
from ui.decoded import stacked
from ui.state import Entry
from vae_core import embedding, latent, rate_distortion
from vae_core.checkpoint import BetaSnapshot, Checkpoint, LatentSnapshot, read_snapshots
from vae_core.errors import UserError
from vae_core.imaging import to_uint8
from vae_core.rate_distortion import Curve
from vae_core.runs import Run

__all__ = [
    "MOST_BESIDE",
    "Seen",
    "belongs_beside",
    "chosen_beta",
    "comparable",
    "curve_of",
    "first_images",
    "is_ranged",
    "measured",
    "numbers",
    "objective_words",
    "seen",
    "strip_content",
]

MOST_BESIDE = 8
"""The most models of the same pictures that a chart shows beside the selected one."""

_PICTURES = 6
_ROWS = 2


@st.cache_resource(max_entries=8, show_spinner="Measuring rate and distortion at each β …")
@turns.in_turn
def _taken(path: str, modified: int, _checkpoint: Checkpoint, _images: np.ndarray) -> BetaSnapshot:  # noqa: ARG001
    return rate_distortion.beta_snapshot(_checkpoint.model, _images)


@dataclass(frozen=True, eq=False)
class Seen:
    """The selected model, its curve (one point, for a model of one β), and the β that is looked at."""

    entry: Entry
    checkpoint: Checkpoint
    curve: Curve
    beta: float

    @property
    def is_ranged(self) -> bool:
        """Whether there is a whole curve."""
        return self.checkpoint.model.config.beta_range is not None

    @property
    def objective(self) -> str:
        """What training brought down, a key of `OBJECTIVES`."""
        return self.checkpoint.record["train"].get("objective", "beta-vae")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.checkpoint.model.config.image_shape


def measured(entry: Entry, checkpoint: Checkpoint) -> BetaSnapshot:
    """What the model says of held-out images at several β: kept in its checkpoint, or measured on the data set.

    Raises UserError where neither is at hand.
    """
    if checkpoint.betas is not None:
        return checkpoint.betas
    images = state.held_out(checkpoint)
    if images is None:
        raise UserError(
            "This checkpoint was written before its training ended, or by an older version, and holds no curve; the "
            "images to measure it on are not at hand. Train it to the end, or choose another model."
        )
    return _taken(*entry.version, checkpoint, images)


def first_images(snapshot: LatentSnapshot) -> LatentSnapshot:
    """What it says of the images that all curves are measured on."""
    rows = vars(snapshot).items()
    return LatentSnapshot(**{name: row if row is None else row[: rate_distortion.IMAGES] for name, row in rows})


@st.cache_data(max_entries=256, show_spinner=False)
def _curve(path: str, modified: int, beta: float) -> Curve | None:  # noqa: ARG001
    snapshot, taken = read_snapshots(Path(path))
    if taken is not None:
        return rate_distortion.curve(taken)
    if snapshot is None or caching.read_header(Path(path))["model"]["beta_range"]:
        return None
    return rate_distortion.point(snapshot, beta)


def curve_of(entry: Entry) -> Curve | None:
    """The curve of a model of a range of β, or the one point of another; None where its checkpoint has neither.

    Raises UserError where the checkpoint cannot be read.
    """
    return _curve(*entry.version, caching.read_header(entry.path)["record"]["beta"])


def is_ranged(entry: Entry) -> bool:
    """Whether the model serves a range of β."""
    try:
        return bool(caching.read_header(entry.path)["model"]["beta_range"])
    except UserError:
        return False


def comparable(entry: Entry) -> dict[str, Entry]:
    """The other models, by id, whose points belong on the same axes: the same pictures and likelihood."""
    mine = _comparable(entry)
    others = {key: other for key, other in state.entries().items() if key != entry.id}
    return {key: other for key, other in others.items() if mine is not None and _comparable(other) == mine}


def belongs_beside(entry: Entry, run: Run) -> bool:
    """Whether what the run trains is comparable to the model, as in `comparable`."""
    try:
        config = run.config()
        return _shared(config.model.to_dict(), config.train.to_dict()) == _comparable(entry)
    except UserError:
        return False


def _comparable(entry: Entry) -> tuple | None:
    try:
        header = caching.read_header(entry.path)
        return _shared(header["model"], header["record"]["train"])
    except UserError:
        return None


def _shared(model: dict, train: dict) -> tuple:
    """What two models must share for their distortions to be comparable."""
    sigma = model["sigma"] if model["likelihood"] == "gaussian" else None
    return train["dataset"], tuple(model["image_shape"]), model["likelihood"], sigma


def seen(entry: Entry, checkpoint: Checkpoint) -> Seen:
    """The model at the β that is chosen in the frame, or at its only one. Raises UserError as `measured` does."""
    if not checkpoint.model.config.beta_range:
        curve = curve_of(entry)
        return Seen(entry, checkpoint, curve, float(curve.betas[0]))
    curve = _curve_of_range(*entry.version, measured(entry, checkpoint))
    return Seen(entry, checkpoint, curve, chosen_beta(checkpoint))


def chosen_beta(checkpoint: Checkpoint) -> float:
    """Of the values of β on the strip, `rate_distortion.steps`, that which is nearest to the one in the frame."""
    betas = rate_distortion.steps(checkpoint.model.config.beta_range)
    return state.nearest(betas, st.session_state.get("beta"), state.nearest(betas, checkpoint.model.beta, betas[0]))


@st.cache_resource(max_entries=8, show_spinner=False)
def _curve_of_range(path: str, modified: int, _taken: BetaSnapshot) -> Curve:  # noqa: ARG001
    return rate_distortion.curve(_taken)


def strip_content(entry: Entry, checkpoint: Checkpoint, seed: int) -> BetaStripContent:
    """The strip's frames at `rate_distortion.steps`, for pictures and noise that `seed` chooses; decoded once.

    Raises UserError as `measured` does.
    """
    taken = measured(entry, checkpoint)
    return _content(*entry.version, seed, checkpoint, taken)


@st.cache_resource(max_entries=6, show_spinner="Decoding at each β …")
@turns.in_turn
def _content(
    path: str,  # noqa: ARG001
    modified: int,  # noqa: ARG001
    seed: int,
    _checkpoint: Checkpoint,
    _taken: BetaSnapshot,
) -> BetaStripContent:
    lowest = float(_taken.betas[0])
    snapshot, model = rate_distortion.at_beta(_checkpoint.snapshot, _taken, lowest), _checkpoint.model.at(lowest)
    count = _taken.mu.shape[1]
    chosen = np.arange(count) if not seed else np.random.default_rng(seed).permutation(count)
    chosen = chosen[:_PICTURES]
    noise = latent.sample_prior(_PICTURES * _ROWS, model.config.latent_dim, seed)
    originals, real = state.pictures(replace(_checkpoint, model=model, snapshot=snapshot), chosen)
    betas = rate_distortion.steps(model.config.beta_range)
    reconstructions, samples = [], []
    for beta in betas:
        at = model.at(beta)
        codes = rate_distortion.at_beta(snapshot, _taken, beta).mu[chosen]
        decoded = to_uint8(latent.decode(at, np.concatenate([codes, noise])))
        reconstructions.append(stacked([originals, decoded[: len(chosen)]]))
        samples.append(stacked(np.split(decoded[len(chosen) :], _ROWS)))
    curve = rate_distortion.curve(_taken)
    positions, axes, projection = _plane(_taken.mu)
    labels, colours = _classes(snapshot.labels, count)
    return BetaStripContent(
        labels=[_label(beta, curve.at(beta)) for beta in betas],
        reconstructions=np.stack(reconstructions),
        samples=np.stack(samples),
        positions=positions,
        classes=labels,
        colours=colours,
        axes=axes,
        betas=_taken.betas,
        rate=curve.rate,
        distortion=curve.distortion,
        captions=(
            f"Test images{'' if real else f', as decoded at β = {lowest:g}'}, each over its reconstruction",
            "Samples: the same z ~ N(0, I) at every β",
            f"{count:,} test images{projection}; prior to 3 σ",
            "Lines: equal D + βR",
        ),
    )


def _label(beta: float, at: Curve) -> str:
    return layout.true_minus(f"β = {beta:.3g} · R {at.rate[0]:.2f} · D {at.distortion[0]:.1f} nats")


def _plane(mu: np.ndarray) -> tuple[np.ndarray, tuple[str, str], str]:
    """Places (K, N, 2) of codes (K, N, d), the same projection at every β: the latent plane, or for more dimensions
    the two principal directions of the codes of all β together, from the origin, so that the prior stays N(0, I)."""
    mu = mu.astype(np.float32)
    d = mu.shape[-1]
    if d == 1:
        spread = np.random.default_rng(0).uniform(-3, 3, mu.shape[1])
        return np.stack([mu[..., 0], np.broadcast_to(spread, mu.shape[:2])], -1), ("z₁", "spread at random"), ""
    if d == 2:
        return mu, ("z₁", "z₂"), ""
    return (
        mu @ embedding.pca(mu.reshape(-1, d)).axes.astype(np.float32).T,
        ("direction 1", "direction 2"),
        ", one projection",
    )


def _classes(labels: np.ndarray | None, count: int) -> tuple[np.ndarray, list[str]]:
    if labels is None:
        return np.zeros(count, np.uint8), [theme.TERM_COLOURS["total"]]
    most = len(theme.CLASS_COLOURS)
    return (labels[:count] % most).astype(np.uint8), list(theme.CLASS_COLOURS)


def numbers(seen: Seen) -> None:
    """Draw both terms at this β, and whether they lie where training should have brought them."""
    at, config = seen.curve.at(seen.beta), seen.checkpoint.model.config
    rate = rate_distortion.bits_per_dimension(at.rate[0], config.image_shape)
    distortion = rate_distortion.pixel_bits(at.distortion[0], config)
    shown = [
        ("β", f"{seen.beta:.3g}", None),
        ("Rate R", layout.nats(at.rate[0], 2), f"KL(q(z|x) ‖ p(z)), the code’s price: {rate:.4f} bits a dimension."),
        (
            "Distortion D",
            layout.nats(at.distortion[0], 2),
            f"−E[log p(x|z)]: {distortion:.4f} bits a dimension{layout.of_pixels(config.likelihood)}.",
        ),
        ("D + βR", layout.nats(at.objective[0], 2), objective_words(seen)),
        ("Active units", f"{at.active_units[0]} of {at.kl.shape[1]}", None),
    ]
    if seen.is_ranged:
        about = (
            "dD/dR between neighbouring values of β: −β where training has done its work, for a nat more of rate then "
            "buys β nats of distortion. These are test images: at small β more rate may serve those of training alone, "
            "and the slope comes out above 0. At the ends of the range there is no neighbour on the other side."
        )
        slope = seen.curve.slope(seen.beta)
        shown.append(("Slope dD/dR", f"{slope:.3g}" if math.isfinite(slope) else "–", about))
    with st.container(horizontal=True, gap="medium"):
        for label, value, about in shown:
            st.metric(label, layout.true_minus(value), help=about, width="content")


def objective_words(seen: Seen) -> str:
    """What D + βR is to the model's training."""
    return {
        "beta-vae": "What training brings down.",
        "beta-tcvae": "Training brought down D + R + (β − 1) · total correlation instead.",
        "iwae": "Training brought down −L_K instead, the importance-weighted bound of K draws, which lies below D + R.",
    }[seen.objective]
