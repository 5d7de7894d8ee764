"""Gradient estimators against closed forms, quadrature and finite differences."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys import LinearGaussian, build, images
from vae_core import data, gradients
from vae_core.checkpoint import load
from vae_core.errors import UserError
from vae_core.evaluate import encode, to_unit
from vae_core.gradients import ESTIMATORS, ascend, exact_moments, gradient_draws

ROOT = Path(__file__).resolve().parent.parent
PICTURE = np.array([[[40, 200, 120]]], np.uint8)
MU, SIGMA = np.array([0.3, -0.5]), np.array([0.4, 0.7])


def _closed_form(model: LinearGaussian, mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """E_q[log p(x|z)] = −(‖x − μW‖² + Σ_j σ_j² (WWᵀ)_jj) / 2σ² + constants, differentiated by hand."""
    weight = model.weight.detach().numpy()
    residual = to_unit(PICTURE).double().numpy().ravel() - mu @ weight
    by_mu = weight @ residual / model.sigma**2
    by_log_sigma = -(sigma**2) * (weight @ weight.T).diagonal() / model.sigma**2
    return np.concatenate([by_mu, by_log_sigma])


def test_quadrature_is_the_closed_form() -> None:
    model = LinearGaussian(weight=((0.8, 0.5, 0.0), (0.6, -0.2, 0.7)))
    np.testing.assert_allclose(exact_moments(model, PICTURE, MU, SIGMA).mean, _closed_form(model, MU, SIGMA), rtol=1e-9)


@pytest.mark.parametrize("d", [1, 2])
def test_quadrature_on_a_network_is_the_finite_difference_of_a_fine_grid(d: int) -> None:
    """E_q[log p(x|z)] by the trapezoid rule over ±7 σ in float64, differenced: to 0.5 % of the largest."""
    model, picture = build(latent_dim=d, widths=(16,)).double().eval(), images(1)[0]
    mu, sigma = MU[:d], SIGMA[:d]
    axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
    noise = torch.cartesian_prod(*[axis] * d).reshape(-1, d)

    def expectation(parameters: np.ndarray) -> float:
        mean, log_sigma = torch.from_numpy(parameters).chunk(2)
        share = torch.softmax(-0.5 * noise.square().sum(1), 0)
        with torch.no_grad():
            fit = model.likelihood.log_prob(
                to_unit(picture[None]).double(), model.decode(mean + log_sigma.exp() * noise)
            )
        return float(share @ fit)

    at, step = np.concatenate([mu, np.log(sigma)]), 1e-4
    moves = step * np.eye(2 * d)
    differences = [(expectation(at + move) - expectation(at - move)) / (2 * step) for move in moves]
    found = exact_moments(model, picture, mu, sigma).mean
    np.testing.assert_allclose(found, differences, atol=5e-3 * np.abs(found).max())


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("network", [False, True], ids=["linear", "network"])
def test_every_estimator_has_the_exact_mean(estimator: str, network: bool) -> None:
    """The mean of 10,000 draws, within five of its standard errors."""
    model, picture = (build(latent_dim=2).double().eval(), images(1)[0]) if network else (LinearGaussian(), PICTURE)
    draws = gradient_draws(model, picture, MU, SIGMA, 10_000)[estimator]
    error = draws.std(0) / len(draws) ** 0.5
    assert (np.abs(draws.mean(0) - exact_moments(model, picture, MU, SIGMA).mean) < 5 * error).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("network", [False, True], ids=["linear", "network"])
def test_the_exact_variance_is_that_of_many_draws(estimator: str, network: bool) -> None:
    """Of 100,000 draws in float64, by component, within five standard errors of a variance."""
    model, picture = (build(latent_dim=2).double().eval(), images(1)[0]) if network else (LinearGaussian(), PICTURE)
    squares = gradient_draws(model, picture, MU, SIGMA, 100_000)[estimator]
    squares = (squares - squares.mean(0)) ** 2
    error = squares.std(0) / len(squares) ** 0.5
    found = exact_moments(model, picture, MU, SIGMA).variance[estimator]
    assert (np.abs(squares.mean(0) - found) < 5 * error).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_wide_q_has_the_moments_of_many_draws(estimator: str) -> None:
    """Of a shipped model, over which q is ten times as wide as a code: 200,000 draws, within five standard errors."""
    model, picture = load(ROOT / "checkpoints" / "digits-d2.safetensors").model, data.load("digits").test.images[3]
    mu, sigma = encode(model, picture[None])[0][0], np.array([2.0, 2.0])
    draws = gradient_draws(model, picture, mu, sigma, 200_000)[estimator].astype(np.float64)
    found = exact_moments(model, picture, mu, sigma)
    squares = (draws - draws.mean(0)) ** 2
    assert (np.abs(draws.mean(0) - found.mean) < 5 * draws.std(0) / len(draws) ** 0.5).all()
    assert (np.abs(squares.mean(0) - found.variance[estimator]) < 5 * squares.std(0) / len(draws) ** 0.5).all()


def test_nothing_is_called_exact_where_the_lattices_are_too_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_STEPS", {2: (3.0, 2.0)})
    assert exact_moments(build(latent_dim=2), images(1)[0], np.zeros(2), np.ones(2)) is None


def test_a_decoder_that_runs_away_is_said() -> None:
    model = build(latent_dim=2).eval()
    with torch.no_grad():
        model.decoder.head.weight.fill_(3e38)
    with pytest.raises(UserError, match="not finite"):
        gradient_draws(model, images(1)[0], np.zeros(2), np.ones(2), 10)


def test_the_variance_by_mu_is_the_closed_form() -> None:
    """The slope of log p(x|z) is linear in z there, (x − zW)Wᵀ / σ², and so is a reparameterised gradient in ε."""
    model = LinearGaussian(weight=((0.8, 0.5, 0.0), (0.6, -0.2, 0.7)))
    weight = model.weight.detach().numpy()
    expected = ((weight @ weight.T / model.sigma**2 * SIGMA) ** 2).sum(1)
    found = exact_moments(model, PICTURE, MU, SIGMA).variance["reparameterised"][:2]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_baseline_is_the_mean_of_the_others_and_moves_no_single_pair_of_them() -> None:
    """From the definition, draw by draw, with a loop: to 1e-9."""
    model = LinearGaussian()
    _, plain, based = gradient_draws(model, PICTURE, MU, SIGMA, 6, seed=3).values()
    noise = torch.randn((6, 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64).numpy()
    z = torch.from_numpy(MU + SIGMA * noise)
    fit = model.likelihood.log_prob(to_unit(PICTURE)[None], model.decode(z)).detach().numpy().ravel()
    for k in range(6):
        score = np.concatenate([noise[k] / SIGMA, noise[k] ** 2 - 1])
        np.testing.assert_allclose(plain[k], fit[k] * score, rtol=1e-9)
        np.testing.assert_allclose(based[k], (fit[k] - np.delete(fit, k).mean()) * score, rtol=1e-9)


def test_reparameterised_varies_least_and_the_score_without_baseline_most() -> None:
    model, picture = build(latent_dim=2).double().eval(), images(1)[0]
    spread = [draws.var(0).sum() for draws in gradient_draws(model, picture, MU, 0.1 * SIGMA, 2000).values()]
    assert spread[0] < 0.1 * spread[2] < 0.01 * spread[1]


def test_ascent_climbs_with_the_exact_gradient_on_average() -> None:
    """The mean first step of 300 ascents is learning rate · (∇E_q[log p(x|z)] − ∇KL), within five standard errors."""
    model, rate = LinearGaussian(), 0.01
    exact = _closed_form(model, MU, SIGMA) + np.concatenate([-MU, 1 - SIGMA**2])
    for estimator in ESTIMATORS:
        moves = []
        for seed in range(300):
            start, first = ascend(
                model, PICTURE, MU, SIGMA, estimator, steps=1, samples=4, learning_rate=rate, seed=seed
            )
            moves.append(np.concatenate([first.mu - start.mu, np.log(first.sigma / start.sigma)]) / rate)
        moves = np.stack(moves)
        error = moves.std(0) / len(moves) ** 0.5 + 1e-12
        assert (np.abs(moves.mean(0) - exact) < 5 * error).all(), estimator


def test_reparameterised_ascent_ends_in_the_posterior() -> None:
    """A linear model: the posterior's mean and σ, to a tenth of σ."""
    model = LinearGaussian()
    walk = list(ascend(model, PICTURE, MU, SIGMA, ESTIMATORS[0], steps=300, samples=64, learning_rate=0.05))
    np.testing.assert_array_equal(walk[0].mu, MU)
    np.testing.assert_allclose(walk[0].sigma, SIGMA, rtol=1e-12)
    assert np.isnan(walk[0].elbo)
    assert [state.step for state in walk] == list(range(301))
    sigma = model.precision.diagonal().rsqrt().numpy()
    wanted = model.posterior_mean(to_unit(PICTURE[None])).numpy()[0]
    assert (np.abs(walk[-1].mu - wanted) < 0.1 * sigma).all()
    assert (np.abs(np.log(walk[-1].sigma / sigma)) < 0.1).all()
    exact = float(model.log_evidence(to_unit(PICTURE[None])))  # the gap is zero there
    assert np.mean([state.elbo for state in walk[-50:]]) == pytest.approx(exact, abs=0.1)


def test_wild_steps_stay_finite_and_the_callers_gradient_mode_stays() -> None:
    walk = ascend(build().eval(), images(1)[0], MU, 0.01 * SIGMA, "score", steps=20, learning_rate=1.0)
    next(walk)
    assert torch.is_grad_enabled()
    assert all(np.isfinite(state.sigma).all() and (state.sigma > 0).all() for state in walk)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="no estimator 'best'"):
        next(ascend(build(), images(1)[0], MU, SIGMA, "best"))
    with pytest.raises(UserError, match="1 draws have no spread"):
        gradient_draws(build(), images(1)[0], MU, SIGMA, 1)
    with pytest.raises(UserError, match="3 latent dimensions are too many"):
        exact_moments(build(latent_dim=3), images(1)[0], np.zeros(3), np.ones(3))
