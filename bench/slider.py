"""Dragging a slider that moves a picture: redraws per second, traffic while dragging, round trip on release.

    python -m bench.slider [--rounds 5] [--page beta?model=digits-beta]

The first strip of a page (that of Interpolate, if left out), dragged with the mouse in headless Chromium for two
seconds a round.
The round trip is from letting go to the page's script having finished with the new value.
"""

import argparse
import os
import tempfile
import time

from bench.browser import IDLE, app, page
from bench.report import emit, machine, spread


def _drag(opened, strip, turn: int) -> tuple[float, float]:
    box = strip.get_by_role("slider").bounding_box()
    y = box["y"] + box["height"] / 2
    opened.mouse.move(box["x"] + 10, y)
    opened.mouse.down()
    before, started, moves = int(strip.get_attribute("data-redraws")), time.perf_counter(), 0
    while time.perf_counter() - started < 2:
        moves += 1
        across = abs((moves * 7) % (2 * int(box["width"] - 20)) - int(box["width"] - 20))
        opened.mouse.move(box["x"] + 10 + across, y)
    elapsed = time.perf_counter() - started
    redraws = int(strip.get_attribute("data-redraws")) - before
    opened.mouse.move(box["x"] + box["width"] * (0.3 + 0.1 * (turn % 4)), y)
    released = time.perf_counter()
    opened.mouse.up()
    opened.wait_for_function("selector => !document.querySelector(selector)", arg=IDLE, timeout=2000)
    opened.wait_for_selector(IDLE, state="attached")
    return redraws / elapsed, time.perf_counter() - released


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", default="interpolate", help="the page's address")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAE_RUNS"] = folder
        with app() as url, page(f"{url}/{given.page}") as opened:
            strip = opened.get_by_test_id("film-strip").first
            strip.scroll_into_view_if_needed()
            measured = [_drag(opened, strip, turn) for turn in range(given.rounds)]
    redraws, trips = (spread(column) for column in zip(*measured, strict=True))
    rows = [
        {"what": "redraws/s while dragging (goal ≥ 30)"} | redraws,
        {"what": "release → page finished (s, goal ≤ 0.2)"} | trips,
    ]
    emit("slider", machine("streamlit"), rows)


if __name__ == "__main__":
    main()
