"""The derivation's numbers: every line holds, and closed forms agree with draws and with torch.distributions."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from tests.toys import LinearGaussian, build, images
from ui import derivation as text
from ui.ways import BY_ADDRESS
from vae_core.bounds import effective_samples, importance_weights, log_likelihood
from vae_core.checkpoint import Checkpoint, load
from vae_core.derivation import DRAWS, Derivation, Quantity, derive
from vae_core.evaluate import to_unit
from vae_core.evidence import LatentPlane, evidence
from vae_core.gradients import exact_moments
from vae_core.information import RateSplit
from vae_core.model import VAE
from vae_core.objective import iwae_loss, multisample_terms

SPLIT = RateSplit(3.0, 2.5, 0.1, (0.2, 0.2), (0.01, 0.01, 0.01), 1000)
ROOT = Path(__file__).resolve().parents[1]


def _posterior(model, image: np.ndarray) -> tuple[Independent, Independent]:
    with torch.no_grad():
        mu, logvar = (part[0].double() for part in model.encode(to_unit(image[None])))
    q = Independent(Normal(mu, torch.exp(0.5 * logvar)), 1)
    return q, Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)


def test_against_a_model_whose_evidence_is_known() -> None:
    model = LinearGaussian(width=0.9, shift=0.5)
    image = np.array([[[40, 200, 120]]], np.uint8)
    d = derive(model, image)
    log_p = model.log_evidence(to_unit(image[None])).item()
    assert abs(d.evidence.value - log_p) < 5 * d.evidence.error
    assert abs(d.elbo.value - (log_p - model.gap())) < 5 * d.elbo.error
    assert abs(d.log_weight.value - (log_p - model.gap())) < 5 * d.log_weight.error
    assert abs(d.gap.value - model.gap()) < 5 * d.gap.error
    truth = MultivariateNormal(model.posterior_mean(to_unit(image[None])), precision_matrix=model.precision)
    at_mu = truth.log_prob(torch.from_numpy(d.mu)).item()
    assert abs(d.posterior_at_mu.value - at_mu) < 5 * d.posterior_at_mu.error
    weight, residual = (
        model.weight.detach().numpy(),
        to_unit(image[None]).numpy().ravel() - d.mu @ model.weight.detach().numpy(),
    )
    by_mu = (weight @ residual / model.sigma**2)[d.kl_per_dimension.argmax()]
    assert abs(d.slope.value - by_mu) < 5 * d.slope.error


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian-optimal"])
@pytest.mark.parametrize("latent_dim", [2, 5])
def test_closed_forms_agree_with_torch_distributions(likelihood: str, latent_dim: int) -> None:
    model = build(latent_dim=latent_dim, likelihood=likelihood).eval()
    image = images(1)[0]
    d = derive(model, image)
    q, p = _posterior(model, image)
    assert d.kl.value == pytest.approx(kl_divergence(q, p).item(), rel=1e-6, abs=1e-9)
    assert abs(d.kl_drawn.value - d.kl.value) < 5 * d.kl_drawn.error
    assert d.encoder.value == pytest.approx(-q.entropy().item(), rel=1e-6)
    assert d.prior.value - d.encoder.value == pytest.approx(-d.kl.value, rel=1e-6, abs=1e-6)
    assert d.at_mu["prior"] == pytest.approx(p.log_prob(q.mean).item(), rel=1e-5)
    assert d.at_mu["encoder"] == pytest.approx(q.log_prob(q.mean).item(), rel=1e-5)
    assert d.at_mu["likelihood"] == pytest.approx(-d.at_mu["error"] - d.at_mu.get("constant", 0.0), rel=1e-5)


@pytest.mark.parametrize("name", ["digits-d2", "digits-beta"])
def test_the_three_ways_meet_where_the_evidence_is_exact(name: str) -> None:
    from vae_core import data

    model = load(ROOT / "checkpoints" / f"{name}.safetensors").model
    image = data.load("digits").test.images[:1]
    d = derive(model, image[0], evidence(LatentPlane(model), image))
    assert d.exact
    assert d.gap.value + d.elbo.value == pytest.approx(d.evidence.value, abs=1e-3)
    assert (d.encoder - d.joint + d.evidence).value == pytest.approx(d.gap.value, abs=1e-3)
    assert d.posterior_at_mu.value == pytest.approx(
        d.at_mu["likelihood"] + d.at_mu["prior"] - d.evidence.value, abs=1e-9
    )
    assert d.log_weight.value < d.log_mean_weight.value < d.evidence.value + 5 * d.log_mean_weight.error
    assert abs(d.log_weight.value - d.elbo.value) < 5 * d.log_weight.error


def test_the_slope_of_a_network_is_the_exact_gradient() -> None:
    """By quadrature, within five standard errors, each below one nat per unit."""
    model, image = load(ROOT / "checkpoints" / "digits-d2.safetensors").model, images(1)[0]
    d = derive(model, image)
    exact = exact_moments(model, image, d.mu, d.sigma).mean[d.kl_per_dimension.argmax()]
    assert abs(d.slope.value - exact) < 5 * d.slope.error
    assert 0 < d.slope.error < 1


@pytest.mark.parametrize("latent_dim", [2, 5])
def test_every_line_has_a_value_and_a_place_to_touch_it(latent_dim: int) -> None:
    model, image = build(latent_dim=latent_dim).eval(), images(1)
    d = derive(model, image[0], evidence(LatentPlane(model), image) if latent_dim == 2 else None)
    lines = [line for step in text.steps(d, Checkpoint(model), SPLIT) for line in step.lines]
    assert len(lines) > 20
    for line in lines:
        assert re.search(r"\d", line.value), line
        assert line.touch in BY_ADDRESS, line


@pytest.mark.parametrize(("information", "said"), [(2.5, "rate, 0.50 nats, is KL"), (6.9, "is at most 13.10 nats")])
def test_the_rest_of_the_rate_is_an_upper_bound_where_the_information_is_at_its_ceiling(
    information: float, said: str
) -> None:
    model = build(latent_dim=5).eval()
    rate = 3.0 if information < 6 else 20.0
    split = replace(SPLIT, rate=rate, mutual_information=information, total_correlation=rate - information - 0.4)
    lines = [line for step in text.steps(derive(model, images(1)[0]), Checkpoint(model), split) for line in step.lines]
    (why,) = (line.why for line in lines if "I(X; Z)" in line.formula)
    assert said in why
    assert ("at that ceiling" in why) == (information > 6)


def test_each_term_leads_to_where_it_can_be_touched() -> None:
    """The longest first: what a KL is made of is not offered beside it."""
    model, image = build(latent_dim=5).eval(), images(1)
    lines = [line for step in text.steps(derive(model, image[0]), Checkpoint(model), SPLIT) for line in step.lines]
    found = {line.formula: dict(text.terms(line.formula, exact=False)) for line in lines}
    (elbo,) = (terms for formula, terms in found.items() if "boxed" in formula and "mathcal{L}" in formula)
    assert list(elbo.values()) == ["posterior-collapse-and-holes", "reconstruct", "train"]
    (weighted,) = (terms for formula, terms in found.items() if r"\beta \cdot" in formula)
    assert "beta" in weighted.values()
    assert {place for terms in found.values() for place in terms.values()} <= BY_ADDRESS.keys()
    assert sum(not terms for terms in found.values()) == 3  # the sum over all images, the draw of z and its gradient


def _loss(d: Derivation, model: VAE, split: RateSplit | None = SPLIT, **train: object) -> tuple[text.Line, text.Line]:
    """The lines of what training brings down, and of the likelihood."""
    record = {"train": train, "beta": train.get("beta", 1.0)}
    *_, step, _ = text.steps(d, Checkpoint(model, record), split)
    return step.lines[1:]


def _numbers(words: str) -> list[float]:
    return [float(number.replace("−", "-").replace(",", "")) for number in re.findall(r"−?[\d,]*\.\d+|−?\d+", words)]


@pytest.mark.parametrize(("beta", "weight"), [(4.0, 3.0), (0.5, -0.5)])
def test_the_loss_of_a_tcvae_weighs_the_total_correlation_alone(beta: float, weight: float) -> None:
    model, image = load(ROOT / "checkpoints" / "digits-d2.safetensors").model, images(1)
    d = derive(model, image[0], evidence(LatentPlane(model), image))
    trained, _ = _loss(d, model, objective="beta-tcvae", beta=beta)
    assert r"(\beta - 1) \cdot \mathrm{KL}\!\left(q_\phi(z) \," in trained.formula
    assert r"\beta \cdot" not in trained.formula
    total, error = _numbers(trained.value)[-2:]
    assert total == pytest.approx(d.kl.value - d.fit.value + weight * SPLIT.total_correlation, abs=0.06)
    assert error == pytest.approx(abs(weight) * SPLIT.standard_errors[1], abs=0.006)
    assert "β-TCVAE" in trained.why
    alone, _ = _loss(d, model, None, objective="beta-tcvae", beta=beta)
    assert _numbers(alone.value) == [beta]


def test_the_loss_of_an_iwae_lies_between_log_p_and_the_elbo() -> None:
    model, image = load(ROOT / "checkpoints" / "digits-d2.safetensors").model, images(1)
    d = derive(model, image[0], evidence(LatentPlane(model), image))
    trained, _ = _loss(d, model, objective="iwae", importance_samples=5)
    assert r"\beta" not in trained.formula
    assert r"\frac{p_\theta(x, z_k)}{q_\phi(z_k \mid x)}" in trained.formula
    samples, low, high = _numbers(trained.value)
    assert (samples, low, high) == pytest.approx((5, -d.evidence.value, -d.elbo.value), abs=0.006)
    with torch.no_grad():
        _, weights = multisample_terms(
            model, to_unit(image).expand(4000, -1, -1, -1), 5, torch.Generator().manual_seed(0)
        )
    assert low < float(iwae_loss(weights)) < high


def test_free_bits_are_told_with_the_loss() -> None:
    model, image = build(latent_dim=5).eval(), images(1)
    d = derive(model, image[0])
    assert "averages less than 0.5 nats" in _loss(d, model, free_bits=0.5)[0].why
    assert "free bits" not in _loss(d, model)[0].why


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian-optimal"])
def test_of_a_trained_sigma_only_what_does_not_follow_the_error_is_called_constant(likelihood: str) -> None:
    model, image = build(latent_dim=5, likelihood=likelihood).eval(), images(1)
    model.likelihood.log_sigma.fill_(-1.5)
    d = derive(model, image[0])
    _, line = _loss(d, model)
    if likelihood == "gaussian":
        assert "only the constant" in line.why
        return
    assert "only the constant" not in line.why
    half, moves, fixed = (
        _numbers(part)[0]
        for part in re.search(r"n/2 = (.*), and .* here (.*) nats\. Only .* = (.*) nats is constant", line.why).groups()
    )
    assert (half, moves, fixed) == pytest.approx((32, 32 * 2 * -1.5, 32 * np.log(2 * np.pi)), abs=0.006)
    assert moves + fixed == pytest.approx(d.at_mu["constant"], abs=0.01)


def test_the_scaled_error_of_a_batch_is_half_its_pixels_where_sigma_is_trained() -> None:
    """So that n/2 · log σ² is all that falls."""
    model, x = build(likelihood="gaussian-optimal").train(), to_unit(images(20))
    with torch.no_grad():
        params = model.decode(model.encode(x)[0])
        cost = -model.likelihood.log_prob(x, params).mean()
        variance = (x - model.likelihood.mean(params)).square().mean()
    assert float(cost) == pytest.approx(32 + 32 * float(torch.log(2 * torch.pi * variance)), abs=0.01)


def test_errors_of_independent_estimates_add_in_squares() -> None:
    total = Quantity(1.0, 3.0) - Quantity(2.0, 4.0)
    assert (total.value, total.error) == (-1.0, 5.0)


def test_errors_by_the_same_draws_add_draw_by_draw() -> None:
    """As the error of the sums does; what cancels leaves nothing."""
    first, second = np.random.default_rng(0).multivariate_normal([1, 2], [[2, 1.5], [1.5, 3]], 400).T
    a, b = (Quantity(part.mean(), deviations=part - part.mean()) for part in (first, second))
    for found, draws in ((a + b, first + second), (a - b, first - second)):
        assert found.value == pytest.approx(draws.mean())
        assert found.error == pytest.approx(draws.std(ddof=1) / 20)
    assert (a - b + b - a).error == pytest.approx(0, abs=1e-12)
    assert (a + Quantity(0.0, 3.0)).error == pytest.approx(np.hypot(a.error, 3.0))


def test_the_estimate_and_what_it_is_split_into_are_as_certain() -> None:
    """log p(x) = gap + ELBO, the gap being what the estimate leaves; its error is that of Burda's estimate."""
    model, image = build(latent_dim=5).eval(), images(1)[0]
    d = derive(model, image)
    found = log_likelihood(model, image[None], DRAWS)
    assert (d.evidence.value, d.evidence.error) == pytest.approx((found.mean, found.standard_error), rel=1e-4)
    assert d.effective_samples == pytest.approx(effective_samples(importance_weights(model, image[None], DRAWS))[0])
    for again in (d.gap + d.elbo, d.fit - d.kl + d.gap, d.encoder - d.joint + d.evidence + d.elbo):
        assert (again.value, again.error) == pytest.approx((d.evidence.value, d.evidence.error), rel=1e-4)


@pytest.mark.parametrize(
    ("quantity", "shown"),
    [
        (Quantity(-137.1234), "−137.12"),
        (Quantity(-137.1234, 0.31), "−137.1 ± 0.3"),
        (Quantity(2.5, 0.0123), "2.50 ± 0.01"),
        (1234.5, "1,234.50"),
    ],
)
def test_amounts_show_what_is_known(quantity: Quantity | float, shown: str) -> None:
    assert text.amount(quantity) == shown
