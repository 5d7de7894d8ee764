"""What the seeds say of training, on models that are trained: exact evidence on the way, and what β and codes do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_core import data
from vae_core.amortisation import GaussianPosterior, elbo, encoded, improve
from vae_core.checkpoint import load
from vae_core.evaluate import binarise, encode, per_image_terms
from vae_core.evidence import Evidence, LatentPlane, evidence, extent_of
from vae_core.imaging import to_uint8
from vae_core.information import split_rate
from vae_core.latent import decode, sample_prior
from vae_core.memorisation import nearest_distances
from vae_core.model import VAE, ModelConfig
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
RANGED = sorted(path.stem for path in CHECKPOINTS.glob("*-beta.safetensors"))
DIGITS = data.load("digits")
PICTURES = binarise(DIGITS.test.images[:32], 0)
CPU = torch.device("cpu")
SMALL, SETTINGS = ModelConfig((1, 8, 8), 2, widths=(64,)), TrainConfig(epochs=32, batch_size=64)


def _exact(model: VAE) -> Evidence:
    return evidence(LatentPlane(model, extent_of(*encode(model, PICTURES))), PICTURES)


def _cost(model: VAE, images: np.ndarray) -> float:
    """The mean reconstruction term, in nats."""
    return float(per_image_terms(model, images, samples=4)[0].mean())


@pytest.fixture(scope="module")
def training() -> tuple[list[Evidence], VAE]:
    """The evidence of 32 unseen digits after 1, 2, 4, … epochs of a training, and the model at its end."""
    trainer = Trainer(SMALL, SETTINGS, DIGITS, CPU)
    seen = []
    for record in trainer.run():
        if record.test and np.log2(round(record.epoch)) % 1 == 0:
            trainer.model.eval()
            seen.append(_exact(trainer.model))
            trainer.model.train()
    return seen, trainer.model.eval()


def test_raising_the_elbo_raises_log_p_though_not_by_as_much(training) -> None:
    """Both rise at each step; what one rises by more than the other is what the gap falls or grows by."""
    elbos, logs = (np.array([getattr(one, name).mean() for one in training[0]]) for name in ("elbo", "log_likelihood"))
    assert (np.diff(elbos) > 0).all()
    assert (np.diff(logs) > 0).all()
    assert logs[-1] > logs[0] + 5
    assert np.abs(np.diff(elbos) - np.diff(logs)).max() > 0.05


def test_no_step_of_training_closes_the_gap(training) -> None:
    """It stays open, and at the end a part of it is closed by moving q alone: unlike in EM, φ is never optimal."""
    seen, model = training
    assert all((one.kl_to_true_posterior > 0).all() for one in seen)
    *_, best = improve(model, PICTURES, steps=200)
    before, after = (elbo(model, PICTURES, q, 2000).values.mean() for q in (encoded(model, PICTURES), best.q))
    assert after > before + 0.05


def test_the_encoder_stands_in_for_the_posterior_of_its_own_picture(training) -> None:
    """q(z|x) is nearer to p(z|x) than the q of any other picture in nearly all, and by nats on average."""
    _, model = training
    mu, logvar = encode(model, PICTURES)
    posteriors = LatentPlane(model, extent_of(mu, logvar)).posteriors(PICTURES)
    own = posteriors.against(mu, logvar).kl_to_true_posterior
    others = [posteriors.against(np.roll(mu, k, 0), np.roll(logvar, k, 0)).kl_to_true_posterior for k in (1, 5, 11)]
    assert (own < np.min(others, 0)).mean() > 0.8
    assert np.mean(others) > own.mean() + 5


def test_the_decoder_makes_use_of_the_code(training) -> None:
    """A picture costs nats more when it is drawn from another picture's code."""
    _, model = training
    q = encoded(model, PICTURES)
    other = GaussianPosterior(q.mu.roll(1, 0), q.scale_tril.roll(1, 0))
    own, theirs = (elbo(model, PICTURES, one, 400).reconstruction.mean() for one in (q, other))
    assert theirs > own + 5


def test_one_encoder_serves_pictures_that_it_has_never_seen(training) -> None:
    """The ELBO of test images is within 2 nats of that of training images: what was learnt is shared."""
    _, model = training
    seen, unseen = (
        sum(part.reshape(len(part), -1).sum(1).mean() for part in per_image_terms(model, split.images, samples=4))
        for split in (DIGITS.train, DIGITS.test)
    )
    assert unseen < seen + 2


def test_the_kl_keeps_from_overfitting() -> None:
    """On 100 digits, without the KL, unseen digits are redrawn worse than those by over twice as many nats."""
    few = DIGITS.train.images[:100]
    again = replace(DIGITS, train=data.Split(np.tile(few, (10, 1, 1, 1))))  # ten times an epoch: fewer evaluations
    excess = []
    for beta in (0.0, 1.0):
        settings = TrainConfig(epochs=50, batch_size=50, learning_rate=2e-3, beta=beta)
        trainer = Trainer(ModelConfig((1, 8, 8), 8), settings, again, CPU)
        for _ in trainer.run():
            pass
        unseen, seen = (_cost(trainer.model.eval(), images) for images in (DIGITS.test.images, few))
        excess.append(unseen - seen)
    assert excess[0] > 2 * excess[1] > 0, excess


@pytest.mark.parametrize("name", RANGED)
def test_the_more_a_nat_costs_the_less_codes_tell_of_pictures(name: str) -> None:
    """I(x; z) falls with β and is at most the rate; at β = 0.01 codes tell nearly all pictures apart, with β they
    overlap."""
    taken = load(CHECKPOINTS / f"{name}.safetensors").betas
    rows = [int(np.abs(np.log(taken.betas / beta)).argmin()) for beta in (0.01, 0.1, 1.0, 10.0)]
    splits = [split_rate(taken.mu[i].astype(np.float64), taken.logvar[i].astype(np.float64)) for i in rows]
    told = np.array([split.mutual_information for split in splits])
    assert (np.diff(told) < 0.05).all()
    assert told[-1] < told[0] - 1
    assert all(split.mutual_information <= split.rate + 0.05 for split in splits)


def test_without_the_kl_samples_from_the_prior_are_no_use(training) -> None:
    """Unseen digits are further from the nearest of 1,000 samples, by a tenth or more, than with it: the samples lie
    where few codes do."""
    free = Trainer(SMALL, replace(SETTINGS, beta=0.0), DIGITS, CPU)
    for _ in free.run():
        pass
    z = sample_prior(1000, 2)
    far = [
        nearest_distances(to_uint8(decode(model.eval(), z)), DIGITS.test.images).mean()
        for model in (free.model, training[1])
    ]
    assert far[0] > 1.1 * far[1], far
