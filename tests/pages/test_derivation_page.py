"""The page of the derivation, run as Streamlit runs it: its sums add up, exact or estimated."""

import re
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.waiting import PATIENCE
from vae_core.checkpoint import load

ROOT = Path(__file__).resolve().parents[2]
_NUMBER = r"[−\d.,]+(?: ± [\d.]+)?"


def open_page(model: str, **settings: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    for name, value in {"model": model, **settings}.items():
        app.query_params[name] = value
    app.switch_page("pages/understand/derivation.py").run()
    assert not app.exception
    return app


def _value(number: str) -> float:
    return float(number.partition(" ±")[0].strip("()").replace("−", "-").replace(",", ""))


def _sums(app: AppTest) -> list[tuple[float, float]]:
    """Left and right side of every line 'a + b − c = **d** nats'."""
    found = []
    for element in app.markdown:
        for left, right in re.findall(r"(?:^|: )([^=:\n]+?) = \*\*([^*]+)\*\* nats", element.value, re.MULTILINE):
            terms = re.findall(rf"(?:^|([+−·]) )(\({_NUMBER}\)|{_NUMBER})", left)
            if len(terms) > 1 and not any(sign == "·" for sign, _ in terms):
                found.append((sum(-_value(n) if sign == "−" else _value(n) for sign, n in terms), _value(right)))
    return found


@pytest.mark.parametrize("model", ["digits-d2", "digits-beta", "sprites"])
def test_every_sum_on_the_page_adds_up(model: str) -> None:
    """To the digits shown: exact values have two, estimates fewer."""
    sums = _sums(open_page(model, test_image="3"))
    assert len(sums) >= 8
    for left, right in sums:
        assert left == pytest.approx(right, abs=0.025 if model != "sprites" else 0.25)


def test_the_information_is_that_of_the_beta_that_is_looked_at() -> None:
    """Above it the mean rate at this β, not at the β of the record: in closed form from what the checkpoint holds."""
    taken = load(ROOT / "checkpoints" / "digits-beta.safetensors").betas
    row = int(np.abs(np.log(taken.betas / 0.1)).argmin())
    mu, logvar = taken.mu[row].astype(np.float64), taken.logvar[row].astype(np.float64)
    rate = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar).sum(1).mean()
    said = " ".join(element.value for element in open_page("digits-beta", beta="0.1").markdown)
    told, most = re.search(rf"test images: ({_NUMBER}) ≤ \*\*({_NUMBER})\*\* nats", said).groups()
    assert _value(most) == pytest.approx(rate, abs=0.02)
    assert 0.5 * rate < _value(told) < rate


def test_another_picture_has_other_numbers() -> None:
    first, second = (_sums(open_page("digits-d2", test_image=index)) for index in ("3", "7"))
    assert first != second
