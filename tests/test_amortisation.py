"""Inference image by image against a model whose posterior is known, and the gaps of Cremer et al. 2018."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from tests.toys import LinearGaussian, build, images
from vae_core.amortisation import FAMILIES, GaussianPosterior, InferenceGap, elbo, encoded, improve, starts
from vae_core.errors import UserError
from vae_core.evaluate import per_image_terms, to_unit

CORRELATED = ((0.8, 0.5, 0.0), (0.6, -0.2, 0.7))
PICTURES = np.random.default_rng(0).integers(0, 256, (12, 1, 1, 3), dtype=np.uint8)


def _known(width: float = 1.7, shift: float = 0.8) -> LinearGaussian:
    return LinearGaussian(width, shift, CORRELATED)


def _random(n: int, d: int) -> GaussianPosterior:
    random = np.random.default_rng(1)
    below = np.tril(random.normal(size=(n, d, d)), -1)
    lower = below + np.exp(random.normal(size=(n, d)))[:, :, None] * np.eye(d)
    return GaussianPosterior(torch.from_numpy(random.normal(size=(n, d))), torch.from_numpy(lower))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_kl_and_sigma_are_those_of_torch(d: int) -> None:
    q = _random(7, d)
    found = MultivariateNormal(q.mu, scale_tril=q.scale_tril)
    prior = MultivariateNormal(torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64))
    torch.testing.assert_close(q.kl(), kl_divergence(found, prior), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(q.sigma, found.stddev)


def test_elbo_of_any_gaussian_is_the_closed_form_within_its_error() -> None:
    """log p(x) − KL(q ‖ p(z|x)) by torch.distributions: within five standard errors, which are small."""
    model, q = _known(), _random(len(PICTURES), 2)
    x = to_unit(PICTURES)
    truth = MultivariateNormal(model.posterior_mean(x), precision_matrix=model.precision)
    exact = model.log_evidence(x) - kl_divergence(MultivariateNormal(q.mu, scale_tril=q.scale_tril), truth)
    found = elbo(model, PICTURES, q, 4000)
    assert (np.abs(found.values - exact.numpy()) < 5 * found.standard_errors).all()
    assert (found.standard_errors < 0.03 * np.abs(exact.numpy())).all()
    np.testing.assert_allclose(found.values, -(found.reconstruction + found.kl), rtol=1e-12)


def test_antithetic_errors_are_the_spread_over_seeds() -> None:
    """Within 25 %, from 200 repetitions."""
    model, q = _known(), _random(len(PICTURES), 2)
    repeated = [elbo(model, PICTURES, q, 100, seed=seed) for seed in range(200)]
    errors = np.stack([one.standard_errors for one in repeated]).mean(0)
    np.testing.assert_allclose(errors, np.stack([one.values for one in repeated]).std(0), rtol=0.25)


def test_start_is_the_encoder() -> None:
    """The same q, and its ELBO that of `per_image_terms` to Monte Carlo error."""
    model, pictures = build(latent_dim=3).eval(), images(6)
    first = next(improve(model, pictures))
    mu, logvar = model.encode(to_unit(pictures))
    torch.testing.assert_close(first.q.mu, mu)
    torch.testing.assert_close(first.q.sigma, torch.exp(0.5 * logvar))
    reconstruction, kl = per_image_terms(model, pictures, samples=400)
    found = elbo(model, pictures, first.q, 400)
    np.testing.assert_allclose(found.kl, kl.sum(1), rtol=1e-4)
    np.testing.assert_allclose(found.reconstruction, reconstruction, atol=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_best_gaussian_of_a_family_is_found(family: str) -> None:
    """Diagonal: mean of the posterior, variances 1/Λ_jj, and the approximation gap in closed form. Full: the posterior.

    Means to 0.02 σ, covariances to 0.15 σ², gaps to 0.005 nats."""
    model = _known()
    *_, last = improve(model, PICTURES, family, steps=400, samples=32)
    wanted = model.posterior_mean(to_unit(PICTURES))
    unit = model.precision.diagonal().rsqrt()
    assert ((last.q.mu - wanted) / unit).abs().max() < 0.02
    covariance = torch.linalg.inv(model.precision) if family == "full" else torch.diag(unit**2)
    found = last.q.scale_tril @ last.q.scale_tril.mT / (unit[:, None] * unit)
    assert (found - covariance / (unit[:, None] * unit)).abs().max() < 0.15
    truth = MultivariateNormal(wanted, precision_matrix=model.precision)
    gap = kl_divergence(MultivariateNormal(last.q.mu, scale_tril=last.q.scale_tril), truth)
    best = 0 if family == "full" else model.approximation_gap()
    assert model.approximation_gap() > 0.05
    assert (gap >= best - 1e-9).all()
    assert (gap - best).max() < 0.005


def test_gaps_add_up_and_are_those_in_closed_form() -> None:
    """Amortisation + approximation = inference, to rounding; each as the model says, to 0.1 nats (one standard
    error of 8,000 draws is 0.01)."""
    model = _known()
    *_, last = improve(model, PICTURES, steps=300)
    exact = model.log_evidence(to_unit(PICTURES)).numpy()
    at_encoder = elbo(model, PICTURES, encoded(model, PICTURES), 8000)
    gap = InferenceGap(exact, at_encoder.values, elbo(model, PICTURES, last.q, 8000).values)
    np.testing.assert_allclose(gap.amortisation + gap.approximation, gap.log_likelihood - gap.elbo, rtol=1e-12)
    np.testing.assert_allclose(gap.approximation, model.approximation_gap(), atol=0.1)
    np.testing.assert_allclose(gap.log_likelihood - gap.elbo, model.gap(), atol=0.1)


@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_nothing_is_lost_and_the_wider_family_is_no_worse(arch: str) -> None:
    """On a network: the ELBO of every image rises or stays, to five errors; so from the diagonal to the full family."""
    model, pictures = build(latent_dim=4, arch=arch, likelihood="gaussian").eval(), images(5)
    found = [elbo(model, pictures, encoded(model, pictures), 2000)]
    for family in FAMILIES:
        *_, last = improve(model, pictures, family, steps=120)
        found.append(elbo(model, pictures, last.q, 2000))
    for before, after in itertools.pairwise(found):
        assert (after.values > before.values - 5 * np.hypot(before.standard_errors, after.standard_errors)).all()
    assert (found[1].values > found[0].values + 0.02).all()  # an untrained encoder leaves something to gain


def test_walk_is_a_generator_that_leaves_the_model_and_the_caller_alone() -> None:
    """Steps come one by one, each step is reproducible, weights get no gradient, gradient mode stays the caller's."""
    model, pictures = build().eval(), images(3)
    walk = improve(model, pictures, "full", steps=5, seed=2)
    with torch.no_grad():
        first, second = next(walk), next(walk)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert (first.step, second.step, second.total) == (0, 1, 5)
    assert np.isnan(first.elbo).all()
    assert np.isfinite(second.elbo).all()
    assert len(list(walk)) == 4
    again = list(improve(model, pictures, "full", steps=5, seed=2))[1]
    torch.testing.assert_close(again.q.scale_tril, second.q.scale_tril, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_walk_goes_on_from_where_another_ended() -> None:
    model = _known()
    *_, diagonal = improve(model, PICTURES, steps=200)
    first = next(improve(model, PICTURES, "full", start=diagonal.q))
    torch.testing.assert_close(first.q.scale_tril, diagonal.q.scale_tril, rtol=1e-12, atol=0)


def test_a_posterior_far_from_the_encoder_is_reached() -> None:
    """Ten σ away, and twenty times too narrow: steps are in units of the current σ, which grows first."""
    model = LinearGaussian(0.05, 10.0)
    *_, last = improve(model, PICTURES, steps=600)
    unit = model.precision.diagonal().rsqrt()
    assert ((last.q.mu - model.posterior_mean(to_unit(PICTURES))) / unit).abs().max() < 0.05
    assert (last.q.sigma / unit).log().abs().max() < 0.05


class _Folded(LinearGaussian):
    """Knows only the absolute value of z₁, so that p(z|x) has a mode on either side."""

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(torch.cat([z[:, :1].abs() * torch.where(z[:, :1] > 0, 1.0, 0.5), z[:, 1:]], 1))


def test_a_start_is_added_where_the_encoder_sits_at_the_wrong_mode() -> None:
    """The mode at z₁ > 0 is the greater; from a wrong encoder's q alone the climb ends at the other, from the added
    start at the best q, that of the plain model. An encoder that is right gets no second start."""
    pictures = np.full((3, 1, 1, 3), 250, np.uint8)
    right = LinearGaussian(sigma=0.1)
    wrong = _Folded(sigma=0.1)
    wrong.encode = lambda x: (right.encode(x)[0] * torch.tensor([-1.0, 1.0]), right.encode(x)[1])
    owner, start = starts(wrong, pictures)
    assert owner.tolist() == [0, 1, 2, 0, 1, 2]
    *_, last = improve(wrong, pictures[owner], start=start, steps=300)
    reached, known = (
        elbo(wrong, pictures[owner], last.q, 20_000),
        right.log_evidence(to_unit(pictures)).detach().numpy(),
    )
    assert (reached.values[:3] < known - 1).all()
    np.testing.assert_allclose(reached.values[3:], known, atol=0.05)
    owner, start = starts(wrong, pictures, right_q := encoded(right, pictures))
    assert owner.tolist() == [0, 1, 2]
    torch.testing.assert_close(start.mu, right_q.mu)
    owner, start = starts(right, PICTURES)
    assert owner.tolist() == list(range(len(PICTURES)))
    torch.testing.assert_close(start.mu, encoded(right, PICTURES).mu)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"family": "flow"}, "no family 'flow'"),
        ({"steps": 0}, "0 steps"),
        ({"samples": 3}, "3 draws"),
        ({"samples": 0}, "0 draws"),
    ],
)
def test_what_cannot_be_is_refused_at_once(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        improve(build(), images(2), **wrong)
    if "samples" in wrong:
        with pytest.raises(UserError, match="pairs"):
            elbo(build(), images(2), encoded(build(), images(2)), wrong["samples"])


def test_the_gap_of_the_known_model_is_that_of_torch() -> None:
    """The toy itself: KL(q ‖ p(z|x)) of its encoder by torch.distributions."""
    model, x = _known(), to_unit(PICTURES)
    mu, logvar = model.encode(x)
    truth = MultivariateNormal(model.posterior_mean(x), precision_matrix=model.precision)
    q = MultivariateNormal(mu, scale_tril=torch.diag_embed(torch.exp(0.5 * logvar)))
    torch.testing.assert_close(kl_divergence(q, truth), torch.full((len(x),), model.gap(), dtype=torch.float64))
    assert model.gap() > model.approximation_gap() + 2 * (0.5 * (1.7**2 - 1) - math.log(1.7))
