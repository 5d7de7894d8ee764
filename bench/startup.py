"""From `streamlit run` to the first page usable, beside the time of the imports; page changes on a warm server; and
from the click on "Start training" to the first record of a run, after its first steps.

    python -m bench.startup [--rounds 3]

"Usable" is when the home page's diagram stands in a headless browser that was running already. The imports are
`import torch, streamlit` in a fresh process, in the same round.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.browser import IDLE, ROOT, app, free_port, page, wait_until_healthy
from bench.report import emit, machine, spread

_WARMING_MS = 5000  # the visitor looks at the form for so long
PAGES = ("Train", "Latent space", "Interpolate", "Generate", "Reconstruct", "Home")


def _imports() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, streamlit"], check=True)
    return time.perf_counter() - started


def _first_page(blank) -> float:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), f"--server.port={port}"]
    command += ["--server.address=127.0.0.1", "--server.headless=true"]
    started = time.perf_counter()
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_healthy(url)
        blank.goto(url)
        blank.get_by_test_id("diagram").wait_for(timeout=90_000)
        blank.wait_for_selector(IDLE, state="attached", timeout=90_000)
        return time.perf_counter() - started
    finally:
        server.terminate()
        server.wait(timeout=15)


def _page_changes(opened, rounds: int) -> list[float]:
    times = []
    for turn in range(rounds + 1):
        for name in PAGES:
            started = time.perf_counter()
            opened.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
            opened.get_by_test_id("stSidebarNavLink").and_(opened.locator('[aria-current="page"]')).filter(
                has_text=name
            ).wait_for()
            opened.wait_for_selector(IDLE, state="attached", timeout=90_000)
            if turn:  # the first turn warms the server
                times.append(time.perf_counter() - started)
    return times


def _first_record(opened, url: str, folder: Path, seed: int) -> float:
    """Start a run of a new seed, when the trainer on standby has had its time; seconds to its first record."""
    opened.goto(f"{url}/train")
    opened.wait_for_selector(IDLE, state="attached", timeout=90_000)
    opened.get_by_role("spinbutton", name="Seed").fill(str(seed))
    opened.get_by_role("spinbutton", name="Seed").press("Enter")
    opened.wait_for_timeout(_WARMING_MS)
    opened.wait_for_selector(IDLE, state="attached", timeout=90_000)
    known = set(folder.glob("*/metrics.jsonl"))
    started = time.perf_counter()
    opened.get_by_role("button", name="Start training").click()
    while not any(path.stat().st_size for path in set(folder.glob("*/metrics.jsonl")) - known):
        time.sleep(0.005)
    took = time.perf_counter() - started
    opened.get_by_role("button", name="Stop", exact=True).click()
    opened.get_by_role("button", name="Resume").wait_for(timeout=90_000)
    return took


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAE_RUNS"] = folder
        with page("about:blank") as blank:
            pairs = [(_imports(), _first_page(blank)) for _ in range(rounds)]
        with app() as url, page(url) as opened:
            changes = _page_changes(opened, rounds)
            starts = [_first_record(opened, url, Path(folder), seed) for seed in range(1, rounds + 1)]
    imports, first = (spread(column) for column in zip(*pairs, strict=True))
    ratios = spread([usable / imported for imported, usable in pairs])
    rows = [
        {"what": "import torch, streamlit (s)"} | imports,
        {"what": "streamlit run → usable (s)"} | first,
        {"what": "usable / imports (goal ≤ 2)"} | ratios,
        {"what": "page change, warm (s, goal ≤ 0.5)"} | spread(changes),
        {"what": "click on Start training → first record (s, goal ≤ 1)"} | spread(starts),
    ]
    emit("startup", machine("torch", "streamlit"), rows)


if __name__ == "__main__":
    main()
