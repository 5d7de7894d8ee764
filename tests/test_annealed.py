"""Annealed importance sampling against log p(x) in closed form and by quadrature, where L_K is right and where not."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from tests.toys import LinearGaussian, build, images
from vae_core import data
from vae_core.annealed import annealed, temperatures
from vae_core.bounds import bound_curve, effective_samples, importance_weights, log_likelihood
from vae_core.checkpoint import load
from vae_core.errors import UserError
from vae_core.evaluate import binarise, encode, to_unit
from vae_core.evidence import LatentPlane, extent_of

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
PICTURES = np.random.default_rng(0).integers(0, 256, (10, 1, 1, 3), dtype=np.uint8)
MANY = tuple(tuple(row) for row in np.random.default_rng(1).normal(size=(6, 3)))  # six dimensions for three pixels


class TwoModes(LinearGaussian):
    """x = |z| w + noise with one z: the posterior has two mirrored modes, and the encoder knows the positive one."""

    def __init__(self) -> None:
        super().__init__(weight=((0.8, 0.5, 0.3),), sigma=0.1)

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z.abs())

    def log_evidence(self, x: Tensor) -> Tensor:
        z = torch.linspace(-6, 6, 20_001, dtype=torch.float64)[:, None]
        fit = self.likelihood.log_prob(x.double()[:, None], self.decode(z))
        return (fit + Normal(0.0, 1.0).log_prob(z[:, 0])).logsumexp(1).detach() + math.log(12 / 20_000)


def test_temperatures_rise_from_zero_to_one_slowly_at_the_ends() -> None:
    found = temperatures(50)
    assert (found[0], found[-1], len(found)) == (0.0, 1.0, 51)
    rises = np.diff(found)
    assert (rises > 0).all()
    assert rises[[0, -1]].max() < 0.2 * rises[25]


@pytest.mark.parametrize(
    ("width", "weight"),
    [(1.0, ((0.8, 0.5, 0.0), (0.6, -0.2, 0.7))), (0.2, ((2.0, 0.5, 0.0), (0.6, -0.2, 0.7))), (1.0, MANY)],
    ids=["d=2", "narrow encoder", "d=6"],
)
def test_estimate_is_log_evidence(width: float, weight: tuple) -> None:
    """Every image within five standard errors, the mean within four; the errors are small."""
    model = LinearGaussian(width, weight=weight)
    exact = model.log_evidence(to_unit(PICTURES)).numpy()
    found = annealed(model, PICTURES, 32, 60)
    assert found.standard_errors.max() < 0.2
    assert (np.abs(found.values - exact) < 5 * found.standard_errors).all()
    assert abs(found.mean - exact.mean()) < 4 * found.standard_error


def test_weights_are_unbiased_even_of_a_hasty_run() -> None:
    """E[w] = p(x) with ten temperatures: the mean over 30 runs of 40 chains, image by image, within five errors."""
    model = LinearGaussian(weight=((0.8, 0.5, 0.0), (0.6, -0.2, 0.7)))
    exact = model.log_evidence(to_unit(PICTURES)).numpy()
    ratios = np.stack([np.exp(annealed(model, PICTURES, 40, 10, seed=seed).values - exact) for seed in range(30)])
    error = ratios.std(0, ddof=1) / len(ratios) ** 0.5
    assert error.max() < 0.1
    assert (np.abs(ratios.mean(0) - 1) < 5 * error).all()


def test_a_mode_that_the_encoder_misses_is_seen_by_annealing_and_not_by_effective_samples() -> None:
    """L_5000 stays log 2 too low, though nearly every sample counts; chains from the prior find both modes."""
    model = TwoModes()
    bright = np.maximum(PICTURES, 90)
    exact = model.log_evidence(to_unit(bright)).numpy()
    weights = importance_weights(model, bright)
    assert (effective_samples(weights) > 0.9 * weights.shape[1]).all()
    np.testing.assert_allclose(bound_curve(weights, [5000]).values[0], exact - math.log(2), atol=0.01)
    found = annealed(model, bright, 64, 100)
    assert (np.abs(found.values - exact) < 5 * found.standard_errors).all()
    assert found.standard_errors.max() < 0.2


def test_a_bound_far_too_low_shows_in_few_effective_samples() -> None:
    """An encoder three σ off and twice too narrow: L_5000 is over 0.8 nats low, ESS below 25 of 5,000."""
    model = LinearGaussian(0.5, 3.0)
    exact = model.log_evidence(to_unit(PICTURES)).numpy()
    weights = importance_weights(model, PICTURES)
    low = exact - bound_curve(weights, [5000]).values[0] > 0.8
    assert low.any()
    assert (effective_samples(weights)[low] < 25).all()
    found = annealed(model, PICTURES, 32, 60)
    assert (np.abs(found.values - exact) < 5 * found.standard_errors).all()


def test_both_estimates_of_a_trained_network_are_the_exact_evidence() -> None:
    """digits-d2 on eight digits: annealing within five of its errors of the sum over the plane, on average within four;
    L_5000 never five errors above it, and within five, or 0.05 nats, where a tenth of the draws count."""
    model = load(CHECKPOINTS / "digits-d2.safetensors").model
    digits = binarise(data.load("digits").test.images[:8], 0)
    exact = LatentPlane(model).posteriors(digits).log_likelihood
    second = annealed(model, digits, 16, 120)
    assert (np.abs(second.values - exact) < 5 * second.standard_errors).all()
    assert abs(second.mean - exact.mean()) < 4 * second.standard_error
    weights = importance_weights(model, digits)
    curve, effective = bound_curve(weights), effective_samples(weights)
    above = curve.values[-1] - exact
    assert (above < 5 * curve.standard_errors[-1] + 1e-3).all()
    reliable = effective > 500
    assert reliable.any()
    assert (above > -5 * curve.standard_errors[-1] - 0.05)[reliable].all()


@pytest.mark.skipif(not data.available("mnist"), reason="MNIST is not downloaded")
def test_where_the_bound_is_far_too_low_few_draws_count() -> None:
    """What `bounds` says of mnist-d2, number by number."""
    model = load(CHECKPOINTS / "mnist-d2.safetensors").model
    images = binarise(data.load("mnist").test.images[:64], 0)
    found = log_likelihood(model, images, 4096)
    missing = LatentPlane(model, extent_of(*encode(model, images))).posteriors(images).log_likelihood - found.values
    low, few = missing > 0.5, found.effective_samples < 27
    assert low.sum() == 18
    assert abs(missing[~low].mean()) < 0.005
    assert np.abs(missing[~low]).max() < 0.85
    assert (low & few).sum() == 17
    assert (missing[low].min(), missing.max()) == (pytest.approx(0.6, abs=0.05), pytest.approx(109, abs=1))
    assert ((found.standard_errors[low & few] > 0.15) & (found.standard_errors[low & few] < 1)).all()
    (other,) = np.flatnonzero(low & ~few)
    assert (missing[other], found.effective_samples[other]) == (pytest.approx(10.5, abs=0.5), pytest.approx(158, abs=2))


def test_images_do_not_depend_on_how_many_fit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of one: other draws, the same log p(x) within five errors; progress runs evenly to one."""
    model, seen = LinearGaussian(), []
    whole = annealed(model, PICTURES, 16, 30)
    monkeypatch.setattr("vae_core.annealed.points_at_once", lambda *_: 1)
    single = annealed(model, PICTURES, 16, 30, progress=seen.append)
    assert (np.abs(whole.values - single.values) < 5 * np.hypot(whole.standard_errors, single.standard_errors)).all()
    assert len(seen) == 2 * 29 * len(PICTURES)
    assert seen[-1] == pytest.approx(1)
    np.testing.assert_allclose(np.diff(seen), 1 / len(seen))


def test_what_progress_raises_ends_it() -> None:
    def stop(done: float) -> None:
        raise KeyboardInterrupt(done)

    model = build().eval()
    with pytest.raises(KeyboardInterrupt):
        annealed(model, images(3), 4, 10, progress=stop)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_seed_decides_and_too_little_is_refused() -> None:
    model, pictures = build(latent_dim=5, arch="conv").eval(), images(3)
    found = annealed(model, pictures, 4, 8, seed=1)
    np.testing.assert_array_equal(found.values, annealed(model, pictures, 4, 8, seed=1).values)
    assert (found.values != annealed(model, pictures, 4, 8, seed=2).values).any()
    for wrong in ((1, 8), (4, 1)):
        with pytest.raises(UserError, match=f"{wrong[0]} chains over {wrong[1]} temperatures"):
            annealed(model, pictures, *wrong)
