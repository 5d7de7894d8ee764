"""Training speed on the CPU: ours, while a page watches, beside a bare loop, PyTorch's example loop and pythae.

    python -m bench.training [--rounds 3] [--seconds 8]

784-400-20, Bernoulli, batch 128, Adam, MNIST, the machine's default thread count for all. Each contender trains in
a process of its own, in turns, so that all meet the same noise. Images per second count training steps; the row
"whole epochs" divides by all the time of ours, test evaluation, previews and checkpoints included. "Watched" means
that a headless browser has the run open on the Train page of a running app. pythae is compared where it is installed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bench.report import emit, machine, spread

if TYPE_CHECKING:
    from vae_core.runs import Run

BATCH = 128


def _plain_model():
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = nn.Linear(784, 400), nn.Linear(400, 40)
            self.back, self.out = nn.Linear(20, 400), nn.Linear(400, 784)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            mu, logvar = self.head(F.relu(self.hidden(x))).chunk(2, -1)
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            return self.out(F.relu(self.back(z))), mu, logvar

    return Plain()


def bare(seconds: float) -> dict[str, float]:
    """The same step with nothing around it: gather, forward, backward, fused Adam."""
    import torch
    from torch.nn import functional as F

    from vae_core import data

    images = torch.tensor(data.load("mnist").train.images).flatten(1)
    model = _plain_model()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def epoch() -> Iterator[int]:
        order = torch.randperm(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            x = images.index_select(0, order[start : start + BATCH]).float().div_(255)
            logits, mu, logvar = model(x)
            loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / BATCH
            loss = loss - 0.5 * (1 + logvar - mu.square() - logvar.exp()).sum() / BATCH
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield BATCH

    return {"steps": _rate(epoch, seconds)}


def example(seconds: float) -> dict[str, float]:
    """A loop as in PyTorch's own VAE example: DataLoader, ToTensor, loss.item() at each step."""
    import torch
    from torch.nn import functional as F
    from torchvision import datasets, transforms

    from vae_core import data

    dataset = datasets.MNIST(str(data.data_folder()), train=True, transform=transforms.ToTensor())
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)
    model = _plain_model()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def epoch() -> Iterator[int]:
        total = 0.0
        for pictures, _ in loader:
            x = pictures.view(-1, 784)
            optimiser.zero_grad()
            logits, mu, logvar = model(x)
            loss = F.binary_cross_entropy(torch.sigmoid(logits), x, reduction="sum")
            loss = loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            loss.backward()
            total += loss.item()
            optimiser.step()
            yield len(x)

    return {"steps": _rate(epoch, seconds)}


def pythae(seconds: float) -> dict[str, float]:
    """pythae's BaseTrainer on its own VAE, given networks of the same sizes; its `train()` is timed."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from torch import nn

    from vae_core import data

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.mu, self.log_var = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)

        def forward(self, x: torch.Tensor) -> ModelOutput:
            h = torch.relu(self.hidden(x.flatten(1)))
            return ModelOutput(embedding=self.mu(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid())

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z).unflatten(1, (1, 28, 28)))

    images = torch.tensor(data.load("mnist").train.images).float() / 255
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce")
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-3, no_cuda=True
        )
        trainer = BaseTrainer(
            VAE(config, Encoder(), Decoder()), BaseDataset(images, torch.zeros(len(images))), training_config=settings
        )
        trainer.train()  # one epoch, to warm up
        settings.num_epochs = max(1, round(seconds / 3))
        started = time.perf_counter()
        trainer.train()
        return {"steps": settings.num_epochs * len(images) / (time.perf_counter() - started)}


def ours(seconds: float, *, watched: bool) -> dict[str, float]:
    """A run in its own process, as the Train page starts it, with or without a browser that watches it."""
    from contextlib import ExitStack

    from vae_core import runs
    from vae_core.model import ModelConfig
    from vae_core.run_config import RunConfig
    from vae_core.train_config import TrainConfig
    from vae_core.trainers import launch

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["VAE_RUNS"] = folder
        model = ModelConfig((1, 28, 28), 20, "mlp", widths=(400,), activation="relu")
        run = runs.create(RunConfig(model, TrainConfig("mnist", epochs=200, batch_size=BATCH)))
        if watched:
            stack.enter_context(_watching(run.name))
        launch(run)
        stack.callback(_stop, run)
        _wait_for(lambda: run.metrics().tests, run)
        first = run.metrics().records[-1]
        started = time.perf_counter()
        time.sleep(seconds)
        last = run.metrics().records[-1]
        elapsed = time.perf_counter() - started
        images = (last["step"] - first["step"]) * BATCH
        return {"steps": images / (last["seconds"] - first["seconds"]), "whole epochs": images / elapsed}


def _watching(run: str):
    from contextlib import contextmanager

    from bench.browser import app, page

    @contextmanager
    def watch() -> Iterator[None]:
        with app() as url, page(f"{url}/train?run={run}"):
            yield

    return watch()


def _rate(epoch: Callable[[], Iterator[int]], seconds: float) -> float:
    for warm, _ in enumerate(epoch()):
        if warm == 30:
            break
    images, started = 0, time.perf_counter()
    while True:
        for size in epoch():
            images += size
            if time.perf_counter() - started > seconds:
                return images / (time.perf_counter() - started)


def _wait_for(condition: Callable[[], object], run: "Run", seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end or run.state()["status"] == "failed":
            raise RuntimeError(f"The run did not get there. {run.state()['message']}")
        time.sleep(0.1)


def _stop(run: "Run") -> None:
    run.stop()
    while run.is_held():
        time.sleep(0.1)


CONTENDERS: dict[str, Callable[[float], dict[str, float]]] = {
    "bare loop": bare,
    "ours, watched": lambda seconds: ours(seconds, watched=True),
    "ours, alone": lambda seconds: ours(seconds, watched=False),
    "PyTorch example loop": example,
    "pythae": pythae,
}


def _measure(name: str, seconds: float) -> dict[str, float] | None:
    command = [sys.executable, "-m", "bench.training", "--only", name, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}: left out ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no message'})")
        return None
    import json

    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measure all contenders in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", choices=CONTENDERS, help="measure one contender in this process and print JSON")
    arguments = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # ours would take a GPU
    if arguments.only:
        import json

        print(json.dumps(CONTENDERS[arguments.only](arguments.seconds)))
        return
    rates: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for name in CONTENDERS:
            for kind, rate in (_measure(name, arguments.seconds) or {}).items():
                rates.setdefault(f"{name}, {kind}", []).append(rate)
    base = spread(rates["ours, watched, steps"])["median"] if "ours, watched, steps" in rates else float("nan")
    rows = [
        {
            "contender": name,
            "images/s": spread(values)["median"],
            "low": min(values),
            "high": max(values),
            "ours (watched) / this": base / spread(values)["median"],
        }
        for name, values in rates.items()
    ]
    emit("training", machine("torch", "pythae"), rows)


if __name__ == "__main__":
    main()
