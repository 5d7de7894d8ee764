"""Holes and the two failures: against closed forms, torch.distributions, and models whose failure is known."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch

from vae_core import failures, holes
from vae_core.checkpoint import LatentSnapshot
from vae_core.failures import Symptoms, diagnosis, examine, verdict
from vae_core.information import split_rate


def snapshot(mu: np.ndarray, sigma: float, distortion: float = 20.0) -> LatentSnapshot:
    mu = np.asarray(mu, np.float32)
    reconstruction = np.full(len(mu), distortion, np.float32)
    return LatentSnapshot(mu, np.full_like(mu, 2 * math.log(sigma)), reconstruction)


def draws(n: int, d: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(1).standard_normal((n, d))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_depth_is_the_ratio_of_the_densities(d):
    mu, logvar, z = draws(7, d), 0.3 * draws(7, d) - 1, draws(11, d, 2.0)
    parts = torch.distributions.Independent(
        torch.distributions.Normal(torch.from_numpy(mu), torch.from_numpy(np.exp(0.5 * logvar))), 1
    )
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(7).double()), parts)
    prior = torch.distributions.Normal(0, 1).log_prob(torch.from_numpy(z)).sum(1)
    expected = (prior - mixture.log_prob(torch.from_numpy(z))).numpy()
    assert holes.hole_depth(z, mu, logvar) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5])
def test_share_of_one_narrow_gaussian_has_a_closed_form(sigma):
    """q = N(0, σ²): log p − log q = log σ + z²(1/σ² − 1)/2, over 3 nats from some |z| on."""
    edge = math.sqrt(2 * (holes.HOLE_NATS - math.log(sigma)) / (1 / sigma**2 - 1))
    zeros = np.zeros((4, 1))
    share = holes.prior_share(zeros, zeros + 2 * math.log(sigma))
    assert share == pytest.approx(2 * NormalDist().cdf(-edge), abs=0.01)


def test_share_of_one_narrow_gaussian_in_the_plane_has_a_closed_form():
    """log p − log q = 2 log σ + r²(1/σ² − 1)/2, and r² has the survival function exp(−r²/2)."""
    sigma, zeros = 0.5, np.zeros((4, 2))
    square = 2 * (holes.HOLE_NATS - 2 * math.log(sigma)) / (1 / sigma**2 - 1)
    share = holes.prior_share(zeros, zeros + 2 * math.log(sigma))
    assert share == pytest.approx(math.exp(-square / 2), abs=0.01)


@pytest.mark.parametrize("d", [1, 2])
def test_depths_on_a_grid_are_those_of_its_places(d, monkeypatch):
    monkeypatch.setattr(holes, "_AT_ONCE", 7)
    mu, logvar, values = draws(30, d), 0.3 * draws(30, d) - 1, np.linspace(-3, 3, 13)
    points = values[:, None] if d == 1 else np.stack([axis.ravel() for axis in np.meshgrid(values, values)], 1)
    found = holes.depths_on_grid(values, mu, logvar)
    assert found.shape == (13,) * d
    np.testing.assert_allclose(found.ravel(), holes.hole_depth(points, mu, logvar), atol=1e-9)


def test_a_place_far_from_all_codes_is_deep_and_finite():
    depth = holes.depths_on_grid(np.array([-3.0, 3.0]), np.full((5, 2), 3.0), np.full((5, 2), -14.0))
    assert np.isfinite(depth).all()
    assert depth[0, 0] > 300
    assert depth[1, 1] < 0


@pytest.mark.parametrize("d", [1, 2])
def test_where_every_posterior_is_the_prior_there_are_no_holes(d):
    zeros = np.zeros((20, d))
    assert holes.prior_share(zeros, zeros) == holes.code_share(zeros, zeros) == 0
    assert holes.code_share(zeros, zeros, (zeros, zeros)) == 0
    assert holes.hole_depth(draws(9, d), zeros, zeros) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("d", "sigma"), [(1, 0.018), (1, 0.007), (2, 0.1)])
def test_the_share_of_holes_is_that_of_many_draws_of_the_prior(d: int, sigma: float) -> None:
    """Between posteriors as narrow as that: to 0.01 of 200,000 draws."""
    rng = np.random.default_rng(0)
    mu = rng.standard_normal((40 * d**2, d)).astype(np.float32)
    logvar = np.full_like(mu, 2 * math.log(sigma))
    drawn = holes.hole_depth(rng.standard_normal((200_000, d)), mu, logvar) > holes.HOLE_NATS
    assert 0.05 < drawn.mean() < 0.95
    assert holes.prior_share(mu, logvar) == pytest.approx(drawn.mean(), abs=0.01)


def test_codes_fall_into_holes_where_the_others_are_far_and_not_where_one_is_near():
    near = np.array([[-1.0], [1.0]] * 30)
    narrow = np.full((60, 1), -2.0)
    assert holes.code_share(near, narrow, (near[1::2], narrow[1::2])) == pytest.approx(0.5, abs=0.05)
    assert holes.code_share(near, narrow) == 0
    alone = np.linspace(-2, 2, 5)[:, None]
    assert holes.code_share(alone, np.full((5, 1), -9.0)) == 1.0  # each has the other four alone


@pytest.mark.parametrize("width", [0.02, 0.3])
def test_few_images_of_a_model_without_holes_are_not_held_against_it(width):
    """Codes of q(z) = p(z): of 30,000 images there are no holes; of 300 narrow ones only gaps, and they say so."""
    mu = math.sqrt(1 - width**2) * draws(30_000, 2)
    logvar = np.full_like(mu, 2 * math.log(width))
    few = snapshot(mu[:300], width)
    known, alone = examine(few, 1.0, (mu, logvar)), examine(few, 1.0)
    assert (known.seen, alone.seen) == (30_000, 0)
    assert verdict(known) == "neither"
    assert known.prior_in_holes < 0.05
    if width < 0.1:
        assert alone.prior_in_holes > 0.5
        assert verdict(alone) == "open"
        assert "so few images" in diagnosis(alone)
        assert "trained" not in diagnosis(alone)


def test_a_hole_in_what_the_decoder_was_trained_on_is_one():
    """Nothing left of −0.2: four tenths of the prior, but for the codes' own width."""
    mu = draws(20_000, 2)
    mu = mu[mu[:, 0] > -0.2]
    found = examine(snapshot(mu[:500], 0.1), 1.0, (mu, np.full_like(mu, 2 * math.log(0.1))))
    assert found.prior_in_holes == pytest.approx(NormalDist().cdf(-0.5), abs=0.05)
    assert found.codes_in_holes < 0.02
    assert verdict(found) == "holes"
    assert "where the decoder has hardly been trained" in diagnosis(found)


@pytest.mark.parametrize("d", [1, 2, 8])
def test_symptoms_of_the_prior_are_a_collapse(d):
    found = examine(snapshot(np.zeros((200, d)), 1.0), 10.0)
    assert found.rate == pytest.approx(0, abs=1e-6)
    assert found.mutual_information == pytest.approx(0, abs=1e-6)
    assert (found.active_units, found.second_moment) == (0, pytest.approx(1))
    assert found.elbo == pytest.approx(-20)
    assert verdict(found) == "collapse"


def test_symptoms_of_points_far_apart_are_holes():
    """N posteriors that do not overlap: I = log N; KL and second moment are those of one Gaussian, in closed form."""
    sigma, grid = 0.01, np.stack(np.meshgrid(np.arange(-9.5, 10), np.arange(-9.5, 10)), -1).reshape(-1, 2)
    found = examine(snapshot(grid, sigma), 0.0)
    assert found.mutual_information == pytest.approx(math.log(400), abs=1e-3)
    assert found.second_moment == pytest.approx(np.mean(grid**2) + sigma**2, rel=1e-5)
    assert found.rate == pytest.approx(0.5 * np.mean((grid**2).sum(1)) + sigma**2 - 1 - 2 * math.log(sigma), rel=1e-4)
    assert found.prior_in_holes > 0.98
    assert verdict(examine(snapshot(grid, sigma), 0.0, (grid, np.full_like(grid, 2 * math.log(sigma))))) == "holes"


@pytest.mark.parametrize("d", [1, 2, 16])
def test_the_information_is_what_the_split_of_the_rate_says_of_the_same_codes(d):
    codes = snapshot(draws(300, d), 0.2)
    found, split = examine(codes, 1.0), split_rate(codes.mu, codes.logvar)
    assert found.mutual_information == split.mutual_information
    assert found.information_error == split.standard_errors[0]


def test_the_width_is_that_of_active_dimensions_where_there_are_any():
    mu, logvar = draws(300, 5), np.full((300, 5), 2 * math.log(0.25), np.float32)
    mu[:, 1:4] *= 0.05
    logvar[:, 1:4] = 0
    found = examine(LatentSnapshot(mu.astype(np.float32), logvar, np.full(300, 20, np.float32)), 1.0)
    assert (found.active_units, found.sigma) == (2, pytest.approx(0.25))
    assert "Posteriors are σ = 0.25 wide in the active dimensions" in diagnosis(found)
    assert "in the active dimensions" not in diagnosis(SOUND)
    assert examine(snapshot(0.05 * mu, 0.9), 1.0).sigma == pytest.approx(0.9)


@pytest.mark.parametrize(("information", "told"), [(2.9, False), (6.85, True)])
def test_information_at_its_ceiling_is_said_to_be(information, told):
    assert ("at this ceiling" in diagnosis(replace(SOUND, mutual_information=information))) == told


def test_codes_that_fill_the_prior_are_neither():
    found = examine(snapshot(draws(1000, 2, math.sqrt(1 - 0.3**2)), 0.3), 1.0)
    assert verdict(found) == "neither"
    assert found.prior_in_holes < 0.05


def test_holes_are_looked_for_in_the_busiest_plane():
    mu = draws(300, 6)
    mu[:, [0, 2, 3, 5]] *= 0.01
    found = examine(snapshot(mu, 1.0), 1.0)
    assert found.plane == (1, 4)


SOUND = Symptoms(1.0, 1000, 21.0, (1.6, 1.7), 2, 2.9, 0.21, 1.1, (0, 1), 0.01, 0.02)


WIDE = replace(SOUND, kl=(1.5,) * 12 + (0.001,) * 4, active_units=12)


@pytest.mark.parametrize(
    ("changes", "at_one", "expected"),
    [
        ({}, None, "neither"),
        ({"kl": (0.04, 0.05)}, None, "collapse"),
        ({"active_units": 0}, None, "collapse"),
        ({"kl": (0.04, 0.05), "prior_in_holes": 1.0}, None, "collapse"),
        ({"prior_in_holes": 0.11, "seen": 60_000, "codes_in_holes": 0.1}, None, "holes"),
        ({"prior_in_holes": 0.9, "codes_in_holes": 0.8}, None, "open"),
        ({"prior_in_holes": 0.9, "codes_in_holes": 0.2}, None, "holes"),
        ({"prior_in_holes": 0.09, "codes_in_holes": 0.01}, None, "neither"),
        ({"second_moment": 2.1}, None, "neither"),
        ({"active_units": 1}, None, "spare"),
        ({"active_units": 1, "beta": 4.0}, None, "partial"),
        ({"active_units": 1, "beta": 4.0}, SOUND, "partial"),
        ({"active_units": 1, "beta": 4.0}, replace(SOUND, active_units=1), "spare"),
        ({"beta": 0.01, "distortion": 19.0, "kl": (4.0, 4.0)}, SOUND, "narrow"),
        ({"beta": 0.9, "distortion": 20.9}, SOUND, "neither"),
    ],
)
def test_the_verdict_follows_the_numbers(changes, at_one, expected):
    found = replace(SOUND, **changes)
    assert verdict(found, at_one) == expected
    assert expected in failures.VERDICTS


def test_a_wide_model_that_lost_dimensions_above_beta_one_is_partly_collapsed_and_one_with_spare_ones_is_not():
    full = replace(WIDE, kl=(1.5,) * 16, active_units=16)
    assert verdict(replace(WIDE, beta=10.0), full) == "partial"
    assert "4 of 16 dimensions are silent, none at β = 1" in diagnosis(replace(WIDE, beta=10.0), full)
    assert verdict(WIDE, WIDE) == verdict(WIDE) == "neither"
    assert "4 of 16 dimensions are silent" in diagnosis(WIDE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"beta": 0.0, "prior_in_holes": 0.956},
            ("weighs nothing", "95.6% of the prior’s samples", "σ = 0.21", "2.90 of the"),
        ),
        (
            {"beta": 10.0, "kl": (0.0, 0.0)},
            ("weighs as much as 10 of reconstruction, more", "the same average", "1.0%"),
        ),
        ({"active_units": 1}, ("1 of 2 dimensions is silent", "3.3 nats of code")),
        ({}, ("weighs as much as one of reconstruction and earns it", "log N = 6.91", "1,000 images", "1.0% of")),
        ({"prior_in_holes": 0.38, "codes_in_holes": 0.31}, ("38% of the prior", "so do 31% of the codes themselves")),
        ({"kl": (1.0,) * 8, "active_units": 8}, ("of the two busiest dimensions alone",)),
    ],
)
def test_the_words_carry_the_numbers(changes, said):
    text = diagnosis(replace(SOUND, **changes))
    assert all(part in text for part in said), text


@pytest.mark.parametrize(("moment", "near"), [(1.0, True), (4.1, False)])
def test_codes_are_said_to_be_near_the_prior_only_where_they_are(moment, near):
    text = diagnosis(replace(SOUND, beta=0.01, prior_in_holes=0.5, seen=60_000, second_moment=moment))
    assert ("stay near the prior" in text) == near
    assert ("little keeps codes near the prior" in text) != near
    assert f"square is {moment}" in text


def test_what_beta_buys_is_said_against_beta_one():
    text = diagnosis(replace(SOUND, beta=10.0, distortion=30.0, kl=(0.6, 0.7)), SOUND)
    assert "the KL is 2.0 nats lower, the reconstruction term 9.0 nats higher and the ELBO 7.0 nats lower" in text
    assert "earns it" not in text


def test_few_images_are_not_blamed_for_holes_of_the_model():
    assert "so few" not in diagnosis(replace(SOUND, prior_in_holes=0.38, codes_in_holes=0.05))


def test_the_comparison_names_the_best_elbo():
    trio = [
        replace(SOUND, beta=0.0, kl=(12.0, 12.7)),
        SOUND,
        replace(SOUND, beta=100.0, distortion=27.2, kl=(0.0, 0.0)),
    ]
    text = failures.comparison(trio)
    assert "is −24.3 nats at β = 1, the highest, and −45.7 at β = 0 and −27.2 at β = 100" in text
    assert "from 24.70 to 0.00 nats" in text
    assert failures.comparison([SOUND]) == ""
