"""Film strips, drawing pads and picture grids under mouse, keyboard and finger, in a real browser."""

import io
import itertools
import re
import time

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import serve, settle
from tests.browser.traffic import Traffic

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

# What a run that changes no picture may send: texts, references to what the browser has, widget states.
_QUIET_BYTES = 30_000


@pytest.fixture(scope="module")
def gallery(browser):  # noqa: ARG001 (no browser, no server)
    with serve("tests/browser/gallery_strips.py") as url:
        yield url


@pytest.fixture
def page(open_page, gallery):
    return open_page(gallery)


@pytest.fixture
def watched(open_page, gallery):
    """A page and its traffic."""
    traffic = Traffic()
    page = open_page(gallery, watch=traffic.of)
    ready(page)
    return page, traffic


def strip(page, label):
    return page.get_by_test_id("film-strip").filter(has=page.get_by_label(label, exact=True)).first


def ready(page):
    """Wait until every strip has drawn its first frame."""
    page.wait_for_function(
        """() => {
            const hosts = [...document.querySelectorAll('[data-testid="stBidiComponentIsolated"]')];
            const strips = hosts.map((host) => host.shadowRoot?.querySelector('[data-testid="film-strip"]'));
            const drawn = strips.filter((root) => root && Number(root.dataset.redraws) > 0);
            return drawn.length === 18;
        }"""
    )


def redraws(root):
    return int(root.get_attribute("data-redraws"))


def runs(page):
    return int(page.get_by_text(re.compile(r"^runs \d+$")).inner_text().split()[1])


def frame_point(slider, index, count=64):
    """Where on the screen the thumb stands for frame `index`."""
    box = slider.bounding_box()
    size = 16
    return box["x"] + size / 2 + index / (count - 1) * (box["width"] - size), box["y"] + box["height"] / 2


def pixels(canvas):
    return canvas.evaluate("node => node.toDataURL()")


def test_dragging_redraws_with_every_move_and_reports_once(watched):
    page, traffic = watched
    root = strip(page, "Interpolation")
    slider = root.get_by_role("slider")
    before = pixels(root.locator("canvas"))
    page.mouse.move(*frame_point(slider, 10))
    page.mouse.down()
    traffic.forget()
    ran, drawn, start = runs(page), redraws(root), time.perf_counter()
    moves = 0
    while time.perf_counter() - start < 1.5:
        moves += 1
        target = moves % 126
        page.mouse.move(*frame_point(slider, target if target < 63 else 126 - target))
    drawn = redraws(root) - drawn
    page.mouse.move(*frame_point(slider, 40))
    assert not traffic.sent
    assert not traffic.received
    page.mouse.up()
    expect(page.get_by_text("one: 40", exact=True)).to_be_visible()
    settle(page)
    assert drawn >= 0.9 * moves  # one for each move that the browser was given; bench.slider measures the rate
    assert len(traffic.sent) == 1
    assert runs(page) == ran + 1
    assert pixels(root.locator("canvas")) != before
    assert sum(traffic.received) < _QUIET_BYTES
    expect(slider).to_have_attribute("aria-valuetext", "0.63")


def test_a_click_on_the_frame_it_stands_on_reports_nothing(watched):
    page, traffic = watched
    traffic.forget()
    page.mouse.click(*frame_point(strip(page, "Interpolation").get_by_role("slider"), 10))
    page.wait_for_timeout(600)
    assert not traffic.sent


def test_keys_move_it_and_report_once_for_a_burst(watched):
    page, traffic = watched
    slider = strip(page, "Interpolation").get_by_role("slider")
    slider.focus()
    traffic.forget()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_text("one: 15", exact=True)).to_be_visible()
    settle(page)
    assert len(traffic.sent) == 1
    page.keyboard.press("End")
    expect(page.get_by_text("one: 63", exact=True)).to_be_visible()
    page.keyboard.press("Home")
    expect(page.get_by_text("one: 0", exact=True)).to_be_visible()
    expect(slider).to_be_focused()


def test_a_finger_moves_it(open_page, gallery):
    page = open_page(gallery, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    ready(page)
    root = strip(page, "Interpolation")
    slider = root.get_by_role("slider")
    slider.scroll_into_view_if_needed()
    drawn = redraws(root)
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    x, y = frame_point(slider, 10)
    touch("touchStart", {"x": x, "y": y})
    for step in range(1, 31):
        touch("touchMove", {"x": x + 4 * step, "y": y})
        page.wait_for_timeout(16)
    touch("touchEnd")
    expect(page.get_by_text(re.compile(r"^one: \d+$"))).to_be_visible()
    assert redraws(root) - drawn >= 15
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    width = root.locator("canvas").bounding_box()["width"]
    assert width % 28 == 0


def test_play_runs_to_the_end_and_reports_once(watched):
    page, traffic = watched
    root = strip(page, "Interpolation")
    page.mouse.click(*frame_point(root.get_by_role("slider"), 50))
    expect(page.get_by_text("one: 50", exact=True)).to_be_visible()
    traffic.forget()
    root.get_by_role("button", name="Play").click()
    expect(root.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_text("one: 63", exact=True)).to_be_visible()
    expect(root.get_by_role("button", name="Play")).to_be_visible()
    assert len(traffic.sent) == 1


def test_nothing_plays_by_itself(open_page, gallery):
    page = open_page(gallery, reduced_motion="reduce")
    ready(page)
    root = strip(page, "Interpolation")
    drawn = redraws(root)
    page.wait_for_timeout(500)
    assert redraws(root) == drawn


def test_strips_are_independent(page):
    ready(page)
    roots = [strip(page, label) for label in ("Interpolation", "β", "z3 · 0.75 nats")]
    still = [redraws(root) for root in roots]
    roots[1].get_by_role("slider").press("ArrowRight")
    expect(page.get_by_text("two: 1", exact=True)).to_be_visible()
    assert redraws(roots[1]) > still[1]
    expect(page.get_by_text("one: 10", exact=True)).to_be_visible()
    expect(roots[2].get_by_role("slider")).to_have_js_property("value", "15")


def test_unchanged_pictures_are_not_sent_again(watched):
    page, traffic = watched
    first = sum(traffic.received)
    traffic.forget()
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("runs 2", exact=True)).to_be_visible()
    settle(page)
    assert sum(traffic.received) < min(_QUIET_BYTES, first / 5)
    traffic.forget()
    page.get_by_role("button", name="New frames").click()
    expect(page.get_by_text("runs 3", exact=True)).to_be_visible()
    settle(page)
    assert max(traffic.received) > 20_000  # the check above would see pictures if they were sent


def test_new_frames_leave_the_thumb_and_python_moves_it(page):
    ready(page)
    root = strip(page, "Interpolation")
    slider = root.get_by_role("slider")
    page.mouse.click(*frame_point(slider, 30))
    expect(page.get_by_text("one: 30", exact=True)).to_be_visible()
    old = pixels(root.locator("canvas"))
    page.get_by_role("button", name="New frames").click()
    expect(page.get_by_text("runs 3", exact=True)).to_be_visible()
    expect(page.get_by_text("before: 30", exact=True)).to_be_visible()
    expect(slider).to_have_js_property("value", "30")
    page.wait_for_function(
        "([node, old]) => node.toDataURL() !== old", arg=[root.locator("canvas").element_handle(), old]
    )
    page.get_by_role("button", name="To frame 3").click()
    expect(page.get_by_text("one: 3", exact=True)).to_be_visible()
    expect(slider).to_have_js_property("value", "3")
    page.mouse.click(*frame_point(slider, 20))
    expect(page.get_by_text("one: 20", exact=True)).to_be_visible()


def test_a_drag_outlives_runs_of_the_script(open_page, gallery):
    page = open_page_beating(open_page, gallery)
    root = strip(page, "Interpolation")
    slider = root.get_by_role("slider")
    page.mouse.move(*frame_point(slider, 10))
    page.mouse.down()
    page.mouse.move(*frame_point(slider, 30))
    began = runs(page)
    page.mouse.move(*frame_point(slider, 45), steps=10)
    page.get_by_text(re.compile(f"^runs ({began + 4}|{began + 5}|{began + 6})$")).wait_for()
    expect(slider).to_have_attribute("aria-valuetext", "0.71")
    page.mouse.up()
    expect(page.get_by_text("one: 45", exact=True)).to_be_visible()


def open_page_beating(open_page, gallery):
    page = open_page(gallery)
    page.goto(f"{gallery}/?beat=1")
    page.wait_for_selector("text=/^runs [2-9]/")
    return page


def test_a_drawing_arrives_and_can_be_taken_back(watched):
    page, traffic = watched
    pad = page.get_by_test_id("draw-pad")
    canvas = pad.get_by_role("img")
    canvas.scroll_into_view_if_needed()
    traffic.forget()
    draw(page, canvas, (60, 60), (200, 60), (120, 220))
    draw(page, canvas, (80, 140), (180, 140))
    expect(page.get_by_text(re.compile(r"^drawing: [1-9]\d+ bytes$"))).to_be_visible()
    settle(page)
    assert len(traffic.sent) == 1  # the second stroke followed within the pause
    expect(pad).to_have_attribute("data-strokes", "2")
    whole = pixels(canvas)
    pad.get_by_role("button", name="Undo").click()
    expect(pad).to_have_attribute("data-strokes", "1")
    assert pixels(canvas) != whole
    pad.get_by_role("button", name="Clear").press("Enter")
    expect(page.get_by_text("drawing: 0 bytes")).to_be_visible()
    expect(pad.get_by_role("button", name="Clear")).to_be_disabled()
    expect(canvas).to_be_focused()


def test_the_keyboard_undoes_and_clears_a_drawing(page):
    pad = page.get_by_test_id("draw-pad")
    canvas = pad.get_by_role("img")
    canvas.scroll_into_view_if_needed()
    for y in (60, 120, 180):
        draw(page, canvas, (60, y), (200, y))
    canvas.focus()
    page.keyboard.press("Control+z")
    expect(pad).to_have_attribute("data-strokes", "2")
    page.keyboard.press("Delete")
    expect(pad).to_have_attribute("data-strokes", "0")


def test_a_finger_draws_without_scrolling(open_page, gallery):
    page = open_page(gallery, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    pad = page.get_by_test_id("draw-pad")
    canvas = pad.get_by_role("img")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    session = page.context.new_cdp_session(page)
    x, y = box["x"] + 100, box["y"] + 60
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 16):
        point = {"x": x, "y": y + 8 * step}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.get_by_text(re.compile(r"^drawing: [1-9]\d+ bytes$"))).to_be_visible()
    expect(pad).to_have_attribute("data-strokes", "1")
    assert canvas.evaluate("node => node.getContext('2d').getImageData(100, 120, 1, 1).data[0]") == 255


def draw(page, canvas, *points):
    box = canvas.bounding_box()
    for place, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=6)
        if place == 0:
            page.mouse.down()
    page.mouse.up()


def test_a_click_selects_a_picture_and_new_pictures_clear_it(watched):
    page, traffic = watched
    grid = page.get_by_role("group", name="Samples")
    tile = grid.get_by_role("button", name="picture 12, 1.1")
    traffic.forget()
    tile.click()
    expect(page.get_by_text("chosen: 11", exact=True)).to_be_visible()
    expect(tile).to_have_attribute("aria-pressed", "true")
    expect(grid.locator('[aria-pressed="true"]')).to_have_count(1)
    settle(page)
    assert len(traffic.sent) == 1
    assert sum(traffic.received) < _QUIET_BYTES
    expect(page.get_by_text("plain: 2", exact=True)).to_be_visible()
    page.get_by_role("button", name="New frames").click()
    expect(page.get_by_text("chosen: None", exact=True)).to_be_visible()
    expect(grid.locator('[aria-pressed="true"]')).to_have_count(0)


def test_the_grid_is_one_stop_of_the_tab_key_and_arrows_walk_it(page):
    grid = page.get_by_role("group", name="Digits")
    first = grid.get_by_role("button", name="picture 3", exact=True)
    expect(grid.locator('button[tabindex="0"]')).to_have_count(1)
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(grid.get_by_role("button", name="picture 4", exact=True)).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page.get_by_text("plain: 11", exact=True)).to_be_visible()
    page.keyboard.press("Home")
    page.keyboard.press(" ")
    expect(page.get_by_text("plain: 0", exact=True)).to_be_visible()


@pytest.mark.parametrize("density", [1, 3])
def test_every_tile_shows_its_own_picture_in_squares_of_whole_pixels(open_page, gallery, density):
    page = open_page(gallery, device_scale_factor=density)
    grid = page.get_by_role("group", name="Digits")
    page.wait_for_function(
        "node => getComputedStyle(node).backgroundImage !== 'none'", arg=grid.locator(".picture").first.element_handle()
    )
    for index in (0, 5, 11):
        tile = grid.locator(".picture").nth(index)
        tile.scroll_into_view_if_needed()
        left, top = (round(tile.bounding_box()[side] * density) for side in "xy")
        window = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"))
        places = (  # a box between two of the screen's pixels may be drawn from either on
            window[top + down :, left + right :][: 32 * density, : 32 * density]
            for down, right in itertools.product((0, -1, 1), repeat=2)
        )
        tiles = (place.reshape(8, 4 * density, 8, 4 * density).swapaxes(1, 2)[1:-1, 1:-1] for place in places)
        squares = next(tile for tile in tiles if (tile.min((2, 3)) == tile.max((2, 3))).all())  # corners are round
        angle = 2 * np.pi * index / 11
        rows, columns = np.mgrid[:8, :8] / 7 - 0.5
        spot = np.exp(-((rows - 0.3 * np.sin(angle)) ** 2 + (columns - 0.3 * np.cos(angle)) ** 2) / 0.02)
        np.testing.assert_allclose(squares[..., 0, 0], 255 * spot[1:-1, 1:-1], atol=0.51)


def test_what_a_strip_shows_is_saved_as_a_picture(page):
    ready(page)
    root = page.get_by_test_id("film-strip").first
    root.hover()
    with page.expect_download() as saved:
        root.get_by_role("button", name="Save as PNG").click()
    assert saved.value.suggested_filename.endswith(".png")
    with Image.open(saved.value.path()) as picture:
        pixels = np.asarray(picture.convert("L"))
    canvas = root.locator("canvas").first.bounding_box()
    assert pixels.shape[0] >= 2 * canvas["height"]
    assert pixels.std() > 10
