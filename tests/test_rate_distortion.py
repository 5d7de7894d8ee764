"""Rate and distortion against β: against sums of their own, and the laws that every shipped model must keep."""

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.toys import blobs, build
from vae_core import checkpoint, data
from vae_core.checkpoint import BetaSnapshot, Checkpoint, LatentSnapshot
from vae_core.evaluate import encode, snapshot
from vae_core.model import VAE, ModelConfig
from vae_core.rate_distortion import (
    Curve,
    at_beta,
    beta_grid,
    beta_snapshot,
    bits_per_dimension,
    curve,
    pixel_bits,
    point,
    steps,
)
from vae_core.run_config import RunConfig
from vae_core.runs import create
from vae_core.train_config import TrainConfig
from vae_core.worker import train_run

RANGE = (0.01, 10.0)
SHIPPED = sorted((Path(__file__).resolve().parent.parent / "checkpoints").glob("*.safetensors"))


def _trained(d: int = 3, **config: object) -> VAE:
    """A model whose answers depend on β, as if it had been trained."""
    model = build(latent_dim=d, beta_range=RANGE, widths=(16, 8), **config)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for weights in model.parameters():
            weights.data.add_(0.1 * torch.randn_like(weights))
    return model.eval()


@pytest.mark.parametrize(("beta_range", "count"), [(RANGE, 19), ((0.1, 10.0), 13), ((0.5, 2.0), 7), ((1e-4, 1e3), 43)])
def test_grid_reaches_from_end_to_end_in_equal_factors(beta_range: tuple[float, float], count: int) -> None:
    grid = beta_grid(beta_range)
    assert (len(grid), grid[0], grid[-1]) == (count, *beta_range)
    factors = grid[1:] / grid[:-1]
    np.testing.assert_allclose(factors, factors[0], rtol=1e-9)


@pytest.mark.parametrize("beta_range", [RANGE, (0.1, 10.0), (0.0123456, 7.5), (0.9, 1.1)])
def test_a_slider_stands_on_every_value_of_the_grid_and_on_two_between(beta_range: tuple[float, float]) -> None:
    found, grid = steps(beta_range), beta_grid(beta_range)
    assert len(found) == len(set(found)) == 3 * (len(grid) - 1) + 1
    assert (found[0], found[-1]) == pytest.approx(beta_range, rel=5e-4)
    assert all(beta_range[0] <= beta <= beta_range[1] for beta in found)
    np.testing.assert_allclose(found[::3], grid, rtol=5e-4)


def test_the_slope_of_the_best_curve_is_minus_beta() -> None:
    """D = exp(−R): D + βR is least at R = −log β, D = β."""
    betas = beta_grid((0.01, 0.9))
    zeros = np.zeros((len(betas), 1), bool)
    best = Curve(betas, betas, -np.log(betas)[:, None], zeros, 1)
    for beta in betas[1:-1]:
        assert best.slope(beta) == pytest.approx(-beta, rel=0.05)  # differences over steps of a sixth of a decade
    np.testing.assert_allclose(best.objective, betas * (1 - np.log(betas)))


def test_there_is_no_slope_at_the_ends_nor_where_all_has_collapsed() -> None:
    """D = exp(−R) down to a stretch at R = 0; between the ends' neighbours there is one, at any β."""
    betas = beta_grid((0.01, 10.0))
    rate = np.maximum(-np.log(betas), 0.0)
    found = Curve(betas, np.exp(-rate), rate[:, None], np.zeros((len(betas), 1), bool), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slopes = {beta: found.slope(beta) for beta in (0.01, *betas[1:-1], 5.0, 10.0)}
    assert {beta for beta, slope in slopes.items() if math.isnan(slope)} == {0.01, *betas[betas > 1.01]} | {5.0, 10.0}
    assert found.slope(0.0147) == pytest.approx(-0.0147, rel=0.05)  # nearer to the second β of the grid than to the end


def test_bits_are_nats_by_log_two_and_pixels() -> None:
    assert bits_per_dimension(28 * 28 * math.log(2), (1, 28, 28)) == pytest.approx(1)
    np.testing.assert_allclose(bits_per_dimension(np.array([math.log(2), 0]), (3, 2, 2)), [1 / 12, 0])


@pytest.mark.parametrize("sigma", [1.0, 5.0, 40.0])
def test_bits_of_a_gaussian_are_those_of_pixels_from_0_to_255(sigma: float) -> None:
    """A density of each of 12 pixels v = 255 x, from the model's of x."""
    config = ModelConfig((3, 2, 2), likelihood="gaussian-optimal")
    x, mean = torch.rand(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cost = -Normal(mean, sigma / 255).log_prob(x).sum().item()
    expected = -Normal(255 * mean, sigma).log_prob(255 * x).mean().item() / math.log(2)
    assert pixel_bits(cost, config) == pytest.approx(expected, rel=1e-9)
    assert pixel_bits(cost, replace(config, likelihood="bernoulli")) == bits_per_dimension(cost, (3, 2, 2))


@torch.no_grad()
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_both_terms_are_those_of_torch_distributions(likelihood: str) -> None:
    """At each β, with the very same noise: R to what 16 bits keep, D to float32."""
    model, images = _trained(likelihood=likelihood), blobs(test=20).test.images
    taken = beta_snapshot(model, images, samples=3, seed=5)
    found = curve(taken)
    noise = torch.randn(3, 20, 3, generator=torch.Generator().manual_seed(5))
    x = torch.from_numpy(images).float() / 255
    for i, beta in enumerate(taken.betas.tolist()):
        mu, logvar = model.encode(x, beta)
        posterior = Normal(mu, torch.exp(logvar / 2))
        rate = kl_divergence(posterior, Normal(0.0, 1.0)).mean(0)
        np.testing.assert_allclose(found.kl[i], rate.numpy(), atol=1e-3)
        cost = [-model.likelihood.log_prob(x, model.decode(posterior.loc + posterior.scale * e, beta)) for e in noise]
        np.testing.assert_allclose(taken.reconstruction[i], torch.stack(cost).mean(0), rtol=1e-4)
        assert found.distortion[i] == pytest.approx(float(torch.stack(cost).mean()), rel=1e-4)
    np.testing.assert_allclose(found.rate, found.kl.sum(1))
    np.testing.assert_allclose(found.objective, found.distortion + found.betas * found.rate)
    assert found.images == 20


@torch.no_grad()
def test_means_beyond_what_16_bits_hold_can_be_saved_and_read_back(tmp_path: Path) -> None:
    model, test = _trained(), blobs(test=20).test
    model.encoder.head.bias[: model.config.latent_dim].fill_(1e6)
    taken = beta_snapshot(model, test.images)
    checkpoint.save(tmp_path / "far.safetensors", Checkpoint(model, {}, snapshot(model, test, 20), taken))
    assert (checkpoint.load(tmp_path / "far.safetensors").betas.mu == np.finfo(np.float16).max).all()


def test_units_are_active_where_their_means_vary() -> None:
    wide, narrow = np.tile([-0.11, 0.11], 50), np.tile([-0.09, 0.09], 50)
    mu = np.stack([np.stack([wide, narrow], 1), np.stack([narrow, narrow], 1)])
    zeros = np.zeros((2, 100, 2))
    found = curve(BetaSnapshot(np.array([0.1, 1.0]), mu, zeros, zeros[..., 0]))
    np.testing.assert_array_equal(found.active, [[True, False], [False, False]])
    np.testing.assert_array_equal(found.active_units, [1, 0])


def test_a_point_is_what_the_snapshot_says() -> None:
    """The first 1,000 rows alone: a thousand at the prior, then others that would show."""
    rows = np.zeros((1500, 2), np.float32)
    mu = np.concatenate([rows[:1000], rows[:500] + 9])
    cost = np.concatenate([np.full(1000, 3.0), np.full(500, 99.0)]).astype(np.float32)
    found = point(LatentSnapshot(mu, rows, cost), beta=2.0)
    assert (found.images, found.betas[0], found.distortion[0], found.rate[0]) == (1000, 2.0, 3.0, 0.0)
    shifted = point(LatentSnapshot(np.float32([1, 0]) + rows, rows, cost), beta=2.0)
    np.testing.assert_allclose(shifted.kl, [[0.5, 0]])  # KL(N(1, 1) ‖ N(0, 1)) = 1/2


def test_between_two_values_of_beta_all_goes_with_log_beta() -> None:
    model, images = _trained(), blobs(test=12).test
    taken = beta_snapshot(model, images.images)
    base = snapshot(model, images, 12)
    found, middle = curve(taken), math.sqrt(taken.betas[4] * taken.betas[5])
    for beta, expected in ((taken.betas[4], found.distortion[4]), (middle, found.distortion[4:6].mean())):
        assert found.at(beta).distortion[0] == pytest.approx(expected)
    np.testing.assert_allclose(found.at(middle).rate, found.rate[4:6].mean(keepdims=True))
    seen = at_beta(base, taken, middle)
    np.testing.assert_allclose(seen.mu, encode(model.at(middle), images.images)[0], atol=0.03)
    np.testing.assert_array_equal(seen.labels, base.labels)
    assert {row.dtype for row in (seen.mu, seen.logvar, seen.reconstruction)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(at_beta(base, taken, 10.0).mu, taken.mu[-1])


def test_it_is_taken_at_the_end_of_training_and_read_back(tmp_path: Path) -> None:
    train = TrainConfig(dataset="digits", epochs=1)
    ranged, single = (ModelConfig((1, 8, 8), 2, widths=(8, 8), beta_range=ends) for ends in (RANGE, None))
    for model in (ranged, single):
        run = create(RunConfig(model, train), tmp_path / str(model.beta_range))
        train_run(run)
        found = checkpoint.load(run.checkpoint)
        if model is single:
            assert found.betas is None
            continue
        taken = beta_snapshot(found.model, data.load("digits").test.images)
        for name in ("betas", "mu", "logvar", "reconstruction"):
            np.testing.assert_array_equal(getattr(found.betas, name), getattr(taken, name))


def _fall(taken: BetaSnapshot) -> tuple[np.ndarray, np.ndarray]:
    """How D grows from one β to the next (K − 1,), and its standard error: the noise is the same at every β."""
    steps = np.diff(taken.reconstruction.astype(np.float64), axis=0)
    return steps.mean(1), steps.std(1) / math.sqrt(steps.shape[1])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_distortion_falls_and_rate_rises_as_beta_falls(path: Path) -> None:
    """On every model of a range that ships: R at each step, D up to three standard errors of a step and 0.1 %."""
    found = checkpoint.load(path)
    if found.model.config.beta_range is None:
        assert found.betas is None
        return
    along: Curve = curve(found.betas)
    assert (np.diff(along.rate) < 0).all()
    growth, error = _fall(found.betas)
    assert (growth > -3 * error - 1e-3 * along.distortion[:-1]).all()
    assert along.distortion[-1] > along.distortion[0]
    assert along.active_units[0] >= along.active_units[-1]
