"""The Train page in a real browser: watching, steering and finding back to runs."""

import re
import socket
from pathlib import Path

import pytest

from tests.browser.conftest import serve, settle
from tests.browser.train_page import (
    LONG,
    button,
    epoch_of,
    finished,
    select_run,
    start,
    stop,
    stop_all,
    upload,
    zip_of_pictures,
)

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

from vae_core import runs
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.train_config import TrainConfig
from vae_core.worker import train_run

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with serve("app.py", VAE_RUNS=str(folder), VAE_HOSTED="0", OMP_NUM_THREADS="1") as url:
        yield url, folder


@pytest.fixture
def app(served):
    """The address of a server on which nothing is in training."""
    url, folder = served
    yield url
    stop_all(folder)


def views(page) -> list[str]:
    return [chart.get_attribute("data-view") for chart in page.get_by_test_id("live-chart").all()]


def zoom_in(page, chart) -> None:
    """Drag a box over part of a chart, and wait until its inside is drawn."""
    canvas = chart.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    button(chart, "Show all").wait_for()
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_digits_are_trained_to_the_end_while_one_watches(app, open_page):
    page = open_page(f"{app}/train?train_epochs_digits=12")
    start(page)
    finished(page)
    page.get_by_test_id("film-strip").wait_for()
    charts = page.get_by_test_id("live-chart")
    expect(charts).to_have_count(4)
    expect(charts.first.locator("canvas")).to_have_attribute(
        "aria-label", re.compile(r"^Loss, nats: train [\d.]+, test [\d.]+")
    )
    page.get_by_text("Test images, each over its reconstruction, epoch 12").wait_for()
    strip = page.get_by_test_id("film-strip")
    strip.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.get_by_text("Before the first epoch").wait_for()
    expect(strip).to_have_attribute("data-redraws", re.compile(r"^([2-9]|\d{2,})$"))

    again = open_page(f"{app}/train?train_epochs_digits=12")
    button(again, "Start training").click()
    finished(again)


def test_the_zoom_and_the_charts_themselves_stay_while_the_curves_grow(app, open_page):
    page = open_page(f"{app}/train?{LONG}&train_seed=1")
    start(page)
    charts = page.get_by_test_id("live-chart")
    charts.nth(3).wait_for()
    page.get_by_text(re.compile(r"Epoch (\d{2,}|[5-9])\.\d of")).wait_for()
    zoom_in(page, charts.nth(2))
    before = views(page)
    drawn = int(charts.nth(0).get_attribute("data-redraws"))
    handles = [chart.element_handle() for chart in charts.all()]
    page.wait_for_function("([chart, redraws]) => chart.dataset.redraws >= redraws", arg=[handles[0], drawn + 3])
    after = views(page)
    assert all(handle.evaluate("node => node.isConnected") for handle in handles), "nothing is built anew"
    assert after[0] != before[0], "the loss goes on"
    assert after[2] == before[2], "the zoom is kept"
    charts.nth(2).locator("canvas").dblclick()
    expect(charts.nth(2)).not_to_have_attribute("data-view", before[2])
    stop(page)


def test_the_zoom_stays_when_the_warm_up_ends_and_when_the_run_does(app, open_page):
    """What is said above the charts comes and goes, and does not push them aside."""
    page = open_page(f"{app}/train?train_epochs_digits=120&train_warmup=50&train_seed=8")
    start(page)
    page.get_by_text("KL warm-up: β is").wait_for()
    chart = page.get_by_test_id("live-chart").first
    zoom_in(page, chart)
    zoom, handle = chart.get_attribute("data-view"), chart.element_handle()
    expect(page.get_by_text("KL warm-up: β is")).to_have_count(0)
    expect(chart).to_have_attribute("data-view", zoom)
    finished(page)
    settle(page)
    assert handle.evaluate("node => node.isConnected"), "nothing is built anew"
    expect(chart).to_have_attribute("data-view", zoom)


STEP_PLACES = """() => {
  window.places = new Set();
  const look = () => {
    for (const button of document.querySelectorAll('button'))
      if (button.textContent.includes('Step one epoch')) places.add(Math.round(button.getBoundingClientRect().x));
    requestAnimationFrame(look);
  };
  look();
}"""


def test_a_run_is_paused_stepped_steered_and_found_again(app, open_page):
    page = open_page(f"{app}/train?{LONG}&train_seed=2")
    start(page)
    page.get_by_role("slider", name="β now").focus()
    page.keyboard.press("ArrowRight")
    page.evaluate(STEP_PLACES)
    button(page, "Pause").click()
    button(page, "Resume").wait_for()
    settle(page)
    epoch = epoch_of(page)
    button(page, "Step one epoch").click()
    page.wait_for_function(
        "(epoch) => Number(document.body.innerText.match(/Epoch ([\\d.]+) of/)?.[1]) > epoch", arg=epoch
    )
    button(page, "Resume").wait_for()
    settle(page)
    assert epoch_of(page) == int(epoch) + 1
    button(page, "Resume").click()
    button(page, "Pause").wait_for()
    assert len(page.evaluate("[...places]")) == 1, "a button moved from under the pointer"

    page.reload()
    button(page, "Pause").wait_for()
    page.get_by_role("link", name="Generate").first.click()
    page.get_by_role("heading", name="Generate").wait_for()
    page.get_by_role("link", name="Train").first.click()
    button(page, "Pause").wait_for()
    assert "run=digits" in page.url

    other = open_page(page.url, **PHONE)
    button(other, "Pause").wait_for()
    overflow = other.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    stop(page)
    button(other, "Resume").wait_for()


def test_ones_own_pictures_are_uploaded_and_trained(app, open_page):
    page = open_page(f"{app}/train?train_data=Your+own+pictures&train_epochs_own=2&train_batch_own=16")
    upload(page, zip_of_pictures({"light/broken.png": b"\x89PNG\r\n\x1a\nno picture"}))
    page.get_by_text("36 pictures to train on, 4 to test, 32 × 32 pixels").wait_for()
    expect(page.get_by_text("broken.png")).to_be_visible()
    start(page)
    finished(page)


@pytest.fixture
def silent(tmp_path):
    """An app without data sets, in a network that takes up every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        places = {"VAE_RUNS": str(tmp_path / "runs"), "VAE_DATA": str(tmp_path / "data")}
        with serve("app.py", https_proxy=address, http_proxy=address, no_proxy="localhost", **places) as url:
            yield url


def test_a_download_that_hangs_shows_progress_and_is_cancelled_at_once(silent, open_page):
    page = open_page(f"{silent}/train?train_data=MNIST")
    button(page, "Download MNIST").click()
    expect(page.get_by_text("Starting …")).to_be_visible()
    button(page, "Cancel").click()
    expect(button(page, "Cancel")).to_have_count(0, timeout=20_000)  # what hangs is given up only after half a minute
    expect(page.get_by_test_id("stProgress")).to_have_count(0)
    expect(button(page, "Download MNIST")).to_be_enabled()


@pytest.fixture
def trained(served):
    """The names of two runs that have just been trained, the newest first."""
    names = []
    for seed in (71, 72):
        config = RunConfig(ModelConfig((1, 8, 8)), TrainConfig(epochs=1, seed=seed))
        run = runs.create(config, served[1] / config.name)
        train_run(run)
        names.insert(0, run.name)
    return names


def test_runs_are_compared_downloaded_and_deleted(app, served, open_page, trained, tmp_path):
    newest, before = trained
    page = open_page(f"{app}/train?run={newest}")
    finished(page)
    select_run(page, 0)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Metrics").click()
    waiting.value.save_as(tmp_path / "metrics.csv")
    assert "kl_1" in Path(tmp_path / "metrics.csv").read_text().splitlines()[0]
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Checkpoint").click()
    waiting.value.save_as(tmp_path / "checkpoint.safetensors")
    assert (tmp_path / "checkpoint.safetensors").stat().st_size > 100_000
    select_run(page, 1)
    page.get_by_text("ELBO, test", exact=True).wait_for()
    select_run(page, 1)
    page.get_by_role("button", name="Show").wait_for()
    button(page, "Delete").click()
    button(page, "Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    button(page, "Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    page.wait_for_url(lambda url: newest not in url)
    assert (served[1] / before).exists()
    assert not (served[1] / newest).exists()
