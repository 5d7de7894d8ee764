"""Maps of latent codes keep what they promise: variance, neighbours, determinism, places for new points."""

import numpy as np
import pytest
from openTSNE import TSNE
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness as exact_trustworthiness

from vae_core.embedding import default_perplexity, pca, place, trustworthiness, tsne
from vae_core.errors import UserError


def blobs(n: int = 240, d: int = 6, clusters: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Well separated Gaussian clusters in d dimensions, and which point belongs to which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, clusters, n)
    centres = 12 * np.eye(d)[:clusters]
    return (centres[labels] + rng.standard_normal((n, d))).astype(np.float32), labels


def test_pca_agrees_with_scikit_learn_up_to_signs():
    mu, _ = blobs()
    reference = PCA(2).fit(mu.astype(np.float64))
    found = pca(mu)
    np.testing.assert_allclose(abs(found.map), abs(reference.transform(mu)), atol=1e-3)
    np.testing.assert_allclose(found.explained, reference.explained_variance_ratio_, rtol=1e-6)
    assert found.map.shape == (240, 2)
    assert found.map.dtype == np.float32


def test_pca_places_its_own_points_where_they_are():
    mu, _ = blobs()
    found = pca(mu)
    np.testing.assert_allclose(found.project(mu[:7]), found.map[:7], atol=1e-5)


def test_pca_of_two_dimensions_keeps_all_distances():
    mu, _ = blobs(d=2, clusters=2)
    found = pca(mu).map
    np.testing.assert_allclose(
        np.linalg.norm(found[:100] - found[100:200], axis=1),
        np.linalg.norm(mu[:100] - mu[100:200], axis=1),
        rtol=1e-4,
    )


def test_pca_of_one_dimension_lies_on_a_line():
    found = pca(np.linspace(-1, 1, 9, dtype=np.float32)[:, None])
    assert (found.map[:, 1] == 0).all()
    np.testing.assert_allclose(found.explained, [1, 0])


def test_pca_of_equal_codes_is_finite():
    found = pca(np.ones((9, 3), np.float32))
    assert np.isfinite(found.map).all()
    assert np.isfinite(found.explained).all()


@pytest.fixture(scope="module")
def steps():
    mu, _ = blobs()
    return list(tsne(mu, seed=3))


def test_tsne_begins_with_pca_and_ends_at_its_total(steps):
    mu, _ = blobs()
    first, last = steps[0], steps[-1]
    assert first.iteration == 0
    assert last.iteration == last.total == 525
    assert [s.iteration for s in steps[1:]] == [5, *range(25, 526, 25)]
    correlation = np.corrcoef(first.map[:, 0], pca(mu).map[:, 0])[0, 1]
    assert correlation > 0.999


def test_tsne_lowers_its_divergence(steps):
    assert steps[-1].kl_divergence < 0.8 * steps[4].kl_divergence  # after 75 iterations, the exaggerated ones
    assert steps[-1].kl_divergence > 0


def test_tsne_keeps_clusters_apart(steps):
    _, labels = blobs()
    found = steps[-1].map
    centres = np.stack([found[labels == k].mean(0) for k in range(4)])
    nearest = ((found[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == labels).mean() == 1


def test_tsne_steps_are_pictures_not_views_of_one_array(steps):
    assert not np.shares_memory(steps[-1].map, steps[-2].map)
    assert abs(steps[-1].map - steps[16].map).max() > 0


def test_tsne_is_the_same_for_the_same_seed_and_stops_where_asked(steps):
    mu, _ = blobs()
    again = [step for step, _ in zip(tsne(mu, seed=3), range(6), strict=False)]
    assert [s.map.tobytes() for s in again] == [s.map.tobytes() for s in steps[:6]]
    other = next(iter(tsne(mu, seed=4)))
    assert other.map.tobytes() != steps[0].map.tobytes()


def test_new_points_land_beside_their_like(steps):
    mu, labels = blobs()
    new, new_labels = blobs(n=20, seed=9)
    found = steps[-1].map.copy()
    places = place(steps[-1].map, mu, new)
    nearest = labels[((places[:, None] - found) ** 2).sum(2).argmin(1)]
    assert (nearest == new_labels).all()
    assert (steps[-1].map == found).all(), "the map itself must not move"


def test_a_place_is_that_of_opentsnes_own_optimiser():
    mu, new = blobs()[0].astype(np.float64), blobs(n=20, seed=9)[0].astype(np.float64)
    fitted = TSNE(perplexity=10, random_state=0, negative_gradient_method="bh", n_jobs=1, n_iter=250).fit(mu)
    partial = fitted.prepare_partial(new, perplexity=5, k=25)  # looks at 15 neighbours, for the start too
    partial.optimize(100, inplace=True, learning_rate=0.1, momentum=0.8, exaggeration=1.5, max_grad_norm=0.25)
    ours = place(np.asarray(fitted, np.float32), mu.astype(np.float32), new.astype(np.float32))
    apart = np.linalg.norm(ours - np.asarray(partial), axis=1)
    assert np.median(apart) < 0.05 * np.asarray(fitted).std()


@pytest.mark.parametrize("n", [5, 8, 20])
def test_small_sets_have_a_default_perplexity_too(n):
    last = list(tsne(blobs(n)[0]))[-1]
    assert last.map.shape == (n, 2)
    assert np.isfinite(last.map).all()


@pytest.mark.parametrize("d", [1, 128])
def test_tsne_takes_any_latent_size(d):
    mu = np.random.default_rng(0).standard_normal((60, d)).astype(np.float32)
    last = list(tsne(mu))[-1]
    assert np.isfinite(last.map).all()
    assert last.map.std(0).min() > 0.1, "the map spreads in both directions"


def test_tsne_of_a_collapsed_posterior_is_finite():
    assert np.isfinite(list(tsne(np.zeros((50, 4), np.float32)))[-1].map).all()


@pytest.mark.parametrize(
    ("mu", "perplexity", "says"),
    [
        (np.zeros((4, 2), np.float32), None, "at least 5 points"),
        (np.full((9, 2), np.nan, np.float32), None, "not finite"),
        (np.zeros((10, 2), np.float32), 0.5, "perplexity must be from 1 to 3 for 10 points, not 0.5. Try 3"),
        (np.zeros((10, 2), np.float32), 1e9, r"not 1e\+09"),
        (np.zeros((10, 2), np.float32), np.nan, "not nan"),
    ],
)
def test_what_cannot_be_mapped_is_said_in_a_sentence(mu, perplexity, says):
    with pytest.raises(UserError, match=says):
        next(tsne(mu, perplexity))


def test_default_perplexity():
    assert default_perplexity(100) == 5
    assert default_perplexity(10_000) == 25


def test_trustworthiness_is_scikit_learns_where_all_points_fit():
    mu, _ = blobs()
    map = pca(mu).map
    assert trustworthiness(mu, map) == pytest.approx(exact_trustworthiness(mu, map), abs=1e-9)


def test_trustworthiness_tells_a_good_map_from_chance(steps):
    mu, _ = blobs()
    chance = np.random.default_rng(0).standard_normal((240, 2))
    assert trustworthiness(mu, steps[-1].map) > 0.9
    assert trustworthiness(mu, chance) == pytest.approx(0.5, abs=0.06)
    assert trustworthiness(mu[:4], chance[:4]) <= 1


@pytest.mark.parametrize("n", [1, 2])
def test_the_fewest_points_are_all_neighbours(n):
    codes = blobs(n)[0]
    assert trustworthiness(codes, codes[:, :2]) == 1
