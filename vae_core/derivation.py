"""Every quantity of the ELBO's derivation, for one image and one model: the numbers behind the formulas."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional as F

from vae_core.bounds import Draws, LogLikelihood, draws
from vae_core.evaluate import inference, to_unit
from vae_core.evidence import Evidence
from vae_core.gradients import gradient_draws
from vae_core.likelihood import Bernoulli
from vae_core.model import VAE
from vae_core.objective import kl_standard_normal

__all__ = ["DRAWS", "GRADIENT_DRAWS", "Derivation", "Quantity", "derive"]

DRAWS = 5000
"""Draws of z ~ q(z|x) behind every Monte Carlo value but the gradient: those of `vae_core.bounds`."""

GRADIENT_DRAWS = 500
"""Draws of z ~ q(z|x) behind the gradient."""

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Quantity:
    """A value in nats and what tells its Monte Carlo standard error: nothing where it is exact.

    independent: the standard error of what no other quantity shares. deviations (K,): how far each of the K draws that
    quantities of one derivation share lies from the value, to first order; their mean is 0.
    """

    value: float
    independent: float = 0.0
    deviations: np.ndarray | float = 0.0

    @property
    def error(self) -> float:
        """The Monte Carlo standard error."""
        drawn = np.size(self.deviations)
        shared = np.square(self.deviations).sum(dtype=np.float64) / (drawn * max(drawn - 1, 1))
        return math.hypot(self.independent, shared**0.5)

    def __add__(self, other: "Quantity") -> "Quantity":
        """The sum. Errors by the same draws add up draw by draw, and may cancel; independent ones add up in squares."""
        return Quantity(
            self.value + other.value,
            math.hypot(self.independent, other.independent),
            self.deviations + other.deviations,
        )

    def __neg__(self) -> "Quantity":
        """The negative, just as certain."""
        return Quantity(-self.value, self.independent, -self.deviations)

    def __sub__(self, other: "Quantity") -> "Quantity":
        """The difference; see `__add__`."""
        return self + -other


@dataclass(frozen=True)
class Derivation:
    """One image's numbers, in nats, at β = 1.

    mu, sigma, noise (d,): q(z|x), and the ε of the draw z = mu + σ ⊙ ε that is shown. `at_mu`: log densities at z = mu,
    by name: 'likelihood' log p(x|z), 'prior' log p(z), 'encoder' log q(z|x), and 'error', PyTorch's own cross-entropy,
    or for a Gaussian its squared error over 2σ², with 'constant' ½ n log 2πσ² and 'variance' σ². kl_per_dimension (d,):
    the closed form. fit: E_q[log p(x|z)]; prior: E_q[log p(z)] and encoder: E_q[log q(z|x)], closed forms;
    kl: KL(q(z|x) ‖ p(z)), and kl_drawn the same from draws; log_weight: E_q[log w] with w = p(x, z)/q(z|x), from draws,
    and log_mean_weight: log E_q[w] from the same; evidence: log p(x); gap: KL(q(z|x) ‖ p(z|x)); exact: whether the
    last two are quadratures, and not the importance-weighted estimate and what it leaves. effective_samples: how many
    of the draws count in log_mean_weight. slope: ∂ E_q[log p(x|z)] / ∂μ_j, in nats per unit, of the dimension j with
    the largest KL, by GRADIENT_DRAWS reparameterised draws.
    """

    mu: np.ndarray
    sigma: np.ndarray
    noise: np.ndarray
    at_mu: dict[str, float]
    kl_per_dimension: np.ndarray
    fit: Quantity
    prior: Quantity
    encoder: Quantity
    kl: Quantity
    kl_drawn: Quantity
    log_weight: Quantity
    log_mean_weight: Quantity
    evidence: Quantity
    gap: Quantity
    exact: bool
    effective_samples: float
    slope: Quantity

    @property
    def elbo(self) -> Quantity:
        """E_q[log p(x|z)] − KL(q(z|x) ‖ p(z))."""
        return self.fit - self.kl

    @property
    def joint(self) -> Quantity:
        """E_q[log p(x, z)]."""
        return self.fit + self.prior

    @property
    def posterior(self) -> Quantity:
        """E_q[log p(z|x)] = E_q[log q(z|x)] − KL(q(z|x) ‖ p(z|x))."""
        return self.encoder - self.gap

    @property
    def posterior_at_mu(self) -> Quantity:
        """log p(z|x) at z = mu, by Bayes' theorem."""
        return Quantity(self.at_mu["likelihood"] + self.at_mu["prior"]) - self.evidence


def derive(
    model: VAE, image: np.ndarray, exact: Evidence | None = None, drawn: Draws | None = None, *, seed: int = 0
) -> Derivation:
    """The derivation's numbers for one uint8 image (C, H, W).

    `exact` is what `vae_core.evidence` found for this model and this image alone, with one or two latent dimensions;
    without it log p(x) is the importance-weighted estimate from DRAWS draws. `drawn`: these draws, where there are some
    already. The model answers at its own β.
    """
    drawn = drawn or draws(model, image, DRAWS, seed=seed)
    with inference(model) as (device, _):
        x = to_unit(image[None], device)
        mu, logvar = model.encode(x)
        at_mu = _at_mu(model, x, mu, logvar)
    fits, log_weights = torch.from_numpy(drawn.fit), torch.from_numpy(drawn.log_weights)
    mu, logvar = mu[0].cpu().double(), logvar[0].cpu().double()
    sigma = torch.exp(0.5 * logvar)
    weights = LogLikelihood.of(log_weights.unsqueeze(1))
    per_dimension = kl_standard_normal(mu, logvar)
    slopes = gradient_draws(model, image, mu.numpy(), sigma.numpy(), GRADIENT_DRAWS, seed=seed)["reparameterised"]
    kl = Quantity(float(per_dimension.sum()))
    estimate = Quantity(weights.mean, deviations=_deviations(torch.exp(log_weights - weights.mean)))
    fit = _mean(fits) if exact is None else Quantity(-float(exact.reconstruction[0]))
    evidence = estimate if exact is None else Quantity(float(exact.log_likelihood[0]))
    return Derivation(
        mu=mu.numpy(),
        sigma=sigma.numpy(),
        noise=drawn.first_noise,
        at_mu=at_mu,
        kl_per_dimension=per_dimension.numpy(),
        fit=fit,
        prior=Quantity(float(-0.5 * (mu.square() + sigma.square() + _LOG_2PI).sum())),
        encoder=Quantity(float(-0.5 * (logvar + 1 + _LOG_2PI).sum())),
        kl=kl,
        kl_drawn=_mean(fits - log_weights),
        log_weight=_mean(log_weights),
        log_mean_weight=estimate,
        evidence=evidence,
        gap=evidence - (fit - kl) if exact is None else Quantity(float(exact.kl_to_true_posterior[0])),
        exact=exact is not None,
        effective_samples=float(weights.effective_samples[0]),
        slope=_mean(torch.from_numpy(slopes[:, int(per_dimension.argmax())])),
    )


def _mean(values: Tensor) -> Quantity:
    return Quantity(float(values.mean()), deviations=_deviations(values))


def _deviations(values: Tensor) -> np.ndarray:
    return (values - values.mean()).float().numpy()


def _at_mu(model: VAE, x: Tensor, mu: Tensor, logvar: Tensor) -> dict[str, float]:
    params = model.decode(mu)
    densities = {
        "likelihood": model.likelihood.log_prob(x, params),
        "prior": Normal(0.0, 1.0).log_prob(mu),
        "encoder": Normal(mu, torch.exp(0.5 * logvar)).log_prob(mu),
    }
    found = {name: float(value.cpu().double().sum()) for name, value in densities.items()}
    if isinstance(model.likelihood, Bernoulli):
        found["error"] = float(F.binary_cross_entropy_with_logits(params, x, reduction="sum"))
    else:
        variance = float(torch.exp(2 * model.likelihood.log_sigma))
        found["variance"] = variance
        found["error"] = float(F.mse_loss(model.likelihood.mean(params), x, reduction="sum")) / (2 * variance)
        found["constant"] = 0.5 * x.numel() * (_LOG_2PI + math.log(variance))
    return found
