"""A Gaussian with independent dimensions, which a visitor moves by hand."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Gaussian", "gaussian", "read_gaussian"]

_SMALLEST, _LARGEST = 1e-6, 1e4  # beyond what the components allow, within what can be squared


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
    for part in (mu, sigma):
        if not isinstance(part, list) or len(part) != d:
            return None
        if not all(isinstance(value, int | float) and abs(value) <= _LARGEST for value in part):
            return None
    return Gaussian(tuple(map(float, mu)), tuple(map(float, sigma))) if min(sigma) >= _SMALLEST else None
