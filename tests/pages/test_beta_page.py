"""The page of β, run as Streamlit runs it: every shipped model, what stands at which β, links, files."""

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from vae_core import checkpoint

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.safetensors"))
RANGED = "digits-beta"


def open_page(model: str = RANGED, **settings: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in {"model": model, **settings}.items():
        app.query_params[name] = value
    return ran(app.switch_page("pages/explore/beta.py"))


def ran(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def metric(app: AppTest, label: str) -> str:
    return next(metric.value for metric in app.metric if metric.label == label)


def number(app: AppTest, label: str) -> float:
    return float(metric(app, label).split()[0].replace("−", "-"))


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_every_shipped_model_has_its_numbers(path):
    """D and R are those of the checkpoint's own snapshots, summed here anew; D + βR is their sum."""
    found = checkpoint.load(path)
    beta = found.model.config.default_beta if found.betas else found.record["beta"]
    if found.betas:
        at = int(abs(np.log(found.betas.betas / beta)).argmin())
        mu, logvar, cost = (
            row[at].astype(float) for row in (found.betas.mu, found.betas.logvar, found.betas.reconstruction)
        )
    else:
        mu, logvar, cost = (
            row[:1000] for row in (found.snapshot.mu, found.snapshot.logvar, found.snapshot.reconstruction)
        )
    rate = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar).sum(1).mean()
    app = open_page(path.stem)
    assert not app.error
    assert number(app, "Rate R") == pytest.approx(rate, abs=0.02)
    assert number(app, "Distortion D") == pytest.approx(cost.mean(), abs=0.02)
    assert number(app, "D + βR") == pytest.approx(cost.mean() + beta * rate, abs=0.05)
    assert bool(app.info) == (found.betas is None)


def test_a_model_of_one_beta_leads_to_one_of_a_range():
    app = open_page("digits-d2")
    app.button(key=f"beta_open_{RANGED}").click()
    assert ran(app).session_state["model"] == RANGED
    assert not app.info
