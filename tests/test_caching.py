"""What the pages keep of a model is that of the checkpoint it was computed from."""

import os
from pathlib import Path

import numpy as np

from ui import caching
from ui.decoded import decoded
from ui.state import Entry
from vae_core import latent
from vae_core.checkpoint import Checkpoint, save
from vae_core.imaging import to_uint8
from vae_core.model import VAE, ModelConfig


def saved(path: Path, when: int) -> tuple[Entry, Checkpoint]:
    """A new model in the file, written `when`, and how a page sees it."""
    save(path, Checkpoint(VAE(ModelConfig((1, 8, 8), 2)).eval(), {}))
    os.utime(path, ns=(when, when))
    entry = Entry("run-a", path, "a", caching.modified(path))
    return entry, caching.load_checkpoint(*entry.version)


def test_pictures_of_an_older_checkpoint_are_not_taken_for_those_of_the_next(tmp_path: Path) -> None:
    """A trainer saves while a page still shows what it saved before."""
    z = np.array([[1.0, -1.0]], np.float32)
    earlier = saved(tmp_path / "a.safetensors", 1)
    later = saved(tmp_path / "a.safetensors", 2)
    for entry, checkpoint in (earlier, later):
        np.testing.assert_array_equal(decoded(entry, checkpoint, z), to_uint8(latent.decode(checkpoint.model, z)))
    assert (decoded(*earlier, z) != decoded(*later, z)).any()
