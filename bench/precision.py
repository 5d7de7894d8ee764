"""Whether the ELBO suffers where training rounds what it multiplies: the same trainings in float32, TF32 and bfloat16.

    python -m bench.precision [--data mnist sprites] [--epochs 10] [--seeds 3]

An MLP (784-400-20, GELU, batch 512) for MNIST, the convolutional network (d = 16, batch 128) for sprites, on the
accelerator where there is one. A CPU has no TF32: there every product's and convolution's inputs, forward and backward,
are rounded as it would round them. Test ELBO in nats, always evaluated in float32.
"""

import argparse
import statistics
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.report import emit, machine
from vae_core import data, device
from vae_core.model import ModelConfig
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig

_CASES = {
    "mnist": ({"latent_dim": 20, "widths": (400,)}, 512),
    "sprites": ({"latent_dim": 16, "arch": "conv"}, 128),
}
_aten = torch.ops.aten
_PRODUCTS = {_aten.mm, _aten.addmm, _aten.bmm, _aten.convolution, _aten.convolution_backward}


def rounded(x: torch.Tensor) -> torch.Tensor:
    """float32 rounded to the nearest number of 11 significant bits, the even one of two."""
    bits = x.clone().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


class _RoundedProducts(TorchDispatchMode):
    """Round the inputs of products and convolutions, which are float32, but not what is added to them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in _PRODUCTS:
            added = {_aten.addmm: 0, _aten.convolution: 2}.get(func.overloadpacket)
            args = [
                rounded(value) if isinstance(value, torch.Tensor) and place != added else value
                for place, value in enumerate(args)
            ]
        return func(*args, **(kwargs or {}))


class _Rounding(Trainer):
    """A trainer whose steps round as TF32 does."""

    def _step_on(self, *batch: torch.Tensor) -> None:
        with _RoundedProducts():
            super()._step_on(*batch)


def elbo(name: str, precision: str, epochs: int, seed: int) -> float:
    """The test ELBO, in nats, after a training."""
    dataset = data.load(name)
    config, batch = _CASES[name]
    model = ModelConfig(dataset.image_shape, **config)
    emulated = precision == "tf32" and device.pick().type == "cpu"
    kind = _Rounding if emulated else Trainer
    trainer = kind(model, TrainConfig(name, epochs, batch, seed=seed), dataset, precision=precision)
    with device.denormals_flushed():
        *_, last = trainer.run()
    return last.test.elbo


def main() -> None:
    """Train in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=_CASES, default=list(_CASES))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.data:
        found: dict[str, list[float]] = {precision: [] for precision in device.PRECISIONS}
        for seed in range(arguments.seeds):
            for precision, values in found.items():
                values.append(elbo(name, precision, arguments.epochs, seed))
                print(f"{name}, seed {seed}, {precision}: {values[-1]:.3f}", flush=True)
        for precision, values in found.items():
            above = [value - plain for value, plain in zip(values, found["float32"], strict=True)]
            seeds = {f"seed {seed}": f"{value:.2f}" for seed, value in enumerate(values)}
            mean = {"above float32, mean": f"{statistics.mean(above):+.3f}"}
            rows.append({"data": name, "precision": precision, **seeds, **mean})
    emit("precision", machine("torch") | {"device": device.describe(device.pick())}, rows)


if __name__ == "__main__":
    main()
