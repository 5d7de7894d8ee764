"""What the charts of a training show, from its curves: pure functions, with few enough points to redraw each second."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ui.components.live_chart import Series, VerticalMark
from ui.theme import TERM_COLOURS, line_colour
from vae_core.words import decimal

__all__ = ["COMPARED", "TERMS", "comparison", "kl_bars", "marks", "term_curves", "useful_range"]

TERMS = {"loss": "Loss", "reconstruction": "Reconstruction", "kl": "KL"}
"""The curves of a training, by their column in vae_core.curves, and what people call them."""

COMPARED = {"elbo": "ELBO", "reconstruction": "Reconstruction", "kl": "KL"}
"""Those of several trainings side by side: their losses may be of different objectives, the ELBO is the same of all."""

_COLOURS = {"loss": TERM_COLOURS["total"], "reconstruction": TERM_COLOURS["reconstruction"], "kl": TERM_COLOURS["kl"]}
_UNUSED = "#aab0ba"
_CLEAR = "80"  # half opaque, as the last two digits of a colour


def useful_range(*curves: np.ndarray) -> list[float] | None:
    """A y range that leaves out the steep beginning: all that comes after a tenth of each curve, with some air, which
    does not reach below 0 where no curve does.

    None where there is too little to judge.
    """
    settled = [curve[len(curve) // 10 :] for curve in curves if len(curve) >= 10]
    if not settled:
        return None
    values = np.concatenate(settled)
    low, high = float(values.min()), float(values.max())
    air = 0.06 * (high - low) or 0.5
    return [low - air if low < 0 else max(0.0, low - air), high + air]


def term_curves(
    term: str, train: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray], tested: str = "test"
) -> list[Series]:
    """One term of the objective, a key of TERMS, against the epoch: light for training, strong for testing.

    train and test: what vae_core.curves gives, in nats; tested: what the second is called.
    """
    colour = _COLOURS[term]
    return [
        Series("train", train["epoch"], train[term], colour + _CLEAR, 1.5),
        Series(tested, test["epoch"], test[term], colour, 2.5),
    ]


def marks(events: Sequence[Mapping[str, Any]], beta: float, learning_rate: float) -> list[VerticalMark]:
    """Where β or the learning rate was changed, from the given ones on, and what to.

    Changes within a fortieth of the way are one, at the place of the last; none, where they undo one another.
    """
    groups: list[list[Mapping[str, Any]]] = []
    for event in events:
        if groups and event["epoch"] - groups[-1][-1]["epoch"] < events[-1]["epoch"] / 40:
            groups[-1].append(event)
        else:
            groups.append([event])
    found = []
    before = {"beta": beta, "learning_rate": learning_rate}
    for last in (group[-1] for group in groups):
        named = {"beta": "β", "learning_rate": "rate"}
        changed = [name for name in named if before[name] != last[name]]
        text = ", ".join(f"{named[name]} {decimal(last[name])}" for name in changed)
        if text:
            found.append(VerticalMark(last["epoch"], text))
        before = {name: last[name] for name in named}
    return found


def kl_bars(kl: Sequence[float], used: Sequence[bool] | None = None) -> list[Series]:
    """KL of each latent dimension in nats as bars, those that are not `used` apart where that is known."""
    index, values = np.arange(1, len(kl) + 1), np.asarray(kl)  # people count from one
    if used is None:
        return [Series("KL", index, values, _COLOURS["kl"])]
    used = np.asarray(used, bool)
    return [
        Series("active", index[used], values[used], _COLOURS["kl"]),
        Series("silent", index[~used], values[~used], _UNUSED),
    ]


def comparison(term: str, tests: Mapping[str, Mapping[str, np.ndarray]]) -> list[Series]:
    """One term on the test sets of several runs, by name, against the epoch, in nats."""
    return [
        Series(name, test["epoch"], test[term], line_colour(index)) for index, (name, test) in enumerate(tests.items())
    ]
