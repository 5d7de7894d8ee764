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
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest

from tests.waiting import PATIENCE
from vae_core import data, rate_distortion, runs
from vae_core.checkpoint import Checkpoint, save
from vae_core.evaluate import snapshot
from vae_core.model import VAE
from vae_core.run_config import RunConfig
from vae_core.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the cheapest first
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE = 120_000  # milliseconds that a page may take to show what is expected; only a fault takes that long
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
    answer within some minutes.
    """
    port = _free_port()
    command = [sys.executable, "-m", "tests.browser.server", "run", str(ROOT / script), f"--server.port={port}"]
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
            server.kill()  # it has nothing to tidy up, and asked to end it waits for its visitors
            server.wait()


def save_untrained(model: VAE, folder: Path) -> str:
    """Make the model a run of sprites, as if trained, in this folder for runs. Returns its name in addresses."""
    sprites, config = data.load("sprites"), RunConfig(model.config, TrainConfig(dataset="sprites"))
    run = runs.create(config, folder / config.name)
    record = {"train": config.train.to_dict(), "factor_names": list(sprites.factor_names)}
    betas = model.config.beta_range and rate_distortion.beta_snapshot(model, sprites.test.images, samples=1)
    save(run.checkpoint, Checkpoint(model, record, snapshot(model, sprites.test, 1000), betas))
    return f"run-{run.name}"


def settle(page) -> None:
    """Wait until the page's script has finished."""
    page.wait_for_selector(_IDLE, state="attached", timeout=_PATIENCE)


def still(page, name: str = "latent-map") -> None:
    """Wait until the component has drawn, and then a quarter of a second's worth of frames without drawing again."""
    page.get_by_test_id(name).evaluate(
        """async (root) => {
            for (let frames = 0, before = "0"; frames < 15; ) {
                await new Promise(requestAnimationFrame);
                const now = root.dataset.redraws ?? "0";
                frames = now === before && now !== "0" ? frames + 1 : 0;
                before = now;
            }
        }"""
    )


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


@pytest.fixture(scope="session")
def app(browser, tmp_path_factory) -> Iterator[str]:  # noqa: ARG001 (no browser, no server)
    """The address of the app, on a server for all the files that have none of their own."""
    with serve("app.py", VAE_RUNS=str(tmp_path_factory.mktemp("runs"))) as url:
        yield url


@pytest.fixture(scope="session")
def contexts(browser) -> Iterator[defaultdict]:  # noqa: ARG001 (which closes after them)
    """Lists of browser contexts by their options, which tests share, and so what the browser has cached."""
    kept = defaultdict(list)
    yield kept
    for context in chain(*kept.values()):
        context.close()


@pytest.fixture
def open_page(browser, contexts) -> Iterator[Callable]:
    """Opens pages: `open_page(url, watch=None, **context)`; `context` as for Playwright's `new_context`.

    Each page of a test is that of another visitor. `watch` is given the page before it goes anywhere. At the test's end
    every page must be free of exceptions, and its console of errors.
    """
    opened, complaints = [], []

    def visitor(options: dict):
        """A context that no other page of the test has, and of which no earlier test has left a trace."""
        alike, taken = contexts[repr(sorted(options.items()))], [page.context for page in opened]
        for context in alike:
            if context not in taken:
                return context
        alike.append(browser.new_context(**options))
        return alike[-1]

    def open_one(url: str, watch: Callable | None = None, **context):
        page = visitor({"viewport": {"width": 1280, "height": 900}} | context).new_page()
        page.set_default_timeout(_PATIENCE)
        if watch:
            watch(page)
        page.on(
            "console", lambda message: _is_ours(message) and complaints.append(f"{message.text} {message.location}")
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        opened.append(page)
        page.goto(url)
        settle(page)
        return page

    yield open_one
    for page in opened:
        complaints += page.locator('[data-testid="stException"]').all_inner_texts()
        if page.url.startswith("http"):
            page.evaluate("localStorage.clear()")
        page.context.clear_cookies()
        page.close()
    assert not complaints


def _is_ours(message) -> bool:
    """Whether a console message is an error other than Streamlit's own search for its server below a page's path."""
    return message.type == "error" and "/_stcore/" not in message.location.get("url", "")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def _becomes_healthy(address: str, server: subprocess.Popen) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=1) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    return False
