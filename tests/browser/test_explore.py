"""Interpolate and Generate in a real browser: dragging, clicking, links, files, dark and on a phone."""

import io
import re
import time

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import settle

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LOOKS = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}
PAGES = ("interpolate", "generate")
FRAMES = 61


def strip(page, label):
    """A film strip by the beginning of its label, once it has drawn."""
    found = page.get_by_test_id("film-strip").filter(has=page.get_by_label(label)).first
    expect(found).not_to_have_attribute("data-redraws", "0")
    return found


def redraws(root) -> int:
    return int(root.get_attribute("data-redraws"))


def pixels(root) -> str:
    return root.locator("canvas").first.evaluate("node => node.toDataURL()")


def place(root, fraction: float) -> tuple[float, float]:
    """Where on the screen the thumb of a strip stands at a fraction of its way."""
    box = root.get_by_role("slider").bounding_box()
    return box["x"] + 8 + fraction * (box["width"] - 16), box["y"] + box["height"] / 2


def drag(page, root, start: float, end: float) -> None:
    root.scroll_into_view_if_needed()
    page.mouse.move(*place(root, start))
    page.mouse.down()
    page.mouse.move(*place(root, end), steps=10)
    page.mouse.up()


def codes(page):
    return page.get_by_test_id("stCode").locator("code").first


def query(page, name: str) -> str | None:
    return page.evaluate("name => new URLSearchParams(location.search).get(name)", name)


def at_address(page, **settings: str) -> None:
    """Wait until the address holds these settings."""
    page.wait_for_function(
        "wanted => Object.entries(wanted).every(([k, v]) => new URLSearchParams(location.search).get(k) === v)",
        arg=settings,
    )


def saved(page, label: str) -> bytes:
    with page.expect_download() as event:
        page.get_by_role("button", name=label).click()
    with open(event.value.path(), "rb") as file:  # noqa: PTH123 (a path of Playwright's)
        return file.read()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("model", "look"), [("mnist-d2", "dark"), ("mnist-d16", "light"), ("mnist-d16", "phone")])
def test_a_page_opens_without_errors_and_fits_its_screen(app, open_page, path, model, look):
    page = open_page(f"{app}/{path}?model={model}", **LOOKS[look])
    expect(page.get_by_role("heading", name=path.capitalize(), exact=True)).to_be_visible()
    strip(page, "From A to B" if path == "interpolate" else "The first of them")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def test_a_link_opens_its_view_in_a_fresh_session(app, open_page):
    page = open_page(f"{app}/interpolate?a=test:3&b=prior:7&interpolate_t=0.25&interpolate_way=Linear")
    expect(page.get_by_text("A · test image 3")).to_be_visible()
    expect(page.get_by_text("B · prior sample 7")).to_be_visible()
    expect(page.get_by_role("radio", name="Linear")).to_be_checked()
    expect(strip(page, "From A to B").get_by_role("slider")).to_have_attribute("aria-valuetext", "t = 0.25")


def test_dragging_moves_the_picture_and_letting_go_the_numbers(app, open_page):
    sent = []

    def listen(page):
        page.on("websocket", lambda socket: socket.on("framesent", lambda _: sent.append(time.perf_counter())))

    page = open_page(f"{app}/interpolate?model=mnist-d2", watch=listen)
    root = strip(page, "From A to B")
    before, numbers = pixels(root), codes(page).inner_text()
    page.mouse.move(*place(root, 0.5))
    page.mouse.down()
    sent.clear()
    drawn, moves, start = redraws(root), 0, time.perf_counter()
    while (now := time.perf_counter() - start) < 1.0:
        page.mouse.move(*place(root, 0.5 + 0.4 * np.sin(6 * now)))
        moves += 1
    page.mouse.move(*place(root, 0.9))
    drawn = redraws(root) - drawn
    assert not sent
    assert codes(page).inner_text() == numbers
    page.mouse.up()
    expect(codes(page)).not_to_have_text(numbers)
    at_address(page, interpolate_t="0.9")
    settle(page)
    assert len(sent) == 1
    assert drawn >= 0.5 * moves  # neighbouring moves may show the same frame; bench.slider measures the rate
    assert pixels(root) != before


def test_a_step_of_the_row_moves_the_slider(app, open_page):
    page = open_page(f"{app}/interpolate?model=mnist-d2")
    root = strip(page, "From A to B")
    steps = page.get_by_role("group", name="Steps from A to B").get_by_role("button")
    expect(steps.nth(5)).to_have_attribute("aria-pressed", "true")
    steps.nth(8).click()
    expect(root.get_by_role("slider")).to_have_attribute("aria-valuetext", "t = 0.80")
    at_address(page, interpolate_t="0.8")
    drag(page, root, 0.8, 0.433)
    expect(steps.nth(8)).to_have_attribute("aria-pressed", "false")


def test_a_picture_of_the_picker_becomes_an_end(app, open_page):
    page = open_page(f"{app}/interpolate?model=mnist-d2&a=prior:7")
    page.get_by_role("button", name="Choose").first.click()
    grid = page.get_by_role("group", name="Test images").first.get_by_role("button")
    grid.nth(11).click()
    expect(page.get_by_text("A · test image 11")).to_be_visible()
    at_address(page, a="test:11")
    expect(grid.nth(11)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("tab", name="Prior").click()
    page.get_by_role("button", name="Draw from the prior").click()
    expect(page.get_by_text("A · prior sample")).to_be_visible()
    page.get_by_role("tab", name="Test images").click()
    expect(grid.nth(11)).to_have_attribute("aria-pressed", "false")
    grid.nth(11).click()
    expect(page.get_by_text("A · test image 11")).to_be_visible()


def test_a_dropped_picture_becomes_an_end_and_a_bad_file_is_said(app, open_page):
    page = open_page(f"{app}/interpolate?model=mnist-d2")
    page.get_by_role("button", name="Choose").nth(1).click()
    page.get_by_role("tab", name="Your picture").click()
    files = page.locator('input[type="file"]').first
    files.set_input_files([{"name": "bad.png", "mimeType": "image/png", "buffer": b"nothing"}])
    expect(page.get_by_text("bad.png is not a picture")).to_be_visible()
    buffer = io.BytesIO()
    Image.fromarray(np.pad(np.zeros((40, 8), np.uint8), 30, constant_values=255)).save(buffer, "PNG")
    files.set_input_files([{"name": "mine.png", "mimeType": "image/png", "buffer": buffer.getvalue()}])
    expect(page.get_by_text("B · mine.png")).to_be_visible()
    assert query(page, "b").startswith("picture:")


def test_letting_go_of_one_dimension_moves_all(app, open_page):
    page = open_page(f"{app}/interpolate?model=mnist-d16")
    strips = page.get_by_test_id("film-strip").filter(has=page.get_by_text(re.compile("nats$")))
    expect(strips).to_have_count(16)
    labels = strips.locator("label").all_inner_texts()
    kl = [float(re.search(r"([\d.]+) nats", label)[1]) for label in labels]
    assert kl == sorted(kl, reverse=True)
    first, second = strips.nth(0), strips.nth(1)
    other = pixels(second)
    first.scroll_into_view_if_needed()
    drag(page, first, 0.5, 0.97)
    expect(page.get_by_label("Point", exact=True)).not_to_have_value("")
    page.wait_for_function("new URLSearchParams(location.search).get('interpolate_point')")
    settle(page)
    assert pixels(second) != other
    moved = pixels(second)
    page.get_by_role("button", name="Back to the path").click()
    expect(page.get_by_label("Point", exact=True)).to_have_value("")
    settle(page)
    page.wait_for_timeout(300)
    assert pixels(second) == other != moved


def test_the_dimensions_go_on_from_where_the_path_was_left(app, open_page):
    """Every z is (x, x): what the sliders stand at says which point they go from, and still hear after it moved."""
    page = open_page(f"{app}/interpolate?model=mnist-d2&a=z:-2,-2&b=z:2,2&interpolate_way=Linear")
    path, first, second = strip(page, "From A to B"), strip(page, "z₁"), strip(page, "z₂")
    drag(page, path, 0.5, 1)
    expect(first.get_by_role("slider")).to_have_attribute("aria-valuetext", "2.00")
    settle(page)
    drag(page, first, 5 / 6, 0)
    expect(page.get_by_text("‖z‖ = 3.61")).to_be_visible()  # of (−3, 2)
    settle(page)
    drag(page, path, 1, 0)
    expect(second.get_by_role("slider")).to_have_attribute("aria-valuetext", "−2.00")
    expect(page.get_by_text("‖z‖ = 2.83")).to_be_visible()


def test_a_click_in_the_square_takes_the_point_along(app, open_page):
    page = open_page(f"{app}/interpolate?model=mnist-d2&a=z:1,1&b=z:-1,1&c=z:1,-1&d=z:-1,-1&interpolate_way=Linear")
    square = page.get_by_role("group", name="Between four corners").get_by_role("button")
    expect(square).to_have_count(49)
    expect(square.nth(8)).to_have_attribute("aria-label", "row 2, column 2")
    square.nth(48).click()
    expect(page.get_by_label("Point", exact=True)).to_have_value("z:-1,-1")


def test_the_buttons_beside_a_point_stand_in_a_row(app, open_page):
    page = open_page(f"{app}/interpolate?model=digits-d2&interpolate_point=test:5")
    names = ("Back to the path", "Use as A", "Use as B")
    tops = [page.get_by_role("button", name=name).bounding_box()["y"] for name in names]
    assert max(tops) - min(tops) < 2


@pytest.mark.parametrize("width", [390, 1280, 1500])
def test_the_last_row_of_a_grid_is_at_least_half_full(app, open_page, width):
    page = open_page(f"{app}/generate?model=digits-d2", viewport={"width": width, "height": 900})
    tiles = page.get_by_role("group", name="Samples").get_by_role("button")
    expect(tiles).to_have_count(64)
    strip(page, "The first of them")
    tops = tiles.evaluate_all("all => all.map((one) => Math.round(one.getBoundingClientRect().top))")
    assert tops.count(max(tops)) >= tops.count(min(tops)) / 2


def test_what_is_downloaded_opens(app, open_page):
    page = open_page(f"{app}/interpolate?model=mnist-d2")
    with Image.open(io.BytesIO(saved(page, "GIF of the path"))) as picture:
        assert picture.format == "GIF"
        assert picture.n_frames == 2 * FRAMES - 2
        assert picture.size == (224, 224)
    for label in ("PNG of the steps", "PNG of the square"):
        with Image.open(io.BytesIO(saved(page, label))) as picture:
            assert picture.format == "PNG"
            assert picture.width >= 700


def test_a_click_selects_a_sample_and_says_what_lies_near(app, open_page):
    page = open_page(f"{app}/generate?model=mnist-d2")
    samples = page.get_by_role("group", name="Samples").get_by_role("button")
    expect(samples).to_have_count(64)
    before = codes(page).inner_text()
    samples.nth(20).click()
    expect(page.get_by_label("Sample", exact=True)).to_have_value("21")
    expect(codes(page)).not_to_have_text(before)
    at_address(page, generate_sample="21")
    expect(page.get_by_text("Neighbours in z", exact=True)).to_be_visible()
    near = page.get_by_text(re.compile("^Nearest training image: distance|The training images are not at hand"))
    expect(near).to_be_visible()


def test_the_temperature_morphs_the_samples_and_then_draws_them_all(app, open_page):
    page = open_page(f"{app}/generate?model=mnist-d2")
    root, grid = strip(page, "The first of them"), page.get_by_role("group", name="Samples")
    first = grid.locator(".picture").first
    expect(first).to_have_css("background-image", re.compile("blob:"))
    before = first.screenshot()
    drawn = redraws(root)
    drag(page, root, 0.5, 0.0)
    at_address(page, generate_temperature="0.0")
    assert redraws(root) > drawn + 3
    expect(codes(page)).to_have_text("z:0,0")
    settle(page)
    page.wait_for_timeout(300)
    assert first.screenshot() != before


def test_a_sample_is_sent_to_interpolate_and_the_other_end_stays(app, open_page):
    page = open_page(f"{app}/interpolate?model=mnist-d2&a=test:9")
    page.get_by_role("link", name="Generate").click()
    expect(page.get_by_role("heading", name="Generate", exact=True)).to_be_visible()
    settle(page)
    z = codes(page).inner_text().strip()
    page.get_by_role("button", name="Use as B").click()
    expect(page.get_by_text("B · z = (")).to_be_visible()
    expect(page.get_by_text("A · test image 9")).to_be_visible()
    assert query(page, "b") == z


def test_samples_are_downloaded_as_picture_and_table(app, open_page):
    page = open_page(f"{app}/generate?model=digits-d2&generate_n=10&generate_seed=4")
    with Image.open(io.BytesIO(saved(page, "PNG of the grid"))) as picture:
        assert picture.format == "PNG"
    rows = np.genfromtxt(io.BytesIO(saved(page, "CSV of z")), delimiter=",", names=True)
    assert rows.dtype.names == ("sample", "z1", "z2")
    assert rows["sample"].tolist() == list(range(1, 11)), "numbered as on the page"
    expected = np.random.default_rng(4).standard_normal((10, 2))
    assert np.allclose(np.stack([rows["z1"], rows["z2"]], 1), expected, atol=1e-6)
