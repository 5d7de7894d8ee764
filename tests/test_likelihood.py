"""Observation models: they are normalised, agree with torch.distributions, and stay finite."""

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from vae_core import likelihood


def _picture(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)


def test_bernoulli_sums_to_one() -> None:
    """Over all 2⁶ pictures of six black and white pixels, to 1e-12."""
    params = torch.randn(1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64).reshape(-1, 1, 2, 3)
    total = likelihood.Bernoulli().log_prob(every, params).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["gaussian", "gaussian-optimal"])
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0])
def test_gaussians_integrate_to_one(name: str, sigma: float) -> None:
    """Over a plane of two pixels, by the trapezoid rule on ±8σ, to 1e-9."""
    model = likelihood.make(name, sigma).double().eval()
    model.log_sigma.fill_(math.log(sigma))
    params = _picture(-0.4, 1.1)
    steps = torch.linspace(-8 * sigma, 8 * sigma, 401, dtype=torch.float64)
    first, second = (steps + mean for mean in model.mean(params).flatten())
    x = torch.cartesian_prod(first, second).reshape(-1, 1, 1, 2)
    total = model.log_prob(x, params).exp().sum() * (steps[1] - steps[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-9)


def test_log_prob_equals_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(5, 2, 3, 4, 4, dtype=torch.float64, generator=generator)
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=generator)
    gaussian = likelihood.Gaussian(0.2).double()
    expected = Normal(params.sigmoid(), gaussian.log_sigma.exp()).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(gaussian.log_prob(x, params), expected, rtol=1e-12, atol=0)
    binary = x.round()
    expected = Bernoulli(logits=params).log_prob(binary).sum((-3, -2, -1))
    torch.testing.assert_close(likelihood.Bernoulli().log_prob(binary, params), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("x_shape", "shape"),
    [
        ((4, 1, 8, 8), (4, 1, 8, 8)),
        ((4, 3, 5, 3), (7, 4, 3, 5, 3)),
        ((6, 4, 1, 4, 6), (4, 1, 4, 6)),
        ((1, 2, 3), (2, 1, 2, 3)),
    ],
)
def test_bernoulli_and_its_gradients_are_those_of_softplus(x_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Where x and params have one shape and where either is repeated, for sizes that halve and that do not: 1e-12."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(x_shape, dtype=torch.float64, generator=generator).requires_grad_()
    params = (6 * torch.randn(shape, dtype=torch.float64, generator=generator)).requires_grad_()
    found = likelihood.Bernoulli().log_prob(x, params)
    expected = (x * params - torch.nn.functional.softplus(params, threshold=100)).sum((-3, -2, -1))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.rand(found.shape, dtype=torch.float64, generator=generator)
    gradients = (torch.autograd.grad((weights * value).sum(), (x, params)) for value in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_bernoulli_can_be_differentiated_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1, 2, 2, dtype=torch.float64, generator=generator)
    params = torch.randn(2, 1, 2, 2, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda params: likelihood.Bernoulli().log_prob(x, params), params)


def test_bernoulli_in_float32_is_as_sure_as_its_terms() -> None:
    """Of sure pixels the terms cancel one by one: 1e-5 nats of some 60, though the logits' sum is ten thousands."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(16, 1, 28, 28, generator=generator) < 0.3).float()
    params = (2 * x - 1) * (15 + torch.rand(x.shape, generator=generator))
    params[..., :1] = 0
    expected = likelihood.Bernoulli().log_prob(x.double(), params.double())
    torch.testing.assert_close(likelihood.Bernoulli().log_prob(x, params).double(), expected, rtol=0, atol=2e-5)


def test_optimal_sigma_is_the_best_sigma() -> None:
    """In training mode no fixed σ gives the batch a higher likelihood (Rybkin et al. 2021)."""
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(8, 1, 6, 6, dtype=torch.float64, generator=generator)
    x = torch.rand(8, 1, 6, 6, dtype=torch.float64, generator=generator)
    best = likelihood.OptimalGaussian().double().train().log_prob(x, params).sum()
    spread = (x - params.sigmoid()).square().mean().sqrt().item()
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        assert likelihood.Gaussian(factor * spread).double().log_prob(x, params).sum() < best
    exact = likelihood.Gaussian(spread).double().log_prob(x, params).sum()
    assert best.item() == pytest.approx(exact.item(), rel=1e-4)  # the floor of σ² costs this much


def test_optimal_sigma_is_kept_for_evaluation() -> None:
    """After one batch it is that batch's; it forgets its start; evaluation and log_prob itself do not move it."""
    model = likelihood.OptimalGaussian()
    x, params = torch.full((4, 1, 2, 2), 0.9), torch.zeros(4, 1, 2, 2)
    model.train().log_prob(x, params)
    assert model.log_sigma.exp().item() == pytest.approx(0.4, rel=1e-3)
    for _ in range(500):
        model.log_prob(torch.full_like(x, 0.6), params)
    assert model.log_sigma.exp().item() == pytest.approx(0.1, rel=1e-2)
    kept = model.log_sigma.clone()
    model.eval().log_prob(x, params)
    assert torch.equal(model.log_sigma, kept)


def test_gradient_flows_through_the_optimal_sigma() -> None:
    """−log p has the gradient of ½·N·log σ²: smaller errors are pulled at harder."""
    params = torch.full((1, 1, 1, 2), 0.3, dtype=torch.float64, requires_grad=True)
    x = _picture(0.9, 0.2)[None]
    (-likelihood.OptimalGaussian().double().train().log_prob(x, params).sum()).backward()
    again = params.detach().requires_grad_()
    (torch.log((x - again.sigmoid()).square().mean() + 0.0025**2)).backward()
    torch.testing.assert_close(params.grad, again.grad, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("name", likelihood.LIKELIHOODS)
def test_extreme_parameters_stay_finite(name: str) -> None:
    model = likelihood.make(name, 0.01)
    params = torch.tensor([-1e4, 1e4, 0.0, 1e30]).reshape(1, 1, 2, 2).requires_grad_()
    for x in (torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)):
        value = model.log_prob(x, params)
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), params)[0].isfinite().all()
    assert ((model.mean(params) >= 0) & (model.mean(params) <= 1)).all()


@pytest.mark.parametrize("name", likelihood.LIKELIHOODS)
def test_samples_have_the_mean_and_spread(name: str) -> None:
    """Within four standard errors of 20,000 draws; the same generator draws the same."""
    model = likelihood.make(name, 0.2).eval()
    params = torch.tensor([-1.0, 0.5]).reshape(1, 1, 1, 2).expand(20_000, 1, 1, 2)
    draws = model.sample(params, torch.Generator().manual_seed(0))
    assert torch.equal(draws, model.sample(params, torch.Generator().manual_seed(0)))
    mean = model.mean(params[0])
    spread = (mean * (1 - mean)).sqrt() if name == "bernoulli" else model.log_sigma.exp()
    assert ((draws.mean(0) - mean).abs() < 4 * spread / math.sqrt(20_000)).all()
    torch.testing.assert_close(draws.std(0), spread.expand_as(mean), rtol=0.03, atol=0)
