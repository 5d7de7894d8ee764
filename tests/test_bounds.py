"""The importance-weighted bound against log p(x) known in closed form, and against a sum over the latent plane."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from tests.toys import LinearGaussian, blobs, build, images
from vae_core import bounds
from vae_core.bounds import SIZES, bound_curve, effective_samples, importance_weights, log_likelihood
from vae_core.errors import UserError
from vae_core.evaluate import binarise, per_image_terms, to_unit
from vae_core.model import ModelConfig
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 1, 1, 3), dtype=np.uint8)


def _exact(model: LinearGaussian) -> np.ndarray:
    return model.log_evidence(to_unit(PICTURES)).detach().numpy()


@pytest.mark.parametrize("samples", [1, 2, 100])
def test_true_posterior_makes_the_bound_exact(samples: int) -> None:
    """All weights equal p(x): right to 1e-6 nats (pixels are float32), no error, every sample counts."""
    model = LinearGaussian()
    bound = log_likelihood(model, PICTURES, samples)
    np.testing.assert_allclose(bound.values, _exact(model), atol=1e-6)
    np.testing.assert_allclose(bound.effective_samples, samples, rtol=1e-9)
    if samples > 1:
        assert bound.standard_errors.max() < 1e-6


@pytest.mark.parametrize("width", [0.7, 1.3])
def test_elbo_below_the_bound_below_its_limit(width: float) -> None:
    """ELBO = log p(x) − KL in closed form; L_K rises with K; at K = 20,000 it is log p(x) within five errors."""
    model = LinearGaussian(width)
    exact = _exact(model)
    reconstruction, kl = per_image_terms(model, PICTURES, samples=4000)
    elbo = -(reconstruction + kl.sum(1))
    np.testing.assert_allclose(elbo.mean(), (exact - model.gap()).mean(), atol=0.01)
    averages = [
        np.mean([log_likelihood(model, PICTURES, k, seed=seed).mean for seed in range(2000 // k)]) for k in (1, 4, 20)
    ]
    assert averages[0] == pytest.approx(elbo.mean(), abs=0.02)
    assert elbo.mean() < averages[1] < averages[2] < exact.mean()
    limit = log_likelihood(model, PICTURES, 20_000)
    assert (abs(limit.values - exact) < 5 * limit.standard_errors).all()
    assert abs(limit.mean - exact.mean()) < 4 * limit.standard_error


def test_standard_error_is_the_spread_over_seeds() -> None:
    """The delta method's errors, image by image and of the mean, against 300 repetitions: within 25 %."""
    model = LinearGaussian(1.3)
    repetitions = [log_likelihood(model, PICTURES, 100, seed=seed) for seed in range(300)]
    values = np.stack([bound.values for bound in repetitions])
    errors = np.stack([bound.standard_errors for bound in repetitions]).mean(0)
    np.testing.assert_allclose(errors, values.std(0), rtol=0.25)
    means = [bound.mean for bound in repetitions]
    assert repetitions[0].standard_error == pytest.approx(np.std(means), rel=0.25)


def test_streamed_sums_equal_the_direct_ones() -> None:
    """Weights in pieces of any size, far from 0 and far apart, to 1e-12 of numpy on all at once."""
    random = np.random.default_rng(0)
    log_weights = random.normal(size=(50, 4)) * np.array([0.1, 3, 30, 300]) + np.array([0, -1e4, 1e4, -700])
    sums = bounds._WeightSums(4)
    for piece in np.split(log_weights, [1, 4, 30]):
        sums.add(torch.from_numpy(piece))
    value, error, effective = (column.numpy() for column in sums.estimate(50))
    weights = np.exp(log_weights - log_weights.max(0))
    np.testing.assert_allclose(value, np.log(weights.mean(0)) + log_weights.max(0), rtol=1e-12)
    np.testing.assert_allclose(effective, weights.sum(0) ** 2 / (weights**2).sum(0), rtol=1e-12)
    np.testing.assert_allclose(error, weights.std(0, ddof=1) / weights.mean(0) / np.sqrt(50), rtol=1e-9)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian-optimal"])
def test_bound_of_a_trained_model_is_the_sum_over_the_plane(likelihood: str) -> None:
    """log p(x) by the trapezoid rule on a 301 × 301 grid over ±6.

    With 5,000 samples the bound is never more than five errors above it, and for some image it is there. Elsewhere it
    may be too low, even where most samples count: the posterior may have a part that the encoder's Gaussian misses.
    """
    dataset = blobs()
    config = TrainConfig(epochs=15, batch_size=20)
    trainer = Trainer(ModelConfig((1, 8, 8), likelihood=likelihood, sigma=0.3), config, dataset, torch.device("cpu"))
    for _ in trainer.run():
        pass
    model, pictures = trainer.model.eval(), dataset.test.images[:4]
    axis = torch.linspace(-6, 6, 301)
    z = torch.cartesian_prod(axis, axis)
    with torch.inference_mode():
        fit = model.likelihood.log_prob(to_unit(pictures)[:, None], model.decode(z)).double()
        prior = Normal(0.0, 1.0).log_prob(z).sum(-1).double()
        exact = (fit + prior + 2 * math.log(12 / 300)).logsumexp(1).numpy()
    bound = log_likelihood(model, pictures, 5000)
    weights = importance_weights(model, pictures, 500)
    errors = np.hypot(bound.standard_errors, weights.std(1, ddof=1) / math.sqrt(500))
    assert (weights.mean(1) < bound.values + 5 * errors).all()
    above = (bound.values - exact) / (bound.standard_errors + 1e-3)
    reliable = bound.effective_samples > 500
    assert (above < 5).all()
    assert (above[reliable] > -5).any()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more pixels are decoded at once than allowed, and every sample is decoded once."""
    monkeypatch.setattr(bounds, "_PIXELS_AT_ONCE", 640)
    model, decoded = build(), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: decoded.append(len(z)) or decode(z))
    log_likelihood(model, images(7), 33)
    log_likelihood(model, images(7), 3)
    assert max(decoded) <= 640 // 64
    assert sum(decoded) == 7 * 36


def test_seed_and_pixels() -> None:
    model, pictures = build(), images(6)
    bound = log_likelihood(model, pictures, 20, seed=3, binarize=True)
    np.testing.assert_array_equal(bound.values, log_likelihood(model, binarise(pictures, 3), 20, seed=3).values)
    assert (bound.values != log_likelihood(model, pictures, 20, seed=4, binarize=True).values).any()


def test_one_sample_has_no_error_and_none_is_refused() -> None:
    bound = log_likelihood(build(), images(3), 1)
    assert np.isnan(bound.standard_errors).all()
    assert (bound.effective_samples == 1).all()
    with pytest.raises(UserError, match="0 importance samples"):
        log_likelihood(build(), images(3), 0)


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    log_likelihood(build(shape=(1, 28, 28)), images(30, (1, 28, 28)), 500, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 3


def test_weights_are_those_of_the_estimate() -> None:
    """The same draws, and their effective sample size and log mean as `log_likelihood` has them, to 1e-9."""
    model, pictures = build().eval(), images(6)
    weights = importance_weights(model, pictures, 700, seed=4)
    bound = log_likelihood(model, pictures, 700, seed=4)
    assert weights.shape == (6, 700)
    np.testing.assert_allclose(effective_samples(weights), bound.effective_samples, rtol=1e-9)
    np.testing.assert_allclose(bound_curve(weights, [700]).values[0], bound.values, rtol=1e-12)
    np.testing.assert_allclose(bound_curve(weights, [700]).standard_errors[0], bound.standard_errors, rtol=1e-9)


def test_curve_rises_from_the_elbo_to_log_evidence() -> None:
    """L_1 = log p(x) − KL in closed form; L_K rises in every image; at the end log p(x): within five errors each."""
    model = LinearGaussian(1.3)
    curve = bound_curve(importance_weights(model, PICTURES))
    assert curve.sizes == SIZES
    assert all(b % a == 0 for a, b in itertools.pairwise(SIZES))
    assert (np.diff(curve.values, axis=0) >= -1e-12).all()
    for wanted, k in ((_exact(model) - model.gap(), 0), (_exact(model), -1)):
        assert (np.abs(curve.values[k] - wanted) < 5 * curve.standard_errors[k]).all()
        assert abs(curve.means[k] - wanted.mean()) < 4 * curve.mean_errors[k]
    assert curve.mean_errors.max() < 0.05


def test_curve_is_the_mean_over_groups_taken_one_by_one() -> None:
    random = np.random.default_rng(0)
    log_weights = random.normal(scale=3, size=(4, 230)) - 500
    curve = bound_curve(log_weights, (1, 7, 100))
    for s, size in enumerate(curve.sizes):
        groups = [log_weights[:, i : i + size] for i in range(0, 230 - size + 1, size)]
        each = np.stack([np.log(np.exp(group + 500).mean(1)) - 500 for group in groups])
        np.testing.assert_allclose(curve.values[s], each.mean(0), rtol=1e-12)


def test_errors_of_the_curve_are_its_spread_over_seeds() -> None:
    """From 150 repetitions, for few and for many groups: within 30 %."""
    model = LinearGaussian(1.3)
    curves = [bound_curve(importance_weights(model, PICTURES, 400, seed=seed), (1, 10, 100)) for seed in range(150)]
    errors = np.stack([curve.standard_errors for curve in curves]).mean(0)
    spread = np.stack([curve.values for curve in curves]).std(0)
    np.testing.assert_allclose(errors.mean(1), spread.mean(1), rtol=0.1)
    np.testing.assert_allclose(errors, spread, rtol=0.3)


def test_a_curve_needs_its_draws() -> None:
    with pytest.raises(UserError, match="from 20 draws for K = 1, 50"):
        bound_curve(np.zeros((2, 20)), (1, 50))
    with pytest.raises(UserError, match="0 importance samples"):
        importance_weights(build(), images(2), 0)
