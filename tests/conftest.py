"""How the tests share a machine: how many run at a time, which of them first, with how many threads, how patiently,
and that trainers do not give way to them."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from vae_core import standby

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

standby._PRIORITY = 0  # what gives way hardly runs where tests take all that there is

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Files are handed out in the order below, not those with the most tests first."""
    config.option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three for every two cores: much of their time tests wait for browsers and for other processes."""
    cores = os.cpu_count() or 1
    return cores + cores // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's files, which take longest, begin first, then those of the pages, so that nobody waits for them."""
    folders = [Path(__file__).parent / name for name in ("browser", "pages")]
    items.sort(key=lambda item: [folder not in item.path.parents for folder in folders])
