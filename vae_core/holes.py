"""Holes: places that the prior calls likely and no image's posterior reaches, so that the decoder hardly saw them."""

import math

import numpy as np
import torch

from vae_core.information import log_density
from vae_core.latent import sample_prior
from vae_core.objective import log_normal, log_prior

__all__ = ["HOLE_NATS", "code_share", "depths_on_grid", "hole_depth", "prior_share"]

HOLE_NATS = 3.0
"""A place lies in a hole where log q(z) is this far below log p(z): q(z) is less than a twentieth of p(z)."""

_GRIDS = {1: np.linspace(-4, 4, 4001), 2: np.linspace(-4, 4, 201)}
_AT_ONCE = 4096  # posteriors: 7 MB a dimension
_LEAST = -300.0  # of a dimension's log density: products below e^−700 are slow


def hole_depth(z: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """log p(z) − log q(z), in nats, of the prior N(0, I) and the aggregate posterior q(z) of N images.

    Shapes: z (M, d), mu, logvar (N, d) → (M,). Exact for these N images. On average over the prior it is
    KL(p(z) ‖ q(z)).
    """
    return _log_prior(z) - log_density(z, mu, logvar)


def _log_prior(z: np.ndarray) -> np.ndarray:
    return log_prior(torch.from_numpy(np.asarray(z, np.float64))).numpy()


def depths_on_grid(values: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """`hole_depth` on the line or in the plane, where each dimension takes `values`; no deeper than some 300 nats.

    Shapes: values (G,), mu, logvar (N, d), d ≤ 2 → (G,) for d = 1, (G, G) for d = 2: columns are the first dimension,
    rows the second. Posteriors are products over dimensions, so that one matrix product adds them all up.
    """
    points, density = torch.as_tensor(values, dtype=torch.float64), 0.0
    pieces = (torch.as_tensor(np.asarray(part, np.float64)).split(_AT_ONCE) for part in (mu, logvar))
    for centres, spreads in zip(*pieces, strict=True):
        across, *up = (
            log_normal(points[:, None], centres[:, j], spreads[:, j]).clamp_(min=_LEAST).exp_()
            for j in range(centres.shape[1])
        )
        density = density + (up[0] @ across.T if up else across.sum(1))
    prior = log_normal(points, torch.zeros(()), torch.zeros(()))
    if mu.shape[1] == 2:
        prior = prior[:, None] + prior
    return (prior - density.log() + math.log(len(mu))).numpy()


def prior_share(mu: np.ndarray, logvar: np.ndarray) -> float:
    """The share of the prior that lies in holes of a line or plane: summed over a grid, to some 0.01.

    Shapes: mu, logvar (N, d), d ≤ 2.
    """
    grid = _GRIDS[mu.shape[1]]
    weights = np.exp(-0.5 * grid**2)
    if mu.shape[1] == 2:
        weights = np.outer(weights, weights)
    return float(weights[depths_on_grid(grid, mu, logvar) > HOLE_NATS].sum() / weights.sum())


def code_share(
    mu: np.ndarray, logvar: np.ndarray, seen: tuple[np.ndarray, np.ndarray] | None = None, seed: int = 0
) -> float:
    """The share of codes, a draw from each of N posteriors, that lie in holes of the posteriors `seen` of other
    images, or, without them, each in one of the N − 1 others. Shapes: mu, logvar (N, d), seen two (M, d).

    Without them, what is large here as well as in `prior_share` says that N images are too few to tell holes from the
    gaps between their codes.
    """
    z = mu + np.exp(0.5 * logvar) * sample_prior(*mu.shape, seed)
    depth = hole_depth(z, *seen) if seen else _log_prior(z) - log_density(z, mu, logvar, left_out=True)
    return float((depth > HOLE_NATS).mean())
