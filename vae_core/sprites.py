"""Sprites with known factors, shape × scale × rotation × x × y, after the dSprites recipe."""

import numpy as np

__all__ = ["CLASS_NAMES", "FACTOR_NAMES", "draw"]

CLASS_NAMES = ("square", "ellipse", "heart")
FACTOR_NAMES = ("shape", "scale", "rotation", "x", "y")

_SCALES = np.linspace(0.5, 1.0, 4)
# Nine turns of 40°: no two of them coincide for the square (period 90°) or the ellipse (180°).
_ROTATIONS = np.arange(9) * (2 * np.pi / 9)
_PLACES = 12
_SUPERSAMPLING = 8
_HEART_CENTRE = 0.29349  # of mass of the heart curve, above its origin; its farthest point is 1.29 from there


def draw(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw every combination of the factors once, in an order shuffled by `seed`.

    White on black, anti-aliased by 8 × 8 supersampling, every sprite whole inside the picture. `size` is
    the side in pixels, a multiple of 16. The same size and seed give the same bytes.

    Returns images, uint8 (15552, 1, size, size), and factors, float32 (15552, 5), in the order of
    FACTOR_NAMES: shape (index into CLASS_NAMES), scale (0.5 to 1), rotation (radians counter-clockwise, 0
    to 2π), and the centre of mass x (0 left to 1 right) and y (0 top to 1 bottom) along the range that the
    sprites move in, 33/64 of the side.

    Source: Matthey, Higgins, Hassabis, Lerchner 2017, "dSprites: Disentanglement testing Sprites dataset".
    """
    turned = [(shape, s, r) for shape in range(3) for s in _SCALES for r in _ROTATIONS]
    step = _SUPERSAMPLING * size * 3 // 64  # sub-pixels between neighbouring places: 1.5 pixels at 32
    margin = (_SUPERSAMPLING * size - step * (_PLACES - 1)) // 2
    masks = np.stack([_mask(shape, scale, angle, margin) for shape, scale, angle in turned])

    images = np.zeros((len(turned), _PLACES, _PLACES, size, size), np.uint8)
    patches = {}
    for row in range(_PLACES):
        for column in range(_PLACES):
            top, down = divmod(row * step, _SUPERSAMPLING)
            left, right = divmod(column * step, _SUPERSAMPLING)
            if (down, right) not in patches:
                patches[down, right] = _downsample(masks, down, right)
            patch = patches[down, right]
            height, width = min(patch.shape[1], size - top), min(patch.shape[2], size - left)
            images[:, row, column, top : top + height, left : left + width] = patch[:, :height, :width]

    place = np.linspace(0.0, 1.0, _PLACES)
    factors = np.empty((len(turned), _PLACES, _PLACES, 5), np.float32)
    factors[..., :3] = np.array(turned)[:, None, None]
    factors[..., 3] = place
    factors[..., 4] = place[:, None]
    # RandomState, not Generator: NumPy promises that its streams never change.
    order = np.random.RandomState(seed).permutation(factors.size // 5)
    return images.reshape(-1, 1, size, size)[order], factors.reshape(-1, 5)[order]


def _mask(shape: int, scale: float, angle: float, margin: int) -> np.ndarray:
    """A sprite on the supersampled grid, centred in a square of side 2·margin: bool (2·margin, 2·margin)."""
    axis = (np.arange(2 * margin) + 0.5 - margin) / (0.97 * margin * scale)
    u = axis * np.cos(angle) - axis[:, None] * np.sin(angle)
    v = -axis * np.sin(angle) - axis[:, None] * np.cos(angle)
    if shape == 0:
        return np.maximum(np.abs(u), np.abs(v)) < 0.7
    if shape == 1:
        return u**2 + (v / 0.53) ** 2 < 1
    # The heart curve (u² + v² − 1)³ = u²v³, shrunk into the unit circle around its centre of mass.
    u, v = u * 1.3, v * 1.3 + _HEART_CENTRE
    return (u**2 + v**2 - 1) ** 3 < u**2 * v**3


def _downsample(masks: np.ndarray, down: int, right: int) -> np.ndarray:
    """Masks (T, n, n), moved by some sub-pixels, as pixels: the covered share of each, uint8 (T, m, m)."""
    side = masks.shape[1] + _SUPERSAMPLING
    side += -side % _SUPERSAMPLING
    moved = np.zeros((len(masks), side, side), np.uint16)
    moved[:, down : down + masks.shape[1], right : right + masks.shape[2]] = masks
    k = _SUPERSAMPLING
    covered = moved.reshape(len(masks), side // k, k, side // k, k).sum((2, 4), dtype=np.uint32)
    return ((covered * 255 + k * k // 2) // (k * k)).astype(np.uint8)
