"""Ways through the latent space: ends, lengths, angles, order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.toys import build
from vae_core import latent
from vae_core.errors import UserError

_coordinates = st.floats(-20, 20, width=32).map(lambda value: value if abs(value) > 1e-3 else 0.0)
_pairs = st.integers(1, 6).flatmap(lambda d: st.tuples(*[arrays(np.float32, d, elements=_coordinates)] * 2))
RANDOM = np.random.default_rng(0)


@given(_pairs, st.sampled_from(latent.METHODS), st.integers(2, 9))
def test_paths_end_exactly_at_their_ends(pair: tuple, method: str, steps: int) -> None:
    a, b = pair
    points = latent.path(a, b, steps, method)
    assert points.shape == (steps, len(a))
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points[0], a)
    np.testing.assert_array_equal(points[-1], b)


@given(_pairs, st.floats(0, 1))
def test_slerp_goes_evenly_in_length_and_angle(pair: tuple, t: float) -> None:
    """Length linear in t and angle t·Ω, to 1e-9 in float64, for any two vectors that span a plane."""
    a, b = (point.astype(np.float64) for point in pair)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if min(lengths) == 0 or (sine := np.sqrt(max(0, 1 - (a @ b / lengths[0] / lengths[1]) ** 2))) < 1e-3:
        return
    point = latent.slerp(a, b, t)
    length = np.linalg.norm(point)
    assert length == pytest.approx((1 - t) * lengths[0] + t * lengths[1], rel=1e-9)
    whole = np.arctan2(sine, a @ b / lengths[0] / lengths[1])
    part = np.arccos(np.clip(a @ point / lengths[0] / length, -1, 1))
    assert part == pytest.approx(t * whole, abs=1e-6)


@given(_pairs, st.floats(0, 1))
def test_slerp_turns_around(pair: tuple, t: float) -> None:
    """From b to a is the same way back, to 1e-5, wherever the way is not a free choice."""
    a, b = (point.astype(np.float64) for point in pair)
    product = np.linalg.norm(a) * np.linalg.norm(b)
    if product and a @ b < -0.999 * product:
        return
    np.testing.assert_allclose(latent.slerp(a, b, t), latent.slerp(b, a, 1 - t), atol=1e-5)


@pytest.mark.parametrize("d", [2, 3, 16])
def test_opposite_vectors_are_joined_by_half_a_circle(d: int) -> None:
    a = RANDOM.normal(size=d)
    points = latent.path(a, -2 * a, 9)
    lengths = np.linalg.norm(points, axis=1) / np.linalg.norm(a)
    np.testing.assert_allclose(lengths, np.linspace(1, 2, 9), rtol=1e-9)
    np.testing.assert_allclose(points[4] @ a, 0, atol=1e-9)


def test_slerp_where_there_is_no_circle() -> None:
    """Parallel, zero, and one-dimensional vectors go straight."""
    a, zero = np.array([3.0, 4.0]), np.zeros(2)
    np.testing.assert_allclose(latent.slerp(a, 2 * a, 0.5), 1.5 * a)
    np.testing.assert_allclose(latent.slerp(a, a, 0.3), a)
    np.testing.assert_allclose(latent.slerp(zero, a, 0.25), a / 4)
    np.testing.assert_allclose(latent.slerp(zero, zero, 0.25), zero)
    np.testing.assert_allclose(latent.slerp(np.array([2.0]), np.array([-2.0]), 0.25), [1.0])


def test_interpolations_broadcast() -> None:
    a, b = RANDOM.normal(size=(5, 1, 3)), RANDOM.normal(size=(4, 3))
    for method in (latent.lerp, latent.slerp):
        together = method(a, b, 0.3)
        assert together.shape == (5, 4, 3)
        np.testing.assert_allclose(together[2, 1], method(a[2, 0], b[1], 0.3))
    assert latent.slerp(np.float32([1, 0]), np.float32([0, 1]), 0.5).dtype == np.float32


def test_bad_paths_are_refused() -> None:
    with pytest.raises(UserError, match="cubic"):
        latent.path(np.zeros(2), np.ones(2), 3, "cubic")
    with pytest.raises(UserError, match="1 steps"):
        latent.path(np.zeros(2), np.ones(2), 1)


@pytest.mark.parametrize("method", latent.METHODS)
def test_corner_grid_has_its_corners_in_reading_order(method: str) -> None:
    corners = RANDOM.normal(size=(4, 5))
    points = latent.corner_grid(corners, 4, method).reshape(4, 4, 5)
    for corner, point in zip(corners, (points[0, 0], points[0, -1], points[-1, 0], points[-1, -1]), strict=True):
        np.testing.assert_array_equal(point, corner)
    np.testing.assert_array_equal(points[0], latent.path(corners[0], corners[1], 4, method))


def test_traversal_moves_one_dimension() -> None:
    z = np.float32([1, 2, 3])
    np.testing.assert_array_equal(latent.traversal(z, 1, [-5, 7]), [[1, -5, 3], [1, 7, 3]])
    np.testing.assert_array_equal(z, [1, 2, 3])
    for dimension in (3, -1):
        with pytest.raises(UserError, match=str(dimension)):
            latent.traversal(z, dimension, [0])


def test_plane_is_laid_out_like_a_chart() -> None:
    points = latent.plane(3.0, 3).reshape(3, 3, 2)
    np.testing.assert_array_equal(points[0, 0], [-3, 3])
    np.testing.assert_array_equal(points[-1, -1], [3, -3])
    np.testing.assert_array_equal(points[1, 1], [0, 0])
    np.testing.assert_array_equal(latent.plane(1.0, 2), [[-1, 1], [1, 1], [-1, -1], [1, -1]])


def test_dimensions_are_ranked_by_kl() -> None:
    np.testing.assert_array_equal(latent.rank_by_kl([0.1, 3.0, 0.1, 5.0]), [3, 1, 0, 2])


def test_prior_samples_scale_with_temperature() -> None:
    z = latent.sample_prior(50_000, 2, seed=1)
    np.testing.assert_allclose(z.std(0), 1, rtol=0.02)
    np.testing.assert_allclose(latent.sample_prior(50_000, 2, seed=1, temperature=0.5), z / 2, rtol=1e-6)
    assert not latent.sample_prior(3, 2, temperature=0.0).any()
    assert (latent.sample_prior(3, 2, seed=2) != latent.sample_prior(3, 2, seed=1)).all()


@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_decode_in_batches_is_decode_at_once(arch: str) -> None:
    """To 1e-5, in [0, 1], the model's mode given back."""
    model = build(arch=arch, latent_dim=3).train()
    z = latent.sample_prior(23, 3)
    pictures = latent.decode(model, z)
    assert pictures.shape == (23, 1, 8, 8)
    assert pictures.dtype == np.float32
    assert model.training
    assert 0 <= pictures.min() <= pictures.max() <= 1
    np.testing.assert_allclose(latent.decode(model, z, batch=5), pictures, atol=1e-5)
    np.testing.assert_allclose(latent.decode(model, z.astype(np.float64)), pictures, atol=1e-5)
    for wrong in (z[:, :2], z[0], z[:0]):
        with pytest.raises(UserError, match="3 latent dimensions"):
            latent.decode(model, wrong)


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 70))
def test_nearest_equals_sorting_all_distances(n: int, m: int, k: int) -> None:
    random = np.random.default_rng(n)
    points, query = random.normal(size=(n, 4)), random.normal(size=(m, 4))
    indices, distances = latent.nearest(points, query, k)
    everything = np.linalg.norm(points[None] - query[:, None], axis=-1)
    assert indices.shape == distances.shape == (m, min(k, n))
    np.testing.assert_allclose(distances, np.sort(everything, axis=1)[:, :k], rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(everything, indices, 1), distances, rtol=1e-5)


def test_a_memorised_picture_is_exactly_at_distance_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "_ROWS", 30)
    pictures = RANDOM.integers(0, 256, (100, 3, 8, 8), dtype=np.uint8)
    indices, distances = latent.nearest(pictures, pictures[[77, 3]], 2)
    assert indices[:, 0].tolist() == [77, 3]
    assert (distances[:, 0] == 0).all()
    assert (distances[:, 1] > 0).all()
