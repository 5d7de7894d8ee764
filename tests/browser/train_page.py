"""What the tests of the Train page in a browser do on it."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.browser.conftest import settle
from tests.waiting import PATIENCE, until
from vae_core.runs import LIVE, Run

LEFT = re.compile(r"\d (s|min) left")
DONE = re.compile(r"of training on")
LONG = "train_epochs_digits=20000"


def stop_all(folder: Path) -> None:
    """A test that failed half-way leaves its trainer at work, and its next try would find it so."""
    for path in folder.glob("*/config.json"):
        run = Run(path.parent)
        if run.state()["status"] in LIVE:
            run.stop()
            until(lambda run=run: run.state()["status"] not in LIVE)


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
    """Click the box of a row in the table of runs, which is drawn on a canvas, once nothing moves it any more."""
    settle(page)
    table = page.get_by_test_id("stDataFrame")
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 35 * (row + 1) + 17)


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def start(page) -> None:
    button(page, "Start training").click()
    page.get_by_text(LEFT).or_(page.get_by_text(DONE)).first.wait_for(timeout=1000 * PATIENCE)


def finished(page) -> None:
    """Wait until the run has been trained to its end."""
    page.get_by_text(DONE).wait_for(timeout=1000 * PATIENCE)


def stop(page) -> None:
    button(page, "Stop").click()
    button(page, "Resume").wait_for()


def epoch_of(page) -> float:
    return float(re.search(r"Epoch ([\d.]+) of", page.inner_text("body"))[1])
