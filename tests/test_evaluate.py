"""Evaluation: fixed pixel draws, sums that fit together, nothing left changed."""

import numpy as np
import pytest
import torch

from tests.toys import blobs, build, images
from vae_core.data import Split
from vae_core.evaluate import active_units, binarise, encode, evaluate, inference, per_image_terms, rank, snapshot


def test_binarised_pixels_are_bernoulli_draws() -> None:
    """0 and 255 stay; a grey value v comes up with frequency v / 255, within four standard errors."""
    grey = np.array([0, 1, 64, 128, 254, 255], np.uint8)
    drawn = binarise(np.tile(grey, (100_000, 1)).reshape(-1, 1, 1, 6), seed=0).reshape(-1, 6)
    assert set(np.unique(drawn)) == {0, 255}
    frequency, expected = (drawn == 255).mean(0), grey / 255
    assert (frequency[[0, 5]] == expected[[0, 5]]).all()
    assert (abs(frequency - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(drawn))).all()


def test_binarised_pixels_are_fixed_by_the_seed() -> None:
    """The first images are drawn alike however many follow; another seed draws others."""
    pictures = images(50)
    np.testing.assert_array_equal(binarise(pictures, 3)[:7], binarise(pictures[:7], 3))
    np.testing.assert_array_equal(binarise(torch.from_numpy(pictures), 3), binarise(pictures, 3))
    assert (binarise(pictures, 3) != binarise(pictures, 4)).any()


def test_binarize_draws_the_pixels_once_for_everything() -> None:
    model, pictures = build(), images(30)
    drawn = binarise(pictures, 5)
    assert evaluate(model, pictures, seed=5, binarize=True) == evaluate(model, drawn, seed=5)


def test_evaluation_adds_up() -> None:
    model, pictures = build(latent_dim=5), images(700)
    evaluation = evaluate(model, pictures, samples=2)
    reconstruction, kl = per_image_terms(model, pictures, samples=2)
    assert (reconstruction.shape, kl.shape) == ((700,), (700, 5))
    assert evaluation.elbo == -(evaluation.reconstruction + evaluation.kl)
    assert evaluation.kl == pytest.approx(sum(evaluation.kl_per_dimension), rel=1e-12)
    assert evaluation.reconstruction == pytest.approx(reconstruction.mean(), rel=1e-6)
    assert evaluation.kl_per_dimension == pytest.approx(kl.mean(0), rel=1e-5)
    mu, logvar = encode(model, pictures)
    assert evaluation.second_moment == pytest.approx(np.mean(mu**2 + np.exp(logvar)), rel=1e-5)
    assert evaluation == evaluate(model, pictures, samples=2)
    assert evaluation != evaluate(model, pictures, samples=2, seed=1)


def test_more_samples_estimate_the_same_with_less_noise() -> None:
    """Image by image, 1 and 200 draws agree within the spread of single draws."""
    model, pictures = build(latent_dim=5), images(20)
    singles = np.stack([per_image_terms(model, pictures, seed=seed)[0] for seed in range(40)])
    many, _ = per_image_terms(model, pictures, samples=200, seed=99)
    assert (abs(many - singles.mean(0)) < 4 * singles.std(0) * np.sqrt(1 / 40 + 1 / 200)).all()


def test_active_units_vary_by_more_than_a_hundredth() -> None:
    wide, narrow = np.tile([-0.11, 0.11], 500), np.tile([-0.09, 0.09], 500)
    assert active_units(np.stack([wide, narrow, wide], axis=1)) == 2
    assert active_units(np.zeros((10, 4))) == 0


def test_rank_is_the_share_above() -> None:
    assert rank(1.0, np.array([0.0, 2.0, 3.0, 4.0])) == 0.75
    assert rank(9.0, np.array([0.0, 2.0])) == 0.0


def test_inference_gives_back_the_mode() -> None:
    for training in (True, False):
        model = build(likelihood="gaussian-optimal").train(training)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with inference(model) as (_, inner):
            assert not inner.training
        encode(model, images(3))
        evaluate(model, images(3))
        assert model.training is training
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(ZeroDivisionError), inference(model.train()):
        raise ZeroDivisionError
    assert model.training


def test_snapshot_rows_are_the_test_images_in_order() -> None:
    dataset, model = blobs(), build(latent_dim=3)
    taken = snapshot(model, dataset.test, 10)
    mu, logvar = encode(model, dataset.test.images)
    np.testing.assert_allclose(taken.mu, mu[:10], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(taken.logvar, logvar[:10], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(taken.labels, dataset.test.labels[:10])
    assert taken.factors is None
    assert len(snapshot(model, dataset.test, 10_000)) == len(dataset.test)
    assert snapshot(model, Split(dataset.test.images), 4).labels is None
