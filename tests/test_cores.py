"""Scripts that run together share the cores, and each has at least one thread."""

import os
import subprocess
import sys

import pytest

from ui import cores


@pytest.mark.parametrize(
    ("all_of_them", "running", "each"), [(2, 1, 2), (2, 2, 1), (2, 25, 1), (16, 3, 5), (16, 1, 16)]
)
def test_each_script_has_its_share(monkeypatch, all_of_them, running, each):
    monkeypatch.setattr(cores, "ALL", all_of_them)
    assert cores.threads_for(running) == each


def test_the_share_is_what_torch_uses_and_is_given_back():
    """In a process of its own, since the number of threads is the whole process's."""
    code = (
        "import torch; from ui import cores\n"
        "def seen():\n    with cores.shared(): return torch.get_num_threads()\n"
        "alone = seen()\n"
        "with cores.shared(): beside = seen()\n"
        "print(alone, beside, seen())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["2", "1", "2"], done.stderr
