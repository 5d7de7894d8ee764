"""Log-likelihoods over whole test sets: the values of what they are made by, and kept for one version of a file."""

from pathlib import Path

import numpy as np
import pytest

from tests.toys import build
from vae_core import measured
from vae_core.bounds import log_likelihood
from vae_core.checkpoint import Checkpoint, save
from vae_core.data import load as load_data
from vae_core.evaluate import binarise, snapshot
from vae_core.evidence import LatentPlane

SHIPPED = sorted((Path(__file__).parents[1] / "checkpoints").glob("*.safetensors"))


def a_checkpoint(latent_dim, **config):
    test = load_data("digits").test
    model = build(shape=(1, 8, 8), latent_dim=latent_dim, **config)
    return Checkpoint(model, {"dataset": "digits"}, snapshot(model, test, 50)), test.images[:70]


def test_with_two_latent_dimensions_it_is_the_exact_average():
    checkpoint, images = a_checkpoint(2)
    found = measured.measure(checkpoint, images)
    exact = LatentPlane(checkpoint.model, 8.0).posteriors(binarise(images, 0)).log_likelihood
    bound = log_likelihood(checkpoint.model, images, 2000, binarize=True)
    assert found.samples is None
    assert found.by_draws == 0
    assert found.value == pytest.approx(exact.mean(), abs=1e-3)
    assert found.value == pytest.approx(bound.mean, abs=5 * bound.standard_error + 1e-3)
    assert found.by_images == pytest.approx(exact.std(ddof=1) / 70**0.5, rel=1e-3)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_with_more_it_is_the_weighted_bound_of_pixels_that_the_likelihood_is_about(likelihood):
    checkpoint, images = a_checkpoint(3, likelihood=likelihood)
    found = measured.measure(checkpoint, images, samples=20)
    bound = log_likelihood(checkpoint.model, images, 20, binarize=likelihood == "bernoulli")
    assert found == measured.MeanLikelihood(70, 20, bound.mean, bound.standard_error, found.by_images)
    assert found.by_images == pytest.approx(np.std(bound.values, ddof=1) / 70**0.5)


def test_it_is_kept_for_this_version_of_the_file_alone(tmp_path):
    path, found = tmp_path / "one.safetensors", measured.MeanLikelihood(70, None, -20.5, 0.0, 0.25)
    checkpoint, _ = a_checkpoint(2)
    save(path, checkpoint)
    assert measured.recall(path) is None
    measured.keep(path, found)
    assert measured.recall(path) == found
    save(path, Checkpoint(checkpoint.model, {"dataset": "digits", "epoch": 2}))
    assert measured.recall(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"made_from": 1}', '"x"'])
def test_a_file_that_is_none_of_ours_counts_as_none(tmp_path, text):
    path = tmp_path / "one.safetensors"
    save(path, a_checkpoint(2)[0])
    measured.path_of(path).parent.mkdir()
    measured.path_of(path).write_text(text)
    assert measured.recall(path) is None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_model_was_measured_as_it_is(path):
    found = measured.recall(path)
    assert found is not None, f"measure it: python -m vae_core.measured {path.name}"

    assert np.isfinite([found.value, found.by_draws, found.by_images]).all()
