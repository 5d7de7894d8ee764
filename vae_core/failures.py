"""The two ways in which a VAE fails, as numbers and in words: posterior collapse, and holes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vae_core import holes
from vae_core.checkpoint import LatentSnapshot
from vae_core.evaluate import active_units
from vae_core.information import split_rate
from vae_core.latent import rank_by_kl
from vae_core.objective import kl_standard_normal

__all__ = ["VERDICTS", "Symptoms", "comparison", "diagnosis", "examine", "verdict"]

VERDICTS = {
    "holes": "Holes",
    "collapse": "Posterior collapse",
    "partial": "Partly collapsed",
    "neither": "Neither failure",
}

_SILENT_NATS = 0.1
_SOME_HOLES, _MANY_HOLES = 0.05, 0.5
_FAR = 2.0


@dataclass(frozen=True)
class Symptoms:
    """What N held-out images say of a model at one β, in nats.

    distortion is −E_q[log p(x|z)], kl (d,) that of each latent dimension. mutual_information is I(x; z) between the N
    images and their codes, at most log N. sigma is the median posterior standard deviation; second_moment is
    E[μ² + σ²] averaged over dimensions, 1 for the prior. plane names the two dimensions with the largest KL (or the
    only one), in which holes are looked for: prior_in_holes and fresh_in_holes are the shares of draws from the prior,
    and of codes of unseen images, that lie in holes; see `holes`.
    """

    beta: float
    images: int
    distortion: float
    kl: tuple[float, ...]
    active_units: int
    mutual_information: float
    sigma: float
    second_moment: float
    plane: tuple[int, ...]
    prior_in_holes: float
    fresh_in_holes: float

    @property
    def rate(self) -> float:
        """KL(q(z|x) ‖ p(z)), all dimensions together."""
        return sum(self.kl)

    @property
    def elbo(self) -> float:
        """−(distortion + rate), at β = 1."""
        return -(self.distortion + self.rate)

    @property
    def most_information(self) -> float:
        """log N: what it takes to tell N images apart."""
        return math.log(self.images)


def examine(snapshot: LatentSnapshot, beta: float) -> Symptoms:
    """The symptoms of a model trained for `beta`, from what it says of held-out images. Raises UserError for fewer
    than two images."""
    mu, logvar = (np.asarray(part, np.float64) for part in (snapshot.mu, snapshot.logvar))
    split = split_rate(mu, logvar)
    kl = kl_standard_normal(torch.from_numpy(mu), torch.from_numpy(logvar)).mean(0).numpy()
    plane = sorted(rank_by_kl(kl)[:2].tolist())
    return Symptoms(
        beta=beta,
        images=len(mu),
        distortion=float(snapshot.reconstruction.mean(dtype=np.float64)),
        kl=tuple(kl.tolist()),
        active_units=active_units(mu),
        mutual_information=max(0.0, split.mutual_information),
        sigma=float(np.median(np.exp(0.5 * logvar))),
        second_moment=float(np.mean(mu**2 + np.exp(logvar))),
        plane=tuple(plane),
        prior_in_holes=holes.prior_share(mu[:, plane], logvar[:, plane]),
        fresh_in_holes=holes.fresh_share(mu[:, plane], logvar[:, plane]),
    )


def verdict(found: Symptoms) -> str:
    """One of VERDICTS.

    'collapse' below 0.1 nats of rate or without an active unit; 'holes' where half the draws from the prior lie in
    holes or the second moment is over 2; 'partial' where half the dimensions or more are silent.
    """
    if found.rate < _SILENT_NATS or not found.active_units:
        return "collapse"
    if found.prior_in_holes > _MANY_HOLES or found.second_moment > _FAR:
        return "holes"
    return "partial" if found.active_units <= len(found.kl) / 2 else "neither"


def diagnosis(found: Symptoms) -> str:
    """What the symptoms mean, in some sentences."""
    return {"holes": _holes, "collapse": _collapse, "partial": _partial, "neither": _neither}[verdict(found)](found)


def _price(found: Symptoms) -> str:
    return "is free" if found.beta == 0 else f"costs {found.beta:g} nat{'' if found.beta == 1 else 's'}"


def _told_apart(found: Symptoms) -> str:
    return (
        f"I(x; z) = {found.mutual_information:.2f} of the log N = {found.most_information:.2f} nats that tell "
        f"{found.images:,} images apart"
    )


def _in_holes(found: Symptoms) -> str:
    where = "" if len(found.kl) <= 2 else " in the plane of the two busiest dimensions alone"
    return f"{_percent(found.prior_in_holes)} of the prior’s samples fall into holes{where}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def _holes(found: Symptoms) -> str:
    return (
        f"A nat of code {_price(found)}, so nothing keeps codes near the prior or lets them overlap. Each image has a "
        f"place of its own, σ = {found.sigma:.2g} wide ({_told_apart(found)}); the codes’ mean square is "
        f"{found.second_moment:.1f}, the prior’s is 1. {_in_holes(found)}, where the decoder was never trained."
    )


def _collapse(found: Symptoms) -> str:
    return (
        f"A nat of code {_price(found)}, more than it saves. The encoder gives up: q(z|x) is the prior whatever x is "
        f"({_units(found)}, KL {_little(found.rate)}, σ = {found.sigma:.2g}), and z says nothing of the image "
        f"(I(x; z): {_little(found.mutual_information)}). Every image is drawn as the same average. Of the prior’s "
        f"samples {_percent(found.prior_in_holes)} fall into holes, and all look alike."
    )


def _partial(found: Symptoms) -> str:
    return (
        f"A nat of code {_price(found)}, which most dimensions are not worth: {_units(found)}, the others equal the "
        f"prior. {found.rate:.1f} nats of KL are left, with {_told_apart(found)}. {_in_holes(found)}{_few(found)}."
    )


def _neither(found: Symptoms) -> str:
    return (
        f"A nat of code {_price(found)} and earns it: {_units(found)}, {found.rate:.1f} nats of KL. Posteriors are "
        f"σ = {found.sigma:.2g} wide, with {_told_apart(found)}; the codes’ mean square of {found.second_moment:.2f} "
        f"is near the prior’s 1. {_in_holes(found)}{_few(found)}."
    )


def _few(found: Symptoms) -> str:
    """Whether what looks like holes may be for want of images."""
    if found.prior_in_holes < _SOME_HOLES or found.fresh_in_holes < found.prior_in_holes / 2:
        return ""
    return (
        f", but so do {_percent(found.fresh_in_holes)} of unseen images’ codes: so few images leave gaps of their own"
    )


def _little(nats: float) -> str:
    return f"{nats:.2f} nats" if nats >= 0.01 else "under 0.01 nats"


def _units(found: Symptoms) -> str:
    return f"{found.active_units} of {len(found.kl)} units active"


def comparison(found: Sequence[Symptoms]) -> str:
    """What the models' ELBOs say, side by side; '' for a single model."""
    if len(found) < 2:
        return ""
    best = max(found, key=lambda one: one.elbo)
    rest = " and ".join(f"{_signed(one.elbo)} at β = {one.beta:g}" for one in found if one is not best)
    return (
        f"The ELBO, always taken at β = 1, is {_signed(best.elbo)} nats at β = {best.beta:g}, the highest, and {rest}. "
        f"From β = {found[0].beta:g} to {found[-1].beta:g} the KL goes from {found[0].rate:.2f} to "
        f"{found[-1].rate:.2f} nats, and the reconstruction term from {found[0].distortion:.1f} to "
        f"{found[-1].distortion:.1f}."
    )


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")
