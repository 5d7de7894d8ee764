"""Small models and data sets that tests share."""

import numpy as np
import torch

from vae_core.data import Dataset, Split
from vae_core.model import VAE, ModelConfig

__all__ = ["blobs", "build", "images"]


def images(n: int, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> np.ndarray:
    """uint8 pictures (n, C, H, W): a bright rectangle each, over noise."""
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 60, (n, *shape), dtype=np.uint8)
    for picture in pictures:
        top, left = (int(random.integers(side - 1)) for side in shape[1:])
        picture[:, top : top + shape[1] // 2, left : left + shape[2] // 2] = 230
    return pictures


def blobs(train: int = 200, test: int = 60, shape: tuple[int, int, int] = (1, 8, 8)) -> Dataset:
    """A data set of such pictures, with two made-up classes."""
    labels = np.arange(train + test, dtype=np.int64) % 2
    pictures = images(train + test, shape)
    return Dataset(
        "blobs", Split(pictures[:train], labels[:train]), Split(pictures[train:], labels[train:]), ("even", "odd")
    )


def build(seed: int = 0, shape: tuple[int, int, int] = (1, 8, 8), **config: object) -> VAE:
    """A VAE with the weights that `seed` gives."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VAE(ModelConfig(shape, **config))
