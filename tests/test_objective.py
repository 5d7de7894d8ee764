"""The objective: closed forms against independent computations, gradients against finite differences."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.toys import build, images
from vae_core.evaluate import to_unit
from vae_core.objective import (
    Terms,
    elbo_terms,
    iwae_loss,
    kl_standard_normal,
    log_normal,
    loss,
    multisample_terms,
    reparameterise,
    tcvae_loss,
    tcvae_terms,
    total_correlation,
    warmed_up,
)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kl_equals_torch_distributions() -> None:
    """To 1e-12 in float64, over all log-variances that the model can give."""
    mu = torch.randn(200, 5, dtype=torch.float64, generator=_seeded()) * 3
    logvar = torch.empty(200, 5, dtype=torch.float64).uniform_(-10, 10, generator=_seeded(1))
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu)))
    torch.testing.assert_close(kl_standard_normal(mu, logvar), expected, rtol=1e-12, atol=1e-12)


def test_kl_equals_monte_carlo() -> None:
    """Within four standard errors of 400,000 draws."""
    mu, logvar = torch.tensor([1.3, -0.4], dtype=torch.float64), torch.tensor([-1.0, 0.7], dtype=torch.float64)
    z = reparameterise(mu.expand(400_000, 2), logvar.expand(400_000, 2), _seeded())
    draws = Normal(mu, (logvar / 2).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - kl_standard_normal(mu, logvar)).abs() < 4 * error).all()


def test_kl_keeps_its_digits_near_the_prior() -> None:
    """In float32 a KL of 4e-9 nats is right to 0.1 %: exp(x) − 1 is not computed by subtraction."""
    small = torch.tensor(1e-4)
    exact = 0.5 * (1e-8 + math.expm1(1e-4) - 1e-4)
    assert kl_standard_normal(small, torch.tensor(0.0)).item() == pytest.approx(0.5e-8, rel=1e-3)
    assert kl_standard_normal(small, small).item() == pytest.approx(exact, rel=0.1)


def test_kl_is_zero_only_at_the_prior() -> None:
    assert kl_standard_normal(torch.zeros(3), torch.zeros(3)).eq(0).all()
    assert (
        kl_standard_normal(torch.randn(1000, generator=_seeded()), torch.randn(1000, generator=_seeded(1))) > 0
    ).all()


def test_reparameterised_gradient_is_unbiased() -> None:
    """∇ E_q[z²] is (2μ, σ²): the mean of 200,000 reparameterised gradients lies within four standard errors."""
    mu = torch.full((200_000,), 0.7, dtype=torch.float64, requires_grad=True)
    logvar = torch.full((200_000,), -0.5, dtype=torch.float64, requires_grad=True)
    reparameterise(mu, logvar, _seeded()).square().sum().backward()
    for gradient, exact in ((mu.grad, 1.4), (logvar.grad, math.exp(-0.5))):
        error = gradient.std() / math.sqrt(len(gradient))
        assert abs(gradient.mean() - exact) < 4 * error


@pytest.mark.parametrize("arch", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian-optimal"])
@pytest.mark.parametrize("objective", ["beta-vae", "beta-tcvae", "iwae"])
def test_gradient_equals_finite_differences(arch: str, likelihood: str, objective: str) -> None:
    """Along random directions through all parameters (each has a gradient), in float64, to 1e-5, the noise held."""
    model = build(arch=arch, likelihood=likelihood, latent_dim=3, widths=(6,)).double()
    x = to_unit(images(4)).double()
    parameters = list(model.parameters())

    def value() -> torch.Tensor:
        if objective == "beta-tcvae":
            return tcvae_loss(*tcvae_terms(model, x, 50, _seeded()), beta=7.0)
        if objective == "iwae":
            return iwae_loss(multisample_terms(model, x, 3, _seeded())[1])
        return loss(elbo_terms(model, x, _seeded()), beta=1.7)

    gradients = torch.autograd.grad(value(), parameters)
    assert all(gradient.ne(0).any() for gradient in gradients)
    for seed in range(3):
        steps = [
            torch.randn(p.shape, dtype=p.dtype, generator=_seeded(10 * seed + i)) for i, p in enumerate(parameters)
        ]
        slope = sum((g * s).sum() for g, s in zip(gradients, steps, strict=True))
        ends = []
        with torch.no_grad():
            for size in (1e-6, -2e-6, 1e-6):
                for parameter, step in zip(parameters, steps, strict=True):
                    parameter += size * step
                ends.append(value())
        assert ((ends[0] - ends[1]) / 2e-6).item() == pytest.approx(slope.item(), rel=1e-5)


def test_terms_are_sums_over_pixels_and_dimensions() -> None:
    """Zero weights give logits of 0: the reconstruction is D·ln 2 whatever the picture, and the KL is 0."""
    model = build(shape=(3, 9, 5), latent_dim=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    terms = elbo_terms(model, to_unit(images(6, (3, 9, 5))))
    torch.testing.assert_close(terms.reconstruction, torch.full((6,), 3 * 9 * 5 * math.log(2)), rtol=1e-6, atol=0)
    assert terms.kl.shape == (6, 4)
    assert terms.kl.eq(0).all()


def test_loss_weighs_the_kl_and_averages_over_images() -> None:
    terms = Terms(torch.tensor([10.0, 20.0]), torch.tensor([[1.0, 3.0], [2.0, 5.0]]))
    assert loss(terms, beta=1.0).item() == pytest.approx(15 + 1.5 + 4)
    assert loss(terms, beta=0.0).item() == pytest.approx(15)
    assert loss(terms, beta=4.0).item() == pytest.approx(15 + 4 * 5.5)


def test_free_bits_stop_the_pull_of_cheap_dimensions() -> None:
    kl = torch.tensor([[0.1, 3.0], [0.3, 5.0]], requires_grad=True)
    value = loss(Terms(torch.zeros(2), kl), beta=2.0, free_bits=0.5)
    value.backward()
    assert value.item() == pytest.approx(2 * (0.5 + 4))
    assert kl.grad[:, 0].eq(0).all()
    assert kl.grad[:, 1].eq(1).all()


def test_tcvae_is_the_elbo_and_more_weight_on_the_total_correlation() -> None:
    """With the same noise its terms are the ELBO's; at β = 1 so is its loss; β moves it by the total correlation."""
    model, x = build(latent_dim=3).double(), to_unit(images(6)).double()
    terms, correlation = tcvae_terms(model, x, 100, _seeded())
    plain = elbo_terms(model, x, _seeded())
    torch.testing.assert_close(terms, plain)
    assert tcvae_loss(terms, correlation, 1.0).item() == loss(plain, 1.0).item()
    moved = tcvae_loss(terms, correlation, 5.0) - tcvae_loss(terms, correlation, 2.0)
    assert moved.item() == pytest.approx(3 * correlation.item(), rel=1e-10)


def test_tcvae_is_on_average_the_sum_of_its_sampled_parts() -> None:
    """[log q(z|x) − log q(z)] + β [log q(z) − Σ log q(z_j)] + Σ [log q(z_j) − log p(z_j)], as the paper writes it, has
    the mean of KL + (β − 1)·TC over 1,000 draws, whatever q(z) and q(z_j) are: to four standard errors."""
    beta, n = 6.0, 5
    mu, logvar = torch.randn(n, 3, dtype=torch.float64, generator=_seeded(2)), torch.full((n, 3), -1.0).double()
    posterior, differences = Normal(mu, (logvar / 2).exp()), []
    for seed in range(1000):
        z = reparameterise(mu, logvar, _seeded(seed))
        each = log_normal(z[:, None], mu, logvar)  # q(z) here by the plain mean over the batch: the whole set
        joint = torch.logsumexp(each.sum(-1), 1) - math.log(n)
        marginals = torch.logsumexp(each, 1) - math.log(n)
        given, prior = posterior.log_prob(z).sum(1), Normal(0.0, 1.0).log_prob(z)
        sampled = given - joint + beta * (joint - marginals.sum(1)) + (marginals - prior).sum(1)
        terms = Terms(torch.zeros(n).double(), kl_standard_normal(mu, logvar))
        differences.append((sampled.mean() - tcvae_loss(terms, total_correlation(z, mu, logvar, n), beta)).item())
    differences = torch.tensor(differences)
    assert differences.mean().abs() < 4 * differences.std() / math.sqrt(len(differences))
    assert differences.std() > 0.1


def test_importance_weights_are_those_of_torch_distributions() -> None:
    """log w = log p(x|z) + log p(z) − log q(z|x) at the same draws, to 1e-10 in float64."""
    model, x = build(latent_dim=3).double(), to_unit(images(6)).double()
    terms, log_weights = multisample_terms(model, x, 4, _seeded())
    mu, logvar = model.encode(x)
    z = mu + (logvar / 2).exp() * torch.randn(4, 6, 3, dtype=torch.float64, generator=_seeded())
    fit = torch.stack([model.likelihood.log_prob(x, model.decode(draw)) for draw in z])
    prior, posterior = Normal(0.0, 1.0).log_prob(z).sum(-1), Normal(mu, (logvar / 2).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(log_weights, fit + prior - posterior, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(terms.reconstruction, -fit.mean(0), rtol=1e-12, atol=0)
    by_hand = -(log_weights.exp().mean(0).log()).mean()
    assert iwae_loss(log_weights).item() == pytest.approx(by_hand.item(), rel=1e-10)


def test_one_importance_sample_is_the_elbo() -> None:
    """With the same noise the terms are the ELBO's; the loss and its gradient have the ELBO's means over 4,000 draws
    of an image's code, to four standard errors: the KL is drawn where the ELBO knows it."""
    model, x = build(latent_dim=2, widths=(6,)).double(), to_unit(images(1)).double()
    terms, _ = multisample_terms(model, x, 1, _seeded())
    torch.testing.assert_close(terms, elbo_terms(model, x, _seeded()), rtol=1e-12, atol=0)
    bias, differences = model.encoder.head.bias, []
    for seed in range(1000):
        bound = iwae_loss(multisample_terms(model, x, 1, _seeded(seed))[1])
        plain = loss(elbo_terms(model, x, _seeded(seed)), 1.0)
        slope = torch.autograd.grad(bound - plain, bias)[0]
        differences.append(torch.cat([(bound - plain).detach().view(1), slope]))
    differences = torch.stack(differences)
    assert (differences.mean(0).abs() < 4 * differences.std(0) / math.sqrt(len(differences))).all()
    assert (differences.std(0) > 0.01).all()


def test_the_bound_rises_with_the_samples() -> None:
    """−L_K falls over K = 1, 4, 16, 64 by more than its standard error, on one set of draws of 40 images."""
    model, x = build(latent_dim=3).double(), to_unit(images(40)).double()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter *= 3  # an untrained decoder hardly looks at z
        _, log_weights = multisample_terms(model, x, 64, _seeded())
    means = []
    for size in (1, 4, 16, 64):
        groups = [iwae_loss(part) for part in log_weights.split(size)]
        means.append(torch.stack(groups).mean().item())
    assert all(before > after + 0.01 for before, after in itertools.pairwise(means))


def test_more_samples_average_the_reconstruction_and_leave_the_kl() -> None:
    model, x = build(latent_dim=3).double(), to_unit(images(5)).double()
    one, many = (multisample_terms(model, x, samples, _seeded())[0] for samples in (1, 300))
    torch.testing.assert_close(one.kl, many.kl, rtol=0, atol=0)
    again = torch.stack([elbo_terms(model, x, _seeded(seed)).reconstruction for seed in range(300)])
    error = again.std(0) * math.sqrt(2 / 300)
    assert ((many.reconstruction - again.mean(0)).abs() < 4 * error).all()


def test_warm_up_rises_linearly_and_stays() -> None:
    assert [warmed_up(4.0, epoch, 2.0) for epoch in (0.0, 0.5, 1.0, 2.0, 9.0)] == [0.0, 1.0, 2.0, 4.0, 4.0]
    assert warmed_up(4.0, 0.0, 0.0) == 4.0
