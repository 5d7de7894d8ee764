"""The latent map under a mouse, a finger and a keyboard, over 10,000 points."""

import base64
import io
import re
import time

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import serve, settle, still

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def address():
    with serve("tests/browser/gallery_map.py") as url:
        yield url


@pytest.fixture
def gallery(open_page, address):
    page = open_page(address)
    ready(page)
    return page


def ready(page):
    page.get_by_test_id("latent-map").locator("canvas").first.wait_for()
    page.wait_for_function("latentAtlases.size && [...latentAtlases.values()][0].pages.length")
    still(page)


def redraws(page) -> int:
    return int(page.get_by_test_id("latent-map").get_attribute("data-redraws"))


def root(page):
    return page.get_by_test_id("latent-map").element_handle()


def listen(page) -> list:
    """What the page sends to its server from now on, one entry a message."""
    sent = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameSent", lambda frame: sent.append(frame))
    return sent


def centre(page) -> tuple[float, float]:
    """The middle of the plot, where the gallery's point 0 lies, in pixels of the page."""
    box = page.get_by_test_id("latent-map").locator(".stage").bounding_box()
    return box["x"] + 50 + (box["width"] - 60) / 2, box["y"] + 10 + (box["height"] - 54) / 2


def dots(page) -> np.ndarray:
    """What the visitor sees of the map, as RGB."""
    return np.asarray(Image.open(io.BytesIO(page.get_by_test_id("latent-map").screenshot())).convert("RGB"))


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of about this colour."""
    return int((abs(picture.astype(int) - colour).max(2) < 24).sum())


def differing(a: np.ndarray, b: np.ndarray) -> float:
    """The share of pixels that differ clearly."""
    return float((abs(a.astype(int) - b).max(2) > 48).mean())


def toggle(page, label: str):
    page.get_by_text(label, exact=True).click()
    settle(page)
    still(page)


def test_ten_thousand_points_are_drawn_in_their_colours(gallery):
    assert gallery.get_by_test_id("latent-map").get_attribute("data-points") == "10000"
    picture = dots(gallery)
    for colour in [(68, 119, 170), (238, 102, 119), (34, 136, 51), (204, 187, 68), (102, 204, 238)]:
        assert near(picture, colour) > 500
    assert near(picture, (170, 51, 119)) == 0


def test_a_click_tells_python_once_which_point(gallery):
    gallery.mouse.click(*centre(gallery))
    gallery.get_by_text("Selected point: 1 points, first 0").wait_for()
    gallery.get_by_text("At 0.00, 0.00").wait_for()
    gallery.keyboard.press("Escape")
    gallery.get_by_text("Nothing selected").wait_for()


def test_hover_shows_the_points_own_picture_without_the_server(gallery):
    sent = listen(gallery)
    gallery.mouse.move(*centre(gallery))
    tooltip = gallery.get_by_test_id("latent-map").get_by_role("status")
    tooltip.get_by_text("Test image 0").wait_for()
    name = ["zero", "one", "two", "three", "four"]
    data = tooltip.locator("canvas.picture").evaluate("canvas => canvas.toDataURL()")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("L"))
    assert picture.shape == (8, 8)
    tooltip.get_by_text(f"class {name[int(picture.mean(1).argmax())]}").wait_for()
    gallery.mouse.move(5, 5)
    tooltip.wait_for(state="hidden")
    assert not sent


def test_dragging_pans_smoothly_and_sends_nothing(gallery):
    x, y = centre(gallery)
    before, start, first, moves = dots(gallery), time.monotonic(), redraws(gallery), 0
    gallery.mouse.move(x, y)
    gallery.mouse.down()
    while time.monotonic() - start < 2:
        phase = 6 * (time.monotonic() - start)
        gallery.mouse.move(x + 80 * np.sin(phase), y + 40 * np.cos(phase))
        moves += 1
    gallery.mouse.move(x + 120, y)
    drawn = redraws(gallery) - first
    gallery.mouse.up()
    gallery.mouse.move(5, 5)
    still(gallery)
    assert drawn >= 0.5 * moves  # bench.scatter measures the rate
    after = dots(gallery)
    assert differing(before[100:500, 300:600], after[100:500, 420:720]) < 0.01
    assert differing(before[100:500, 300:600], after[100:500, 300:600]) > 0.05
    gallery.get_by_text("Nothing selected").wait_for()


def test_the_wheel_zooms_about_the_pointer_and_reset_undoes_it(gallery):
    before = dots(gallery)
    x, y = centre(gallery)
    gallery.mouse.move(x, y)
    for _ in range(5):
        gallery.mouse.wheel(0, -240)
    still(gallery)
    gallery.mouse.click(x, y)
    gallery.get_by_text("Selected point: 1 points, first 0").wait_for()
    gallery.keyboard.press("Escape")
    gallery.get_by_text("Nothing selected").wait_for()
    gallery.get_by_role("button", name="Show all points").click()
    gallery.mouse.move(5, 5)
    still(gallery)
    assert differing(before[100:500, 100:700], dots(gallery)[100:500, 100:700]) < 0.001


@pytest.mark.parametrize("with_shift", [True, False])
def test_a_lasso_gives_python_the_points_inside(gallery, with_shift):
    x, y = centre(gallery)
    if with_shift:
        gallery.keyboard.down("Shift")
    else:
        gallery.get_by_role("button", name=re.compile("^Lasso")).click()
    gallery.mouse.move(x + 20, y - 20)
    gallery.mouse.down()
    for dx, dy in [(200, -30), (200, -250), (20, -250), (20, -20)]:
        gallery.mouse.move(x + dx, y + dy, steps=4)
    gallery.mouse.up()
    gallery.keyboard.up("Shift")
    gallery.get_by_text(re.compile(r"Selected lasso: \d{3,4} points")).wait_for()
    gallery.get_by_text(re.compile(r"Classes in the lasso: \[(0, )?1")).wait_for()
    still(gallery)
    assert near(dots(gallery), (34, 136, 51)) < 200, "points outside the lasso fade"


def test_the_legend_hides_and_shows_a_class(gallery):
    assert near(dots(gallery)[:500], (34, 136, 51)) > 500
    gallery.get_by_role("button", name="two").click()
    still(gallery)
    assert near(dots(gallery)[:500], (34, 136, 51)) == 0
    gallery.get_by_role("button", name="two").click()
    still(gallery)
    assert near(dots(gallery)[:500], (34, 136, 51)) > 500


def test_a_legend_keeps_the_focus_while_points_move(gallery):
    button = gallery.get_by_role("button", name="two")
    button.focus()
    first = redraws(gallery)
    gallery.get_by_label("Move the points").evaluate("toggle => toggle.click()")
    gallery.wait_for_function("([node, drawn]) => Number(node.dataset.redraws) > drawn", arg=[root(gallery), first])
    settle(gallery)
    still(gallery)
    expect(button).to_be_focused()
    gallery.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(button).to_be_focused()


def test_moved_points_glide_and_keep_the_view(gallery):
    x, y = centre(gallery)
    gallery.mouse.move(x, y)
    gallery.mouse.wheel(0, -400)
    gallery.mouse.move(5, 5)
    still(gallery)
    first, before = redraws(gallery), dots(gallery)
    toggle(gallery, "Move the points")
    gallery.wait_for_function(  # over several frames, however late a busy machine begins
        "([node, enough]) => Number(node.dataset.redraws) >= enough", arg=[root(gallery), first + 5]
    )
    still(gallery)
    toggle(gallery, "Move the points")
    assert differing(before[100:500, 100:700], dots(gallery)[100:500, 100:700]) < 0.001


def test_a_rerun_with_the_same_data_redraws_nothing(gallery):
    first = redraws(gallery)
    gallery.get_by_role("button", name="Rerun").click()
    gallery.get_by_text("Reruns: 1").wait_for()
    settle(gallery)
    assert redraws(gallery) == first


def test_thumbnails_take_the_place_of_dots_and_grow_denser(gallery):
    toggle(gallery, "Thumbnails")
    few = near(dots(gallery), (0, 0, 0))
    assert few > 5_000
    gallery.mouse.move(*centre(gallery))
    gallery.mouse.wheel(0, -800)
    gallery.mouse.move(5, 5)
    still(gallery)
    assert near(dots(gallery), (0, 0, 0)) > few
    toggle(gallery, "Thumbnails")
    assert near(dots(gallery)[100:500], (0, 0, 0)) == 0


def test_colour_bar_background_contours_and_a_click_on_an_empty_place(gallery):
    toggle(gallery, "Colour by value")
    gallery.get_by_test_id("latent-map").get_by_text("First dimension").wait_for()
    toggle(gallery, "Background")
    assert near(dots(gallery), (217, 217, 217)) + near(dots(gallery), (150, 150, 150)) > 20_000
    x, y = centre(gallery)
    gallery.mouse.click(x + 400, y + 200)
    gallery.get_by_text("Selected place: 0 points, first None").wait_for()
    assert float(gallery.get_by_text(re.compile("^At")).inner_text().split()[1].strip(",")) > 4


@pytest.mark.parametrize("side", [-1, 1])
def test_a_mark_far_away_is_pointed_to_from_the_edge_and_the_points_keep_their_view(open_page, address, side):
    pages = [open_page(f"{address}?n=3{query}") for query in ("", f"&far={side * 300}")]
    for page in pages:
        ready(page)
    without, pointed = map(dots, pages)
    changed = np.argwhere((abs(without.astype(int) - pointed).max(2) > 48).T)
    left, right = changed[:, 0].min(), changed[:, 0].max()
    assert right - left < 160  # the arrow, the mark and its words, and nothing else
    x, _ = centre(pages[1])
    middle = x - pages[1].get_by_test_id("latent-map").bounding_box()["x"]
    reach = (pages[1].get_by_test_id("latent-map").locator(".stage").bounding_box()["width"] - 60) / 2
    outer = right - middle if side > 0 else middle - left
    assert reach - 6 < outer < reach


def test_what_is_decoded_follows_the_pointer_blended_between_cells(open_page, address):
    gallery = open_page(f"{address}?n=3")  # no point is near the pointer but that in the middle
    ready(gallery)
    toggle(gallery, "Plane")
    x, y = centre(gallery)
    sent = listen(gallery)
    decoded = gallery.get_by_test_id("latent-map").locator("canvas.decoded")
    box = gallery.get_by_test_id("latent-map").locator(".stage").bounding_box()
    scale = 0.94 * min(box["width"] - 60, box["height"] - 54) / 8  # pixels a unit; the points reach from −4 to 4
    for across, up in [(0.0, 0.0), (1.3, 0.6), (-0.7, -1.45), (1.99, -1.99)]:
        before = redraws(gallery)
        gallery.mouse.move(x + scale * across, y - scale * up)
        gallery.wait_for_function("([map, before]) => map.dataset.redraws > before", arg=[root(gallery), before])
        red, green, *_ = decoded.evaluate("c => c.getContext('2d').getImageData(4, 4, 1, 1).data")
        assert (red, green) == (pytest.approx(120 - 50 * up, abs=6), pytest.approx(120 + 50 * across, abs=6))
    gallery.mouse.move(x + 2.5 * scale, y)
    decoded.wait_for(state="hidden")
    assert not sent


def test_over_a_point_its_own_place_is_decoded(gallery):
    toggle(gallery, "Plane")
    x, y = centre(gallery)
    gallery.mouse.move(x + 5, y - 4)
    tooltip = gallery.get_by_test_id("latent-map").get_by_role("status")
    tooltip.get_by_text("Test image 0").wait_for()
    tooltip.get_by_text("decoded at 0.00, 0.00").wait_for()


def test_the_plane_pad_sends_its_place_once_when_it_is_let_go(gallery):
    toggle(gallery, "Plane")
    gallery.get_by_role("button", name=re.compile("^Plane pad")).click()
    x, y = centre(gallery)
    sent = listen(gallery)
    gallery.mouse.move(x + 60, y)
    gallery.mouse.down()
    start, first, moves = time.monotonic(), redraws(gallery), 0
    while time.monotonic() - start < 2:
        phase = 6 * (time.monotonic() - start)
        gallery.mouse.move(x + 60 * np.cos(phase), y + 60 * np.sin(phase))
        moves += 1
    drawn = redraws(gallery) - first
    assert not sent
    gallery.mouse.move(x + 2, y)
    gallery.mouse.up()
    gallery.get_by_text("Selected place: 0 points, first None").wait_for()
    assert len(sent) == 1
    assert drawn >= 0.5 * moves  # bench.scatter measures the rate


def test_the_plane_pad_by_keyboard(gallery):
    toggle(gallery, "Plane")
    gallery.get_by_test_id("latent-map").get_by_role("application").focus()
    gallery.keyboard.press("p")
    for _ in range(3):
        gallery.keyboard.press("Shift+ArrowRight")
    gallery.get_by_text("Selected place: 0 points, first None").wait_for()
    gallery.get_by_text(re.compile(r"^At [0-9.]+, (-|−)?0\.00$")).wait_for()
    gallery.keyboard.press("Escape")
    gallery.keyboard.press("Enter")
    gallery.get_by_text("Selected point: 1 points, first 0").wait_for()


def test_the_plane_pad_by_finger(open_page, address):
    page = open_page(address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    ready(page)
    toggle(page, "Plane")
    page.get_by_role("button", name=re.compile("^Plane pad")).tap()
    x, y = centre(page)
    touch = page.context.new_cdp_session(page)
    for kind, dx in [("touchStart", 0), ("touchMove", 20), ("touchMove", 40), ("touchEnd", None)]:
        points = [] if dx is None else [{"x": x + dx, "y": y, "id": 0}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.get_by_text("Selected place: 0 points, first None").wait_for()
    assert float(page.get_by_text(re.compile("^At")).inner_text().split()[1].strip(",")) > 0.3


def test_the_keyboard_pans_zooms_and_selects(gallery):
    gallery.get_by_test_id("latent-map").get_by_role("application").focus()
    before = dots(gallery)
    gallery.keyboard.press("ArrowLeft")
    gallery.keyboard.press("+")
    still(gallery)
    assert abs(dots(gallery).astype(int) - before).max() > 100
    gallery.keyboard.press("0")
    gallery.keyboard.press("Enter")
    gallery.get_by_text("Selected point: 1 points, first 0").wait_for()


def test_a_tap_and_a_pinch_on_a_phone(open_page, address):
    page = open_page(address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    ready(page)
    stage = page.get_by_test_id("latent-map").locator(".stage").bounding_box()
    assert abs(stage["width"] - stage["height"]) < 1, "square on a narrow screen"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    x, y = centre(page)
    page.touchscreen.tap(x, y)
    page.get_by_text("Selected point: 1 points, first 0").wait_for()
    before = redraws(page)
    touch = page.context.new_cdp_session(page)
    for kind, gap in [("touchStart", 30), ("touchMove", 60), ("touchMove", 110), ("touchEnd", None)]:
        points = [] if gap is None else [{"x": x - gap, "y": y, "id": 0}, {"x": x + gap, "y": y, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    still(page)
    assert redraws(page) > before
    page.touchscreen.tap(x, y)
    page.wait_for_timeout(300)
    page.get_by_text("Selected point: 1 points, first 0").wait_for()


def test_the_picture_can_be_downloaded(gallery):
    with gallery.expect_download() as download:
        gallery.get_by_role("button", name=re.compile("^Download this picture")).click()
    assert download.value.suggested_filename == "latent-map.png"
    picture = np.asarray(Image.open(download.value.path()).convert("RGB"))
    assert near(picture, (34, 136, 51)) > 500


def test_webgl_and_the_raster_draw_the_same(browser, address, gallery):
    """Headless Chromium has WebGL in software alone, which the map takes only if it is told that it is hardware."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(
        "const get = WebGLRenderingContext.prototype.getParameter;"
        "WebGLRenderingContext.prototype.getParameter = function (name) {"
        "  return name === 37446 ? 'Hardware' : get.call(this, name); };"
    )
    page.goto(address)
    ready(page)
    assert near(dots(page), (34, 136, 51)) > 500
    assert differing(dots(page), dots(gallery)) < 0.02
    page.context.close()


def test_it_reads_in_the_dark(open_page, address):
    page = open_page(address, color_scheme="dark")
    ready(page)
    picture = dots(page)
    assert np.median(picture) < 60
    assert near(picture, (34, 136, 51)) > 500
