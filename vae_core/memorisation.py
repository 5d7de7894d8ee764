"""Is a picture a copy? Its nearest training images, and how near a fresh image usually comes to one."""

import numpy as np
import torch

__all__ = ["nearest_distances", "nearest_images"]

_NUMBERS = 8 * 2**20  # pixels held as floats at a time: 32 MiB
_SPARE = 8  # candidates beyond k, so that rounding in the matrix product costs none of the k nearest
_FOR_A_CENTRE = 256  # images


def nearest_images(images: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k images nearest to each query by Euclidean distance over pixels in [0, 1], nearest first.

    Shapes: images (N, C, H, W), query (M, C, H, W), both uint8 → indices int64 and distances float32, each
    (M, min(k, N)). Candidates are found by a matrix product, a part of the images at a time; the distances
    returned are then summed difference by difference, so that equal pictures are exactly 0 apart.
    """
    k = min(k, len(images))
    wanted = torch.as_tensor(query).flatten(1).float()
    candidates = _candidates(images, wanted, min(k + _SPARE, len(images)))
    rows = torch.as_tensor(images[candidates.numpy()]).flatten(2).float()
    exact = (rows - wanted[:, None]).square_().sum(2).sqrt_() / 255
    order = exact.argsort(dim=1, stable=True)[:, :k]
    return candidates.gather(1, order).numpy(), exact.gather(1, order).numpy()


def nearest_distances(images: np.ndarray, query: np.ndarray) -> np.ndarray:
    """How far each query is from the nearest of `images`, (M,) float32; see `nearest_images`."""
    return nearest_images(images, query, 1)[1][:, 0]


def _candidates(images: np.ndarray, wanted: torch.Tensor, count: int) -> torch.Tensor:
    """The indices (M, count) of the images that minimise |row|² − 2 row·query, unordered.

    Rows and queries are taken from a picture amid the images: between bright ones little would be left by rounding.
    """
    centre = torch.as_tensor(images[:: len(images) // _FOR_A_CENTRE + 1]).flatten(1).float().mean(0)
    wanted = wanted - centre
    best = torch.empty(len(wanted), 0)
    index = torch.empty(len(wanted), 0, dtype=torch.int64)
    step = max(1, _NUMBERS // wanted.shape[1])
    for start in range(0, len(images), step):
        rows = torch.as_tensor(images[start : start + step]).flatten(1).float() - centre
        distance = torch.addmm(rows.square().sum(1), wanted, rows.T, alpha=-2)
        found = torch.arange(start, start + len(rows)).expand(len(wanted), -1)
        best, index = torch.cat([best, distance], 1), torch.cat([index, found], 1)
        best, place = best.topk(min(count, best.shape[1]), largest=False, sorted=False)
        index = index.gather(1, place)
    return index
