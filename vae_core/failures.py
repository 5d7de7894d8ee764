"""The two ways in which a VAE fails, as numbers and in words: posterior collapse, and holes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vae_core import holes
from vae_core.checkpoint import LatentSnapshot
from vae_core.evaluate import active
from vae_core.information import AT_CEILING, RateSplit, split_rate
from vae_core.latent import rank_by_kl
from vae_core.objective import kl_standard_normal
from vae_core.words import percent

__all__ = ["VERDICTS", "Symptoms", "comparison", "diagnosis", "examine", "verdict"]

VERDICTS = {
    "holes": "Holes",
    "narrow": "Almost an autoencoder",
    "open": "Too few images to tell",
    "collapse": "Posterior collapse",
    "partial": "Partly collapsed",
    "spare": "Dimensions to spare",
    "neither": "Neither failure",
}

_SILENT_NATS = 0.1
_SOME_HOLES, _MANY_HOLES = 0.05, 0.1
_CLEARLY = 4.0
_FAR = 2.0
_LOST = 0.1


@dataclass(frozen=True)
class Symptoms:
    """What N held-out images say of a model at one β, in nats.

    distortion is −E_q[log p(x|z)], kl (d,) that of each latent dimension. mutual_information is I(x; z) between the N
    images and their codes, at most log N, and information_error its standard error. sigma is the median posterior
    standard deviation over active dimensions, or over all where none is; second_moment is E[μ² + σ²]
    averaged over dimensions, 1 for the prior. plane names the two dimensions with the largest KL (or the only one), in
    which holes are looked for: prior_in_holes is the share of the prior that lies in holes; see `holes`.

    seen is how many images the decoder was trained on, where q(z) is that of all of these; codes_in_holes is then the
    share of codes of held-out images in its holes. Where those images are not at hand, seen is 0, q(z) is that of the
    held-out images, and codes_in_holes the share of their codes in holes that the others leave.
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
    codes_in_holes: float
    seen: int = 0
    information_error: float = 0.0

    @property
    def rate(self) -> float:
        """KL(q(z|x) ‖ p(z)), all dimensions together."""
        return sum(self.kl)

    @property
    def silent(self) -> int:
        """How many dimensions are not active."""
        return len(self.kl) - self.active_units

    @property
    def holes_are_told(self) -> bool:
        """Whether holes are those of the model and not for want of images: q(z) is that of what the decoder was trained
        on, or far fewer codes than draws from the prior lie in holes."""
        return bool(self.seen) or self.codes_in_holes * _CLEARLY < self.prior_in_holes

    @property
    def elbo(self) -> float:
        """−(distortion + rate), at β = 1."""
        return -(self.distortion + self.rate)

    @property
    def most_information(self) -> float:
        """log N: what it takes to tell N images apart."""
        return math.log(self.images)

    @property
    def at_ceiling(self) -> bool:
        """Whether the mutual information is that of N images, not of the model; see `information.RateSplit`."""
        return self.mutual_information > AT_CEILING * self.most_information


def examine(
    snapshot: LatentSnapshot,
    beta: float,
    seen: tuple[np.ndarray, np.ndarray] | None = None,
    split: RateSplit | None = None,
) -> Symptoms:
    """The symptoms of a model trained for `beta`, from what it says of held-out images. Raises UserError for fewer
    than two images.

    seen: mu and logvar (M, d) of the images that it was trained on. split: their `split_rate`, where it is known.
    """
    split = split or split_rate(snapshot.mu, snapshot.logvar)
    mu, logvar = (np.asarray(part, np.float64) for part in (snapshot.mu, snapshot.logvar))
    used = active(mu)
    kl = kl_standard_normal(torch.from_numpy(mu), torch.from_numpy(logvar)).mean(0).numpy()
    plane = sorted(rank_by_kl(kl)[:2].tolist())
    codes = mu[:, plane], logvar[:, plane]
    known = tuple(part[:, plane] for part in seen) if seen else None
    return Symptoms(
        beta=beta,
        images=len(mu),
        distortion=float(snapshot.reconstruction.mean(dtype=np.float64)),
        kl=tuple(kl.tolist()),
        active_units=int(used.sum()),
        mutual_information=max(0.0, split.mutual_information),
        sigma=float(np.median(np.exp(0.5 * logvar[:, used if used.any() else slice(None)]))),
        second_moment=float(np.mean(mu**2 + np.exp(logvar))),
        plane=tuple(plane),
        prior_in_holes=holes.prior_share(*(known or codes)),
        codes_in_holes=holes.code_share(*codes, known),
        seen=len(seen[0]) if seen else 0,
        information_error=split.standard_errors[0],
    )


def verdict(found: Symptoms, at_one: Symptoms | None = None) -> str:
    """One of VERDICTS; `at_one` are the symptoms of the same network at β = 1.

    'collapse' below 0.1 nats of rate or without an active unit; 'partial' above β = 1, where more dimensions are silent
    than at β = 1 or, if that is not known, half of them; 'holes' where a tenth of the prior lies in holes, 'open' where
    it seems so but the images are too few to tell; 'narrow' below β = 1, where the ELBO is lower than at β = 1 by over
    a tenth of the rate there; 'spare' where half the dimensions are silent for no such reason.
    """
    if found.rate < _SILENT_NATS or not found.active_units:
        return "collapse"
    half = found.silent >= len(found.kl) / 2
    if found.beta > 1 and (found.silent > at_one.silent if at_one else half):
        return "partial"
    gaps = found.prior_in_holes > _MANY_HOLES
    if gaps and found.holes_are_told:
        return "holes"
    if at_one and found.beta < 1 and at_one.elbo - found.elbo > _LOST * at_one.rate:
        return "narrow"
    if gaps:
        return "open"
    return "spare" if half else "neither"


def diagnosis(found: Symptoms, at_one: Symptoms | None = None) -> str:
    """What the symptoms mean, in some sentences; `at_one` as in `verdict`."""
    kind = verdict(found, at_one)
    if kind == "collapse":
        return _collapse(found)
    beginning = {"holes": _holes, "narrow": _narrow, "partial": _partial, "spare": _spare}.get(kind, _plain)
    return f"{beginning(found, at_one)} {_in_holes(found)}"


def _weight(found: Symptoms) -> str:
    if found.beta == 0:
        return "weighs nothing"
    return f"weighs as much as {'one' if found.beta == 1 else f'{found.beta:g}'} of reconstruction"


def _told_apart(found: Symptoms) -> str:
    ceiling = ": at this ceiling, so that of more images it would be higher" if found.at_ceiling else ""
    return (
        f"I(x; z) = {found.mutual_information:.2f} of the log N = {found.most_information:.2f} nats that tell "
        f"{found.images:,} images apart{ceiling}"
    )


def _wide(found: Symptoms) -> str:
    where = " in the active dimensions" if found.silent else ""
    return f"Posteriors are σ = {found.sigma:.2g} wide{where}, with {_told_apart(found)}."


def _against(found: Symptoms, at_one: Symptoms | None) -> str:
    """What β buys and loses against β = 1."""
    if at_one is None or found.beta == 1:
        return ""
    terms = ("rate", "distortion", "elbo")
    kl, reconstruction, elbo = (_change(getattr(found, term) - getattr(at_one, term)) for term in terms)
    return f" Against β = 1, the KL is {kl}, the reconstruction term {reconstruction} and the ELBO {elbo}."


def _change(nats: float) -> str:
    return f"{abs(nats):.1f} nats {'higher' if nats > 0 else 'lower'}"


def _in_holes(found: Symptoms) -> str:
    where = "" if len(found.kl) <= 2 else " in the plane of the two busiest dimensions alone"
    prior, codes = percent(found.prior_in_holes).capitalize(), percent(found.codes_in_holes)
    if found.prior_in_holes < _SOME_HOLES:
        return f"{prior} of the prior’s samples fall into holes{where}."
    if found.seen:
        return (
            f"{prior} of the prior’s samples fall into holes{where}, where the decoder has hardly been trained; of "
            f"unseen images’ codes, {codes} do."
        )
    if found.holes_are_told:
        return f"{prior} of the prior’s samples fall into holes{where}, and only {codes} of the codes themselves."
    return (
        f"{prior} of the prior’s samples lie far from the codes of these {found.images:,} images{where}, but so do "
        f"{codes} of the codes themselves from the others: so few images cannot tell holes from the gaps between them."
    )


def _holes(found: Symptoms, at_one: Symptoms | None) -> str:
    square = f"{found.second_moment:.1f}"
    if found.second_moment > _FAR:
        spread = f"little keeps codes near the prior: their mean square is {square}, the prior’s is 1."
    else:
        spread = f"codes leave gaps, though they stay near the prior: their mean square is {square}, the prior’s 1."
    return f"A nat of KL {_weight(found)}, and {spread}{_against(found, at_one)} {_wide(found)}"


def _narrow(found: Symptoms, at_one: Symptoms | None) -> str:
    return (
        f"A nat of KL {_weight(found)}, so that codes are hardly kept from becoming points, as those of an "
        f"autoencoder are.{_against(found, at_one)} {_wide(found)}"
    )


def _collapse(found: Symptoms) -> str:
    return (
        f"A nat of KL {_weight(found)}, more than it saves. The encoder gives up: q(z|x) is the prior whatever x is "
        f"({_silent(found)}, KL {_little(found.rate)}, σ = {found.sigma:.2g}), and z says nothing of the image "
        f"(I(x; z): {_little(found.mutual_information)}). Every image is drawn as the same average. Of the prior’s "
        f"samples {percent(found.prior_in_holes)} fall into holes, and all look alike."
    )


def _partial(found: Symptoms, at_one: Symptoms | None) -> str:
    before = f", {at_one.silent or 'none'} at β = 1" if at_one else ""
    return (
        f"A nat of KL {_weight(found)}, which not all dimensions are worth: {_silent(found)}{before}."
        f"{_against(found, at_one)} {found.rate:.1f} nats of KL are left. {_wide(found)}"
    )


def _spare(found: Symptoms, at_one: Symptoms | None) -> str:
    return (
        f"{_silent(found)}: {found.rate:.1f} nats of code take no more than {found.active_units}. That is a failure "
        "only if a smaller β or a KL warm-up brings others back at a higher ELBO."
        f"{_against(found, at_one)} {_wide(found)}"
    )


def _plain(found: Symptoms, at_one: Symptoms | None) -> str:
    earns = " and earns it" if found.beta == 1 else ""
    spread = f"The codes’ mean square is {found.second_moment:.2f} (the prior’s: 1)"
    if found.second_moment > _FAR:
        spread += ", so they reach farther out than the prior, but leave few gaps within it"
    return (
        f"A nat of KL {_weight(found)}{earns}: {_silent(found)}, {found.rate:.1f} nats of KL."
        f"{_against(found, at_one)} {_wide(found)} {spread}."
    )


def _little(nats: float) -> str:
    return f"{nats:.2f} nats" if nats >= 0.01 else "under 0.01 nats"


def _silent(found: Symptoms) -> str:
    if len(found.kl) == 1:
        return f"the one dimension is {'silent' if found.silent else 'in use'}"
    return f"{found.silent or 'none'} of {len(found.kl)} dimensions {'is' if found.silent < 2 else 'are'} silent"


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
