"""A running app and a headless browser for the benchmarks that need them."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["IDLE", "app", "free_port", "page", "served", "wait_until_healthy"]

ROOT = Path(__file__).resolve().parent.parent
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"][data-test-connection-state="CONNECTED"]'
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(url: str, seconds: float = 90.0) -> None:
    """Return when the Streamlit server at `url` answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise TimeoutError(f"No server at {url}.")


@contextmanager
def app(script: str = "app.py") -> Iterator[str]:
    """The app, or another script, on a free port of loopback, until the block ends; yields its address."""
    with served(script) as (url, _):
        yield url


@contextmanager
def served(script: str = "app.py") -> Iterator[tuple[str, int]]:
    """As `app`; yields the address and the server's process id."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / script), f"--server.port={port}"]
    command += ["--server.address=127.0.0.1", "--server.headless=true", "--server.fileWatcherType=none"]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(timeout=15)


@contextmanager
def page(url: str) -> Iterator:
    """A page of headless Chromium at `url`, its script finished once; closed with the block."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise RuntimeError("This benchmark needs Chromium or Chrome.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.goto(url)
        if not url.startswith("about:"):
            opened.wait_for_selector(IDLE, state="attached", timeout=90_000)
        yield opened
        browser.close()
