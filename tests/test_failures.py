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
    assert share == pytest.approx(2 * NormalDist().cdf(-edge), abs=4 * 0.011)


@pytest.mark.parametrize("d", [1, 2, 16])
def test_where_every_posterior_is_the_prior_there_are_no_holes(d):
    zeros = np.zeros((20, d))
    assert holes.prior_share(zeros, zeros) == holes.fresh_share(zeros, zeros) == 0
    assert holes.hole_depth(draws(9, d), zeros, zeros) == pytest.approx(0, abs=1e-12)


def test_codes_of_unseen_images_fall_into_holes_where_the_seen_ones_are_far():
    apart = np.array([[-3.0], [3.0]] * 30)
    assert holes.fresh_share(apart, np.full((60, 1), -2.0)) == 1.0  # odd images on the right, even ones on the left


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
    assert verdict(found) == "holes"


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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "neither"),
        ({"kl": (0.04, 0.05)}, "collapse"),
        ({"active_units": 0}, "collapse"),
        ({"kl": (0.04, 0.05), "prior_in_holes": 1.0}, "collapse"),
        ({"prior_in_holes": 0.51}, "holes"),
        ({"second_moment": 2.1}, "holes"),
        ({"active_units": 1}, "partial"),
    ],
)
def test_the_verdict_follows_the_numbers(changes, expected):
    found = replace(SOUND, **changes)
    assert verdict(found) == expected
    assert expected in failures.VERDICTS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"beta": 0.0, "prior_in_holes": 0.956}, ("is free", "96% of the prior’s samples", "σ = 0.21", "2.90 of the")),
        ({"beta": 10.0, "kl": (0.0, 0.0)}, ("costs 10 nats", "the same average", "1.0%")),
        ({"active_units": 1}, ("1 of 2 units active", "3.3 nats of KL")),
        ({}, ("costs 1 nat and earns it", "log N = 6.91", "1,000 images", "1.0% of")),
        ({"prior_in_holes": 0.38, "fresh_in_holes": 0.31}, ("38% of the prior", "so do 31% of unseen images’ codes")),
        ({"kl": (1.0,) * 8, "active_units": 8}, ("of the two busiest dimensions alone",)),
    ],
)
def test_the_words_carry_the_numbers(changes, said):
    text = diagnosis(replace(SOUND, **changes))
    assert all(part in text for part in said), text


def test_few_images_are_not_blamed_for_holes_of_the_model():
    assert "unseen" not in diagnosis(replace(SOUND, prior_in_holes=0.38, fresh_in_holes=0.1))


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
