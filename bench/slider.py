"""Dragging a slider that moves a picture: redraws per second, traffic while dragging, round trip on release.

    python -m bench.slider [--rounds 5] [--page beta?model=digits-beta] [--strip 0]

A strip of a page (the first of Interpolate, if left out), dragged with the mouse in headless Chromium for two seconds
a round. The round trip is timed in the page, from the thumb's pointerup: to the last new number (a metric whose text
has changed), and to the page's script having finished for good, with all charts and pictures drawn that it sent
before.
"""

import argparse
import os
import tempfile
import time

from bench.browser import app, page
from bench.report import emit, machine, spread

_STILL_MS = 400  # so long must the script rest to be finished for good
_WATCH = """still => {
  const changed = { numbers: null, finished: null };
  let released = Infinity;
  const now = () => (performance.now() - released) / 1000;
  const app = document.querySelector('[data-testid="stApp"]');
  const isNumber = node => (node.parentElement ?? node).closest?.('[data-testid="stMetricValue"]');
  addEventListener("pointerup", () => (released = performance.now()), { once: true, capture: true });
  window.trip = new Promise((resolve, reject) => {
    let timer;
    setTimeout(() => reject(new Error("Nothing ran after the release.")), 20000);
    new MutationObserver((all, observer) => {
      if (released === Infinity) return;
      if (all.some(one => one.type !== "attributes" && isNumber(one.target))) changed.numbers = now();
      if (!all.some(one => one.type === "attributes")) return;
      clearTimeout(timer);
      if (app.dataset.testScriptState !== "notRunning") return;
      changed.finished = now();
      timer = setTimeout(() => (observer.disconnect(), resolve(changed)), still);
    }).observe(document, {
      subtree: true, childList: true, characterData: true, attributeFilter: ["data-test-script-state"],
    });
  });
}"""


def _drag(opened, strip, turn: int) -> dict[str, float]:
    strip.scroll_into_view_if_needed()
    box = strip.get_by_role("slider").bounding_box()
    y = box["y"] + box["height"] / 2
    opened.mouse.move(box["x"] + 10, y)
    opened.mouse.down()
    before, started, moves = int(strip.get_attribute("data-redraws")), time.perf_counter(), 0
    while time.perf_counter() - started < 2:
        moves += 1
        across = abs((moves * 7) % (2 * int(box["width"] - 20)) - int(box["width"] - 20))
        opened.mouse.move(box["x"] + 10 + across, y)
    rate = (int(strip.get_attribute("data-redraws")) - before) / (time.perf_counter() - started)
    opened.mouse.move(box["x"] + box["width"] * (0.3 + 0.1 * (turn % 4)), y)
    opened.evaluate(_WATCH, _STILL_MS)
    opened.mouse.up()
    return {"rate": rate} | opened.evaluate("window.trip")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", default="interpolate", help="the page's address")
    parser.add_argument("--strip", type=int, default=0, help="which of the page's strips, from 0")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAE_RUNS"] = folder
        with app() as url, page(f"{url}/{given.page}") as opened:
            strip = opened.get_by_test_id("film-strip").nth(given.strip)
            strip.wait_for()
            _drag(opened, strip, 3)  # warms the server; the next release is elsewhere
            measured = [_drag(opened, strip, turn) for turn in range(given.rounds)]
    rows = [
        {"what": what} | spread([one[name] for one in measured if one[name] is not None])
        for name, what in (
            ("rate", f"redraws/s while dragging (goal ≥ {50 if given.page.startswith('beta') else 30})"),
            ("numbers", "release → new numbers (s, goal ≤ 0.2)"),
            ("finished", "release → page finished (s)"),
        )
        if any(one[name] is not None for one in measured)
    ]
    emit("slider", machine("streamlit"), rows)


if __name__ == "__main__":
    main()
