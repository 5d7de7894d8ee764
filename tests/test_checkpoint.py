"""Checkpoints: bit for bit there and back, and one sentence for every file that is none."""

import errno
import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors

from tests.toys import blobs, build
from vae_core import checkpoint
from vae_core.checkpoint import BetaSnapshot, Checkpoint, LatentSnapshot, load, read_header, read_snapshots, save
from vae_core.errors import UserError
from vae_core.evaluate import snapshot
from vae_core.files import read_json, write_json, write_whole
from vae_core.model import ModelConfig
from vae_core.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
_hostile = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _file(path: Path, **config: object) -> Path:
    model = build(widths=(6,), **config)
    save(path, Checkpoint(model, {"dataset": "blobs", "epoch": 3}, snapshot(model, blobs().test, 20)))
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _file(tmp_path_factory.mktemp("saved") / "model.safetensors")


def _refused(path: Path, about: str = "") -> None:
    """`path` gives one UserError of whole sentences that names the file and `about`."""
    _says(load, path, about)


def _says(read: Callable[[Path], object], path: Path, about: str) -> None:
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert path.name in message
    assert about in message
    assert message.endswith(".")
    assert "\n" not in message


def _rewritten(path: Path, header: object, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(to_safetensors(tensors, {"format": "vae-laboratory/1", "header": text} | metadata))
    return path


def _parts(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    return checkpoint.read_tensors(path)


@pytest.mark.parametrize("arch", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian-optimal"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 21)])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, arch: str, likelihood: str, shape: tuple) -> None:
    """Weights, buffers, snapshot, record, and what the model computes: bit for bit."""
    model = build(shape=shape, arch=arch, likelihood=likelihood, latent_dim=3, sigma=0.2).eval()
    taken = snapshot(model, blobs(shape=shape).test, 15)
    train = TrainConfig("blobs", objective="beta-tcvae", beta=4.0).to_dict()
    record = {"name": "β-VAE", "train": train, "beta": 3.0, "epoch": 7, "step": 9}
    record |= {"images_per_second": 7.5, "test": {"elbo": -1.5, "reconstruction": 1, "kl": 0.5, "active_units": 2}}
    record |= {"class_names": ["a", "b"], "factor_names": []}
    save(tmp_path / "a.safetensors", Checkpoint(model, record, taken))
    found = load(tmp_path / "a.safetensors")
    assert found.record == record
    assert found.model.config == model.config
    assert not found.model.training
    assert found.model.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value), name
    for name in ("mu", "logvar", "reconstruction", "labels"):
        np.testing.assert_array_equal(getattr(found.snapshot, name), getattr(taken, name))
    assert found.snapshot.factors is None
    z = torch.randn(4, 3)
    assert torch.equal(found.model.decode_mean(z), model.decode_mean(z))
    assert read_header(tmp_path / "a.safetensors")["record"] == record


@pytest.mark.parametrize("name", ["digits-beta", "digits-d2"])
def test_snapshots_are_read_without_the_weights(name: str) -> None:
    path = ROOT / "checkpoints" / f"{name}.safetensors"
    whole = load(path)
    for alone, expected in zip(read_snapshots(path), (whole.snapshot, whole.betas), strict=True):
        assert (alone is None) == (expected is None)
        for part, value in vars(expected).items() if expected else ():
            np.testing.assert_array_equal(getattr(alone, part), value)


def test_snapshot_is_optional_and_may_have_factors(tmp_path: Path) -> None:
    model = build(latent_dim=2)
    save(tmp_path / "a.safetensors", Checkpoint(model))
    assert load(tmp_path / "a.safetensors").snapshot is None
    mu, logvar, factors = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    save(tmp_path / "a.safetensors", Checkpoint(model, {}, LatentSnapshot(mu, logvar, mu.sum(1), None, factors)))
    np.testing.assert_array_equal(load(tmp_path / "a.safetensors").snapshot.factors, factors)


@_hostile
@given(st.floats(0, 1, exclude_max=True))
def test_truncated_files_are_refused(saved: Path, tmp_path: Path, part: float) -> None:
    content = saved.read_bytes()
    path = tmp_path / "short.safetensors"
    path.write_bytes(content[: int(part * len(content))])
    _refused(path)


@_hostile
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.safetensors"
    path.write_bytes(content)
    _refused(path)


@_hostile
@given(st.integers(0, 2**40), st.binary(min_size=1, max_size=8))
def test_damaged_files_load_or_are_refused(saved: Path, tmp_path: Path, where: int, bytes_: bytes) -> None:
    """Overwriting some bytes anywhere never ends in another kind of error."""
    content = bytearray(saved.read_bytes())
    where %= len(content)
    content[where : where + len(bytes_)] = bytes_
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    try:
        load(path)
    except UserError as error:
        assert "damaged.safetensors" in str(error)


class _Bomb:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("kind", ["torch", "legacy torch", "pickle"])
def test_pickles_are_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(_Bomb()))
    else:
        torch.save({"a": torch.zeros(3), "b": _Bomb()}, path, _use_new_zipfile_serialization=kind == "torch")
    _refused(path, "pickle")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "header",
    ["", "null", "[]", "3", "{", "[" * 100_000, '{"model": ' * 50_000, '{"model": {}}', '{"model": 7}', "{}"],
    ids=lambda text: text[:12],
)
def test_foreign_headers_are_refused(saved: Path, tmp_path: Path, header: str) -> None:
    _refused(_rewritten(tmp_path / "foreign.safetensors", header, _parts(saved)[0]))


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    for metadata in (None, {}, {"format": "pt"}, {"format": "vae-laboratory/1"}):
        (tmp_path / "other.safetensors").write_bytes(to_safetensors({"w": torch.zeros(2)}, metadata))
        _refused(tmp_path / "other.safetensors", "not a checkpoint of this project")


@pytest.mark.parametrize(
    "change",
    [
        {"latent_dim": 3},
        {"latent_dim": 10**9},
        {"latent_dim": "2"},
        {"arch": "conv"},
        {"arch": ["mlp"]},
        {"image_shape": [1, 8]},
        {"image_shape": [3, 512, 512]},
        {"image_shape": "188"},
        {"image_shape": None},
        {"widths": [4096] * 8},
        {"widths": 5},
        {"widths": ["6"]},
        {"sigma": "x"},
        {"sigma": 1e400},
        {"__class__": "os.system"},
    ],
    ids=str,
)
def test_lying_headers_are_refused(saved: Path, tmp_path: Path, change: dict) -> None:
    """A model other than the weights', or absurdly large, is refused before memory is asked for."""
    tensors, header = _parts(saved)
    header["model"] |= change
    _refused(_rewritten(tmp_path / "lie.safetensors", header, tensors), "header")


@pytest.mark.parametrize(
    "record",
    [
        7,
        ["train"],
        {"train": ["x"]},
        {"train": {"dataset": 3}},
        {"train": {"objective": ["iwae"]}},
        {"train": {"surprise": 1}},
        {"train": {"beta": "1"}},
        {"beta": "1"},
        {"beta": math.nan},
        {"beta": None},
        {"epoch": "3"},
        {"step": -1},
        {"class_names": None},
        {"class_names": [1]},
        {"factor_names": 5},
        {"test": ["elbo"]},
        {"test": {"elbo": -1.0}},
        {"test": {"elbo": "-1", "reconstruction": 0.5, "kl": 0.5, "active_units": 1}},
        {"images_per_second": "fast"},
        {"images_per_second": 10**400},
    ],
    ids=str,
)
def test_records_of_no_training_are_refused(saved: Path, tmp_path: Path, record: object) -> None:
    tensors, header = _parts(saved)
    path = _rewritten(tmp_path / "record.safetensors", header | {"record": record}, tensors)
    _refused(path, "how its model was trained")
    with pytest.raises(UserError, match=r"record\.safetensors"):
        read_header(path)


def test_a_record_is_made_whole(saved: Path, tmp_path: Path) -> None:
    tensors, header = _parts(saved)
    path = _rewritten(tmp_path / "a.safetensors", header | {"record": {"class_names": ["one"]}}, tensors)
    record = load(path).record
    assert record["train"] == TrainConfig("").to_dict()
    assert (record["beta"], record["epoch"], record["factor_names"]) == (1.0, 0, [])
    assert record["class_names"] == ["one", "1"]
    assert record["test"] is None
    whole = ModelConfig.from_dict(header["model"]).to_dict()
    assert read_header(path) == {"model": whole, "record": record | {"class_names": ["one"]}}


@pytest.mark.parametrize("problem", ["missing", "extra", "shape", "nan", "type"])
def test_other_weights_are_refused(saved: Path, tmp_path: Path, problem: str) -> None:
    tensors, header = _parts(saved)
    name = "model.encoder.head.bias"
    if problem == "missing":
        del tensors[name]
    else:
        changed = {
            "extra": {"model.backdoor": torch.zeros(1)},
            "shape": {name: torch.zeros(1)},
            "nan": {name: tensors[name] * torch.nan},
            "type": {name: tensors[name].to(torch.complex64)},
        }
        tensors |= changed[problem]
    _refused(_rewritten(tmp_path / "weights.safetensors", header, tensors))


@pytest.mark.parametrize(
    "change",
    [
        {"mu": torch.zeros(20, 5)},
        {"mu": torch.zeros(7, 2)},
        {"mu": torch.zeros(20, 2, dtype=torch.bfloat16)},
        {"mu": torch.zeros(20, 2, dtype=torch.int64)},
        {"logvar": torch.full((20, 2), torch.inf)},
        {"reconstruction": torch.zeros(20, 1)},
        {"labels": torch.zeros(20)},
        {"labels": torch.tensor(3)},
        {"labels": torch.full((20,), -1)},
        {"labels": torch.full((20,), 2**31)},
        {"factors": torch.zeros(20)},
        {"surprise": torch.zeros(20)},
        {"mu": torch.full((20, 2), 1e30)},
    ],
    ids=lambda change: f"{next(iter(change))}",
)
def test_damaged_snapshots_are_refused(saved: Path, tmp_path: Path, change: dict) -> None:
    tensors, header = _parts(saved)
    tensors |= {f"snapshot.{name}": value for name, value in change.items()}
    path = _rewritten(tmp_path / "rows.safetensors", header, tensors)
    _refused(path, "snapshot")
    _says(read_snapshots, path, "snapshot")


def test_a_snapshot_without_rows_is_refused(saved: Path, tmp_path: Path) -> None:
    tensors, header = _parts(saved)
    tensors |= {name: value[:0] for name, value in tensors.items() if name.startswith("snapshot.")}
    _refused(_rewritten(tmp_path / "empty.safetensors", header, tensors), "snapshot")


@pytest.mark.parametrize(
    "change",
    [
        {"betas": torch.tensor([1.0, 0.1, 10.0], dtype=torch.float64)},
        {"betas": torch.tensor([0.1, 1.0, 10.0])},
        {"betas": torch.tensor([0.1, 10.0], dtype=torch.float64)},
        {"betas": torch.tensor(1.0, dtype=torch.float64)},
        {"mu": torch.zeros(3, 5, 3, dtype=torch.float16)},
        {"mu": torch.zeros(3, 5, 2)},
        {"logvar": torch.full((3, 5, 2), torch.nan, dtype=torch.float16)},
        {"reconstruction": torch.zeros(3, 0)},
        {"reconstruction": torch.zeros(3)},
        {"surprise": torch.zeros(3)},
    ],
    ids=lambda change: f"{next(iter(change))}",
)
def test_damaged_snapshots_of_several_betas_are_refused(tmp_path: Path, change: dict) -> None:
    model, codes = build(widths=(6, 6), beta_range=(0.1, 10.0)), np.zeros((3, 5, 2), np.float16)
    whole = BetaSnapshot(np.array([0.1, 1.0, 10.0]), codes, codes.copy(), np.zeros((3, 5), np.float32))
    save(tmp_path / "betas.safetensors", Checkpoint(model, betas=whole))
    np.testing.assert_array_equal(load(tmp_path / "betas.safetensors").betas.betas, whole.betas)
    tensors, header = _parts(tmp_path / "betas.safetensors")
    tensors |= {f"betas.{name}": value for name, value in change.items()}
    _refused(_rewritten(tmp_path / "betas.safetensors", header, tensors), "snapshot")


def test_a_model_of_one_beta_has_no_snapshot_of_several(tmp_path: Path) -> None:
    codes = np.zeros((2, 5, 2), np.float16)
    taken = BetaSnapshot(np.array([0.1, 1.0]), codes, codes.copy(), np.zeros((2, 5), np.float32))
    save(tmp_path / "one.safetensors", Checkpoint(build(), betas=taken))
    _refused(tmp_path / "one.safetensors", "snapshot")


def test_missing_files_folders_and_giants_are_refused(saved: Path, tmp_path: Path) -> None:
    _refused(tmp_path / "gone.safetensors", "There is no checkpoint")
    (tmp_path / "folder.safetensors").mkdir()
    _refused(tmp_path / "folder.safetensors", "There is no checkpoint")
    (tmp_path / "giant.safetensors").touch()
    os.truncate(tmp_path / "giant.safetensors", checkpoint.MAX_BYTES + 1)
    _refused(tmp_path / "giant.safetensors", "has 512 MB")
    with pytest.raises(UserError, match="up to 0 MB"):
        checkpoint.read_tensors(saved, most=100)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_is_a_sentence_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = _file(tmp_path / "model.safetensors")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    with pytest.raises(UserError, match="No space left on device"):
        save(path, Checkpoint(build(seed=1)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_written_whole_and_read_back(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "folder" / "a.bin", b"123")
    assert (tmp_path / "new" / "folder" / "a.bin").read_bytes() == b"123"
    write_json(tmp_path / "a.json", {"β": [1, None]})
    assert read_json(tmp_path / "a.json") == {"β": [1, None]}
    (tmp_path / "a.json").write_bytes(b'{"a": \xff')
    for name in ("a.json", "none.json"):
        with pytest.raises(UserError, match=name):
            read_json(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Could not write"):
        write_whole(tmp_path / "file" / "below", b"")
