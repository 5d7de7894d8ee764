"""The Train page in a real browser: watching, steering and finding back to runs."""

import io
import re
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import ROOT, serve, settle
from vae_core.runs import Run

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

LEFT = re.compile(r"\d (s|min) left")
DONE = re.compile(r"of training on")
LONG = "train_epochs_digits=20000"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    with serve("app.py", VAE_RUNS=str(folder / "runs"), VAE_HOSTED="0", OMP_NUM_THREADS="1") as url:
        yield url
    stop_all(folder / "runs")


SHORT = """
from dataclasses import replace
from vae_core import hosted
hosted.LIMITS = replace(hosted.LIMITS, seconds=25.0, epochs=100_000, disk_bytes=1)
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A public demo whose turns are shorter than a run may be, with no room for old runs; in trainers, too."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "sitecustomize.py").write_text(SHORT)
    places = {"VAE_RUNS": str(folder / "runs"), "VAE_DATA": str(folder / "data"), "PYTHONPATH": f"{folder}:{ROOT}"}
    with serve("app.py", VAE_HOSTED="1", OMP_NUM_THREADS="1", **places) as url:
        yield url
    stop_all(folder / "runs")


def stop_all(folder: Path) -> None:
    """A test that failed half-way leaves its trainer at work."""
    for path in folder.glob("*/config.json"):
        Run(path.parent).stop()


def zip_of_pictures(others: dict[str, bytes] | None = None) -> bytes:
    """Forty pictures in two folders, and others by their names."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for i in range(40):
            pixels = np.full((20 + i, 30, 3), 6 * i, np.uint8)
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, "PNG")
            file.writestr(f"pictures/{'dark' if i < 20 else 'light'}/{i}.png", picture.getvalue())
        for name, content in (others or {}).items():
            file.writestr(f"pictures/{name}", content)
    return archive.getvalue()


def upload(page, content: bytes) -> None:
    file = {"name": "pictures.zip", "mimeType": "application/zip", "buffer": content}
    page.locator('input[type="file"]').set_input_files(file)


def select_run(page, row: int) -> None:
    """Click the box of a row in the table of runs, which is drawn on a canvas."""
    table = page.get_by_test_id("stDataFrame")
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 35 * (row + 1) + 17)


def start(page) -> None:
    button(page, "Start training").click()
    page.get_by_text(LEFT).or_(page.get_by_text(DONE)).first.wait_for(timeout=120_000)


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def stop(page) -> None:
    button(page, "Stop").click()
    button(page, "Resume").wait_for(timeout=60_000)


def views(page) -> list[str]:
    return [chart.get_attribute("data-view") for chart in page.get_by_test_id("live-chart").all()]


def test_digits_are_trained_to_the_end_while_one_watches(app, open_page):
    page = open_page(f"{app}/train?train_epochs_digits=12")
    start(page)
    page.get_by_text(DONE).wait_for(timeout=120_000)
    page.get_by_test_id("film-strip").wait_for(timeout=60_000)
    charts = page.get_by_test_id("live-chart")
    expect(charts).to_have_count(4)
    assert re.match(
        r"Loss, nats: train [\d.]+, test [\d.]+", charts.first.locator("canvas").get_attribute("aria-label")
    )
    page.get_by_text("Test images, each over its reconstruction, epoch 12").wait_for(timeout=30_000)
    strip = page.get_by_test_id("film-strip")
    strip.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.get_by_text("Before the first epoch").wait_for(timeout=30_000)
    assert int(strip.get_attribute("data-redraws")) >= 2

    again = open_page(f"{app}/train?train_epochs_digits=12")
    button(again, "Start training").click()
    again.get_by_text(DONE).wait_for(timeout=30_000)


def test_the_zoom_and_the_charts_themselves_stay_while_the_curves_grow(app, open_page):
    page = open_page(f"{app}/train?{LONG}&train_seed=1")
    start(page)
    charts = page.get_by_test_id("live-chart")
    charts.nth(3).wait_for(timeout=60_000)
    page.get_by_text(re.compile(r"Epoch (\d{2,}|[5-9])\.\d of")).wait_for(timeout=60_000)
    canvas = charts.nth(2).locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    button(charts.nth(2), "Show all").wait_for()
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # the zoom is drawn
    before = views(page)
    drawn = int(charts.nth(0).get_attribute("data-redraws"))
    handles = [chart.element_handle() for chart in charts.all()]
    page.wait_for_function(
        "([chart, redraws]) => chart.dataset.redraws >= redraws", arg=[handles[0], drawn + 3], timeout=60_000
    )
    after = views(page)
    assert all(handle.evaluate("node => node.isConnected") for handle in handles), "nothing is built anew"
    assert after[0] != before[0], "the loss goes on"
    assert after[2] == before[2], "the zoom is kept"
    canvas.dblclick()
    expect(charts.nth(2)).not_to_have_attribute("data-view", before[2])
    stop(page)


def test_a_run_is_paused_stepped_steered_and_found_again(app, open_page):
    page = open_page(f"{app}/train?{LONG}&train_seed=2")
    start(page)
    page.get_by_role("slider", name="β now").focus()
    page.keyboard.press("ArrowRight")
    button(page, "Pause").click()
    button(page, "Resume").wait_for(timeout=60_000)
    epoch = _epoch(page)
    button(page, "Step one epoch").click()
    page.wait_for_function(
        "(epoch) => Number(document.body.innerText.match(/Epoch ([\\d.]+) of/)?.[1]) > epoch", arg=epoch, timeout=60_000
    )
    button(page, "Resume").wait_for(timeout=60_000)
    assert _epoch(page) == int(epoch) + 1
    button(page, "Resume").click()
    button(page, "Pause").wait_for(timeout=60_000)

    page.reload()
    button(page, "Pause").wait_for(timeout=60_000)
    page.get_by_role("link", name="Generate").first.click()
    page.get_by_role("heading", name="Generate").wait_for(timeout=60_000)
    page.get_by_role("link", name="Train").first.click()
    button(page, "Pause").wait_for(timeout=60_000)
    assert "run=digits" in page.url

    other = open_page(page.url, **PHONE)
    button(other, "Pause").wait_for(timeout=60_000)
    overflow = other.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    stop(page)
    button(other, "Resume").wait_for(timeout=60_000)


def test_a_run_outlives_the_server_and_is_found_again_by_its_address(tmp_path, open_page):
    places = {"VAE_RUNS": str(tmp_path / "runs"), "VAE_HOSTED": "0", "OMP_NUM_THREADS": "1"}
    try:
        with serve("app.py", **places) as url:
            page = open_page(f"{url}/train?{LONG}")
            start(page)
            address = page.url.removeprefix(url)
            page.goto("about:blank")
        with serve("app.py", **places) as url:
            page = open_page(f"{url}{address}")
            button(page, "Pause").wait_for(timeout=60_000)
            page.wait_for_function(
                "(epoch) => Number(document.body.innerText.match(/Epoch ([\\d.]+) of/)?.[1]) > epoch",
                arg=_epoch(page),
                timeout=60_000,
            )
            stop(page)
            page.goto("about:blank")
    finally:
        stop_all(tmp_path / "runs")


def _epoch(page) -> float:
    return float(re.search(r"Epoch ([\d.]+) of", page.inner_text("body"))[1])


def test_ones_own_pictures_are_uploaded_and_trained(app, open_page):
    page = open_page(f"{app}/train?train_data=Your+own+pictures&train_epochs_own=2&train_batch_own=16")
    upload(page, zip_of_pictures({"light/broken.png": b"\x89PNG\r\n\x1a\nno picture"}))
    page.get_by_text("36 pictures to train on, 4 to test, 32 × 32 pixels").wait_for(timeout=60_000)
    expect(page.get_by_text("broken.png")).to_be_visible()
    start(page)
    page.get_by_text(DONE).wait_for(timeout=120_000)


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
    expect(button(page, "Cancel")).to_have_count(0)  # what hangs is given up only after half a minute
    expect(page.get_by_test_id("stProgress")).to_have_count(0)
    expect(button(page, "Download MNIST")).to_be_enabled()


def test_runs_are_compared_downloaded_and_deleted(app, open_page, tmp_path):
    page = open_page(f"{app}/train?train_epochs_digits=1&train_seed=7")
    start(page)
    page.get_by_text(DONE).wait_for(timeout=120_000)
    settle(page)
    select_run(page, 0)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Metrics").click(timeout=30_000)
    waiting.value.save_as(tmp_path / "metrics.csv")
    assert "kl_1" in Path(tmp_path / "metrics.csv").read_text().splitlines()[0]
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Checkpoint").click()
    waiting.value.save_as(tmp_path / "checkpoint.safetensors")
    assert (tmp_path / "checkpoint.safetensors").stat().st_size > 100_000
    select_run(page, 1)
    page.get_by_text("Loss, test", exact=True).nth(1).wait_for(timeout=30_000)
    select_run(page, 1)
    page.get_by_role("button", name="Show").wait_for(timeout=30_000)
    name = re.search(r"run=([\w.-]+)", page.url)[1]
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    page.wait_for_url(lambda url: name not in url, timeout=30_000)


def test_on_a_demo_visitors_take_turns_and_cannot_touch_what_is_not_theirs(demo, open_page):
    mine = open_page(f"{demo}/train?train_data=Your+own+pictures&train_epochs_own=90000&train_batch_own=16")
    upload(mine, zip_of_pictures())
    theirs = open_page(f"{demo}/train?train_epochs_digits=2")
    button(mine, "Start training").click()
    mine.wait_for_url(re.compile("run="))
    button(theirs, "Start training").click()
    theirs.get_by_text("In the queue: 1 run is before this one").wait_for(timeout=60_000)
    guest = open_page(mine.url)
    guest.get_by_text("is not here any more").first.wait_for(timeout=60_000)
    listed = guest.get_by_test_id("stDataFrame").locator("canvas table")
    listed.get_by_text("Digits").wait_for(state="attached", timeout=60_000)
    assert "Uploaded" not in listed.text_content()
    assert "Uploaded" in mine.get_by_test_id("stDataFrame").locator("canvas table").text_content()

    mine.get_by_text("this is as long as a turn may be on this public demo").wait_for(timeout=60_000)
    button(mine, "Resume").wait_for(timeout=60_000)
    theirs.get_by_text(DONE).wait_for(timeout=120_000)
    guest.goto(theirs.url)
    guest.get_by_text("This is someone else’s run").wait_for(timeout=60_000)
    select_run(guest, 0)
    button(guest, "Metrics").wait_for(timeout=60_000)
    for name in ("Pause", "Resume", "Stop", "Delete"):
        assert button(guest, name).count() == 0

    mine.goto(f"{demo}/train?train_epochs_digits=1&train_seed=1")
    button(mine, "Start training").click()
    mine.get_by_text(DONE).wait_for(timeout=120_000)
    theirs.reload()
    theirs.get_by_text("is not here any more").first.wait_for(timeout=60_000)
    secret = next(cookie["value"] for cookie in mine.context.cookies() if cookie["name"] == "vae_visitor")
    for page in (mine, theirs, guest):
        assert secret not in page.url
        assert "/runs" not in page.inner_text("body")
    assert secret not in guest.content()
