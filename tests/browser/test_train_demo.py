"""The Train page in a real browser: a public demo, whose visitors take turns, and a server that is started again."""

import re

import pytest

from tests.browser.conftest import ROOT, serve
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

SHORT = """
import sys
from dataclasses import replace
from pathlib import Path
from vae_core import hosted
class Turn(float):
    def __lt__(self, elapsed):
        return Path(sys.argv[-1], "over").exists()
hosted.LIMITS = replace(hosted.LIMITS, seconds=Turn(), epochs=100_000, disk_bytes=1)
"""


@pytest.fixture
def demo(tmp_path):
    """A public demo with no room for old runs, whose turns end where a file `over` in the run's folder says so."""
    (tmp_path / "sitecustomize.py").write_text(SHORT)
    runs, paths = tmp_path / "runs", f"{tmp_path}:{ROOT}"
    places = {"VAE_RUNS": str(runs), "VAE_DATA": str(tmp_path / "data"), "PYTHONPATH": paths}
    with serve("app.py", VAE_HOSTED="1", OMP_NUM_THREADS="1", **places) as url:
        yield url, runs
    stop_all(runs)


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
            button(page, "Pause").wait_for()
            page.wait_for_function(
                "(epoch) => Number(document.body.innerText.match(/Epoch ([\\d.]+) of/)?.[1]) > epoch",
                arg=epoch_of(page),
            )
            stop(page)
            page.goto("about:blank")
    finally:
        stop_all(tmp_path / "runs")


def test_on_a_demo_visitors_take_turns_and_cannot_touch_what_is_not_theirs(demo, open_page):
    demo, runs = demo
    mine = open_page(f"{demo}/train?train_data=Your+own+pictures&train_epochs_own=90000&train_batch_own=16")
    upload(mine, zip_of_pictures())
    theirs = open_page(f"{demo}/train?train_epochs_digits=2")
    button(mine, "Start training").click()
    mine.wait_for_url(re.compile("run="))
    button(theirs, "Start training").click()
    theirs.get_by_text("In the queue: 1 run is before this one").wait_for()
    guest = open_page(mine.url)
    guest.get_by_text("is not here any more").first.wait_for()
    listed = guest.get_by_test_id("stDataFrame").locator("canvas table")
    listed.get_by_text("Digits").wait_for(state="attached")
    assert "Uploaded" not in listed.text_content()
    assert "Uploaded" in mine.get_by_test_id("stDataFrame").locator("canvas table").text_content()

    (runs / re.search(r"run=([\w.-]+)", mine.url)[1] / "over").touch()
    mine.get_by_text("this is as long as a turn may be on this public demo").wait_for()
    button(mine, "Resume").wait_for()
    finished(theirs)
    guest.goto(theirs.url)
    guest.get_by_text("This is someone else’s run").wait_for()
    select_run(guest, 0)
    button(guest, "Metrics").wait_for()
    for name in ("Pause", "Resume", "Stop", "Delete"):
        assert button(guest, name).count() == 0

    mine.goto(f"{demo}/train?train_epochs_digits=1&train_seed=1")
    button(mine, "Start training").click()
    finished(mine)
    theirs.reload()
    theirs.get_by_text("is not here any more").first.wait_for()
    secret = next(cookie["value"] for cookie in mine.context.cookies() if cookie["name"] == "vae_visitor")
    for page in (mine, theirs, guest):
        assert secret not in page.url
        assert "/runs" not in page.inner_text("body")
    assert secret not in guest.content()
