"""t-SNE maps that lie beside checkpoints: kept whole, recalled only for what they were made of."""

from pathlib import Path

import numpy as np
import pytest

from tests.toys import build
from vae_core import maps, measured
from vae_core.checkpoint import Checkpoint, load, save
from vae_core.embedding import TsneStep, default_perplexity

MU = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
STEP = TsneStep(750, 750, np.random.default_rng(1).standard_normal((30, 2)).astype(np.float32), 1.25)
CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
SHIPPED = sorted(CHECKPOINTS.glob("maps/*.safetensors"))


def test_what_is_kept_is_recalled(tmp_path):
    path = maps.path_of(tmp_path / "model.safetensors")
    maps.keep(path, MU, 5, 0, STEP)
    found = maps.recall(path, MU, 5.0, 0)
    np.testing.assert_array_equal(found.map, STEP.map)
    assert (found.iteration, found.total, found.kl_divergence) == (750, 750, 1.25)


@pytest.mark.parametrize(("change", "perplexity", "seed"), [(1e-3, 5, 0), (0, 6, 0), (0, 5, 1)])
def test_other_codes_or_settings_have_no_map(tmp_path, change, perplexity, seed):
    maps.keep(tmp_path / "m.safetensors", MU, 5, 0, STEP)
    assert maps.recall(tmp_path / "m.safetensors", MU + np.float32(change), perplexity, seed) is None


@pytest.mark.parametrize("command", [maps, measured])
def test_a_checkpoint_that_says_too_little_is_a_sentence(command, tmp_path, monkeypatch, capsys):
    save(tmp_path / "bare.safetensors", Checkpoint(build()))
    monkeypatch.setattr("sys.argv", ["it", str(tmp_path / "bare.safetensors")])
    with pytest.raises(SystemExit):
        command.main()
    assert "Choose another checkpoint." in capsys.readouterr().err


def test_a_missing_or_damaged_file_is_no_map(tmp_path):
    path = tmp_path / "m.safetensors"
    assert maps.recall(path, MU, 5, 0) is None
    path.write_bytes(b"not a map")
    assert maps.recall(path, MU, 5, 0) is None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_map_that_ships_is_that_of_its_model(path):
    mu = load(CHECKPOINTS / path.name).snapshot.mu
    found = maps.recall(path, mu, round(default_perplexity(len(mu))), 0)
    assert found is not None, f"run: python -m vae_core.maps checkpoints/{path.name}"
    assert found.map.shape == (len(mu), 2)
    assert np.isfinite(found.map).all()
