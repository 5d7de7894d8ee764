"""One model for every β beside models trained for one β each: what the range costs in D + βR, and in time.

    python -m bench.beta [--dataset mnist] [--latent-dims 2 16] [--epochs 60] [--runs DIR]

Both sides: MLP 784-512-256, Bernoulli, batch 128, Adam, equal epochs and seeds. D (distortion, −E_q[log p(x|z)]) and
R (rate, the KL) are means over the test images in nats, D from three posterior draws an image. With --runs, finished
runs are kept there and used again. Training steps of the two kinds of model are timed in turns in one process, so
that both meet the same noise.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import emit, machine

BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)
RANGE = (0.01, 10.0)
_DRAWS = 3
_TURNS, _STEPS = 15, 40


def _trained(folder: Path, dataset: str, latent_dim: int, epochs: int, **choice: Any):
    """The trained model, from `folder` where it was trained before; `choice` is a beta or a beta_range."""
    from vae_core import data, runs
    from vae_core.checkpoint import load
    from vae_core.model import ModelConfig
    from vae_core.run_config import RunConfig
    from vae_core.train_config import TrainConfig
    from vae_core.worker import train_run

    shape = data.load(dataset).image_shape
    model = ModelConfig(shape, latent_dim, beta_range=choice.get("beta_range"))
    config = RunConfig(model, TrainConfig(dataset, epochs=epochs, beta=choice.get("beta", 1.0)))
    run = runs.create(config, folder / config.name)
    if run.state()["status"] != "finished":
        train_run(run)
    return load(run.checkpoint).model


def compare(folder: Path, dataset: str, latent_dim: int, epochs: int) -> list[dict[str, Any]]:
    """One row a β: D, R and D + βR of both sides, and by how many per cent the one model's D + βR is higher."""
    from vae_core import data
    from vae_core.evaluate import evaluate

    test = data.load(dataset).test.images
    one = _trained(folder, dataset, latent_dim, epochs, beta_range=RANGE)
    rows = []
    for beta in BETAS:
        own = evaluate(_trained(folder, dataset, latent_dim, epochs, beta=beta), test, samples=_DRAWS)
        ours = evaluate(one.at(beta), test, samples=_DRAWS)
        costs = [side.reconstruction + beta * side.kl for side in (own, ours)]
        rows.append(
            {
                "d": latent_dim,
                "β": beta,
                "D, own": round(own.reconstruction, 2),
                "R, own": round(own.kl, 2),
                "D + βR, own": round(costs[0], 2),
                "D, one": round(ours.reconstruction, 2),
                "R, one": round(ours.kl, 2),
                "D + βR, one": round(costs[1], 2),
                "one above own, %": round(100 * (costs[1] / costs[0] - 1), 2),
            }
        )
    return rows


def time_ratio(dataset: str, latent_dim: int) -> float:
    """Seconds a training step of the one model, over those of an ordinary model: the median of turns."""
    from vae_core import data
    from vae_core.model import ModelConfig
    from vae_core.train import Trainer
    from vae_core.train_config import TrainConfig

    images = data.load(dataset)
    trainers = [
        Trainer(ModelConfig(images.image_shape, latent_dim, beta_range=beta_range), TrainConfig(dataset), images)
        for beta_range in (None, RANGE)
    ]
    ratios = []
    for turn in range(_TURNS):
        own, one = (_seconds(trainer, turn * _STEPS) for trainer in trainers)
        ratios.append(one / own)
    return statistics.median(ratios[1:])


def _seconds(trainer: Any, first: int) -> float:
    size = trainer.batch_size
    rows = [slice((i % trainer.batches) * size, (i % trainer.batches + 1) * size) for i in range(first, first + _STEPS)]
    order = trainer._order()
    _wait(trainer.device)
    started = time.perf_counter()
    for row in rows:
        trainer._train_step(order[row])
    _wait(trainer.device)
    return time.perf_counter() - started


def _wait(device: Any) -> None:
    """Until an accelerator has done what it was asked to."""
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def main() -> None:
    """Train what is not trained yet, print the table, its averages, and the ratio of the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[2, 16], metavar="D")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--runs", type=Path, metavar="DIR", help="keep the runs here")
    arguments = parser.parse_args()
    facts = machine("torch")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for latent_dim in arguments.latent_dims:
            rows += compare(arguments.runs or Path(folder), arguments.dataset, latent_dim, arguments.epochs)
            above = [row["one above own, %"] for row in rows if row["d"] == latent_dim]
            facts[f"d = {latent_dim}: average % above"] = f"{statistics.mean(above):.2f}"
            facts[f"d = {latent_dim}: time, one / own"] = f"{time_ratio(arguments.dataset, latent_dim):.2f}"
    emit("beta", facts, rows)


if __name__ == "__main__":
    main()
