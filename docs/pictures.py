"""The README's pictures, taken from the running app.

python -m docs.pictures
"""

import os
import tempfile
from pathlib import Path

from bench.browser import IDLE, app, page

FOLDER = Path(__file__).resolve().parent / "pictures"
PAGES = {
    "home": "?model=mnist-d2-beta",
    "beta": "beta?model=mnist-d2-beta",
    "latent-space": "latent-space?model=mnist-d2-beta",
    "elbo-lab": "elbo-lab?model=mnist-d2-beta&test_image=40",
    "interpolate": "interpolate?model=mnist-d16&a=test:0&b=test:2",
    "generate": "generate?model=mnist-d16",
    "reconstruct": "reconstruct?model=mnist-d16",
}


def main() -> None:
    """Photograph every page, and the Train page while it trains."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as runs:
        os.environ["VAE_RUNS"] = runs
        with app() as url, page(url) as opened:
            opened.set_viewport_size({"width": 1440, "height": 1000})
            for name, path in PAGES.items():
                opened.goto(f"{url}/{path}")
                opened.wait_for_selector(IDLE, state="attached", timeout=90_000)
                opened.wait_for_timeout(2500)  # pictures are decoded and charts drawn after the script has finished
                opened.screenshot(path=FOLDER / f"{name}.png")
            opened.goto(f"{url}/train?train_epochs_digits=400")
            opened.get_by_role("button", name="Start training").click()
            opened.get_by_text("Reconstruction").first.wait_for(timeout=60_000)
            opened.wait_for_timeout(12_000)
            opened.set_viewport_size({"width": 1440, "height": 1300})
            opened.wait_for_timeout(2500)
            opened.screenshot(path=FOLDER / "train.png")
            opened.get_by_role("button", name="Stop", exact=True).click()
            opened.get_by_role("button", name="Resume", exact=True).wait_for(timeout=60_000)


if __name__ == "__main__":
    main()
