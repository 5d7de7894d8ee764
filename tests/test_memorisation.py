"""Nearest training images: exact, whatever the size of the parts in which they are searched."""

import numpy as np
import pytest

from vae_core import memorisation
from vae_core.memorisation import nearest_distances, nearest_images

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 3, 5, 4), dtype=np.uint8)
QUERY = np.random.default_rng(1).integers(0, 256, (7, 3, 5, 4), dtype=np.uint8)


def by_hand(images, query):
    difference = images[None].astype(np.float64) - query[:, None].astype(np.float64)
    return np.sqrt((difference**2).sum((2, 3, 4))) / 255


@pytest.mark.parametrize("numbers", [1, 60 * 17, 60 * 299, 10**6])
def test_the_nearest_are_found_in_parts_of_any_size(monkeypatch, numbers):
    monkeypatch.setattr(memorisation, "_NUMBERS", numbers)
    index, distance = nearest_images(IMAGES, QUERY, 9)
    exact = by_hand(IMAGES, QUERY)
    assert (index == exact.argsort(1)[:, :9]).all()
    assert np.allclose(distance, np.sort(exact, 1)[:, :9], atol=1e-6)


def test_a_copy_is_exactly_0_away():
    index, distance = nearest_images(IMAGES, IMAGES[40:43], 2)
    assert index[:, 0].tolist() == [40, 41, 42]
    assert (distance[:, 0] == 0).all()
    assert (distance[:, 1] > 0).all()


def test_a_copy_is_found_among_many_that_are_bright_and_alike():
    """|row|² is some 8·10⁸ here, which a float holds to 64."""
    light = np.tile(np.random.default_rng(2).integers(250, 256, (1, 3 * 64 * 64), dtype=np.uint8), (1000, 1))
    light[np.arange(1000), np.arange(1000)] -= 1
    light = light.reshape(1000, 3, 64, 64)
    index, distance = nearest_images(light, light[400:405], 1)
    assert index[:, 0].tolist() == [400, 401, 402, 403, 404]
    assert (distance == 0).all()


def test_all_images_are_returned_where_more_are_asked_for():
    index, distance = nearest_images(IMAGES[:4], QUERY, 10)
    assert np.sort(index, 1).tolist() == [[0, 1, 2, 3]] * 7
    assert (np.diff(distance, axis=1) >= 0).all()


def test_nearest_distances_are_the_first_of_each():
    assert (nearest_distances(IMAGES, QUERY) == nearest_images(IMAGES, QUERY, 3)[1][:, 0]).all()
