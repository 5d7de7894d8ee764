"""A process that computes keeps the memory it freed, where the system's library is glibc."""

import platform
import subprocess
import sys

import pytest

_STEPS = """
import resource
import torch
from vae_core import memory

if {keep}:
    memory.keep_all()
for step in range(20):
    if step == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    (torch.ones(2**24) + 1).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(*, keep: bool) -> int:
    """Pages that ten steps over 64 MB touch for the first time."""
    done = subprocess.run(
        [sys.executable, "-c", _STEPS.format(keep=keep)], capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told what to keep")
def test_a_step_finds_its_memory_where_the_last_one_left_it() -> None:
    assert _faults(keep=True) < _faults(keep=False) / 10
