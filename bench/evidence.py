"""Exact evidence of the first MNIST test images, binarised: what is left of log p(x) − ELBO − KL, and how fast.

    python -m bench.evidence [--images 1000] [--models mnist-d2 mnist-d2-beta] [--rounds 3]

The residual is over all images; the time of 64 images is on a plane that is decoded.
"""

import argparse
import time

from bench.report import emit, machine, spread


def _timed(function) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _measured(name: str, images: int, rounds: int) -> list[dict[str, object]]:
    import numpy as np

    from bench.browser import ROOT
    from vae_core import checkpoint, data
    from vae_core.evaluate import binarise, encode
    from vae_core.evidence import LatentPlane, evidence, extent_of

    model = checkpoint.load(ROOT / "checkpoints" / f"{name}.safetensors").model
    pictures = binarise(data.load("mnist").test.images[:images], 0)
    extent = extent_of(*encode(model, pictures))
    planes = []
    decoding = [_timed(lambda: planes.append(LatentPlane(model, extent))) for _ in range(rounds)]
    plane, some = planes[-1], pictures[:64]
    seconds_of_64 = [_timed(lambda: evidence(plane, some)) for _ in range(rounds)]
    started = time.perf_counter()
    found = evidence(plane, pictures)
    seconds = time.perf_counter() - started
    residual = np.abs(found.residual)
    numbers = [
        ("decoding the plane (s)", spread(decoding)),
        ("64 images (s, goal ≤ 1)", spread(seconds_of_64)),
        (f"all {images} images (s)", spread([seconds])),
        ("images/s", spread([images / seconds])),
        ("largest |residual| (nats, goal ≤ 0.001)", spread([float(residual.max())])),
        ("99th percentile of |residual| (nats)", spread([float(np.quantile(residual, 0.99))])),
    ]
    return [{"model": name, "what": what} | values for what, values in numbers]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--models", nargs="+", default=["mnist-d2", "mnist-d2-beta"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = [row for name in arguments.models for row in _measured(name, arguments.images, arguments.rounds)]
    emit("Exact evidence", machine("torch"), rows)


if __name__ == "__main__":
    main()
