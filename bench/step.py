"""A training step on the CPU: the fraction it reaches of the machine's matrix products, and a plain loop beside it.

    python -m bench.step [--rounds 7]

784-400-20 at batches of 128 and 512, and the convolutional network at 28 and 64 pixels. The limit is the rate of a
float32 product of two 2,048 × 2,048 matrices. What a step multiplies is counted by PyTorch's FlopCounterMode. The plain
loop trains the same function as it is usually written: nearest-neighbour upsampling before each convolution of the
decoder, PyTorch's own memory layout, Adam as it comes. It has a process of its own, without what the trainer's process
is told of memory and denormals. All take turns, with random pixels.
"""

import argparse
import functools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from bench.report import emit, machine
from vae_core import memory
from vae_core.model import ModelConfig

_IMAGES = 8192
_SIDE = 2048
MLP = ModelConfig((1, 28, 28), 20, widths=(400,), activation="relu")
CONVOLUTIONS = ModelConfig((1, 64, 64), 16, "conv")
_CASES = (
    ("784-400-20, batch 128", MLP, 128),
    ("784-400-20, batch 512 (goal: fraction ≥ 0.7)", MLP, 512),
    ("conv, 28 px, batch 128 (goal: ≥ 1.5 × plain)", ModelConfig((1, 28, 28), 16, "conv"), 128),
    ("conv, 64 px, batch 128 (goal: ≥ 1.5 × plain)", CONVOLUTIONS, 128),
)


def _dataset(config: ModelConfig):
    import numpy as np

    from vae_core.data import Dataset, Split

    pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, *config.image_shape), np.uint8)
    return Dataset("random pixels", Split(pixels), Split(pixels[:256]))


def ours(
    config: ModelConfig, batch: int, device: str = "cpu", precision: str | None = None, *, capture: bool = True
) -> Iterator[None]:
    """Steps of the trainer."""
    import torch

    from vae_core.train import Trainer
    from vae_core.train_config import TrainConfig

    training = TrainConfig(epochs=100_000, batch_size=batch)
    trainer = Trainer(config, training, _dataset(config), torch.device(device), precision=precision)
    if not capture:
        trainer._captured = None
    trainer.model.train()
    while True:
        trainer._train_step(torch.randint(_IMAGES, (batch,), device=device))
        yield


@contextmanager
def _as_torch_comes() -> Iterator[None]:
    """Convolutions on a GPU may round to TF32 and add up in any order, which the trainer does not let them."""
    import torch

    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32, cudnn.deterministic = True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic = before


def plain(config: ModelConfig, batch: int, device: str = "cpu", *, compiled: bool = False) -> Iterator[None]:
    """Steps of a loop without the trainer's ways; `compiled` by torch.compile, CUDA graphs included."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from vae_core.model import VAE

    model = VAE(config).to(memory_format=torch.contiguous_format)
    if config.arch == "conv":
        model.decoder.stages = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(stage.in_channels, stage.out_channels, 3, padding=1))
            for stage in model.decoder.stages
        )
    model.to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = torch.from_numpy(_dataset(config).train.images).to(device)

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        mu, logvar = model.encode(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        loss = F.binary_cross_entropy_with_logits(model.decode(z), x, reduction="sum")
        return (loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())) / len(x)

    loss_of = torch.compile(loss_of, mode="reduce-overhead") if compiled else loss_of
    while True:
        with _as_torch_comes():
            loss = loss_of(images[torch.randint(_IMAGES, (batch,), device=device)].float() / 255)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        yield


def _multiplications(step: Iterator[None]) -> int:
    """Operations of a step's products and convolutions; a multiplication and an addition are two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        next(step)
    return counter.get_total_flops()


def _seconds(act: Callable[[], object], times: int) -> float:
    """The mean of `times` acts, after one to warm up."""
    act()
    started = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - started) / times


def _as_a_trainer() -> None:
    """What holds in a trainer's process."""
    import torch

    memory.keep_all()
    torch.set_flush_denormal(True)


@functools.cache
def _steps(own: bool, config: ModelConfig, batch: int) -> tuple[Iterator[None], int]:
    """Steps of this process's contender, and the operations of one."""
    steps = (ours if own else plain)(config, batch)
    return steps, _multiplications(steps)


def _measure(own: bool, config: ModelConfig, batch: int) -> tuple[float, int]:
    """Seconds and operations of a step."""
    steps, flops = _steps(own, config, batch)
    return _seconds(lambda: next(steps), max(5, round(2e10 / flops))), flops


def _product_seconds() -> float:
    import torch

    square = torch.randn(_SIDE, _SIDE)
    return _seconds(lambda: square @ square, 5)


def _case(name: str, config: ModelConfig, batch: int, rounds: int) -> dict[str, str | float]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, _as_a_trainer) as trainer, ProcessPoolExecutor(1, spawn) as other:
        seconds = []
        for _ in range(rounds):
            own, flops = trainer.submit(_measure, True, config, batch).result()
            plain, _ = other.submit(_measure, False, config, batch).result()
            seconds.append((own, plain, trainer.submit(_product_seconds).result()))
    fractions = [flops / own * limit / (2 * _SIDE**3) for own, _, limit in seconds]
    faster = [plain / own for own, plain, _ in seconds]
    return {
        "step": name,
        "images/s": batch / statistics.median(own for own, _, _ in seconds),
        "GFLOP": flops / 1e9,
        "fraction of the limit": statistics.median(fractions),
        "low": min(fractions),
        "high": max(fractions),
        "limit, GFLOP/s": 2e-9 * _SIDE**3 / statistics.median(limit for _, _, limit in seconds),
        "× plain loop": statistics.median(faster),
        "× plain, low": min(faster),
        "× plain, high": max(faster),
    }


def main() -> None:
    """Measure the cases one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    emit("training step", machine("torch"), [_case(*case, rounds) for case in _CASES])


if __name__ == "__main__":
    main()
