"""The β page's last three sections in a real browser: charts, the map of holes, scores; dark and on a phone."""

import re

import pytest

from tests.browser.conftest import save_untrained, serve, settle
from tests.toys import build

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


_COVERED = """[...document.querySelectorAll(".js-plotly-plot")].filter((chart) => {
    const [bar, legend] = [".modebar", ".legend"].map((name) => chart.querySelector(name)?.getBoundingClientRect());
    return bar && legend && bar.bottom > legend.top && bar.right > legend.left && bar.left < legend.right;
}).map((chart) => chart.innerText)"""  # charts whose buttons, always there on a phone, lie over the legend


def address(app: str, section: str, model: str = "digits-beta") -> str:
    return f"{app}/beta?model={model}&beta_section={section.replace(' ', '+')}"


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_the_split_is_drawn_and_downloaded(app, open_page):
    page = open_page(address(app, "Information"), color_scheme="dark")
    expect(page.get_by_text("dimension-wise KL").first).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    with page.expect_download() as event:
        page.get_by_role("button", name="CSV of the split").click()
    with open(event.value.path()) as file:  # noqa: PTH123 (a path of Playwright's)
        header, *rows = file.read().splitlines()
    assert header == "beta,rate,mutual_information,total_correlation,dimension_kl,kl_1,kl_2"
    for row in rows:
        _, rate, information, correlation, dimensions, *_ = map(float, row.split(","))
        assert information + correlation + dimensions == pytest.approx(rate, abs=1e-3)


def test_a_click_on_the_map_decodes_the_place(app, open_page):
    page = open_page(address(app, "Aggregate posterior"))
    expect(page.get_by_text("what the decoder makes of it appears here")).to_be_visible()
    corner = "canvas => canvas.getContext('2d').getImageData(60 * devicePixelRatio, 16 * devicePixelRatio, 1, 1).data"
    settle(page)
    assert page.get_by_test_id("latent-map").locator("canvas").first.evaluate(corner) == [68, 1, 84, 255], (
        "the first colour of the legend"
    )
    page.get_by_role("button", name="Show the thinnest place").click()
    place = page.get_by_text("Decoded at z")
    expect(place).to_be_visible()
    first = place.inner_text()
    settle(page)
    stage = page.get_by_test_id("latent-map").locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.35 * box["height"])
    expect(place).not_to_have_text(first)
    expect(page.get_by_text(re.compile("as often as|about as often")).last).to_be_visible()
    expect(page.get_by_test_id("stMetric").filter(has_text="log q(z)")).to_contain_text("nats")


@pytest.mark.parametrize("section", ["Information", "Aggregate posterior", "Disentanglement"])
def test_a_section_fits_a_phone(app, open_page, section):
    page = open_page(address(app, section, "sprites" if section == "Disentanglement" else "mnist-d2"), **PHONE)
    shown = {"Disentanglement": "FactorVAE score", "Information": "total correlation"}.get(section, "hole")
    expect(page.get_by_text(shown).first).to_be_visible()
    if section == "Information":
        expect(page.locator(".js-plotly-plot .legend").first).to_be_visible()
    assert fits(page)
    assert page.evaluate(_COVERED) == []


@pytest.fixture
def laborious(browser, tmp_path):  # noqa: ARG001 (no browser, no server)
    """The Information section of a model of so many dimensions and so wide a range of β that it takes many seconds."""
    model = build(shape=(1, 32, 32), latent_dim=64, widths=(8,), beta_range=(0.01, 100))
    name = save_untrained(model, tmp_path)
    with serve("app.py", VAE_RUNS=str(tmp_path)) as url:
        yield address(url, "Information", name)


def test_stop_ends_the_work_in_its_midst_and_the_page_is_usable(laborious, open_page):
    page = open_page(laborious)
    stop, stopped = page.locator(".st-key-information_sweep_stop button"), page.get_by_text(" of 25.")
    stop.click()
    expect(stopped).to_contain_text("stopped after")
    said = stopped.inner_text()
    assert int(re.search(r"after (\d+) of", said)[1]) < 25
    settle(page)
    expect(stop).to_have_count(0)
    page.get_by_role("tab", name="Curve").click()
    expect(page.get_by_text("equal D + βR").first).to_be_visible()
    page.get_by_role("tab", name="Information").click()
    expect(stopped).to_have_text(said)
    page.locator(".st-key-information_sweep_go_on button").click()
    expect(stop).to_be_visible()
