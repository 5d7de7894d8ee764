"""Posterior collapse and holes in a real browser: what a click shows, its link, and both themes and a phone."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import serve, settle
from tests.browser.train_page import stop_all
from tests.waiting import until

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LOOKS = {"dark": {"color_scheme": "dark"}, "phone": PHONE}
ADDRESS = "posterior-collapse-and-holes?model=digits-beta"
HOLE = re.compile(r"In a (hole|gap): log q\(z\) − log p\(z\) = −[\d,.]+ nats")


@pytest.fixture(scope="module")
def served(browser, tmp_path_factory):  # noqa: ARG001 (no browser, no server)
    folder = tmp_path_factory.mktemp("runs")
    with serve("app.py", VAE_RUNS=str(folder), VAE_HOSTED="0") as url:
        yield url, folder


@pytest.fixture
def app(served):
    """The address of a server on which nothing is in training."""
    url, folder = served
    yield url
    stop_all(folder)


def scrolls_under_a_finger(page, place):
    """A finger that moves up over `place` scrolls the page."""
    place.scroll_into_view_if_needed()
    session, main = page.context.new_cdp_session(page), page.get_by_test_id("stMain")
    box, before = place.bounding_box(), main.evaluate("main => main.scrollTop")
    x, y = box["x"] + box["width"] / 2, min(box["y"] + box["height"] / 2, 780)
    for kind, points in [("touchStart", [0]), *(("touchMove", [10 * step]) for step in range(1, 13)), ("touchEnd", [])]:
        session.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y - up} for up in points]}
        )
    until(lambda: main.evaluate("main => main.scrollTop") > before + 60)


@pytest.mark.parametrize("look", LOOKS)
def test_it_opens_in_every_look_and_fits_its_screen(app, open_page, look):
    page = open_page(f"{app}/{ADDRESS}", **LOOKS[look])
    for title in ("β = 0.01", "β = 1", "β = 10"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(page.get_by_text(HOLE)).to_have_count(1)
    expect(page.get_by_test_id("latent-map")).to_have_count(3)
    settle(page)
    if look == "phone":
        scrolls_under_a_finger(page, page.get_by_test_id("latent-map").locator(".stage").nth(1))
        scrolls_under_a_finger(page, page.locator(".js-plotly-plot").first)
    else:
        tops = [stage.bounding_box()["y"] for stage in page.get_by_test_id("latent-map").locator(".stage").all()]
        assert tops == pytest.approx([tops[0]] * 3, abs=1), "side by side, however long the captions"
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_click_on_a_sample_or_the_map_is_looked_at_in_each_model_and_stands_in_the_link(app, open_page):
    page = open_page(f"{app}/{ADDRESS}")
    grid = page.get_by_test_id("picture-grid").filter(has=page.locator('[data-marked="true"]')).first
    expect(grid.locator('[data-marked="true"]').first).to_be_visible()
    grid.locator('[data-marked="false"]').first.click()
    page.wait_for_function("new URLSearchParams(location.search).get('collapse_z')?.startsWith('z:')")
    settle(page)
    expect(page.get_by_text(HOLE)).to_have_count(0)
    before = page.evaluate("new URLSearchParams(location.search).get('collapse_z')")
    stage = page.get_by_test_id("latent-map").first.locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"])
    page.wait_for_function("before => new URLSearchParams(location.search).get('collapse_z') !== before", arg=before)
    settle(page)
    place = page.get_by_label("z", exact=True).input_value()
    assert place.startswith("z:")
    fresh = open_page(page.url)
    expect(fresh.get_by_label("z", exact=True)).to_have_value(place)


def test_a_map_that_was_moved_takes_another_scale_as_well(app, open_page):
    page, other = open_page(f"{app}/{ADDRESS}"), open_page(f"{app}/{ADDRESS}&collapse_same_scale=false")

    def differing() -> float:
        """The share of pixels in which the first maps differ."""
        shots = [one.get_by_test_id("latent-map").first.locator(".stage").screenshot() for one in (page, other)]
        first, second = (np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), int) for shot in shots)
        return float((abs(first - second).max(2) > 48).mean())

    for one in (page, other):
        settle(one)
        expect(one.get_by_text("Encoding the images")).to_have_count(0)
    page.get_by_text("Same scale", exact=True).click()
    until(lambda: differing() < 0.002)
    box = page.get_by_test_id("latent-map").first.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 90, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert differing() > 0.01
    for _ in range(2):
        page.get_by_text("Same scale", exact=True).click()
        settle(page)
    page.mouse.move(5, 5)
    until(lambda: differing() < 0.002)


def test_three_are_made_with_progress_and_can_be_stopped(app, open_page):
    page = open_page(f"{app}/posterior-collapse-and-holes?model=digits-d2")
    page.get_by_role("button", name="Make them").click()
    expect(page.get_by_text(re.compile(r"β = 100 · queued"))).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text(re.compile(r"β = 100 · stopped"))).to_be_visible()
    expect(page.get_by_role("button", name="Make them")).to_be_visible()
