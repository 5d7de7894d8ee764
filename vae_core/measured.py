"""Log-likelihoods over whole test sets, kept as files beside their checkpoints: `python -m vae_core.measured FILE…`."""

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vae_core import data
from vae_core import device as devices
from vae_core.bounds import log_likelihood
from vae_core.checkpoint import Checkpoint, load
from vae_core.errors import UserError
from vae_core.evaluate import binarise, encode
from vae_core.evidence import LatentPlane, extent_of
from vae_core.files import read_json, write_json
from vae_core.model import VAE
from vae_core.terminal import bar

__all__ = ["MeanLikelihood", "keep", "main", "measure", "path_of", "recall"]

_SAMPLES = 100
_AT_ONCE = 64


@dataclass(frozen=True)
class MeanLikelihood:
    """log p(x) averaged over a test set, in nats.

    images: how many; samples: importance samples for each, so that value is L_K, or None where value is exact;
    by_draws: the Monte Carlo standard error of value, for these images; by_images: that of the average, were they a
    sample of all images there could be.
    """

    images: int
    samples: int | None
    value: float
    by_draws: float
    by_images: float


def measure(
    checkpoint: Checkpoint,
    images: np.ndarray,
    samples: int = _SAMPLES,
    progress: Callable[[float], None] = lambda _: None,
) -> MeanLikelihood:
    """log p(x) of uint8 images (N, C, H, W), which a Bernoulli likelihood is given black or white: by quadrature where
    there are one or two latent dimensions, else L_K of K = `samples`. Models of a range of β answer at β = 1.
    """
    model = checkpoint.model
    if model.config.likelihood == "bernoulli":
        images = binarise(images, 0)
    if model.config.latent_dim <= 2:
        values = _exact(model, images, extent_of(*encode(model, images)), progress)
        by_draws, drawn = 0.0, None
    else:
        found = log_likelihood(model, images, samples, progress=progress)
        values, by_draws, drawn = found.values, found.standard_error, samples
    by_images = float(values.std(ddof=1) / len(values) ** 0.5)
    return MeanLikelihood(len(values), drawn, float(values.mean()), by_draws, by_images)


def _exact(model: VAE, images: np.ndarray, extent: float, progress: Callable[[float], None]) -> np.ndarray:
    plane, parts = LatentPlane(model, extent), []
    for start in range(0, len(images), _AT_ONCE):
        parts.append(plane.posteriors(images[start : start + _AT_ONCE]).log_likelihood)
        progress(min(1.0, (start + _AT_ONCE) / len(images)))
    return np.concatenate(parts)


def path_of(checkpoint: Path) -> Path:
    """Where what was measured of the checkpoint at this path lies, if anything was: measured/<its name> beside it."""
    return checkpoint.parent / "measured" / f"{checkpoint.stem}.json"


def keep(checkpoint: Path, found: MeanLikelihood) -> None:
    """Write what was measured of the checkpoint at this path."""
    write_json(path_of(checkpoint), {"made_from": _digest(checkpoint)} | asdict(found))


def recall(checkpoint: Path) -> MeanLikelihood | None:
    """What was measured of the checkpoint at this path; None where nothing was, or of another version of it."""
    try:
        values = read_json(path_of(checkpoint))
        return MeanLikelihood(**values) if values.pop("made_from") == _digest(checkpoint) else None
    except (UserError, OSError, TypeError, KeyError, AttributeError):
        return None


def _digest(checkpoint: Path) -> str:
    return hashlib.blake2b(checkpoint.read_bytes(), digest_size=16).hexdigest()


def main() -> None:
    """Measure checkpoints over the whole test sets of their data."""
    parser = argparse.ArgumentParser(prog="python -m vae_core.measured", description=main.__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--samples", type=int, default=_SAMPLES, help="where there are over two latent dimensions")
    parser.add_argument("--device", help="such as cpu or cuda; default: the accelerator where there is one")
    given = parser.parse_args()
    for path in given.checkpoints:
        try:
            checkpoint = load(path, devices.pick(given.device))
            if not isinstance(checkpoint.record.get("dataset"), str):
                raise UserError(f"{path.name} does not say what it was trained on. Choose another checkpoint.")
            images = data.load(checkpoint.record["dataset"]).test.images
            with bar(path.stem) as progress:
                found = measure(checkpoint, images, given.samples, progress)
            keep(path, found)
        except UserError as error:
            parser.error(str(error))
        how = "exact" if found.samples is None else f"L_{found.samples}"
        print(f"{path.stem}: log p(x) {found.value:.2f} nats, {how}, over {found.images:,} test images")


if __name__ == "__main__":
    main()
