"""A training step on a GPU: captured in a CUDA graph, in each precision, beside the loop as it is usually written.

    python -m bench.gpu [--rounds 5] [--seconds 1]

784-400-20 at a batch of 512 and the convolutional network at 64 pixels and 128. The plain loop is that of bench.step,
its images on the GPU too; also compiled, with `torch.compile(mode="reduce-overhead")`. All take turns, with random
pixels.
Below: how far captured and uncaptured weights are apart after 50 steps of the same seed, and a whole training of MNIST
(where it is there) in a run's directory, with everything that a page watches, beside the trainer alone.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench.report import emit, machine
from bench.step import CONVOLUTIONS, MLP, ours, plain
from vae_core import data, device, runs
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig
from vae_core.worker import train_run

_CASES = {
    "784-400-20, batch 512 (goal: ≥ 10 × plain)": (MLP, 512),
    "conv, 64 px, batch 128 (goal: ≥ 3 × plain)": (CONVOLUTIONS, 128),
}
_WARM = 20


def contenders(config: ModelConfig, batch: int) -> dict[str, Iterator[None]]:
    """Steps of each, by name. The compiled loop comes first of those with graphs: recording its own takes from others
    what their products work in.
    """
    return {
        "plain loop": plain(config, batch, "cuda"),
        "plain loop, compiled": plain(config, batch, "cuda", compiled=True),
        "ours, uncaptured, float32": ours(config, batch, "cuda", "float32", capture=False),
        "ours, float32": ours(config, batch, "cuda", "float32"),
        "ours, tf32": ours(config, batch, "cuda", "tf32"),
        "ours, bf16": ours(config, batch, "cuda", "bf16"),
    }


def _seconds(steps: Iterator[None], at_least: float) -> float:
    """The mean of a step over `at_least` so many seconds."""
    torch.cuda.synchronize()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < at_least:
        count += sum(1 for _ in itertools.islice(steps, 100))
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


def _rows(case: str, config: ModelConfig, batch: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    all_steps, found = {}, {}
    for name, steps in contenders(config, batch).items():
        try:
            for _ in itertools.islice(steps, _WARM):
                pass
            all_steps[name], found[name] = steps, []
        except Exception as error:
            print(f"{case}: {name} left out: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
    for _ in range(rounds):
        for name, steps in all_steps.items():
            found[name].append(_seconds(steps, seconds))
    return [
        {
            "step": case,
            "contender": name,
            "images/s": batch / statistics.median(times),
            "low": batch / max(times),
            "high": batch / min(times),
            "× plain loop": statistics.median(found["plain loop"]) / statistics.median(times),
        }
        for name, times in found.items()
    ]


def _apart() -> dict[str, float]:
    """The largest difference of weights between 50 captured and uncaptured steps, by network."""
    found = {}
    for config in (MLP, CONVOLUTIONS):
        ends = []
        for capture in (True, False):
            trainer = Trainer(config, TrainConfig(epochs=50, batch_size=64), _few(config), torch.device("cuda"))
            trainer._captured = trainer._captured if capture else None
            for _ in trainer.run():
                pass
            ends.append(torch.cat([weights.detach().flatten() for weights in trainer.model.parameters()]))
        found[config.arch] = (ends[0] - ends[1]).abs().max().item()
    return found


def _few(config: ModelConfig) -> data.Dataset:
    pixels = torch.randint(256, (64, *config.image_shape), generator=torch.Generator().manual_seed(0)).byte().numpy()
    return data.Dataset("random pixels", data.Split(pixels), data.Split(pixels[:16]))


def _whole(epochs: int) -> list[dict[str, Any]]:
    """A training of MNIST by the trainer alone, and in a run's directory."""
    configs = MLP, TrainConfig("mnist", epochs, 512)
    alone = Trainer(*configs, data.load("mnist"))
    began = time.perf_counter()
    for _ in alone.run():
        pass
    seconds = {"trainer alone": (alone.seconds, time.perf_counter() - began)}
    with tempfile.TemporaryDirectory() as folder:
        run = runs.create(RunConfig(*configs), Path(folder) / "run")
        began = time.perf_counter()
        train_run(run)
        took = time.perf_counter() - began
        seconds["in a run's directory"] = (run.metrics().records[-1]["seconds"], took)
    images = epochs * len(data.load("mnist").train)
    return [
        {"training of MNIST": name, "images/s, steps": images / steps, "images/s, tests and all": images / whole}
        for name, (steps, whole) in seconds.items()
    ]


def main() -> None:
    """Measure in turns and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contender in a round")
    parser.add_argument("--epochs", type=int, default=200, help="of the whole training")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "There is no NVIDIA GPU on this machine, and nothing else is measured here.\n")
    facts = machine("torch") | {"device": device.describe(torch.device("cuda"))}
    print("largest difference of weights, captured and uncaptured:", _apart(), flush=True)
    rows = [
        row
        for case, (config, batch) in _CASES.items()
        for row in _rows(case, config, batch, arguments.rounds, arguments.seconds)
    ]
    emit("gpu", facts, rows)
    if data.available("mnist"):
        emit("gpu, whole trainings", facts, _whole(arguments.epochs))


if __name__ == "__main__":
    main()
