"""Holes: places that the prior calls likely and no image's posterior reaches, so that the decoder never saw them."""

import numpy as np
import torch

from vae_core.information import log_density
from vae_core.latent import sample_prior
from vae_core.objective import log_normal

__all__ = ["HOLE_NATS", "fresh_share", "hole_depth", "prior_share"]

HOLE_NATS = 3.0
"""A place lies in a hole where log q(z) is this far below log p(z): q(z) is less than a twentieth of p(z)."""

_DRAWS = 2000


def hole_depth(z: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """log p(z) − log q(z), in nats, of the prior N(0, I) and the aggregate posterior q(z) of N images.

    Shapes: z (M, d), mu, logvar (N, d) → (M,). Exact for these N images. On average over the prior it is
    KL(p(z) ‖ q(z)).
    """
    points = torch.from_numpy(np.asarray(z, np.float64))
    prior = log_normal(points, torch.zeros(()), torch.zeros(())).sum(1).numpy()
    return prior - log_density(z, mu, logvar)


def prior_share(mu: np.ndarray, logvar: np.ndarray, seed: int = 0) -> float:
    """The share of 2,000 draws from the prior that lie in holes; its standard error is at most 0.011.

    Shapes: mu, logvar (N, d).
    """
    return _share(sample_prior(_DRAWS, mu.shape[1], seed), mu, logvar)


def fresh_share(mu: np.ndarray, logvar: np.ndarray, seed: int = 0) -> float:
    """The share of codes of unseen images that lie in holes: a draw from each posterior of one half of the images,
    against the aggregate posterior of the other half, both ways. Shapes: mu, logvar (N, d), N ≥ 2.

    What is large here as well as in `prior_share` says that N images are too few to fill the prior at this width.
    """
    z = mu + np.exp(0.5 * logvar) * sample_prior(*mu.shape, seed)
    odd, even = slice(1, None, 2), slice(0, None, 2)
    return float(np.mean([_share(z[a], mu[b], logvar[b]) for a, b in ((odd, even), (even, odd))]))


def _share(z: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> float:
    return float((hole_depth(z, mu, logvar) > HOLE_NATS).mean())
