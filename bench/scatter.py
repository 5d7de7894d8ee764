"""Large maps in the browser: redraws per second while panning and zooming, what is sent, and the plane pad.

    python -m bench.scatter [--points 10000 70000] [--rounds 3]

The latent map alone (tests/browser/gallery_map.py) in headless Chromium, WebGL in software: two seconds of panning
with the mouse and two of zooming with the wheel a round, then its colours changed. Then the plane pad of the Latent
space page, dragged likewise, and let go: the round trip ends when what is decoded exactly is on the page.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable

from bench.browser import IDLE, app, page
from bench.report import emit, machine, spread

_SECONDS = 2.0
_GALLERY = "tests/browser/gallery_map.py"


def _middle(opened) -> tuple[float, float]:
    stage = opened.get_by_test_id("latent-map").locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def _redraws(opened) -> int:
    return int(opened.get_by_test_id("latent-map").get_attribute("data-redraws"))


def _rate(opened, act: Callable[[float], None]) -> float:
    """Redraws a second while `act` is called over and over with the seconds gone."""
    before, started = _redraws(opened), time.perf_counter()
    while (gone := time.perf_counter() - started) < _SECONDS:
        act(gone)
    return (_redraws(opened) - before) / (time.perf_counter() - started)


def _dragged(opened) -> float:
    x, y = _middle(opened)
    opened.mouse.move(x, y)
    opened.mouse.down()
    return _rate(opened, lambda gone: opened.mouse.move(x + 80 * math.sin(5 * gone), y + 80 * math.sin(4 * gone)))


def _panned(opened) -> float:
    rate = _dragged(opened)
    opened.mouse.up()
    return rate


def _zoomed(opened) -> float:
    opened.mouse.move(*_middle(opened))
    return _rate(opened, lambda gone: opened.mouse.wheel(0, 60 if gone % 1 < 0.5 else -60))


def _traffic(opened) -> list[int]:
    """The sizes of the messages from the server from now on."""
    sizes = []
    session = opened.context.new_cdp_session(opened)
    session.send("Network.enable")
    session.on("Network.webSocketFrameReceived", lambda event: sizes.append(_size(event["response"])))
    return sizes


def _size(frame: dict) -> int:
    """A frame's bytes; the browser hands binary ones over in base64."""
    return len(frame["payloadData"]) * (3 if frame["opcode"] == 2 else 4) // 4


def _scatter(url: str, points: int, rounds: int) -> list[dict]:
    with page("about:blank") as opened:
        sizes = _traffic(opened)
        opened.goto(f"{url}/?n={points}")
        opened.wait_for_selector(IDLE, state="attached", timeout=90_000)
        opened.locator(f'[data-points="{points}"]').wait_for(state="attached", timeout=90_000)
        first = sum(sizes)
        measured = [(_panned(opened), _zoomed(opened)) for _ in range(rounds)]
        sizes.clear()
        opened.get_by_text("Colour by value", exact=True).click()
        opened.get_by_text("First dimension").wait_for(timeout=60_000)
        opened.wait_for_selector(IDLE, state="attached")
        recoloured = sum(sizes)
    name = f"{points:,} points"
    return [
        {"what": f"{name}: redraws/s, panning (goal ≥ 20)"} | spread([pan for pan, _ in measured]),
        {"what": f"{name}: redraws/s, zooming (goal ≥ 20)"} | spread([zoom for _, zoom in measured]),
        {"what": f"{name}: MB for the whole page, thumbnails included"} | spread([first / 1e6]),
        {"what": f"{name}: bytes a point when the colours change (4 are the colour)"} | spread([recoloured / points]),
    ]


def _pad(url: str, rounds: int) -> list[dict]:
    with page(f"{url}/latent-space?model=mnist-d2") as opened:
        opened.get_by_role("button", name="Plane pad").click()
        x, y = _middle(opened)
        opened.mouse.move(x, y)
        opened.get_by_text("decoded at").wait_for(timeout=60_000)
        rates, trips = [], []
        for turn in range(rounds):
            rates.append(_dragged(opened))
            opened.mouse.move(x + 20 + 7 * turn, y - 30)
            place = opened.get_by_text("decoded at").inner_text().removeprefix("decoded at ")
            started = time.perf_counter()
            opened.mouse.up()
            opened.get_by_role("heading", name=f"z = ({place})").wait_for()
            trips.append(time.perf_counter() - started)
    return [
        {"what": "plane pad: redraws/s while dragging (goal ≥ 50)"} | spread(rates),
        {"what": "plane pad: release → decoded exactly (s, goal ≤ 0.2)"} | spread(trips),
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[10_000, 70_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAE_RUNS"] = folder
        with app(_GALLERY) as url:
            rows = [row for points in arguments.points for row in _scatter(url, points, arguments.rounds)]
        with app() as url:
            rows += _pad(url, arguments.rounds)
    emit("scatter", machine("streamlit"), rows)


if __name__ == "__main__":
    main()
