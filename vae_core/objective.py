"""The objective: reconstruction + β·KL, in nats, summed over pixels and dimensions, averaged over images."""

from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.model import VAE

__all__ = ["Terms", "elbo_terms", "kl_standard_normal", "log_prob_given", "loss", "reparameterise", "warmed_up"]


class Terms(NamedTuple):
    """The two terms of the negative ELBO, image by image, in nats.

    reconstruction (B,): −log p(x|z) at one z ~ q(z|x), an unbiased estimate of −E_q[log p(x|z)];
    kl (B, d): KL(q(z_j|x) ‖ p(z_j)) of each latent dimension, exact.
    """

    reconstruction: Tensor
    kl: Tensor


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, diag exp(logvar)) ‖ N(0, I)) for each latent dimension, in nats.

    Shapes: mu, logvar (..., d) → (..., d). Source: Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


def reparameterise(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z = mu + σ ⊙ ε with ε ~ N(0, I) and σ = exp(logvar / 2), so that gradients reach mu and logvar.

    Shapes: mu, logvar (..., d) → (..., d). Source: Kingma & Welling 2014, section 2.4.
    """
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return torch.addcmul(mu, torch.exp(0.5 * logvar), noise)


def elbo_terms(
    model: VAE, x: Tensor, generator: torch.Generator | None = None, beta: float | Tensor | None = None
) -> Terms:
    """Both terms for a batch, with one posterior sample an image, at `beta` where the model serves a range of β.

    Shapes: x (B, C, H, W) in [0, 1], beta () or (B,).
    """
    mu, logvar = model.encode(x, beta)
    params = model.decode(reparameterise(mu, logvar, generator), beta)
    return Terms(-model.likelihood.log_prob(x, params), kl_standard_normal(mu, logvar))


def log_prob_given(model: VAE, x: Tensor, z: Tensor) -> Tensor:
    """log p(x|z) of each image at K codes of its own, in nats. Shapes: x (N, C, H, W), z (K, N, d) → (K, N)."""
    return model.likelihood.log_prob(x, model.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2]))


def loss(terms: Terms, beta: float | Tensor, free_bits: float = 0.0) -> Tensor:
    """reconstruction + β·KL, averaged over the batch, in nats: a scalar. β is one for all or one an image (B,).

    With free_bits = λ, a dimension whose KL averages less than λ nats over the batch counts as λ and feels no
    pull towards the prior. Source: Higgins et al. 2017 (β); Kingma et al. 2016, appendix C.8 (free bits).
    """
    kl = terms.kl.mean(0)
    weighted = (beta.unsqueeze(-1) * terms.kl).mean(0) if isinstance(beta, Tensor) else beta * kl
    if free_bits:
        mean_beta = beta.mean() if isinstance(beta, Tensor) else beta
        weighted = torch.where(kl < free_bits, mean_beta * free_bits, weighted)
    return terms.reconstruction.mean() + weighted.sum()


def warmed_up(beta: float, epoch: float, kl_warmup: float) -> float:
    """β after `epoch` epochs (a fraction counts) of a linear warm-up from 0 over `kl_warmup` epochs."""
    return beta if epoch >= kl_warmup else beta * epoch / kl_warmup
