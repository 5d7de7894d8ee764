"""Two-dimensional maps of latent codes: PCA, t-SNE shown while it optimises, and how far to trust them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from vae_core.errors import UserError
from vae_core.latent import nearest

__all__ = ["Pca", "TsneStep", "default_perplexity", "most_perplexity", "pca", "place", "trustworthiness", "tsne"]

_EXAGGERATION = 12.0
_EARLY_ITERATIONS, _COARSE_ITERATIONS, _ITERATIONS = 75, 400, 525
_COARSE, _FINE = 0.8, 0.5  # Barnes–Hut's angle: how wide a cell of points may look and still count as one
_LEARNING_RATE, _MOMENTUM = 3, 0.9  # after the early iterations; the rate is this many times N
_FIRST_MOVES, _EVERY = 5, 25  # the first is shown early, so that the map is seen to move
_START_SCALE = 1e-4
_FEWEST_POINTS = 5
_LARGE = 1_500
_NEIGHBOURS, _JUDGED = 5, 2_000
_START_NEIGHBOURS, _PLACE_PERPLEXITY, _PLACE_EXAGGERATION, _PLACE_STEPS, _PLACE_CLIP = 25, 5, 1.5, 100, 0.25


class Pca(NamedTuple):
    """The plane of largest variance: z ↦ (z − mean) · axesᵀ, with each axis' share of the variance.

    Shapes: map (N, 2), explained (2,) in [0, 1], mean (d,), axes (2, d).
    """

    map: np.ndarray
    explained: np.ndarray
    mean: np.ndarray
    axes: np.ndarray

    def project(self, mu: np.ndarray) -> np.ndarray:
        """Place further points (M, d) in the map → (M, 2)."""
        return ((mu - self.mean) @ self.axes.T).astype(np.float32)


class TsneStep(NamedTuple):
    """One picture of a map that is being optimised.

    `map` is (N, 2) float32; `kl_divergence` is KL(P ‖ Q) in nats, NaN for the PCA start (iteration 0).
    """

    iteration: int
    total: int
    map: np.ndarray
    kl_divergence: float


def default_perplexity(n: int) -> float:
    """max(5, √N / 4), where there are points enough: grows with N, so that large sets keep their global shape."""
    return min(max(5.0, n**0.5 / 4), most_perplexity(n))


def most_perplexity(n: int) -> float:
    """(N − 1) / 3, because three times as many neighbours of each point are looked at."""
    return (n - 1) / 3


def pca(mu: np.ndarray) -> Pca:
    """The first two principal components of mu (N, d); a second axis of zeros where d = 1.

    Signs are fixed (each axis' largest entry is positive), so that the same codes always give the same map.
    Raises UserError where there are fewer than two points or numbers that are not finite.
    """
    _check(mu, at_least=2)
    components = min(2, mu.shape[1])
    with np.errstate(invalid="ignore"):  # equal codes: no variance to share out
        fit = PCA(components, svd_solver="full").fit(np.asarray(mu, np.float64))
    axes = fit.components_ * np.sign(fit.components_[range(components), abs(fit.components_).argmax(1)])[:, None]
    axes = np.pad(axes, ((0, 2 - components), (0, 0)))
    explained = np.nan_to_num(np.pad(fit.explained_variance_ratio_, (0, 2 - components)))
    return Pca(((mu - fit.mean_) @ axes.T).astype(np.float32), explained, fit.mean_, axes)


def tsne(mu: np.ndarray, perplexity: float | None = None, seed: int = 0) -> Iterator[TsneStep]:
    """Maps of mu (N, d) while t-SNE optimises: the PCA start at once, then after 5 and every 25 iterations.

    75 iterations with early exaggeration 12, after which nothing moves any more from a PCA start (Kobak & Berens
    2019), then 450 without, at three times openTSNE's learning rate (Poličar et al. 2024) and more momentum, with
    Barnes–Hut gradients (van der Maaten 2014) that are coarse until the last 125: in bench/README.md what that gains.
    Stop by not asking for the next map: each is complete. The same seed gives the same map. The perplexity is from 1
    to `most_perplexity(N)` and defaults to `default_perplexity(N)`.
    Raises UserError for fewer than five points, codes that are not finite, or a perplexity out of range.
    """
    _check(mu, at_least=_FEWEST_POINTS)
    n = len(mu)
    n_jobs = 1 if n < _LARGE else 2  # on a busy machine two wait for one another longer than a small map takes
    perplexity = default_perplexity(n) if perplexity is None else float(perplexity)
    if not 1 <= perplexity <= most_perplexity(n):
        raise UserError(
            f"The perplexity must be from 1 to {most_perplexity(n):.4g} for {n:,} points, not {perplexity:g}. "
            f"Try {default_perplexity(n):.0f}."
        )
    start = pca(mu).map.astype(np.float64)
    start *= _START_SCALE / (start[:, 0].std() or 1.0)
    # Equal codes, or codes on a line, would otherwise never leave one another.
    start += 0.01 * _START_SCALE * np.random.default_rng(seed).standard_normal(start.shape)
    yield TsneStep(0, _ITERATIONS, start.astype(np.float32), float("nan"))

    from openTSNE import TSNE
    from openTSNE.affinity import MultiscaleMixture

    # MultiscaleMixture is what openTSNE's own TSNE uses for one perplexity too.
    affinities = MultiscaleMixture(
        np.ascontiguousarray(mu, np.float64), perplexity, method="exact", n_jobs=n_jobs, random_state=seed
    )
    embedding = TSNE(negative_gradient_method="bh", n_jobs=n_jobs, random_state=seed).prepare_initial(
        affinities=affinities, initialization=start
    )
    done = 0
    stops = {_FIRST_MOVES, _EARLY_ITERATIONS, _COARSE_ITERATIONS, *range(_EVERY, _ITERATIONS, _EVERY), _ITERATIONS}
    for iteration in sorted(stops):
        if iteration <= _EARLY_ITERATIONS:
            pace = {"exaggeration": _EXAGGERATION}
        else:
            pace = {"exaggeration": None, "learning_rate": _LEARNING_RATE * n, "momentum": _MOMENTUM}
        angle = _COARSE if iteration <= _COARSE_ITERATIONS else _FINE
        embedding.optimize(iteration - done, inplace=True, theta=angle, **pace)
        done = iteration
        picture = np.asarray(embedding, np.float32)
        yield TsneStep(iteration, _ITERATIONS, picture, float(embedding.kl_divergence))


def place(map: np.ndarray, mu: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Place new codes (M, d) in the t-SNE map (N, 2) of mu (N, d), which does not move → (M, 2) float32.

    Each starts at the median of its 25 nearest neighbours and goes down the gradient of its own KL(P ‖ Q),
    Σ_j (1.5 p_j − q_j) (y − y_j) / (1 + |y − y_j|²), clipped (Poličar et al. 2023): exactly, for some few points of
    one's own, where openTSNE's own way builds a tree of the whole map for every step.
    """
    from openTSNE.affinity import joint_probabilities_nn

    map = np.asarray(map, np.float64)
    index, distances = nearest(mu, new, min(_START_NEIGHBOURS, len(mu)))
    near = 3 * _PLACE_PERPLEXITY
    affinities = joint_probabilities_nn(
        index[:, :near],
        distances[:, :near],
        [min(_PLACE_PERPLEXITY, most_perplexity(len(mu)))],
        symmetrize=False,
        normalization="point-wise",
        n_reference_samples=len(mu),
    )
    pull = _PLACE_EXAGGERATION * affinities.toarray()
    across, up = np.ascontiguousarray(map.T)
    places = np.median(map[index], axis=1)
    update = np.zeros_like(places)
    for _ in range(_PLACE_STEPS):
        dx, dy = places[:, :1] - across, places[:, 1:] - up
        closeness = 1 / (1 + dx * dx + dy * dy)
        weights = (pull - closeness / closeness.sum(1, keepdims=True)) * closeness
        gradient = np.stack([np.einsum("mn,mn->m", weights, d) for d in (dx, dy)], 1)
        gradient *= np.minimum(1, _PLACE_CLIP / (np.linalg.norm(gradient, axis=1, keepdims=True) + 1e-12))
        update = 0.8 * update - 0.1 * gradient
        places = places + update
    return places.astype(np.float32)


def trustworthiness(mu: np.ndarray, map: np.ndarray) -> float:
    """How far the 5 nearest neighbours in a map (N, 2) are neighbours in mu (N, d): 1 is all, 0.5 is chance.

    Venna & Kaski 2001, through scikit-learn, on 2,000 points at most (its cost grows with N²).
    """
    n = len(mu)
    if n < 3:  # every neighbour is all there is
        return 1.0
    chosen = np.random.default_rng(0).permutation(n)[:_JUDGED]
    neighbours = min(_NEIGHBOURS, max(1, (len(chosen) - 1) // 2))
    return float(sklearn_trustworthiness(mu[chosen], map[chosen], n_neighbors=neighbours))


def _check(mu: np.ndarray, at_least: int) -> None:
    if len(mu) < at_least:
        raise UserError(f"A map needs at least {at_least} points, and here are {len(mu)}. Encode more images.")
    if not np.isfinite(mu).all():
        raise UserError("Some latent codes are not finite numbers, so they have no map. Train with a lower rate.")
