"""Disentanglement scores on constructed codes with known answers, and against other implementations."""

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from tests.toys import blobs, build
from vae_core import data
from vae_core.checkpoint import load
from vae_core.disentanglement import disentanglement, factor_vae_score, mig, mutual_information, score_codes
from vae_core.errors import UserError

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"


def factors(n: int = 4000, values: tuple[int, ...] = (3, 4, 9, 12), seed: int = 0) -> np.ndarray:
    """Independent factors (n, F), each with so many equally likely values."""
    random = np.random.default_rng(seed)
    return np.stack([random.integers(count, size=n) for count in values], 1).astype(np.float32)


def standardised(codes: np.ndarray) -> np.ndarray:
    return (codes - codes.mean(0)) / codes.std(0)


def rotated(codes: np.ndarray) -> np.ndarray:
    """The same codes with each pair of dimensions turned by 45°: each is as much of one factor as of the other."""
    d = codes.shape[1]
    matrix = np.eye(d)
    for i in range(0, d - 1, 2):
        matrix[i : i + 2, i : i + 2] = np.array([[1, -1], [1, 1]]) / math.sqrt(2)
    return codes @ matrix


def test_perfect_codes_score_one() -> None:
    """One factor a dimension, in any order, sign and scale, beside dimensions that say nothing."""
    known = factors()
    codes = standardised(known)[:, [2, 0, 3, 1]] * [1, -3, 2, 0.7]
    noise = 0.01 * np.random.default_rng(1).standard_normal((len(codes), 2))
    found = score_codes(np.concatenate([codes, noise], 1), known)
    assert found.mig == pytest.approx(1, abs=0.03)  # independent values seem to share some nats: see the bias
    assert found.factor_vae == 1
    assert found.matrix.shape == (4, 6)
    expected = np.zeros((4, 6))
    expected[[2, 0, 3, 1], range(4)] = 1
    np.testing.assert_allclose(found.matrix, expected, atol=0.05)


def test_rotated_codes_have_no_gap() -> None:
    """Turned by 45°, two dimensions know as much of each factor: the gap closes, though nothing is lost."""
    known = factors(values=(8, 8, 8, 8))
    found = score_codes(rotated(standardised(known)), known)
    assert found.mig < 0.05
    assert found.factor_vae == pytest.approx(0.5, abs=0.1)  # of a pair of dimensions, either speaks for either factor
    assert found.matrix.max(1).min() > 0.2


def test_useless_codes_score_nothing() -> None:
    """MIG 0 but for its bias; the FactorVAE score is chance, 1/F, within five standard errors of 5,000 votes."""
    known = factors()
    codes = np.random.default_rng(3).standard_normal((len(known), 5))
    found = score_codes(codes, known)
    assert found.mig < 0.03
    assert found.matrix.max() < 0.06
    assert found.factor_vae == pytest.approx(0.25, abs=0.06)


def test_dimensions_that_barely_vary_have_no_vote() -> None:
    known = factors()
    assert factor_vae_score(0.01 * standardised(known), known) == 0
    assert factor_vae_score(np.zeros((len(known), 3)), known) == 0
    half = standardised(known) * [1, 1, 0.04, 0.04]  # two dimensions can speak for two of four factors
    assert factor_vae_score(half, known) == pytest.approx(0.5, abs=0.1)


def test_the_standard_deviation_decides_who_votes_not_the_variance() -> None:
    """0.06 is over the 0.05 of disentanglement_lib, though its square, 0.0036, is not."""
    known = factors()
    assert factor_vae_score(standardised(known) * [1, 1, 0.06, 0.06], known) == 1


def test_a_model_at_a_high_beta_has_the_score_of_all_its_dimensions_that_vary() -> None:
    """Two dimensions of sprites-beta at β = 10 have σ of 0.05 to 0.06, and vote: 0.51, and 0.35 without them."""
    model = load(CHECKPOINTS / "sprites-beta.safetensors").model
    assert disentanglement(model.at(10.0), data.load("sprites")).factor_vae == pytest.approx(0.51, abs=0.02)


def test_information_equals_scikit_learn() -> None:
    """To 1e-10, with its own histogram."""
    known = factors(1000)
    codes = standardised(known) @ np.random.default_rng(5).standard_normal((4, 3))
    matrix = mutual_information(codes, known)
    for k in range(4):
        entropy = mutual_info_score(known[:, k], known[:, k])
        for j in range(3):
            binned = np.digitize(codes[:, j], np.histogram(codes[:, j], 20)[1][:-1])
            assert matrix[k, j] == pytest.approx(mutual_info_score(known[:, k], binned) / entropy, abs=1e-10)


def test_information_has_the_documented_bias() -> None:
    """Independent values: about (bins − 1)(values − 1) / 2N nats, to a fifth of it, on average over 40 draws."""
    found = []
    for seed in range(40):
        known = factors(3000, (12,), seed)
        codes = np.random.default_rng(100 + seed).uniform(size=(3000, 1))
        found.append(mutual_information(codes, known)[0, 0] * math.log(12))
    assert np.mean(found) == pytest.approx(19 * 11 / 6000, rel=0.2)


def test_gap_is_between_the_best_two() -> None:
    assert mig(np.array([[0.9, 0.2, 0.5], [0.1, 0.1, 0.0]])) == pytest.approx((0.4 + 0.0) / 2)
    assert mig(np.array([[0.7], [0.5]])) == pytest.approx(0.6)  # one dimension has no second


def test_a_factor_of_one_value_shares_nothing() -> None:
    known = np.concatenate([factors(500), np.ones((500, 1), np.float32)], 1)
    assert mutual_information(known, known)[4].tolist() == [0] * 5


def test_the_same_seed_scores_the_same() -> None:
    known = factors(2000)
    codes = rotated(standardised(known))
    assert factor_vae_score(codes, known, seed=1) == factor_vae_score(codes, known, seed=1)


def test_a_data_set_without_factors_is_refused() -> None:
    with pytest.raises(UserError, match=r"factors of blobs are not known\..*sprites\.$"):
        disentanglement(build(), blobs())


def test_sprites_are_scored() -> None:
    """A network with random weights tells little: rows for the five factors, columns for the dimensions."""
    found = disentanglement(build(shape=(1, 32, 32), latent_dim=3, widths=(8,)), data.load("sprites"))
    assert found.matrix.shape == (5, 3)
    assert 0 <= found.mig < 0.2
    assert 0 <= found.factor_vae < 0.9
