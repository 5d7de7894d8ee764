"""What a training is suffering from, in words, with what to try."""

from dataclasses import dataclass

import numpy as np

from vae_core.curves import Curves
from vae_core.run_config import RunConfig

__all__ = ["Finding", "diagnose"]

_SILENT_NATS = 0.1
_SETTLED, _SETTLED_STEPS = 0.3, 3000
_FAR = 2.0
_WORSE = 0.02
_COURSE, _SINCE_LOWEST = 8, 6  # tests by which a course is judged, in all and from its best on: each has its noise


@dataclass(frozen=True)
class Finding:
    """One observation for people; `kind` is 'warning' or 'note'."""

    kind: str
    text: str


def diagnose(config: RunConfig, curves: Curves) -> list[Finding]:
    """Findings for a run as it stands: collapse, codes far from the prior or unused, a rising loss, overfitting, β = 0.

    A young run is left alone: nothing is said before three epochs, the KL warm-up, and 30 % of the training or 3,000
    steps are over.
    """
    record, train = curves.last_test, config.train
    if record is None:
        return []
    settled = min(_SETTLED * train.epochs, _SETTLED_STEPS * record["epoch"] / record["step"])
    if record["epoch"] < max(3.0, train.kl_warmup, settled):
        return []
    return [finding for finding in (_rate(config, record), _course(config, curves)) if finding]


def _rate(config: RunConfig, record: dict) -> Finding | None:
    test, beta, train, d = record["test"], record["beta"], config.train, config.model.latent_dim
    active = test["active_units"]
    weighed, iwae = train.objective == "beta-vae", train.objective == "iwae"
    ranged = config.model.beta_range
    smaller = f"a range of β that begins below {ranged[0]:g}" if ranged else f"a β below {beta:g}"
    larger = f"a range of β that ends above {ranged[1]:g}" if ranged else f"a β above {beta:g}"
    free_bits = "free bits" if weighed else "β-VAE with free bits"
    warm_up = f"a KL warm-up of {max(5, train.epochs // 4)} epochs"
    if beta == 0 and weighed:
        return Finding(
            "note",
            "β = 0 makes this a plain autoencoder: nothing draws the codes towards the prior, so samples from the "
            "prior may fall into holes between them. Raise β to close the holes.",
        )
    if test["kl"] < _SILENT_NATS or active == 0:
        return Finding(
            "warning",
            f"The posterior has collapsed: the KL is {test['kl']:.2f} nats, so z says almost nothing about the "
            "picture and every reconstruction looks the same. Try "
            + (f"more importance samples, β-VAE with {warm_up}" if iwae else f"{smaller}, {warm_up}")
            + f", or {free_bits} of 0.25 nats.",
        )
    if test.get("second_moment", 1.0) > _FAR:  # runs of old have none
        return Finding(
            "warning",
            f"Codes spread wider than the prior, whose samples may fall between them: the mean of μ² + σ² is "
            f"{test['second_moment']:.1f} where the prior has 1. "
            f"Try {larger if weighed else 'β-VAE, whose β draws them to the prior'}.",
        )
    if d > 2 and active <= d / 2:
        return Finding(
            "note",
            f"Only {active} of {d} latent dimensions are in use; the others equal the prior. Try "
            + (f"more importance samples or {free_bits}" if iwae else f"{smaller} or {free_bits}")
            + f" to bring more in, or a latent size of {active} to leave them out.",
        )
    return None


def _asked_rate(config: RunConfig, curves: Curves) -> float:
    """The learning rate that was asked for last; that of a record falls towards the end."""
    return curves.events[-1]["learning_rate"] if curves.events else config.train.learning_rate


def _course(config: RunConfig, curves: Curves) -> Finding | None:
    """Whether the test loss has risen since its lowest after the KL warm-up, with β and the learning rate as they were.

    It is judged by what training minimises: the ELBO falls as well where β is small, or where IWAE raises its bound.
    """
    test, train = curves.test(), curves.train()
    settled = test["epoch"] >= config.train.kl_warmup
    loss, epochs = test["loss"][settled], test["epoch"][settled]
    if len(loss) < _COURSE:
        return None
    best = int(np.argmin(loss))
    since, epoch = loss[best:], epochs[best]
    slack = max(0.5, _WORSE * abs(since[0]))
    steered = any(event["epoch"] >= epoch for event in curves.events)
    risen = since[-3:].mean() - since[0]
    if steered or len(since) < _SINCE_LOWEST or risen < slack:
        return None
    early = train["loss"][np.argsort(np.abs(train["epoch"] - epoch))[:3]]
    if train["loss"][-3:].mean() < early.mean():
        return Finding(
            "note",
            f"Overfitting: the test loss was lowest at epoch {epoch:.0f} and has risen by {risen:.1f} "
            "nats since, while the training loss still falls. Try fewer epochs"
            + (" or more pictures." if config.train.objective == "iwae" else ", a larger β or more pictures."),
        )
    return Finding(
        "warning",
        f"The loss is rising: on test images it was {risen:.1f} nats lower at epoch {epoch:.0f}. "
        f"Try a learning rate below {_asked_rate(config, curves):g}.",
    )
