"""Importance-weighted log p(x), 5,000 samples an image: ours beside pythae's `get_nll`, equal network and weights.

    python -m bench.evaluation [--checkpoint checkpoints/mnist-burda.safetensors] [--images 10] [--rounds 3]

Both take the same binarised test images, in turns, on the CPU with the machine's default thread count. The third row
times the decoder's matrix products alone, for as many samples: no exact evaluation can be faster on this machine.
pythae is compared where it is installed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import emit, machine, spread

SAMPLES = 5000
OURS, LIMIT, PYTHAE = "ours", "decoder's matrix products alone", "pythae, get_nll"


def ours(model, images) -> tuple[float, float]:
    """The mean estimate over the images and its standard error, in nats."""
    from vae_core.bounds import log_likelihood

    found = log_likelihood(model, images, SAMPLES)
    return found.mean, found.standard_error


def products(model, images) -> None:
    """The decoder's matrix products for every sample of every image, in pieces of 1,000, and nothing else."""
    import torch

    layers = [layer.weight for layer in (*model.decoder.hidden, model.decoder.head)]
    inputs = [torch.randn(1000, weight.shape[1]) for weight in layers]
    with torch.inference_mode():
        for _ in range(len(images) * SAMPLES // 1000):
            for h, weight in zip(inputs, layers, strict=True):
                torch.mm(h, weight.T)


def pythaes(model) -> Callable[[Any], float] | None:
    """pythae's `get_nll` for a model of its own that is made of this one's networks; None where it is missing."""
    try:
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
    except ImportError as error:
        print(f"pythae is left out: {error}.")
        return None
    import torch

    from vae_core.evaluate import to_unit

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> ModelOutput:
            mu, logvar = self.model.encode(x)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.model.decode_mean(z))

    shape = model.config.image_shape
    config = VAEConfig(input_dim=shape, latent_dim=model.config.latent_dim, reconstruction_loss="bce")
    theirs = VAE(config, Encoder(), Decoder()).eval()
    return lambda images: float(theirs.get_nll(to_unit(images), n_samples=SAMPLES))


def main() -> None:
    """Time the contenders in turns, compare what they say, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/mnist-burda.safetensors"))
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    from vae_core import data
    from vae_core.checkpoint import load
    from vae_core.evaluate import binarise

    checkpoint = load(arguments.checkpoint)
    model = checkpoint.model
    images = binarise(data.load(checkpoint.record["dataset"]).test.images[: arguments.images], 0)
    contenders = {OURS: lambda: ours(model, images), LIMIT: lambda: products(model, images)}
    if get_nll := pythaes(model):
        contenders[PYTHAE] = lambda: get_nll(images)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    values: dict[str, Any] = {}
    ours(model, images[:1])
    for _ in range(arguments.rounds):
        for name, measure in contenders.items():
            began = time.perf_counter()
            values[name] = measure()
            seconds[name].append((time.perf_counter() - began) / len(images))
    base = statistics.median(seconds[OURS])
    rows = []
    for name, taken in seconds.items():
        middle = spread(taken)
        row = {"contender": name, "ms an image": 1000 * middle["median"]}
        row |= {"low": 1000 * middle["low"], "high": 1000 * middle["high"], "this / ours": middle["median"] / base}
        rows.append(row | {"log p(x), nats": None, "standard error": None})
    rows[0]["log p(x), nats"], rows[0]["standard error"] = (round(value, 4) for value in values[OURS])
    if PYTHAE in values:
        rows[-1]["log p(x), nats"] = round(values[PYTHAE], 4)
    emit("evaluation", machine("torch", "pythae") | {"images": str(len(images))}, rows)


if __name__ == "__main__":
    main()
