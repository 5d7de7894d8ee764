"""The objectives: β-VAE, β-TCVAE and IWAE, in nats, summed over pixels and dimensions, averaged over images."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.model import VAE

__all__ = [
    "OBJECTIVES",
    "Terms",
    "describe_objective",
    "drawn",
    "elbo_terms",
    "iwae_loss",
    "kl_standard_normal",
    "log_importance_weights",
    "log_normal",
    "log_prior",
    "log_prob_given",
    "loss",
    "multisample_terms",
    "reparameterise",
    "stratified_weights",
    "tcvae_loss",
    "tcvae_terms",
    "total_correlation",
    "warmed_up",
]

OBJECTIVES = {"beta-vae": "β-VAE", "beta-tcvae": "β-TCVAE", "iwae": "IWAE"}
"""What training may minimise: reconstruction + β·KL, the negative ELBO with its total correlation weighed by β, or the
negative importance-weighted bound."""


def describe_objective(name: str, importance_samples: int) -> str:
    """One of OBJECTIVES as people know it: 'β-VAE', 'IWAE, K = 5'."""
    return OBJECTIVES[name] + (f", K = {importance_samples}" if name == "iwae" else "")


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


def log_normal(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)) of each latent dimension, in nats. Shapes: all (..., d), broadcast → (..., d)."""
    return -0.5 * ((z - mu).square() * torch.exp(-logvar) + logvar + math.log(2 * math.pi))


def log_prior(z: Tensor) -> Tensor:
    """log N(z; 0, I), in nats. Shapes: (..., d) → (...)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def elbo_terms(
    model: VAE, x: Tensor, generator: torch.Generator | None = None, beta: float | Tensor | None = None
) -> Terms:
    """Both terms for a batch, with one posterior sample an image, at `beta` where the model serves a range of β.

    Shapes: x (B, C, H, W) in [0, 1], beta () or (B,).
    """
    mu, logvar = model.encode(x, beta)
    return _terms(model, x, mu, logvar, reparameterise(mu, logvar, generator), beta)


def _terms(model: VAE, x: Tensor, mu: Tensor, logvar: Tensor, z: Tensor, beta: float | Tensor | None = None) -> Terms:
    return Terms(-model.likelihood.log_prob(x, model.decode(z, beta)), kl_standard_normal(mu, logvar))


def log_prob_given(model: VAE, x: Tensor, z: Tensor) -> Tensor:
    """log p(x|z) of each image at K codes of its own, in nats. Shapes: x (N, C, H, W), z (K, N, d) → (K, N)."""
    return model.likelihood.log_prob(x, model.decode(z.flatten(0, 1)).unflatten(0, (len(z), -1)))


def log_importance_weights(fit: Tensor, noise: Tensor, z: Tensor, logvar: Tensor) -> Tensor:
    """log w = log p(x|z) + log p(z) − log q(z|x) at z = mu + σ ⊙ ε, from log p(x|z), ε, z and q's logvar, in nats.

    The densities' constants cancel: log p(z) − log q(z|x) = ½ Σ (ε² − z² + logvar).
    Shapes: fit (K, N), noise and z (K, N, d), logvar (N, d) → (K, N).
    """
    return fit + 0.5 * (noise.square() - z.square() + logvar).sum(-1)


def multisample_terms(
    model: VAE, x: Tensor, samples: int, generator: torch.Generator | None = None
) -> tuple[Terms, Tensor]:
    """Both terms for a batch, the reconstruction averaged over K = `samples` posterior samples an image, and the
    `log_importance_weights` (K, B) of those samples. With K = 1 the terms are those of `elbo_terms`, noise and all.

    Shapes: x (B, C, H, W) in [0, 1].
    """
    mu, logvar = model.encode(x)
    _, fit, log_weights = drawn(model, x, mu, logvar, samples, generator)
    return Terms(-fit.mean(0), kl_standard_normal(mu, logvar)), log_weights


def drawn(
    model: VAE, x: Tensor, mu: Tensor, logvar: Tensor, samples: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise ε of K = `samples` draws z = μ + σ ⊙ ε from each posterior, log p(x|z) and log w, in nats.

    Shapes: x (B, C, H, W), mu and logvar (B, d) → (K, B, d), (K, B) and (K, B).
    """
    noise = torch.randn((samples, *mu.shape), generator=generator, device=mu.device, dtype=mu.dtype)
    z = torch.addcmul(mu, torch.exp(0.5 * logvar), noise)
    fit = log_prob_given(model, x, z)
    return noise, fit, log_importance_weights(fit, noise, z, logvar)


def iwae_loss(log_weights: Tensor) -> Tensor:
    """−L_K = −log (1/K Σ_k w_k), averaged over the batch, in nats: a scalar from log w (K, B).

    Of K = 1 the mean and the mean gradient are those of reconstruction + KL; with K the loss falls towards −log p(x).
    Source: Burda et al. 2016, section 3.
    """
    return math.log(len(log_weights)) - torch.logsumexp(log_weights, 0).mean()


def loss(terms: Terms, beta: float | Tensor, free_bits: float = 0.0) -> Tensor:
    """reconstruction + β·KL, averaged over the batch, in nats: a scalar. β is one for all, (), or one an image, (B,).

    With free_bits = λ, a dimension whose KL averages less than λ nats over the batch counts as λ and feels no
    pull towards the prior. Source: Higgins et al. 2017 (β); Kingma et al. 2016, appendix C.8 (free bits).
    """
    kl = terms.kl.mean(0)
    each = isinstance(beta, Tensor) and beta.ndim == 1
    weighted = (beta.unsqueeze(-1) * terms.kl).mean(0) if each else beta * kl
    if free_bits:
        mean_beta = beta.mean() if each else beta
        weighted = torch.where(kl < free_bits, mean_beta * free_bits, weighted)
    return terms.reconstruction.mean() + weighted.sum()


def total_correlation(z: Tensor, mu: Tensor, logvar: Tensor, images: int) -> Tensor:
    """KL(q(z) ‖ Π_j q(z_j)) of the aggregate posterior q(z) = mean of q(z|x) over all `images`, from a batch of them.

    Shapes: mu, logvar (B, d) are the posteriors of B different images and z (B, d) a draw from each, B ≥ 2 → a scalar,
    in nats. The densities q(z) and q(z_j) are estimated with weight 1/N for the image that z came from and equal
    weights for the rest of the batch, which together stand for the other N − 1: unbiased; but the logarithm of an
    unbiased estimate is too low on average, of q(z) as of each q(z_j), so that the difference is biased either way, the
    less the larger the batch. With a batch of the whole set the densities are exact.
    Source: Chen et al. 2018, 'Isolating sources of disentanglement', appendix C.2: minibatch stratified sampling,
    averaged over the order of the batch.
    """
    weights = stratified_weights(len(z), images, like=z).log()
    pairs = log_normal(z[:, None], mu, logvar)
    joint = torch.logsumexp(weights + pairs.sum(-1), dim=1)
    marginals = torch.logsumexp(weights.unsqueeze(-1) + pairs, dim=1).sum(-1)
    return (joint - marginals).mean()


def stratified_weights(batch: int, images: int, like: Tensor) -> Tensor:
    """How much each posterior (columns) counts in q(z) at the draw from each image (rows): (B, B)."""
    return like.new_full((batch, batch), (images - 1) / (images * (batch - 1))).fill_diagonal_(1 / images)


def tcvae_terms(model: VAE, x: Tensor, images: int, generator: torch.Generator | None = None) -> tuple[Terms, Tensor]:
    """Both terms for a batch, as `elbo_terms` has them, and its estimate of the `total_correlation` over `images`.

    Shapes: x (B, C, H, W) in [0, 1]; the estimate is a scalar in nats.
    """
    mu, logvar = model.encode(x)
    z = reparameterise(mu, logvar, generator)
    return _terms(model, x, mu, logvar, z), total_correlation(z, mu, logvar, images)


def tcvae_loss(terms: Terms, correlation: Tensor, beta: float | Tensor) -> Tensor:
    """reconstruction + mutual information + β·total correlation + dimension-wise KL, a scalar in nats.

    The three add up to the KL, which is known exactly, so this is the negative ELBO + (β − 1)·total correlation.
    Source: Chen et al. 2018, equation 4, with α = γ = 1.
    """
    return loss(terms, 1.0) + (beta - 1) * correlation


def warmed_up(beta: float, epoch: float, kl_warmup: float) -> float:
    """β after `epoch` epochs (a fraction counts) of a linear warm-up from 0 over `kl_warmup` epochs."""
    return beta if epoch >= kl_warmup else beta * epoch / kl_warmup
