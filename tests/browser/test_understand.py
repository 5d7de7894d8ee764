"""Bounds, Reparameterisation, Amortised and classical in a real browser: links, dragging, waiting, downloads."""

import random
import re
from itertools import count
from pathlib import Path

import pytest

from tests.browser.conftest import save_untrained, serve, settle
from tests.toys import build

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

MAP = '[data-testid="noise-map"]'
UNSEEN = count(4)  # test images that the server has not annealed yet, one a try


def metric(page, label: str):
    return page.get_by_test_id("stMetric").filter(has_text=re.compile(f"^{label}")).get_by_test_id("stMetricValue")


def numbers(page, name: str) -> list[float]:
    return [float(value) for value in page.locator(MAP).get_attribute(f"data-{name}").split()]


def drawn(page) -> None:
    expect(page.locator(MAP)).to_have_attribute("data-redraws", re.compile("[1-9]"))


def test_bounds_are_annealed_and_downloaded(app, open_page):
    page = open_page(f"{app}/bounds?model=digits-d2&test_image={next(UNSEEN)}")
    expect(metric(page, "ELBO")).to_be_visible()
    expect(metric(page, "By annealing")).to_have_count(0)
    page.get_by_role("button", name="Anneal").click()
    expect(metric(page, "By annealing")).to_be_visible()
    settle(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV of the curve").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["k", "1", "5", "10", "50", "100", "500", "1000", "5000"]


def shown(page, name: str, image: int) -> None:
    """The page `name` is there, is about this test image, and says so in its address."""
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    expect(page.get_by_label("Test image", exact=True).and_(page.get_by_role("spinbutton"))).to_have_value(str(image))
    settle(page)
    assert f"test_image={image}" in page.url


@pytest.mark.parametrize("name", ["ELBO lab", "Bounds"])
def test_a_link_takes_the_picture_of_a_fresh_address_along(app, open_page, name):
    page = open_page(f"{app}/derivation?model=digits-d2&test_image=5")
    shown(page, "Derivation", 5)
    page.get_by_test_id("stMain").get_by_role("link", name=re.compile(f"^(touch_app )?{name}")).first.click()
    shown(page, name, 5)


def test_back_leads_to_each_page_with_its_picture(app, open_page):
    """Image 0 as well, which is that of an address without one."""
    page = open_page(f"{app}/elbo-lab?model=digits-d2")
    ways = page.get_by_test_id("stSidebarNav")
    shown(page, "ELBO lab", 0)
    ways.get_by_role("link", name="Bounds").click()
    shown(page, "Bounds", 0)
    page.get_by_role("spinbutton").fill("7")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("test_image=7"))
    ways.get_by_role("link", name="Reconstruct").click()
    shown(page, "Reconstruct", 7)
    page.go_back()
    shown(page, "Bounds", 7)
    page.go_back()
    shown(page, "ELBO lab", 0)


def test_codes_follow_the_ellipse_under_the_pointer_and_gradients_on_release(app, open_page):
    page = open_page(f"{app}/reparameterisation?model=digits-d2&test_image=4")
    drawn(page)
    texts = {name: page.locator(MAP).get_attribute(f"data-{name}") for name in ("mu", "sigma")}
    mu, sigma = numbers(page, "mu"), numbers(page, "sigma")
    cost = metric(page, "Score function").first
    before = cost.inner_text()
    plane = page.locator(MAP).get_by_role("application", name=re.compile("latent plane"))
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    (reach,) = numbers(page, "reach")
    x = box["x"] + (mu[0] + reach) * box["width"] / (2 * reach)
    y = box["y"] + (reach - mu[1]) * box["height"] / (2 * reach)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y - 30, steps=8)
    expect(page.locator(MAP)).not_to_have_attribute("data-mu", texts["mu"])
    moved = numbers(page, "mu")
    assert moved[0] > mu[0]
    assert moved[1] > mu[1]
    assert numbers(page, "sigma") == sigma
    assert cost.inner_text() == before  # the server has not been asked yet
    page.mouse.up()
    expect(cost).not_to_have_text(before)
    settle(page)
    page.get_by_role("button", name="Start again").click()
    expect(cost).to_have_text(before)
    assert numbers(page, "mu") == mu


def test_a_handle_beyond_the_plane_can_be_had_at_its_edge(app, open_page):
    page = open_page(f"{app}/reparameterisation?model=digits-d2&test_image=4")
    drawn(page)
    plane = page.locator(MAP).get_by_role("application", name=re.compile("latent plane"))
    plane.focus()
    for _ in range(35):
        page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("map => Number(map.dataset.sigma.split(' ')[0]) > 3.9", arg=page.query_selector(MAP))
    settle(page)
    plane.scroll_into_view_if_needed()
    box, mu, (reach,) = plane.bounding_box(), numbers(page, "mu"), numbers(page, "reach")
    x, y = box["x"] + box["width"] - 8, box["y"] + (reach - mu[1]) * box["height"] / (2 * reach)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y, steps=6)
    page.mouse.up()
    settle(page)
    per_pixel = 2 * reach / box["width"]
    assert numbers(page, "sigma")[0] == pytest.approx(4 - 60 * per_pixel, abs=2 * per_pixel)
    assert numbers(page, "mu") == mu


def test_keys_widen_the_ellipse(app, open_page):
    page = open_page(f"{app}/reparameterisation?model=digits-d2")
    drawn(page)
    text, sigma = page.locator(MAP).get_attribute("data-sigma"), numbers(page, "sigma")
    page.locator(MAP).get_by_role("application", name=re.compile("latent plane")).focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(MAP)).not_to_have_attribute("data-sigma", text)
    assert numbers(page, "sigma")[0] > sigma[0]
    assert numbers(page, "sigma")[1] == sigma[1]


def test_keys_choose_the_noise_and_leave_the_ellipse(app, open_page):
    page = open_page(f"{app}/reparameterisation?model=digits-d2")
    drawn(page)
    noise, total = page.locator(MAP).get_by_role("slider"), page.locator(MAP).locator(".sum")
    mu, sigma, before = numbers(page, "mu"), numbers(page, "sigma"), total.inner_text()
    expect(noise).to_have_attribute("aria-valuenow", "1")
    noise.press("ArrowRight")
    expect(noise).to_have_attribute("aria-valuenow", "2")
    assert total.inner_text() != before
    noise.press("ArrowLeft")
    expect(noise).to_have_attribute("aria-valuenow", "1")
    assert total.inner_text() == before
    noise.press("ArrowLeft")
    expect(noise).to_have_attribute("aria-valuenow", noise.get_attribute("aria-valuemax"))
    assert (numbers(page, "mu"), numbers(page, "sigma")) == (mu, sigma)


def test_a_comparison_is_drawn_while_it_runs_stopped_and_finished(app, open_page):
    first = random.randrange(200)  # what a first try has finished would be there at once at the second
    page = open_page(f"{app}/amortised-and-classical?model=mnist-d2&amortised_first={first}")
    expect(page.get_by_text("Start from the encoder’s q")).to_be_visible()
    page.get_by_role("button", name="Optimise q for each").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Start from the encoder’s q")).to_be_visible()
    page.get_by_role("button", name="Optimise q for each").click()
    expect(page.get_by_role("heading", name="Where the gap comes from")).to_be_visible()
    expect(page.get_by_text("The encoder answers for 8 images")).to_be_visible()


@pytest.fixture
def laborious(browser, tmp_path):  # noqa: ARG001 (no browser, no server)
    """An app with a model whose decoder takes a minute for what the pages ask of it."""
    name = save_untrained(build(shape=(1, 32, 32), arch="conv", widths=(8, 1024)), tmp_path)
    with serve("app.py", VAE_RUNS=str(tmp_path)) as url:
        yield url, name


def test_what_began_by_itself_is_stopped_and_started_again_when_asked(laborious, open_page):
    app, model = laborious
    page = open_page(app)
    page.goto(f"{app}/bounds?model={model}")
    stop, again = (page.get_by_role("button", name=name) for name in ("Stop", "Start again"))
    for _ in range(2):
        stop.click()
        expect(page.get_by_text("Drawing 5,000 codes: stopped.")).to_be_visible()
        settle(page)
        expect(stop).to_have_count(0)
        again.click()
    stop.click()
    expect(again).to_be_visible()
    settle(page)
    page.get_by_label("Test image").fill("3")
    page.get_by_label("Test image").press("Enter")
    stop.click()
    settle(page)
    expect(again).to_be_visible()
    expect(stop).to_have_count(0)
