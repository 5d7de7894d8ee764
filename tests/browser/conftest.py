"""A Streamlit server and a real browser for the tests beside this file."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE = 20_000  # milliseconds that a page may take to show what is expected, beside other tests on two cores
_IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"][data-test-connection-state="CONNECTED"]'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a busy machine missed in a browser is tried twice more; a real fault fails all three times."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=2))


@contextmanager
def serve(script: str | Path, **environment: str) -> Iterator[str]:
    """Run a Streamlit script, given relative to the repository's root, on a free port; yields its address.

    `environment` adds variables to the server's. Raises RuntimeError with the server's output if it does not
    answer within a minute.
    """
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / script), f"--server.port={port}"]
    command += ["--server.address=localhost", "--server.headless=true", "--server.fileWatcherType=none"]
    command += ["--browser.gatherUsageStats=false"]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment
    with tempfile.TemporaryFile() as output:
        server = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT)
        try:
            if not _becomes_healthy(f"http://localhost:{port}/_stcore/health", server):
                output.seek(0)
                raise RuntimeError(f"Streamlit did not start:\n{output.read().decode(errors='replace')}")
            yield f"http://localhost:{port}"
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()


def settle(page) -> None:
    """Wait until the page's script has finished."""
    page.wait_for_selector(_IDLE, state="attached", timeout=60_000)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; the test is skipped where there is none, or no Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser found: looked for {', '.join(_BROWSERS)}")
    api.expect.set_options(timeout=_PATIENCE)
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens pages: `open_page(url, **context)`; `context` as for Playwright's `new_context`.

    At the test's end every page must be free of exceptions, and its console of errors.
    """
    opened, complaints = [], []

    def open_one(url: str, **context):
        options = {"viewport": {"width": 1280, "height": 900}} | context
        page = browser.new_context(**options).new_page()
        page.on("console", lambda message: _is_ours(message) and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        opened.append(page)
        page.goto(url)
        settle(page)
        return page

    yield open_one
    for page in opened:
        complaints += page.locator('[data-testid="stException"]').all_inner_texts()
        page.context.close()
    assert not complaints


def _is_ours(message) -> bool:
    """Whether a console message is an error other than Streamlit's own search for its server below a page's path."""
    return message.type == "error" and "/_stcore/" not in message.location.get("url", "")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def _becomes_healthy(address: str, server: subprocess.Popen, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=1) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    return False
