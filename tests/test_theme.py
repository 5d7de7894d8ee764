"""Class colours: the same everywhere, and told apart by colour-blind people."""

import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ui import posterior_line, theme

ROOT = Path(__file__).resolve().parents[1]

# Linear RGB as people without one kind of cone see it. Source: Machado, Oliveira, Fernandes 2009, severity 1.
VISION = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> np.ndarray:
    """ "#rrggbb" as linear RGB in [0, 1] (IEC 61966-2-1)."""
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(colour: str, vision: str = "all cones") -> np.ndarray:
    """CIELAB (D65) of a colour as it is seen."""
    seen = np.clip(np.asarray(VISION[vision]) @ linear(colour), 0, 1)
    x, y, z = (
        np.cbrt(part) if part > (6 / 29) ** 3 else part / (3 * (6 / 29) ** 2) + 4 / 29
        for part in TO_XYZ @ seen / TO_XYZ.sum(1)
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(a: str, b: str, vision: str) -> float:
    return float(np.linalg.norm(lab(a, vision) - lab(b, vision)))


def test_the_yardstick_knows_what_is_known():
    np.testing.assert_allclose(lab("#ffffff"), [100, 0, 0], atol=0.01)
    np.testing.assert_allclose(lab("#ff0000"), [53.24, 80.09, 67.20], atol=0.01)
    assert distance("#ff0000", "#00ff00", "all cones") > 150
    assert distance("#c05000", "#6c6c00", "protanopia") < distance("#c05000", "#6c6c00", "all cones") / 3


@pytest.mark.parametrize(
    ("vision", "least"), [("all cones", 35), ("protanopia", 24), ("deuteranopia", 24), ("tritanopia", 24)]
)
def test_every_two_classes_are_told_apart(vision, least):
    close = min(combinations(theme.CLASS_COLOURS, 2), key=lambda pair: distance(*pair, vision))
    assert distance(*close, vision) >= least, close


@pytest.mark.parametrize("pair", [(3, 8), (5, 7), (4, 9), (7, 9), (3, 5), (5, 8)])
def test_digits_that_lie_together_have_colours_far_apart(pair):
    colours = [theme.class_colour(label) for label in pair]
    assert min(distance(*colours, vision) for vision in ("all cones", "protanopia", "deuteranopia")) >= 40


def test_every_class_is_seen_on_light_and_dark():
    for colour in theme.CLASS_COLOURS:
        assert 40 <= lab(colour)[0] <= 84


def contrast(a: str, b: str) -> float:
    """WCAG 2.2."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", [*theme.CLASS_COLOURS, *theme.TERM_COLOURS.values(), "#000000", "#ffffff"])
def test_text_on_a_colour_is_read(colour):
    ink = {"black": "#000000", "white": "#ffffff"}[theme.ink_on(colour)]
    assert contrast(ink, colour) == max(contrast("#000000", colour), contrast("#ffffff", colour)) > 4.5


@pytest.mark.parametrize("name", ["light", "dark"])
def test_every_density_and_curve_is_seen_on_light_and_dark(name):
    ground = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())["theme"][name]["backgroundColor"]
    assert all(contrast(colour, ground) >= 3 for colour in (*posterior_line._COLOURS, *theme.LINE_COLOURS))


@pytest.mark.parametrize(("vision", "least"), [("all cones", 35), ("protanopia", 20), ("deuteranopia", 20)])
def test_every_two_curves_are_told_apart(vision, least):
    close = min(combinations(theme.LINE_COLOURS, 2), key=lambda pair: distance(*pair, vision))
    assert distance(*close, vision) >= least, (close, distance(*close, vision))


def test_streamlits_own_charts_use_the_same_colours():
    config = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())
    assert config["theme"]["chartCategoricalColors"] == list(theme.CLASS_COLOURS)
