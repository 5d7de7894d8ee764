"""How far the factors that pictures were made from lie each in a latent dimension of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vae_core.data import Dataset
from vae_core.errors import UserError
from vae_core.evaluate import encode
from vae_core.model import VAE

__all__ = [
    "LEAST_SPREAD",
    "SAMPLES",
    "Disentanglement",
    "disentanglement",
    "factor_vae_score",
    "mig",
    "mutual_information",
    "score_codes",
]

LEAST_SPREAD = 0.05
"""The standard deviation of posterior means under which a dimension has no vote in the FactorVAE score."""

SAMPLES = 10_000
_BINS = 20
_VOTES = (10_000, 5_000)  # to learn the majority from, and to test it
_GROUP = 64


@dataclass(frozen=True)
class Disentanglement:
    """mig and factor_vae, each from 0 to 1, and the matrix (F, d) of I(factor; z_j) / H(factor), from 0 to 1."""

    mig: float
    factor_vae: float
    matrix: np.ndarray


def disentanglement(
    model: VAE, dataset: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None
) -> Disentanglement:
    """The scores of a model on a data set whose factors are known, from the posterior means of 10,000 of its pictures.

    Pictures of both splits are drawn, without repetition, since the scores ask for all combinations of the factors.
    `progress` is called with the fraction of them that is encoded, which takes nearly all the time.
    Raises UserError where the data set has no known factors.
    """
    if dataset.train.factors is None:
        raise UserError(f"The factors of {dataset.name} are not known. Take a model of sprites.")
    images = np.concatenate([dataset.train.images, dataset.test.images])
    factors = np.concatenate([dataset.train.factors, dataset.test.factors])
    chosen = np.random.default_rng(seed).permutation(len(images))[:SAMPLES]
    codes, _ = encode(model, images[chosen], progress)
    return score_codes(codes, factors[chosen], seed=seed)


def score_codes(codes: np.ndarray, factors: np.ndarray, *, seed: int = 0) -> Disentanglement:
    """The scores of codes (N, d) of pictures whose factors (N, F) are known."""
    matrix = mutual_information(codes, factors)
    return Disentanglement(mig(matrix), factor_vae_score(codes, factors, seed=seed), matrix)


def mutual_information(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """I(factor; z_j) / H(factor) of every factor and dimension. Shapes: codes (N, d), factors (N, F) → (F, d).

    Codes are sorted into 20 equal parts of each dimension's range. From N samples the information of independent
    values comes out at about 19 (values − 1) / 2N nats instead of 0.
    Source: Chen et al. 2018; the histogram as in Locatello et al. 2019 (disentanglement_lib).
    """
    matrix = np.zeros((factors.shape[1], codes.shape[1]))
    binned = [_binned(column) for column in codes.T]
    for k, values in enumerate(_values(factors)):
        entropy = _entropy(np.bincount(values))
        for j, places in enumerate(binned):
            together = np.bincount(values * _BINS + places)
            shared = entropy + _entropy(np.bincount(places)) - _entropy(together)
            matrix[k, j] = min(1.0, max(0.0, shared / entropy)) if entropy else 0.0
    return matrix


def mig(matrix: np.ndarray) -> float:
    """The mutual information gap: each factor's best share in a dimension less its second best, averaged over factors.

    matrix (F, d) as of `mutual_information`. 1: every factor in one dimension and nowhere else.
    Source: Chen et al. 2018.
    """
    ordered = np.sort(np.pad(matrix, ((0, 0), (1, 0))), axis=1)  # a lone dimension competes with none
    return float((ordered[:, -1] - ordered[:, -2]).mean())


def factor_vae_score(codes: np.ndarray, factors: np.ndarray, *, seed: int = 0) -> float:
    """How often the dimension that varies least tells which factor was held still, from 1/F (chance) to 1.

    A vote: of 64 pictures with one factor, drawn at random, at one value, the dimension whose variance is the smallest
    share of its variance over all. Each dimension speaks for the factor that it most often gets among 10,000 votes;
    the score is how many of 5,000 others are right. Dimensions whose posterior means have a standard deviation under
    LEAST_SPREAD have no vote; 0 where that is all of them. Shapes: codes (N, d), factors (N, F).
    Source: Kim & Mnih 2018, 'Disentangling by factorising'; numbers, and which dimensions vote, as in Locatello et al.
    2019 (disentanglement_lib: factor_vae.py, `_prune_dims` on the square root of the variance).
    """
    codes = codes[:, codes.std(0, ddof=1) >= LEAST_SPREAD].astype(np.float64)
    if not codes.shape[1]:
        return 0.0
    codes = codes / codes.std(0)
    random = np.random.default_rng(seed)
    training, testing = (_votes(codes, factors, count, random) for count in _VOTES)
    return float(testing[np.arange(codes.shape[1]), training.argmax(1)].sum() / _VOTES[1])


def _votes(codes: np.ndarray, factors: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """How often each dimension varied least while each factor was held still: (d, F)."""
    table = np.zeros((codes.shape[1], factors.shape[1]), np.int64)
    held = random.multinomial(count, np.full(factors.shape[1], 1 / factors.shape[1]))
    for k, (values, votes) in enumerate(zip(_values(factors), held, strict=True)):
        kinds = values.max() + 1
        for value, some in enumerate(random.multinomial(votes, np.full(kinds, 1 / kinds))):
            groups = codes[random.choice(np.flatnonzero(values == value), (some, _GROUP))]
            table[:, k] += np.bincount(groups.var(1).argmin(1), minlength=len(table))
    return table


def _values(factors: np.ndarray) -> list[np.ndarray]:
    """Each factor's values, numbered from 0 up."""
    return [np.unique(column, return_inverse=True)[1] for column in factors.T]


def _binned(column: np.ndarray) -> np.ndarray:
    edges = np.histogram_bin_edges(column, _BINS)
    return np.clip(np.digitize(column, edges[1:-1]), 0, _BINS - 1)


def _entropy(counts: np.ndarray) -> float:
    """The entropy of a histogram, in nats."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
