"""What a GPU computes is what the CPU computes. Skipped where there is no accelerator."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys import images
from vae_core import data
from vae_core import device as devices
from vae_core.amortisation import elbo, encoded, improve, starts
from vae_core.annealed import annealed
from vae_core.bounds import importance_weights, log_likelihood
from vae_core.checkpoint import Checkpoint, load, save
from vae_core.derivation import derive
from vae_core.evaluate import encode, evaluate, snapshot
from vae_core.evidence import LatentPlane, evidence
from vae_core.gradients import exact_moments, gradient_draws
from vae_core.model import VAE, ModelConfig
from vae_core.pixels import pixel_cost
from vae_core.posterior import posterior
from vae_core.rate_distortion import beta_snapshot
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig

CPU = torch.device("cpu")
CONFIGS = [
    ModelConfig((1, 8, 8), 2),
    ModelConfig((1, 8, 8), 2, "conv", "gaussian"),
    ModelConfig((1, 8, 8), 2, likelihood="gaussian-optimal", beta_range=(0.1, 10.0)),
]
EVERY = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.arch} {config.likelihood}")


@pytest.fixture
def accelerator() -> torch.device:
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        pytest.skip("no accelerator on this machine")
    return device


def _on(device: torch.device, config: ModelConfig) -> VAE:
    torch.manual_seed(0)
    return VAE(config).to(device).eval()


def _trainer(device: torch.device, config: ModelConfig, **settings) -> Trainer:
    return Trainer(config, TrainConfig("digits", epochs=2, **settings), data.load("digits"), device)


def _trained(device: torch.device, config: ModelConfig, **settings) -> Trainer:
    trainer = _trainer(device, config, **settings)
    for _ in trainer.run():
        pass
    return trainer


@EVERY
def test_codes_evidence_and_gradients_are_those_of_the_cpu(accelerator: torch.device, config: ModelConfig) -> None:
    ours, theirs = _on(accelerator, config), _on(CPU, config)
    pictures = images(4)
    for found, expected in zip(encode(ours, pictures), encode(theirs, pictures), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    mu, logvar = encode(theirs, pictures)
    z, sigma = mu[:3], np.exp(0.5 * logvar[0])
    np.testing.assert_allclose(pixel_cost(ours, pictures[0], z), pixel_cost(theirs, pictures[0], z), atol=1e-4)
    for name in ("log_likelihood", "elbo", "kl_to_true_posterior"):
        found, expected = (getattr(evidence(LatentPlane(model), pictures), name) for model in (ours, theirs))
        np.testing.assert_allclose(found, expected, atol=2e-3)
    found, expected = (exact_moments(model, pictures[0], mu[0], sigma).mean for model in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)


@EVERY
def test_estimates_agree_within_their_errors(accelerator: torch.device, config: ModelConfig) -> None:
    """The devices draw other noise: means within five standard errors of their difference."""
    models, pictures = [_on(accelerator, config), _on(CPU, config)], images(4)
    for estimate in (
        lambda model: log_likelihood(model, pictures, 2000),
        lambda model: annealed(model, pictures, 16, 100),
    ):
        found, expected = map(estimate, models)
        errors = np.hypot(found.standard_errors, expected.standard_errors)
        assert (np.abs(found.values - expected.values) < 5 * errors + 1e-3).all()
    bests = []
    for model in models:
        *_, last = improve(model, pictures, steps=100)
        bests.append(elbo(model, pictures, last.q, 2000))
    errors = np.hypot(*(best.standard_errors for best in bests))
    assert (np.abs(bests[0].values - bests[1].values) < 5 * errors + 0.05).all()


@EVERY
def test_everything_that_pages_ask_for_is_there(accelerator: torch.device, config: ModelConfig) -> None:
    model, pictures = _on(accelerator, config), images(4)
    assert np.isfinite(importance_weights(model, pictures, 100)).all()
    assert np.isfinite(posterior(model, pictures[0], 8).elbo)
    assert all(np.isfinite(draws).all() for draws in gradient_draws(model, pictures[0], *np.ones((2, 2)), 8).values())
    assert np.isfinite(derive(model, pictures[0]).elbo.value)
    owner, begin = starts(model, pictures, encoded(model, pictures))
    assert len(owner) == len(begin.mu) >= len(pictures)
    if config.beta_range:
        assert np.isfinite(beta_snapshot(model, pictures).reconstruction).all()
        assert np.isfinite(evaluate(model.at(0.5), pictures).elbo)


@EVERY
def test_training_gets_as_far_and_the_same_seed_gives_the_same_weights(
    accelerator: torch.device, config: ModelConfig
) -> None:
    one, again, theirs = (_trained(device, config) for device in (accelerator, accelerator, CPU))
    for name, weights in one.model.state_dict().items():
        torch.testing.assert_close(weights, again.model.state_dict()[name], rtol=0, atol=0)
    ours, expected = (evaluate(trainer.model, trainer.dataset.test.images).elbo for trainer in (one, theirs))
    assert ours == pytest.approx(expected, rel=0.05)


@pytest.fixture
def cuda(accelerator: torch.device) -> torch.device:
    if accelerator.type != "cuda":
        pytest.skip("only steps on an NVIDIA GPU are captured")
    return accelerator


@EVERY
@pytest.mark.parametrize("room", [True, False], ids=["images on the GPU", "images on the CPU"])
def test_captured_steps_are_those_taken_one_by_one(
    cuda: torch.device, config: ModelConfig, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same noise and rounding: 22 steps end with the same weights, and what is recorded is the same."""
    monkeypatch.setattr(devices, "has_room", lambda *_: room)
    captured, plain = (_trainer(cuda, config, binarize=True, kl_warmup=1.0) for _ in range(2))
    plain._captured = None
    for trainer in (captured, plain):
        *_, trainer.last = trainer.run()
    assert captured._captured._graph is not None
    for name, weights in captured.model.state_dict().items():
        torch.testing.assert_close(weights, plain.model.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert captured.last.test.elbo == pytest.approx(plain.last.test.elbo, rel=1e-4)
    assert captured.last.gradient_norm == pytest.approx(plain.last.gradient_norm, rel=1e-2)


@EVERY
def test_a_captured_training_resumes_where_it_was(cuda: torch.device, config: ModelConfig) -> None:
    whole, begun, resumed = (_trainer(cuda, config) for _ in range(3))
    next(record for record in begun.run() if record.test)
    resumed.restore(*begun.state())
    for trainer in (whole, resumed):
        assert [record.step for record in trainer.run()][-1] == trainer.total_steps
    for name, weights in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], weights, rtol=1e-4, atol=1e-5)


@EVERY
def test_in_every_precision_training_gets_as_far(cuda: torch.device, config: ModelConfig) -> None:
    found = []
    for precision in devices.PRECISIONS:
        trainer = Trainer(config, TrainConfig("digits", epochs=5), data.load("digits"), cuda, precision=precision)
        *_, last = trainer.run()
        found.append(last.test.elbo)
    assert found[1:] == pytest.approx([found[0]] * 2, rel=0.01)
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("back", [False, True])
def test_a_training_goes_on_on_the_other_device(accelerator: torch.device, back: bool) -> None:
    first, second = (CPU, accelerator) if back else (accelerator, CPU)
    begun = _trainer(first, CONFIGS[0], binarize=True)
    next(record for record in begun.run() if record.test)
    tensors, position = begun.state()
    resumed = _trainer(second, CONFIGS[0], binarize=True)
    resumed.restore({name: value.cpu() for name, value in tensors.items()}, position)
    assert [record.step for record in resumed.run()][-1] == resumed.total_steps


def test_a_checkpoint_loads_on_either_device(accelerator: torch.device, tmp_path: Path) -> None:
    model, test = _on(accelerator, CONFIGS[0]), data.load("digits").test
    save(tmp_path / "it.safetensors", Checkpoint(model, {}, snapshot(model, test, 20)))
    found = [load(tmp_path / "it.safetensors", device).model for device in (accelerator, CPU)]
    np.testing.assert_allclose(*(encode(model, images(4))[0] for model in found), atol=1e-4)
