"""Table 1 of Burda et al. 2016 (arXiv 1509.00519), MNIST with one stochastic layer: our column beside the paper's.

    python -m bench.burda --objective vae|iwae --k 1|5|50 [--fraction F | --minutes M | --checkpoint FILE] [--ship FILE]

The recipe: 784-200-200 tanh-50 and back, the output bias from the mean picture, pixels drawn anew each time they are
shown, batch 20, Adam with ε = 1e-4 and β2 = 0.999, stages of 3^i epochs (i = 0 … 7) at the learning rate
1e-3 · 10^(−i/7): 3,280 epochs. --fraction shortens all stages alike. --minutes trains the same network for about so
long as a run (in the folder --run, or a temporary one) with a batch and a schedule of our own: Adam at a constant rate,
which falls to zero over the last 30 % of the steps. --checkpoint trains nothing and reads a model that was trained
elsewhere. --ship writes a model that has a checkpoint to another file, with what was measured in its record and the
codes of a few test images only.

Every row is evaluated alike: the importance-weighted estimate of −log p(x) from 5,000 samples an image over the whole
test set, each pixel drawn once from its grey value with seed 0. Everything runs on the accelerator where there is one.
"""

import argparse
import datetime
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import emit, machine
from vae_core.train import is_tested

PAPER = {("vae", 1): 86.76, ("vae", 5): 86.47, ("vae", 50): 86.35, ("iwae", 5): 85.54, ("iwae", 50): 84.78}
REPRODUCTIONS = {("vae", 1): 87.8, ("iwae", 5): 85.5, ("iwae", 50): 84.6}
STAGES = tuple(3**i for i in range(8))  # epochs; 3,280 in all
SAMPLES = 5000
OWN_BATCH, OWN_RATE = 100, 1.5e-3
SHIPPED_IMAGES = 240  # whose codes ship: with them the file stays under 1.8 MB
_STEPS_SHARE = 0.93  # of a run's time; the rest goes into previews and checkpoints
_TRIAL_EPOCHS, _TRIAL_SECONDS = 100, 1.0  # as many as are tested all


def stage_factor(done: float) -> float:
    """The learning rate's factor after a part `done` of the recipe: 10^(−i/7) in stage i."""
    left = done * sum(STAGES)
    for i, epochs in enumerate(STAGES):
        if left < epochs:
            return 10 ** (-i / 7)
        left -= epochs
    return 10 ** (-(len(STAGES) - 1) / 7)


def _configs(objective: str, k: int, epochs: int, batch_size: int, learning_rate: float, seed: int):
    from vae_core.model import ModelConfig
    from vae_core.train_config import TrainConfig

    model = ModelConfig((1, 28, 28), 50, widths=(200, 200), activation="tanh")
    train = TrainConfig(
        "mnist",
        epochs,
        batch_size,
        learning_rate,
        binarize=True,
        seed=seed,
        objective={"vae": "beta-vae", "iwae": "iwae"}[objective],
        importance_samples=k,
        bias_from_mean=True,
    )
    return model, train


def recipe(objective: str, k: int, fraction: float, seed: int):
    """The paper's training, every stage `fraction` as long."""
    from vae_core import data
    from vae_core.train import Trainer

    epochs = max(1, round(fraction * sum(STAGES)))
    configs = _configs(objective, k, epochs, 20, 1e-3, seed)
    return Trainer(*configs, data.load("mnist"), schedule=stage_factor, adam_epsilon=1e-4)


def own(objective: str, k: int, minutes: float, seed: int, folder: Path | None) -> tuple[Any, dict[str, Any]]:
    """Our training of the same network, for as many epochs as `minutes` give at this machine's speed, and what it took.

    The speed is that of a second or more on trial, after the first record, up to the end of an epoch.
    """
    from vae_core import data, device, runs
    from vae_core.checkpoint import load
    from vae_core.run_config import RunConfig
    from vae_core.train import Trainer
    from vae_core.worker import train_run

    records = Trainer(*_configs(objective, k, _TRIAL_EPOCHS, OWN_BATCH, OWN_RATE, seed), data.load("mnist")).run()
    first, began, tests = next(records), time.perf_counter(), 0
    for record in records:
        tests += record.test is not None
        if record.test and time.perf_counter() - began > _TRIAL_SECONDS:
            break
    steps = record.seconds - first.seconds
    testing = (time.perf_counter() - began - steps) / tests
    epochs = epochs_in(60 * minutes * _STEPS_SHARE, steps / (record.epoch - first.epoch), testing)
    config = RunConfig(*_configs(objective, k, epochs, OWN_BATCH, OWN_RATE, seed))
    with tempfile.TemporaryDirectory() as temporary:
        run = runs.create(config, folder or Path(temporary) / config.name)
        began = time.perf_counter()
        train_run(run, _Saying())
        took = time.perf_counter() - began
        checkpoint = load(run.checkpoint, device.pick())
    return checkpoint, _facts(checkpoint.record["images_per_second"], OWN_BATCH, epochs, took)


def epochs_in(budget: float, epoch: float, test: float) -> int:
    """How many epochs of `epoch` seconds fit into a budget of seconds, their tests of `test` seconds included."""
    epochs, left, never_the_last = 0, budget, 0
    while (left := left - epoch - test * is_tested(epochs + 1, never_the_last)) >= 0:
        epochs += 1
    return max(1, epochs)


class _Saying:
    """Called with each progress record: says once a minute how far the training is."""

    def __init__(self) -> None:
        self.said = time.perf_counter()

    def __call__(self, record, trainer) -> None:
        if time.perf_counter() - self.said > 60:
            self.said = time.perf_counter()
            print(f"epoch {record.epoch:.1f} of {trainer.config.epochs}, loss {record.loss:.2f} nats", flush=True)


def _facts(rate: float, batch: int, epochs: int, seconds: float) -> dict[str, Any]:
    return {"epochs": epochs, "batch": batch, "images/s": rate, "training, s": seconds}


def trained(trainer) -> dict[str, Any]:
    """Train to the end; what it took."""
    began, say = time.perf_counter(), _Saying()
    for record in trainer.run():
        say(record, trainer)
    took = time.perf_counter() - began
    return _facts(trainer.images_per_second, trainer.batch_size, trainer.config.epochs, took)


def measured(model, images: int) -> dict[str, Any]:
    """−log p(x) by 5,000 samples over the first `images` binarised test images, and the active units over all."""
    from vae_core import data
    from vae_core.bounds import log_likelihood
    from vae_core.evaluate import evaluate

    test = data.load("mnist").test.images
    began = time.perf_counter()
    found = log_likelihood(model, test[:images], SAMPLES, binarize=True)
    took = time.perf_counter() - began
    whole = evaluate(model, test, binarize=True)
    return {
        "ours": -found.mean,
        "standard error": f"{found.standard_error:.4f}",
        "−ELBO": -whole.elbo,
        "active units": whole.active_units,
        "test images": len(found.values),
        "evaluation, s": took,
    }


def ship(checkpoint, found: dict[str, Any], path: Path) -> None:
    """Write the checkpoint with its measured log-likelihood (what the Bounds page shows) and fewer codes."""
    from dataclasses import replace

    from vae_core.checkpoint import LatentSnapshot, save

    rows = {name: row if row is None else row[:SHIPPED_IMAGES] for name, row in vars(checkpoint.snapshot).items()}
    said = {"value": -found["ours"], "standard_error": float(found["standard error"])}
    said |= {"samples": SAMPLES, "images": found["test images"]}
    record = checkpoint.record | {"log_likelihood": said}
    save(path, replace(checkpoint, record=record, snapshot=LatentSnapshot(**rows)))


def table(objective: str, k: int, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The paper's rows in nats, with what was found in that of `objective` and `k`."""
    rows = []
    for (name, samples), paper in PAPER.items():
        ours = found if (name, samples) == (objective, k) else dict.fromkeys(found)
        row = {"row": f"{name.upper()} k = {samples}", "paper": f"{paper:.2f}"}
        row["reproductions"] = REPRODUCTIONS.get((name, samples))
        rows.append(row | {key: f"{value:.2f}" if isinstance(value, float) else value for key, value in ours.items()})
    return rows


def main() -> None:
    """Train one row of the table, measure it and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objective", choices=("vae", "iwae"), default="vae")
    parser.add_argument("--k", type=int, choices=(1, 5, 50), default=1)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--fraction", type=float, default=1.0, help="of the recipe's epochs")
    length.add_argument("--minutes", type=float, help="train so long with our own schedule instead")
    length.add_argument("--checkpoint", type=Path, help="a trained model, to be measured only")
    parser.add_argument("--run", type=Path, help="the run's folder, for --minutes")
    parser.add_argument("--ship", type=Path, help="where to write the measured checkpoint")
    parser.add_argument("--images", type=int, default=10_000, help="test images, fewer for a trial")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    row = (arguments.objective, arguments.k)
    if row not in PAPER:
        parser.error("the paper has no IWAE with k = 1: it is VAE with k = 1")

    from vae_core import device
    from vae_core.checkpoint import load

    facts = machine("torch") | {"device": device.describe(device.pick()), "date": f"{datetime.date.today()}"}
    checkpoint, training = None, {}
    if arguments.checkpoint:
        checkpoint, how = load(arguments.checkpoint, device.pick()), str(arguments.checkpoint)
    elif arguments.minutes:
        checkpoint, training = own(*row, arguments.minutes, arguments.seed, arguments.run)
        how = f"our schedule, {arguments.minutes:g} minutes"
    else:
        trainer = recipe(*row, arguments.fraction, arguments.seed)
        training, how = trained(trainer), f"the recipe, {arguments.fraction:g} of its epochs"
    found = measured(checkpoint.model if checkpoint else trainer.model, arguments.images)
    emit("burda", facts | {"trained": how}, table(*row, found | training))
    if checkpoint and arguments.ship:
        ship(checkpoint, found, arguments.ship)


if __name__ == "__main__":
    main()
