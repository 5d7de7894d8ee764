"""Opening a page as Streamlit runs it, for the tests beside this file."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from tests.waiting import PATIENCE

__all__ = ["CHECKPOINTS", "ROOT", "open_at", "ran"]

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.safetensors"))


def open_at(page: str, **query: str) -> AppTest:
    """The page (a path such as "pages/explore/generate.py") at an address with these settings, run once."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value
    return ran(app.switch_page(page))


def ran(app: AppTest) -> AppTest:
    """The app after another run, which raised nothing."""
    app.run()
    assert not app.exception
    return app
