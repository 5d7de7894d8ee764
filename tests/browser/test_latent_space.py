"""The latent space page in a browser: click, lasso, live t-SNE, a dropped picture, ways on."""

import base64
import io
import re
from itertools import count
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import settle, still
from tests.waiting import PATIENCE

UNSEEN = count(3)  # seeds of maps that the server has not made yet, one a try


@pytest.fixture
def visit(open_page, app):
    """Opens the page by its link, with a model."""

    def opens(model: str, settings: str = "", **context):
        page = open_page(f"{app}/latent-space?model={model}{settings}", **context)
        page.get_by_test_id("latent-map").locator("canvas").first.wait_for()
        settle(page)
        still(page)
        return page

    return opens


def redraws(page) -> int:
    return int(page.get_by_test_id("latent-map").get_attribute("data-redraws"))


def plot(page) -> tuple[float, float, float]:
    """The middle of the map's plot and its smaller half, in pixels of the window."""
    stage = page.get_by_test_id("latent-map").locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    width, height = box["width"] - 60, box["height"] - 54
    return box["x"] + 50 + width / 2, box["y"] + 10 + height / 2, min(width, height) / 2


def lasso(page):
    """Draw a square around the middle."""
    x, y, half = plot(page)
    size = 0.6 * half
    page.keyboard.down("Shift")
    page.mouse.move(x - size, y - size)
    page.mouse.down()
    for dx, dy in [(size, -size), (size, size), (-size, size)]:
        page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")


def drawing(shade: int) -> bytes:
    """A thick vertical stroke on a contrasting ground, as a PNG file."""
    pixels = np.full((200, 200), 255 - shade, np.uint8)
    pixels[30:170, 85:115] = shade
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def drag(page, name: str, data: bytes, *, drop: bool):
    """Drag a file over the map, as the system does, and let it go there, or not."""
    page.get_by_test_id("latent-map").locator(".stage").evaluate(
        """(stage, [name, data, drop]) => {
          const dataTransfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          dataTransfer.items.add(new File([bytes], name));
          const options = { bubbles: true, composed: true, cancelable: true, dataTransfer };
          for (const type of drop ? ["dragover", "drop"] : ["dragover"]) {
            stage.dispatchEvent(new DragEvent(type, options));
          }
        }""",
        [name, base64.b64encode(data).decode(), drop],
    )


def test_a_click_shows_image_reconstruction_posterior_and_neighbours(visit):
    page = visit("digits-d2")
    page.get_by_test_id("latent-map").get_by_role("application").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=re.compile(r"^Test image \d+, class \d$")).wait_for()
    for words in ["reconstruction, decoded from μ", "Reconstruction (nats)", "nearest test images in latent space"]:
        page.get_by_text(words).first.wait_for()
    page.get_by_test_id("stDataFrame").wait_for()


def test_a_lasso_shows_the_group_and_sends_its_mean_on(visit):
    page = visit("digits-d2")
    lasso(page)
    page.get_by_role("heading", name=re.compile(r"^\d+ images$")).wait_for()
    page.get_by_text("their mean, decoded").wait_for()
    reach = "nodes => Math.max(...nodes.map((node) => node.getBoundingClientRect().right))"
    pictures, column = (
        page.get_by_test_id("stImage").locator("img"),
        page.get_by_role("textbox", name="Or name a point"),
    )
    assert pictures.evaluate_all(reach) <= column.evaluate_all(reach), "they stay within their column"
    page.get_by_role("button", name="Use as A").click()
    page.get_by_role("button", name="Open Interpolate with A").wait_for()
    page.get_by_test_id("latent-map").get_by_role("application").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=re.compile("^Test image")).wait_for()
    page.get_by_role("button", name="Use as B").click()
    page.get_by_role("button", name="Interpolate from A to B").click()
    page.get_by_role("heading", name="Interpolate", exact=True).wait_for()
    page.wait_for_url(re.compile(r"interpolate.*a=z%3A"))
    assert "b=test%3A" in page.url


def test_an_empty_place_of_the_plane_is_decoded(visit):
    page = visit("digits-d2")
    for _ in range(3):
        page.get_by_role("button", name="Zoom out").click()
    x, y, half = plot(page)
    page.mouse.click(x - 0.9 * half, y + 0.9 * half)
    page.get_by_role("heading", name=re.compile(r"^z = \(−")).wait_for()
    page.get_by_text("of the prior's draws lie closer").wait_for()


def iteration(page) -> int:
    return int(page.get_by_text(re.compile("^Iteration [0-9]+ of 525")).inner_text().split()[1])


def test_t_sne_moves_before_the_eyes_and_is_kept(visit):
    page = visit("digits-d2", f"&map_seed={next(UNSEEN)}")
    page.get_by_text("t-SNE", exact=True).click()
    page.get_by_text("Iteration 525 of 525").wait_for(timeout=1000 * PATIENCE)
    page.get_by_text(re.compile(r"trustworthiness [01]\.\d{3}")).wait_for()
    assert redraws(page) > 10, "many pictures, not only the last"
    page.get_by_text("PCA", exact=True).click()
    page.get_by_text(re.compile("^Iteration")).wait_for(state="detached")
    page.get_by_text("t-SNE", exact=True).click()
    page.get_by_text(re.compile("^Iteration")).wait_for()
    assert iteration(page) == 525


def test_the_t_sne_map_that_ships_is_there_at_once_and_takes_a_dropped_picture(visit):
    page = visit("mnist-d2")
    page.get_by_text("t-SNE", exact=True).click()
    page.get_by_role("application", name="t-SNE map").wait_for()
    page.get_by_text("Iteration 525 of 525").wait_for()
    assert not page.get_by_role("button", name="Stop").count()
    drag(page, "stroke.png", drawing(0), drop=True)
    page.get_by_role("heading", name="stroke.png").wait_for()


def test_t_sne_of_thousands_can_be_stopped_and_goes_on(visit):
    page = visit("mnist-d2", f"&map_seed={next(UNSEEN)}&map_perplexity=100")  # slow enough to be stopped on any machine
    page.get_by_text("t-SNE", exact=True).click()
    page.get_by_text(re.compile("^Iteration [1-9][0-9]* of 525")).wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Continue").wait_for()
    page.get_by_text(re.compile(r"trustworthiness [01]\.\d{3}")).wait_for()
    stopped_at = iteration(page)
    assert stopped_at < 525
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_text(re.compile(f"^Iteration (?!{stopped_at} )[0-9]+ of 525")).wait_for()
    assert iteration(page) > stopped_at
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Continue").wait_for()


def test_a_dropped_picture_lands_in_the_map_and_its_link_is_in_the_url(visit):
    page = visit("mnist-d2")
    page.locator("input[type=file]").set_input_files(
        {"name": "stroke.png", "mimeType": "image/png", "buffer": drawing(0)}
    )
    page.get_by_role("heading", name="stroke.png").wait_for()
    page.get_by_text("as the model is given it").wait_for()
    page.wait_for_url(re.compile("map_point=picture"))
    page.get_by_text(re.compile("nearest test images in latent space: 1, 1")).wait_for()


def test_a_point_named_after_a_picture_was_uploaded_stands_in_the_url(visit):
    page = visit("mnist-d2")
    page.locator("input[type=file]").set_input_files(
        {"name": "stroke.png", "mimeType": "image/png", "buffer": drawing(0)}
    )
    page.wait_for_url(re.compile("map_point=picture"))
    page.get_by_role("heading", name="stroke.png").wait_for()
    for spec in ("z:1,2", "test:3"):
        named = page.get_by_role("textbox", name="Or name a point")
        named.fill(spec)
        named.press("Enter")
        page.wait_for_url(lambda url, spec=spec: f"map_point={spec}" in unquote(url))


def test_a_point_that_is_refused_stays_to_be_put_right(visit):
    page = visit("mnist-d2")
    named = page.get_by_role("textbox", name="Or name a point")
    for spec in ("train:3", "test:3", "train:4"):
        named.fill(spec)
        named.press("Enter")
        refused = page.get_by_text(f"“{spec}” names no point")
        refused.wait_for(state="visible" if spec.startswith("train") else "detached")
        expect(named).to_have_value(spec)
    expect(page.get_by_role("heading", name="Test image 3")).not_to_be_visible()


def test_a_picture_dropped_on_the_map_itself_lands_there(visit):
    page = visit("mnist-d2")
    target = page.get_by_test_id("drop-target")
    assert not target.is_visible()
    drag(page, "stroke.png", drawing(0), drop=False)
    target.wait_for()
    drag(page, "stroke.png", drawing(0), drop=True)
    target.wait_for(state="hidden")
    page.get_by_role("heading", name="stroke.png").wait_for()
    page.get_by_text("Reconstruction (nats)").wait_for()
    page.get_by_text(re.compile("nearest test images in latent space: 1, 1")).wait_for()
    page.wait_for_url(re.compile("map_point=picture"))
    page.get_by_role("button", name="Remove from the map").click()
    page.get_by_role("heading", name="stroke.png").wait_for(state="detached")
    page.wait_for_url(re.compile(r"^(?!.*map_point)"))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("notes.png", b"these are only words", "notes.png is not a picture in a format that can be read"),
        ("empty.png", b"", "empty.png is empty"),
        ("huge.png", bytes(17 * 2**20), "huge.png has 17 MB; 16 MB is the most"),
    ],
)
def test_what_cannot_land_is_said_in_a_sentence(visit, name, data, says):
    page = visit("digits-d2")
    drag(page, name, data, drop=True)
    page.get_by_text(says).wait_for()
    assert "map_point" not in page.url


def test_a_drawing_lands_in_the_map(visit):
    page = visit("mnist-d2")
    page.get_by_role("button", name="Draw one").click()
    pad = page.get_by_test_id("draw-pad").locator("canvas")
    pad.wait_for()
    box = pad.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 40, steps=5)
    page.mouse.up()
    page.get_by_role("heading", name="Your drawing").wait_for()
    page.get_by_text(re.compile("nearest test images in latent space: 1, 1")).wait_for()


def test_a_dropped_file_that_is_no_picture_is_said_in_a_sentence(visit):
    page = visit("mnist-d2")
    page.locator("input[type=file]").set_input_files(
        {"name": "notes.png", "mimeType": "image/png", "buffer": b"these are only words"}
    )
    page.get_by_test_id("stAlert").get_by_text("notes.png").wait_for()


def test_settings_are_in_the_url_and_bring_another_visitor_to_the_same_view(visit, open_page):
    page = visit("mnist-d2")
    page.get_by_text("PCA", exact=True).click()
    page.get_by_text("Thumbnails", exact=True).click()
    page.wait_for_url(re.compile("map_projection=PCA.*map_thumbnails=true|map_thumbnails=true.*map_projection=PCA"))
    other = open_page(page.url)
    settle(other)
    still(other)
    assert other.get_by_role("switch", name="Thumbnails").is_checked()
    other.get_by_text(re.compile("trustworthiness")).wait_for()


def test_a_selected_image_is_in_the_url_until_it_is_let_go(visit, open_page):
    page = visit("digits-beta")
    page.get_by_test_id("latent-map").get_by_role("application").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"map_image=\d+"))
    head = page.get_by_role("heading", name=re.compile(r"^Test image \d+, class \d$"))
    name = head.inner_text()
    other = open_page(page.url)
    other.get_by_role("heading", name=name).wait_for()
    other.get_by_test_id("stSidebar").get_by_role("slider", name="β").press("ArrowLeft")
    other.wait_for_url(re.compile("beta=0.*map_image|map_image.*beta=0"))
    other.get_by_role("heading", name=name).wait_for()
    other.get_by_role("link", name="Generate").first.click()
    other.get_by_role("heading", name="Generate", exact=True).wait_for()
    assert "map_image" not in other.url
    other.get_by_role("link", name="Latent space").first.click()
    other.get_by_role("heading", name=name).wait_for()
    other.get_by_test_id("latent-map").get_by_role("application").focus()
    other.keyboard.press("Escape")
    other.wait_for_url(re.compile(r"^(?!.*map_image)"))


def test_the_coordinates_can_be_downloaded(visit):
    page = visit("digits-d2")
    with page.expect_download() as download:
        page.get_by_role("button", name="Coordinates (CSV)").click()
    table = pd.read_csv(download.value.path())
    assert len(table) == int(page.get_by_test_id("latent-map").get_attribute("data-points"))
    assert {"x", "y", "class", "elbo", "z1", "z2"} <= set(table.columns)


def test_ten_thousand_images_are_mapped_where_the_data_set_is_at_hand(visit):
    page = visit("mnist-d2")
    if not page.get_by_text("All 10,000 test images").count():
        pytest.skip("MNIST is not on this machine")
    page.get_by_text("All 10,000 test images").click()
    page.wait_for_function(
        "[...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')].some("
        "host => host.shadowRoot.querySelector('[data-points=\"10000\"]'))"
    )


def test_on_a_phone(visit):
    page = visit("mnist-d2", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    x, y, _ = plot(page)
    page.touchscreen.tap(x, y)
    page.get_by_role("heading", name=re.compile("^Test image|^z = ")).wait_for()
