"""The page of β in a real browser: the strip under mouse, keyboard and finger, its traffic, and a sweep that lands."""

import re
import time

import pytest

from tests.browser.conftest import settle
from tests.browser.traffic import Traffic
from ui.components.scripts import script

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
MODEL = "digits-beta"
_QUIET_BYTES = 60_000  # numbers and charts of one run, without any picture


@pytest.fixture
def opened(open_page, app):
    def open_one(settings: str = "", **context):
        page = open_page(f"{app}/beta?model={MODEL}{settings}", **context)
        ready(page)
        return page

    return open_one


def ready(page):
    """Wait until the strip has drawn and everything below it is there."""
    expect(strip(page)).to_have_attribute("data-redraws", re.compile("[1-9]"))
    expect(metric(page, "Active units")).to_be_visible()
    settle(page)


def strip(page):
    return page.get_by_test_id("film-strip").first


def thumb(page):
    return strip(page).get_by_role("slider")


def redraws(page) -> int:
    return int(strip(page).get_attribute("data-redraws"))


def place(page, fraction: float) -> tuple[float, float]:
    box = thumb(page).bounding_box()
    return box["x"] + 8 + fraction * (box["width"] - 16), box["y"] + box["height"] / 2


def metric(page, label: str):
    return page.get_by_test_id("stMetric").filter(has_text=label).get_by_test_id("stMetricValue")


def canvases(page) -> list[str]:
    """Reconstructions, samples, map and curve, as they are now."""
    return strip(page).locator("canvas").evaluate_all("nodes => nodes.map((node) => node.toDataURL())")


def test_everything_moves_under_mouse_keys_and_play_and_python_hears_once_each_time(opened):
    traffic = Traffic()
    page = opened(watch=traffic.of, reduced_motion="reduce")
    before, beta = canvases(page), metric(page, "β").first
    page.mouse.move(*place(page, 2 / 3))
    page.mouse.down()
    traffic.forget()
    drawn, moves, start = redraws(page), 0, time.perf_counter()
    while time.perf_counter() - start < 1.5:
        moves += 1
        page.mouse.move(*place(page, 0.5 + 0.4 * abs((moves % 40) / 20 - 1)))
    drawn = redraws(page) - drawn
    page.mouse.move(*place(page, 0.1))
    expect(thumb(page)).to_have_attribute("aria-valuetext", re.compile("^β = 0.0"))
    assert (traffic.sent, traffic.received) == ([], [])
    assert drawn >= 0.8 * moves
    assert all(new != old for new, old in zip(canvases(page), before, strict=True))
    page.mouse.up()
    expect(beta).to_have_text(re.compile("^0.0"))
    settle(page)
    assert len(traffic.sent) == 1
    assert max(traffic.received) < _QUIET_BYTES
    assert re.search(r"[?&]beta=0\.0\d+", page.url)

    traffic.forget()
    page.keyboard.press("Home")
    expect(beta).to_have_text("0.01")
    settle(page)
    assert len(traffic.sent) == 1
    expect(thumb(page)).to_be_focused()

    page.keyboard.press("End")
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(beta).to_have_text("4.64")
    settle(page)
    traffic.forget()
    strip(page).get_by_role("button", name="Play").click()
    expect(beta).to_have_text("10")
    settle(page)
    assert len(traffic.sent) == 1

    traffic.forget()
    old = strip(page).locator("canvas").first.evaluate("node => node.toDataURL()")
    page.get_by_role("button", name="Other pictures").click()
    page.wait_for_function(
        "([node, old]) => node.toDataURL() !== old",
        arg=[strip(page).locator("canvas").first.element_handle(), old],
    )
    expect(thumb(page)).to_have_attribute("aria-valuetext", re.compile("^β = 10 "))
    assert max(traffic.received) > _QUIET_BYTES  # the checks above would see pictures if they were sent


def test_a_finger_moves_it_on_a_phone_in_the_dark(opened):
    page = opened(**PHONE, color_scheme="dark")
    thumb(page).scroll_into_view_if_needed()
    session = page.context.new_cdp_session(page)
    drawn = redraws(page)
    x, y = place(page, 0.6)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 21):
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x - 5 * step, "y": y}]})
        page.wait_for_timeout(16)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(metric(page, "β").first).not_to_have_text("1")
    assert redraws(page) - drawn >= 10
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("model", ["mnist-d2-beta", "sprites-beta"])
def test_thumb_square_map_and_curve_are_seen_together(open_page, app, model):
    page = open_page(f"{app}/beta?model={model}")
    ready(page)
    seen, curve = (page.locator(f".{name} canvas").bounding_box() for name in ("map", "curve"))
    assert seen["width"] >= 380
    assert seen["height"] == pytest.approx(seen["width"], abs=2)
    assert curve["height"] >= 300
    assert max(box["y"] + box["height"] for box in (seen, curve, thumb(page).bounding_box())) <= 900
    assert "β 0.01–10" in page.get_by_role("combobox", name=re.compile("Model")).input_value()


@pytest.mark.parametrize("low", [0.0, -3.7, 61.2, 129.4])
def test_an_axis_has_three_ticks_or_more_and_not_many(browser, low):
    page = browser.new_page()
    source = script("ticks")
    for span in [1e-3 * 1.37**i for i in range(50)]:
        for count in (1, 2.5, 4, 8):
            found = page.evaluate(f"{source}; ticks([{low}, {low + span}], {count})")
            values = [tick["value"] for tick in found]
            assert 3 <= len(values) <= max(8, 2 * count + 1)
            assert low - 1e-9 <= min(values)
            assert max(values) <= low + span + 1e-9
            assert len({tick["text"] for tick in found}) == len(found)
    assert [tick["text"] for tick in page.evaluate(f"{source}; ticks([0.4, 2.6], 5, true)")] == ["1", "2"]
    page.close()


def test_the_frame_s_slider_moves_the_thumb_and_a_sweep_lands_on_the_curve(opened):
    page = opened()
    page.get_by_test_id("stSidebar").get_by_role("slider").press("ArrowLeft")
    expect(thumb(page)).to_have_attribute("aria-valuetext", re.compile("^β = 0.88"))
    page.get_by_text("Train models of one β").click()
    page.get_by_label("Epochs").fill("1")
    page.get_by_label("Epochs").press("Enter")
    settle(page)
    betas = page.get_by_test_id("stMultiSelect").last
    for beta in ("0.1", "1", "3", "10"):
        betas.get_by_label(f"Remove {beta}", exact=True).last.click()
        expect(betas.get_by_label(f"Remove {beta}", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Train 1 model", exact=True).click()
    chart = page.get_by_test_id("stPlotlyChart").first
    expect(chart.get_by_text(re.compile("β = 0.3 · .{4} · mlp"))).to_be_visible()
    expect(page.get_by_test_id("stProgress")).to_have_count(0)
