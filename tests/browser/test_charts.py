"""What is written on a narrow chart, in a real browser."""

import itertools

import pytest

from tests.browser.conftest import serve
from ui.layout import dimension_name

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

# Keeps each text that is drawn on a canvas with its left edge, as it stands on the canvas before any rotation.
_LISTEN = """
window.written = {};
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  const wide = this.measureText(text).width;
  const from = { left: 0, center: wide / 2, right: wide }[this.textAlign];
  window.written[text] = { left: x - from, right: x - from + wide, y };
  write.call(this, text, x, y);
};
"""


@pytest.fixture(scope="module")
def gallery(browser):  # noqa: ARG001 (no browser, no server)
    with serve("tests/browser/gallery_charts.py") as url:
        yield url


def test_a_narrow_chart_names_its_epochs_its_values_and_both_changes(gallery, open_page):
    page = open_page(gallery, watch=lambda page: page.add_init_script(_LISTEN))
    page.wait_for_function("window.written.epoch")
    written = page.evaluate("window.written")
    assert {"20", "40", "60", "80"} <= written.keys()
    values = [place for text, place in written.items() if text.startswith("−") and text[1:].isdigit()]
    assert len(values) >= 3
    assert min(place["left"] for place in values) >= 14, "the axis's title stands in the first 14 pixels"
    beta, rate = written["β 40"], written["rate 0.0005"]
    assert abs(beta["y"] - rate["y"]) >= 12, "one stands below the other"
    assert max(place["right"] for place in written.values()) <= 260


@pytest.mark.parametrize("count", [1, 2, 10, 128])
def test_bars_have_the_names_of_their_dimensions_side_by_side(gallery, open_page, count):
    page = open_page(f"{gallery}?bars={count}", watch=lambda page: page.add_init_script(_LISTEN))
    page.wait_for_function("window.written['latent dimension']")
    written = page.evaluate("window.written")
    names = [dimension_name(j) for j in range(count) if dimension_name(j) in written]
    assert len(names) >= min(count, 5)
    for one, other in itertools.pairwise(names):
        assert written[one]["right"] + 3 <= written[other]["left"]
    box, last = page.get_by_test_id("live-chart").get_by_role("application").bounding_box(), written[names[-1]]
    page.mouse.move(box["x"] + (last["left"] + last["right"]) / 2, box["y"] + box["height"] / 2)
    page.get_by_text(f"latent dimension {names[-1]}", exact=True).wait_for()


def test_a_finger_reads_a_value_that_stays_until_another_place_is_touched(gallery, open_page):
    page = open_page(gallery, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    chart = page.get_by_test_id("live-chart")
    box = chart.get_by_role("application").bounding_box()
    page.touchscreen.tap(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"])
    tip = chart.get_by_role("status")
    tip.get_by_text("epoch").wait_for()
    page.wait_for_timeout(300)
    assert tip.is_visible()
    page.touchscreen.tap(box["x"] + 0.5 * box["width"], box["y"] + box["height"] + 100)
    tip.wait_for(state="hidden")
