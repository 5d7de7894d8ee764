"""A Gaussian with independent dimensions, which a visitor moves by hand."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LARGEST_SIGMA", "Gaussian", "gaussian", "read_gaussian"]

LARGEST_SIGMA = 10.0
"""Over wider ones E_q[log p(x|z)] cannot be summed in a plane whose decoder bends: at 20 the sums miss by 10 nats."""

_SMALLEST_SIGMA, _LARGEST_MU = 1e-6, 1e3  # beyond what the components allow


@dataclass(frozen=True)
class Gaussian:
    """q(z|x), or some dimensions of it: mu and sigma, a number for each."""

    mu: tuple[float, ...]
    sigma: tuple[float, ...]


def read_gaussian(reported: object, subject: str) -> Gaussian | None:
    """The Gaussian of two dimensions that the browser reports, if it is one and of this subject."""
    if not isinstance(reported, Mapping) or reported.get("subject") != subject:
        return None
    return gaussian(reported.get("mu"), reported.get("sigma"), 2)


def gaussian(mu: object, sigma: object, d: int) -> Gaussian | None:
    """The Gaussian of these, if they are lists of d numbers each, within bounds, and sigma's positive."""
    for part, largest in ((mu, _LARGEST_MU), (sigma, LARGEST_SIGMA)):
        if not isinstance(part, list) or len(part) != d:
            return None
        if not all(isinstance(value, int | float) and abs(value) <= largest for value in part):
            return None
    return Gaussian(tuple(map(float, mu)), tuple(map(float, sigma))) if min(sigma) >= _SMALLEST_SIGMA else None
