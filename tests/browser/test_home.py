"""The frame and the home page in a real browser."""

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

from tests.browser.conftest import serve, settle, still
from ui.ways import SECTIONS

SCRIPTS = [Path(way.path) for ways in SECTIONS.values() for way in ways]
PHONE = {"width": 390, "height": 844}
GROUND = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
CUT_OFF = "links => links.map((link) => [...link.querySelectorAll('*')].some((e) => e.scrollWidth > e.clientWidth + 1))"
PAGES = ["", *(script.stem.replace("_", "-") for script in SCRIPTS if script.stem != "home")]


@pytest.mark.parametrize("path", PAGES)
def test_a_cold_deep_link_opens_the_page_with_its_model_on_a_dark_phone_and_a_light_desk(app, open_page, path):
    page = open_page(f"{app}/{path}?model=digits-d2", color_scheme="dark", viewport=PHONE, has_touch=True)
    page.get_by_role("heading", level=1).first.wait_for()
    assert "model=digits-d2" in page.url
    assert overflow(page) <= 0, "the page is wider than the screen"
    dark = page.evaluate(GROUND)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{GROUND} !== {dark!r}")
    assert overflow(page) <= 0, "the page is wider than the screen"


def overflow(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.fixture
def unvisited(tmp_path):
    with serve("app.py", VAE_RUNS=str(tmp_path)) as url:
        yield url


def test_the_first_link_that_a_server_sees_may_be_a_deep_one(unvisited, open_page):
    page = open_page(f"{unvisited}/latent-space?model=digits-d2")
    page.get_by_role("heading", level=1, name="Latent space").wait_for()
    assert page.get_by_role("dialog").count() == 0
    assert page.get_by_test_id("stSidebarNavLink").count() == len(PAGES)


def test_the_model_stays_chosen_from_page_to_page(app, open_page):
    page = open_page(f"{app}/?model=digits-d2")
    page.get_by_role("link", name="Generate").first.click()
    page.wait_for_url(re.compile(r"/generate\?.*model=digits-d2"))
    settle(page)
    page.reload()
    settle(page)
    assert page.get_by_role("combobox", name=re.compile("Model")).input_value().startswith("Digits")


def test_back_goes_from_page_to_page_as_each_was_left(app, open_page):
    page = open_page(f"{app}/interpolate?model=digits-d2")
    entries = page.evaluate("history.length")
    page.get_by_role("radio", name="Linear").click(force=True)
    page.wait_for_url(re.compile("interpolate_way=Linear"))
    settle(page)
    page.get_by_role("combobox", name=re.compile("Model")).click()
    page.get_by_role("option", name=re.compile(r"^MNIST · d = 2 · β = 1 · mlp$")).click()
    page.wait_for_url(re.compile("model=mnist-d2(&|$)"))
    settle(page)
    page.get_by_role("link", name="Generate").first.click()
    page.wait_for_url(re.compile("/generate"))
    page.get_by_role("heading", level=1, name="Generate").wait_for()
    settle(page)
    assert page.evaluate("history.length") == entries + 1
    page.get_by_role("combobox", name=re.compile("Model")).click()
    page.get_by_role("option", name=re.compile(r"^Digits .* d = 2 · β = 1 · mlp$")).click()
    page.wait_for_url(re.compile("model=digits-d2"))
    settle(page)
    page.go_back()
    page.get_by_role("heading", level=1, name="Interpolate").wait_for()
    settle(page)
    assert "interpolate_way=Linear" in page.url
    assert "model=mnist-d2" in page.url
    assert page.get_by_role("combobox", name=re.compile("Model")).input_value() == "MNIST · d = 2 · β = 1 · mlp"
    page.go_forward()
    page.get_by_role("heading", level=1, name="Generate").wait_for()
    settle(page)
    assert page.get_by_role("combobox", name=re.compile("Model")).input_value().startswith("Digits")


def test_the_history_keeps_a_page_as_it_was_left_however_slow_the_way_from_it(app, open_page):
    page = open_page(f"{app}/interpolate?model=digits-d2&interpolate_way=Linear")
    page.wait_for_function("history.onePerPage")
    page.keyboard.press("Shift")
    back = page.evaluate(
        """async () => {
            history.pushState({}, "", "/interpolate?model=digits-d2");  // as Streamlit does it
            await new Promise((resolve) => setTimeout(resolve, 1000));
            history.pushState({}, "", "/generate?model=digits-d2");
            history.back();
            await new Promise((resolve) => addEventListener("popstate", resolve, { once: true }));
            return location.search;
        }"""
    )
    assert back == "?model=digits-d2&interpolate_way=Linear"


def test_on_a_phone_the_list_of_pages_folds_once_it_has_led_to_one(app, open_page):
    page = open_page(f"{app}/?model=digits-d2", viewport=PHONE, has_touch=True)
    edge = "document.querySelector('[data-testid=stSidebar]').getBoundingClientRect().right"
    page.get_by_test_id("stExpandSidebarButton").tap()
    page.wait_for_function(f"{edge} >= 300")
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Generate").tap()
    page.get_by_role("heading", level=1, name="Generate").wait_for()
    page.wait_for_function(f"{edge} <= 0")
    page.get_by_test_id("stExpandSidebarButton").wait_for()


def test_choosing_another_picture_moves_the_diagram(app, open_page):
    page = open_page(f"{app}/?model=mnist-d2", reduced_motion="reduce")
    names = page.get_by_test_id("stMain").get_by_test_id("stPageLink-NavLink")
    expect(names).to_have_count(len(PAGES) - 1)
    assert not any(names.evaluate_all(CUT_OFF))
    diagram = page.get_by_test_id("diagram")
    diagram.get_by_text("test image 0").wait_for()
    page.get_by_test_id("picture-grid").get_by_role("button").nth(3).click()
    diagram.get_by_text("test image 3").wait_for()
    assert diagram.get_by_text("test image 0").count() == 0


def test_drawing_another_z_repaints_in_the_browser_alone(app, open_page):
    page = open_page(f"{app}/?model=mnist-d2", reduced_motion="reduce")
    diagram = page.get_by_test_id("diagram")
    page.wait_for_load_state("networkidle")  # both pictures are there
    still(page, "diagram")
    frames = []
    page.on("websocket", lambda socket: socket.on("framesent", frames.append))
    before = int(diagram.get_attribute("data-redraws"))
    z = diagram.get_by_text("z = (").inner_text()
    diagram.get_by_role("button", name="Draw another z").click()
    assert int(diagram.get_attribute("data-redraws")) == before + 1
    assert diagram.get_by_text("z = (").inner_text() != z
    assert not frames


def test_a_diagram_that_rests_takes_on_the_ink_of_another_theme(app, open_page):
    page = open_page(f"{app}/?model=mnist-d2", reduced_motion="reduce", color_scheme="light")
    still(page, "diagram")
    plane = page.get_by_test_id("diagram").locator("canvas.plane")
    light = plane.evaluate("canvas => canvas.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("([canvas, light]) => canvas.toDataURL() !== light", arg=[plane.element_handle(), light])
