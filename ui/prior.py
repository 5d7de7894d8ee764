"""How a code stands to the prior N(0, I)."""

import numpy as np
import torch

from vae_core import objective

__all__ = ["log_prior", "prior_inside", "radius_words"]


def log_prior(z: np.ndarray) -> float:
    """log N(z; 0, I) of z (d,), in nats."""
    return float(objective.log_prior(torch.from_numpy(np.asarray(z, np.float64))))


def prior_inside(z: np.ndarray) -> float:
    """The share of N(0, I) that lies closer to the origin than z (d,): |z|² is χ² with d degrees of freedom."""
    half = torch.tensor(len(z) / 2, dtype=torch.float64)
    return float(torch.special.gammainc(half, torch.tensor(float(np.square(z, dtype=np.float64).sum()) / 2)))


def radius_words(latent_dim: int) -> str:
    """How far from the origin draws from N(0, I) lie."""
    narrow = ", and nearly all lie close to that" if latent_dim >= 32 else ""
    return f"For draws of the prior its root mean square is √d = {latent_dim**0.5:.2f}{narrow}."
