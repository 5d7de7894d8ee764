"""The Reconstruct page in a real browser: links, files, drawings, downloads, dark and on a phone."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.browser.conftest import settle

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LOOKS = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}


def seven(ink: int, paper: int) -> bytes:
    picture = Image.new("L", (200, 160), paper)
    ImageDraw.Draw(picture).line([(60, 40), (130, 40), (90, 130)], fill=ink, width=14, joint="curve")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def files(**contents: bytes) -> list[dict]:
    return [{"name": f"{name}.png", "mimeType": "image/png", "buffer": content} for name, content in contents.items()]


def metric(page, label: str):
    return page.get_by_test_id("stMetric").filter(has_text=re.compile(f"^{label}")).get_by_test_id("stMetricValue")


def heading(page, name: str):
    return page.get_by_role("heading", name=name, exact=True)


def drop(page, *contents: dict) -> None:
    page.locator('input[type="file"]').set_input_files(list(contents))


def draw_seven(page) -> None:
    box = page.get_by_test_id("draw-pad").get_by_role("img").bounding_box()
    side = box["width"] / 280
    page.mouse.move(box["x"] + 80 * side, box["y"] + 70 * side)
    page.mouse.down()
    for x, y in ((190, 70), (130, 220)):
        page.mouse.move(box["x"] + x * side, box["y"] + y * side, steps=12)
    page.mouse.up()


def test_a_link_opens_its_view(app, open_page):
    page = open_page(f"{app}/reconstruct?test_image=17&reconstruct_error=Cost+in+nats")
    expect(heading(page, "Reconstruct")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("^Test image 17"))).to_be_visible()
    expect(page.get_by_text("−log p(x|z) of each pixel")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize(("source", "look"), [("Test image", "dark"), ("Upload", "phone"), ("Draw", "light")])
def test_a_link_opens_every_source(app, open_page, source, look):
    page = open_page(f"{app}/reconstruct?picture_source={source.replace(' ', '+')}", **LOOKS[look])
    expect(page.get_by_role("radio", name=source)).to_be_checked()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_pictures_stand_at_whole_multiples(app, open_page):
    for look in (LOOKS["light"], PHONE):
        page = open_page(f"{app}/reconstruct?model=mnist-d2", **look)
        expect(page.get_by_test_id("stImage").locator("img")).to_have_count(4)
        widths = (
            page.get_by_test_id("stImage")
            .locator("img")
            .evaluate_all("nodes => nodes.map((node) => [node.getBoundingClientRect().width, node.naturalWidth])")
        )
        assert len(widths) == 4
        if look is not PHONE:
            actions = ("Draw again", "Interpolate from here", "Find it on the latent map")
            tops = [page.get_by_role("button", name=name).first.bounding_box()["y"] for name in actions]
            assert max(tops) - min(tops) < 2, "they stand in a row"
        assert all(shown == natural for shown, natural in widths)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


@pytest.mark.parametrize("model", ["mnist-d2", "digits-d2", "sprites"])
def test_picture_reconstruction_and_error_map_stand_in_a_row(app, open_page, model):
    page = open_page(f"{app}/reconstruct?model={model}")
    page.locator(".js-plotly-plot .heatmaplayer").wait_for()
    pictures = page.get_by_test_id("stImage").locator("img")
    expect(pictures).to_have_count(4)
    row = [pictures.nth(0), pictures.nth(1), page.locator(".js-plotly-plot").first]
    tops = [one.bounding_box()["y"] for one in row]
    assert max(tops) - min(tops) < 8
    expect(page.get_by_test_id("stSidebar")).to_be_visible()


def test_files_are_shown_bad_ones_named_and_one_is_chosen(app, open_page):
    page = open_page(f"{app}/reconstruct?model=mnist-d2&picture_source=Upload")
    drop(page, *files(paper=seven(0, 255), screen=seven(255, 0), broken=seven(0, 255)[:150]))
    grid = page.get_by_role("group", name=re.compile("^Your pictures"))
    expect(grid.get_by_role("button")).to_have_count(2)
    expect(page.get_by_role("alert")).to_contain_text("broken.png")
    expect(heading(page, "paper.png")).to_be_visible()
    expect(page.get_by_role("switch", name="Invert").or_(page.get_by_label("Invert", exact=True)).first).to_be_checked()
    grid.get_by_role("button").nth(1).click()
    expect(heading(page, "screen.png")).to_be_visible()
    expect(page.get_by_label("Invert", exact=True).first).not_to_be_checked()
    expect(heading(page, "paper.png")).to_have_count(0)
    page.get_by_text("Strangest first").click()
    page.wait_for_url(re.compile("reconstruct_sorted=true"))
    expect(heading(page, "screen.png")).to_be_visible()


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def test_nasty_files_are_refused_one_by_one_and_the_others_shown(app, open_page):
    page = open_page(f"{app}/reconstruct?picture_source=Upload")
    good, grey = seven(255, 0), Image.new("L", (40, 40), 90)
    climbing = io.BytesIO()
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.writestr("../outside.png", good)
        archive.writestr("inside.png", good)
    contents = {
        "truncated.png": good[: len(good) // 2],
        "empty.png": b"",
        "letter.png": b"Dear reader",
        "bomb.png": encoded(Image.new("1", (20_000, 20_000)), "PNG"),
        "climbing.zip": climbing.getvalue(),
        "press.jpg": encoded(Image.new("CMYK", (50, 40), (9, 90, 200, 30)), "JPEG"),
        "deep.png": encoded(Image.new("I;16", (30, 30), 40_000), "PNG"),
        "moving.gif": encoded(grey, "GIF", save_all=True, append_images=[Image.new("L", (40, 40), 200)]),
        "dot.png": encoded(Image.new("L", (1, 1), 200), "PNG"),
    }
    drop(page, *({"name": name, "mimeType": "image/png", "buffer": content} for name, content in contents.items()))
    for sentence in (
        "truncated.png is cut off before its end",
        "empty.png is empty (0 bytes)",
        "letter.png is not a picture in a format that can be read",
        "bomb.png would unpack to an enormous picture",
        "outside.png was skipped: its name points outside the archive",
    ):
        expect(page.get_by_text(sentence)).to_be_visible()
    grid = page.get_by_role("group", name=re.compile("^Your pictures"))
    expect(grid.get_by_role("button")).to_have_count(5)
    expect(metric(page, "ELBO")).to_have_text(re.compile("nats"))


def test_switching_the_preparation_keeps_the_chosen_picture(app, open_page):
    page = open_page(f"{app}/reconstruct?model=mnist-d2&picture_source=Upload")
    drop(page, *files(one=seven(0, 255), two=seven(60, 200), three=seven(255, 0)))
    grid = page.get_by_role("group", name=re.compile("^Your pictures"))
    grid.get_by_role("button").nth(1).click()
    expect(heading(page, "two.png")).to_be_visible()
    before = metric(page, "ELBO").inner_text()
    page.get_by_text("Invert", exact=True).click()
    expect(metric(page, "ELBO")).not_to_have_text(before)
    expect(heading(page, "two.png")).to_be_visible()
    expect(grid.get_by_role("button").nth(1)).to_have_attribute("aria-pressed", "true")


def test_a_drawing_is_reconstructed_and_cleared(app, open_page):
    page = open_page(f"{app}/reconstruct?model=mnist-d2&picture_source=Draw")
    expect(page.get_by_text("Draw something on the square")).to_be_visible()
    draw_seven(page)
    expect(heading(page, "Your drawing")).to_be_visible()
    stranger = float(metric(page, "Stranger than").inner_text().rstrip("%"))
    assert stranger < 90  # a plain seven is no stranger to MNIST
    page.get_by_test_id("draw-pad").get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Draw something on the square")).to_be_visible()
    expect(heading(page, "Your drawing")).to_have_count(0)


def test_a_tap_on_the_pad_leaves_a_dot(app, open_page):
    page = open_page(f"{app}/reconstruct?model=digits-d2&picture_source=Draw", **PHONE)
    canvas = page.get_by_test_id("draw-pad").get_by_role("img")
    canvas.tap()
    expect(heading(page, "Your drawing")).to_be_visible()
    middle = canvas.evaluate("it => [...it.getContext('2d').getImageData(it.width / 2 - 8, it.height / 2, 1, 1).data]")
    assert middle == [255] * 4
    page.get_by_test_id("draw-pad").get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Draw something on the square")).to_be_visible()


def test_a_drawing_stays_for_all_pages_of_the_visit(app, open_page):
    page = open_page(f"{app}/reconstruct?model=digits-d2&picture_source=Draw")
    draw_seven(page)
    elbo = metric(page, "ELBO").inner_text()
    page.get_by_role("link", name="Generate").first.click()
    heading(page, "Generate").wait_for()
    page.get_by_role("link", name="Reconstruct").first.click()
    expect(page.get_by_test_id("draw-pad")).to_have_attribute("data-strokes", "1")
    expect(metric(page, "ELBO")).to_have_text(elbo, use_inner_text=True)
    page.get_by_test_id("draw-pad").get_by_role("button", name="Undo").click()
    expect(heading(page, "Your drawing")).to_have_count(0)


def test_a_drawing_goes_along_to_the_pages_that_explain(app, open_page):
    page = open_page(f"{app}/reconstruct?model=digits-d2&picture_source=Draw")
    draw_seven(page)
    expect(heading(page, "Your drawing")).to_be_visible()
    page.get_by_role("link", name="ELBO lab").first.click()
    expect(heading(page, "ELBO lab")).to_be_visible()
    expect(heading(page, "Your drawing")).to_be_visible()
    expect(page.get_by_role("radio", name="Draw")).to_be_checked()
    page.go_back()
    expect(heading(page, "Reconstruct")).to_be_visible()
    expect(heading(page, "Your drawing")).to_be_visible()


def test_a_finger_draws(app, open_page):
    page = open_page(f"{app}/reconstruct?model=mnist-d2&picture_source=Draw", **PHONE)
    canvas = page.get_by_test_id("draw-pad").get_by_role("img")
    canvas.scroll_into_view_if_needed()
    box, session = canvas.bounding_box(), page.context.new_cdp_session(page)

    def touch(kind, *points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    x = box["x"] + box["width"] / 2
    touch("touchStart", {"x": x, "y": box["y"] + 40})
    for step in range(1, 16):
        touch("touchMove", {"x": x, "y": box["y"] + 40 + 12 * step})
    touch("touchEnd")
    expect(heading(page, "Your drawing")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_downloads(app, open_page):
    page = open_page(f"{app}/reconstruct?model=mnist-d2&picture_source=Upload")
    drop(page, *files(one=seven(0, 255), two=seven(60, 200)))
    page.get_by_text("Table of all pictures").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Table as CSV").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert rows[0] == "name,elbo,standard_error,reconstruction,kl,stranger_than"
    assert [row.split(",")[0] for row in rows[1:]] == ["one.png", "two.png"]
    page.get_by_role("button", name="Download", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Reconstruction (PNG)").click()
    with Image.open(download.value.path()) as picture:
        assert picture.width % 28 == 0


def test_a_dropped_picture_is_sent_on(app, open_page):
    page = open_page(f"{app}/reconstruct?model=mnist-d16-beta&beta=0.1&picture_source=Upload")
    drop(page, *files(paper=seven(0, 255)))
    expect(heading(page, "paper.png")).to_be_visible()
    page.get_by_role("button", name="Interpolate from here").click()
    page.wait_for_url(re.compile(r"/interpolate\?.*a=picture"))
    settle(page)
    assert "model=mnist-d16-beta" in page.url, "with the model that reconstructed it"
    assert "beta=0.1" in page.url
    settle(page)
    expect(page.get_by_text("paper.png").first).to_be_visible()
