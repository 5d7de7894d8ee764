"""The frame and the home page in a real browser."""

import re
from pathlib import Path

import pytest

from app import SECTIONS
from tests.browser.conftest import serve, settle

SCRIPTS = [Path(script) for rows in SECTIONS.values() for script, *_ in rows]
PAGES = ["", *(script.stem.replace("_", "-") for script in SCRIPTS if script.stem != "home")]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with serve("app.py", VAE_RUNS=str(tmp_path_factory.mktemp("runs"))) as url:
        yield url


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    "look",
    [{}, {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}, "has_touch": True}],
    ids=["light", "dark phone"],
)
def test_a_cold_deep_link_opens_the_page_with_its_model(app, open_page, path, look):
    page = open_page(f"{app}/{path}?model=digits-d2", **look)
    page.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
    assert "model=digits-d2" in page.url
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, "the page is wider than the screen"


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


def test_choosing_another_picture_moves_the_diagram(app, open_page):
    page = open_page(f"{app}/?model=mnist-d2", reduced_motion="reduce")
    diagram = page.get_by_test_id("diagram")
    diagram.get_by_text("test image 0").wait_for()
    page.get_by_test_id("picture-grid").get_by_role("button").nth(3).click()
    diagram.get_by_text("test image 3").wait_for()
    assert diagram.get_by_text("test image 0").count() == 0


def test_drawing_another_z_repaints_in_the_browser_alone(app, open_page):
    page = open_page(f"{app}/?model=mnist-d2", reduced_motion="reduce")
    diagram = page.get_by_test_id("diagram")
    page.wait_for_timeout(1500)  # both pictures are decoded, and the page lies still
    frames = []
    page.on("websocket", lambda socket: socket.on("framesent", frames.append))
    before = int(diagram.get_attribute("data-redraws"))
    z = diagram.get_by_text("z = (").inner_text()
    diagram.get_by_role("button", name="Draw another z").click()
    assert int(diagram.get_attribute("data-redraws")) == before + 1
    assert diagram.get_by_text("z = (").inner_text() != z
    assert not frames
