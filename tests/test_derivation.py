"""The derivation's numbers: every line holds, and closed forms agree with draws and with torch.distributions."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from tests.toys import LinearGaussian, build, images
from ui import derivation as text
from ui import derivation_view
from vae_core.checkpoint import Checkpoint, load
from vae_core.derivation import Quantity, derive
from vae_core.evaluate import to_unit
from vae_core.evidence import LatentPlane, evidence
from vae_core.gradients import exact_gradient
from vae_core.information import RateSplit

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
    exact = exact_gradient(model, image, d.mu, d.sigma)[d.kl_per_dimension.argmax()]
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
        assert line.touch in derivation_view.PLACES, line


def test_each_term_leads_to_where_it_can_be_touched() -> None:
    """The longest first: what a KL is made of is not offered beside it."""
    model, image = build(latent_dim=5).eval(), images(1)
    lines = [line for step in text.steps(derive(model, image[0]), Checkpoint(model), SPLIT) for line in step.lines]
    found = {line.formula: dict(text.terms(line.formula, exact=False)) for line in lines}
    (elbo,) = (terms for formula, terms in found.items() if "boxed" in formula and "mathcal{L}" in formula)
    assert list(elbo.values()) == ["posterior-collapse-and-holes", "reconstruct", "train"]
    (weighted,) = (terms for formula, terms in found.items() if r"\beta \cdot" in formula)
    assert "beta" in weighted.values()
    assert {place for terms in found.values() for place in terms.values()} <= derivation_view.PLACES.keys()
    assert sum(not terms for terms in found.values()) == 3  # the sum over all images, the draw of z and its gradient


def test_errors_of_independent_estimates_add_in_squares() -> None:
    total = Quantity(1.0, 3.0) - Quantity(2.0, 4.0)
    assert (total.value, total.error) == (-1.0, 5.0)


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
