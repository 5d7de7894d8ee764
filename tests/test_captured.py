"""A training step's work can be captured: replayed with its Python left out, it trains as the step itself does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.toys import blobs
from vae_core import train
from vae_core.captured import Captured
from vae_core.model import ModelConfig
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig

CPU = torch.device("cpu")
BLOBS = blobs()
OPTIONS = {
    "warm-up": {"kl_warmup": 2.0, "binarize": True},
    "free bits": {"free_bits": 0.2, "likelihood": "gaussian-optimal"},
    "gaussian": {"beta": 0.0, "likelihood": "gaussian"},
    "beta-tcvae": {"objective": "beta-tcvae", "beta": 4.0, "kl_warmup": 1.0},
    "iwae": {"objective": "iwae", "importance_samples": 3, "bias_from_mean": True},
    "range": {"beta_range": (0.01, 10.0), "kl_warmup": 1.0, "free_bits": 0.1},
}


class Recording(TorchDispatchMode):
    """What a CUDA graph is, on the CPU: the operations on tensors that were started within, each with its tensors and
    numbers as they were, to be started again. A value that is read back cannot be captured. Unlike a graph's, the
    operations take place when they are recorded; so the first replay does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replays = 0
        self.operations: list[tuple[Callable, tuple, dict, list]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "the step waits for a value"
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, tree_leaves(result)))
        return result

    def replay(self) -> None:
        self.replays += 1
        if self.replays == 1:
            return
        with torch.no_grad():
            for func, args, kwargs, results in self.operations:
                for kept, new in zip(results, tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(kept, torch.Tensor) and kept.data_ptr() != new.data_ptr():
                        kept.copy_(new)


class Recorded(Captured):
    """`Captured` with a recording in place of the graph."""

    def _prepare(self) -> None:
        pass

    def _run_apart(self, given: torch.Tensor) -> None:
        self._act(given)

    def _capture(self, given: torch.Tensor) -> tuple[torch.Tensor, Recording]:
        given, recording = given.clone(), Recording()
        with recording:
            self._act(given)
        return given, recording

    def _replay(self, given: torch.Tensor) -> None:
        self._given.copy_(given)
        self._graph.replay()


def _trainer(arch: str, options: dict[str, Any], epochs: int = 3) -> Trainer:
    settings = dict(options)
    of_model = {name: settings.pop(name) for name in ("likelihood", "beta_range") if name in settings}
    model = ModelConfig((1, 8, 8), arch=arch, widths=(16,), **of_model)
    trainer = Trainer(model, TrainConfig(epochs=epochs, batch_size=32, **settings), BLOBS, CPU)
    for group in trainer.optimiser.param_groups:  # as on a GPU
        group["lr"] = torch.tensor(group["lr"])
    return trainer


def _recorded(trainer: Trainer) -> Trainer:
    trainer._captured = Recorded(trainer._step_on, trainer.noise)
    return trainer


@pytest.mark.parametrize("arch", ["mlp", "conv"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_replays_train_as_steps_do(monkeypatch: pytest.MonkeyPatch, arch: str, options: dict[str, Any]) -> None:
    """β warms up, the rate falls, noise is drawn: none of it may be frozen in what was captured."""
    monkeypatch.setattr(train, "_REPORT_SECONDS", 0.0)
    plain, replayed = _trainer(arch, options), _recorded(_trainer(arch, options))
    for expected, found in zip(plain.run(), replayed.run(), strict=True):
        assert found.loss == pytest.approx(expected.loss, rel=1e-6)
        assert found.kl_per_dimension == pytest.approx(expected.kl_per_dimension, rel=1e-6, abs=1e-9)
        assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-5)
    assert replayed._captured._graph.replays == replayed.total_steps - 3
    for name, weights in plain.model.state_dict().items():
        torch.testing.assert_close(replayed.model.state_dict()[name], weights, rtol=1e-6, atol=1e-7)


def test_a_resumed_training_captures_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its optimiser has other tensors."""
    monkeypatch.setattr(train, "_REPORT_SECONDS", 0.0)
    whole, begun = (_recorded(_trainer("mlp", {})) for _ in range(2))
    records = iter(begun.run())
    while next(records).step < 8:
        pass
    resumed = _trainer("mlp", {})
    resumed.restore(*begun.state())
    _recorded(resumed)
    for trainer in (whole, resumed):
        assert list(trainer.run())[-1].step == trainer.total_steps
    for name, weights in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], weights, rtol=1e-6, atol=1e-7)


def test_steering_reaches_what_was_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_REPORT_SECONDS", 0.0)
    trainers = [_trainer("mlp", {}), _recorded(_trainer("mlp", {})), _recorded(_trainer("mlp", {}))]
    for steered, trainer in zip((True, True, False), trainers, strict=True):
        for record in trainer.run():
            if record.step == 9 and steered:
                trainer.beta, trainer.learning_rate = 7.0, 3e-3
    expected, found, other = (trainer.model.decoder.head.weight for trainer in trainers)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert not torch.allclose(other, expected, atol=1e-4)


def test_a_step_that_waits_cannot_be_recorded() -> None:
    """The witness of the recording itself."""
    total = torch.zeros(())

    def act(given: torch.Tensor) -> None:
        total.add_(given.sum().item())

    recorded = Recorded(act, torch.Generator())
    with pytest.raises(AssertionError, match="waits for a value"):
        for _ in range(5):
            recorded(torch.ones(3))
