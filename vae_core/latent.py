"""Ways through the latent space: between points, along dimensions, over planes, and what lies near."""

from collections.abc import Sequence

import numpy as np
import torch

from vae_core.errors import UserError
from vae_core.evaluate import inference
from vae_core.model import VAE

__all__ = [
    "METHODS",
    "corner_grid",
    "decode",
    "lerp",
    "nearest",
    "path",
    "plane",
    "rank_by_kl",
    "sample_prior",
    "slerp",
    "traversal",
]

METHODS = ("linear", "spherical")
_PARALLEL = 1e-6  # sine of an angle below which two directions span no plane
_ROWS = 8192


def lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """The straight line (1 − t)·a + t·b. Shapes: a, b (..., d), t (...), broadcast together → (..., d)."""
    a, b, t = _line(a, b, t)
    return (1 - t) * a + t * b


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """Along the great circle from a to b, the length going linearly from |a| to |b|.

    Shapes: a, b (..., d), t (...), broadcast together → (..., d). Exactly a at t = 0 and b at t = 1. Opposite
    vectors are joined by the half circle through the axis that is farthest from both; where a length is zero, or
    opposite vectors have one dimension alone, the way is straight. Source: White 2016, 'Sampling generative networks'.
    """
    a, b, t = _line(a, b, t)
    a, b, t = np.broadcast_arrays(a, b, t)
    t = t[..., :1]
    length_a, length_b = (np.linalg.norm(point, axis=-1, keepdims=True) for point in (a, b))
    straight = (length_a == 0) | (length_b == 0)
    from_, to = a / np.where(straight, 1, length_a), b / np.where(straight, 1, length_b)
    cosine = (from_ * to).sum(-1, keepdims=True)
    across = to - cosine * from_
    sine = np.linalg.norm(across, axis=-1, keepdims=True)
    detour = (sine < _PARALLEL) & (cosine < 0)
    across = np.where(detour, _perpendicular(from_), across)
    size = np.linalg.norm(across, axis=-1, keepdims=True)
    straight |= detour & (size == 0)
    angle = np.arctan2(np.where(detour, 0, sine), cosine) * t
    direction = np.cos(angle) * from_ + np.sin(angle) * across / np.where(size == 0, 1, size)
    arc = ((1 - t) * length_a + t * length_b) * direction
    points = np.where(straight, (1 - t) * a + t * b, arc)
    return np.where(t == 0, a, np.where(t == 1, b, points)).astype(a.dtype)


def _line(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kind = np.result_type(np.asarray(a), np.asarray(b), np.float32)
    return np.asarray(a, kind), np.asarray(b, kind), np.asarray(t, kind)[..., None]


def _perpendicular(direction: np.ndarray) -> np.ndarray:
    """The axis that is farthest from unit vectors (..., d), made perpendicular to them; zeros where d = 1."""
    axis = np.eye(direction.shape[-1], dtype=direction.dtype)[np.abs(direction).argmin(-1)]
    across = axis - (axis * direction).sum(-1, keepdims=True) * direction
    return across * (direction.shape[-1] > 1)


def path(a: np.ndarray, b: np.ndarray, steps: int, method: str = "spherical") -> np.ndarray:
    """`steps` points from a to b, both included, evenly spaced. Shapes: a, b (d,) → (steps, d)."""
    if method not in METHODS:
        raise UserError(f"There is no interpolation {method!r}. Choose one of {', '.join(METHODS)}.")
    if steps < 2:
        raise UserError(f"{steps} steps make no path. Choose 2 or more.")
    between = lerp if method == "linear" else slerp
    return between(a, b, np.linspace(0, 1, steps))


def corner_grid(corners: np.ndarray, n: int, method: str = "spherical") -> np.ndarray:
    """n × n points between four corners, in reading order.

    Shapes: corners (4, d), the top left, top right, bottom left and bottom right → (n·n, d).
    """
    top_left, top_right, bottom_left, bottom_right = corners
    left, right = path(top_left, bottom_left, n, method), path(top_right, bottom_right, n, method)
    return np.concatenate([path(a, b, n, method) for a, b in zip(left, right, strict=True)])


def traversal(z: np.ndarray, dimension: int, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """z with one dimension set to each of `values` in turn. Shapes: z (d,), values (n,) → (n, d)."""
    z = np.asarray(z)
    if not 0 <= dimension < len(z):
        raise UserError(f"There is no latent dimension {dimension}. Choose one from 0 to {len(z) - 1}.")
    points = np.tile(z, (len(values), 1))
    points[:, dimension] = values
    return points


def plane(extent: float, n: int) -> np.ndarray:
    """n × n points over the square [−extent, extent]² in reading order, (n·n, 2) float32: the first dimension grows to
    the right and the second upwards, as in a chart.
    """
    values = np.linspace(-extent, extent, n, dtype=np.float32)
    return np.stack([np.tile(values, n), np.repeat(values[::-1], n)], axis=1)


def rank_by_kl(kl_per_dimension: Sequence[float] | np.ndarray) -> np.ndarray:
    """The latent dimensions (d,), the one with the largest KL first; equals stay in order."""
    return np.argsort(-np.asarray(kl_per_dimension), kind="stable")


def sample_prior(n: int, d: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
    """n draws from N(0, temperature² I): (n, d) float32. The same seed draws the same points, at any temperature."""
    return (temperature * np.random.default_rng(seed).standard_normal((n, d))).astype(np.float32)


def decode(model: VAE, z: np.ndarray, batch: int = 256) -> np.ndarray:
    """Mean pictures of p(x|z). Shapes: z (N, d) → (N, C, H, W) float32 in [0, 1]; `batch` are decoded at once."""
    points = np.asarray(z, np.float32)
    d = model.config.latent_dim
    if points.ndim != 2 or points.shape[1] != d or not len(points):
        raise UserError(f"Latent points of shape {points.shape} do not fit a model with {d} latent dimensions.")
    with inference(model) as (device, _):
        rows = torch.from_numpy(np.ascontiguousarray(points)).to(device).split(batch)
        return torch.cat([model.decode_mean(row) for row in rows]).cpu().numpy()


def nearest(points: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of `points` nearest to each query by Euclidean distance, nearest first: their indices and distances.

    Shapes: points (N, ...), query (M, ...), latent codes or pictures alike → (M, min(k, N)) int64 and float32.
    Distances are summed term by term, so that equal rows are exactly 0 apart.
    """
    wanted = torch.as_tensor(np.asarray(query)).float().flatten(1)
    distances = [
        torch.cdist(
            wanted,
            torch.as_tensor(points[start : start + _ROWS]).float().flatten(1),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        for start in range(0, len(points), _ROWS)
    ]
    found = torch.cat(distances, dim=1).topk(min(k, len(points)), largest=False)
    return found.indices.numpy(), found.values.numpy()
