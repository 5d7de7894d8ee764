"""Several processes train as one: the same weights, a run that is steered, and a job that survives what is killed.

This file is also the program that torchrun starts: it trains every case on its ranks and alone, and says how far apart
they end.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from tests.toys import blobs
from tests.waiting import PATIENCE, until
from vae_core import data, distributed, evaluate, train, worker
from vae_core.distributed import Ranks
from vae_core.model import ModelConfig
from vae_core.runs import Run
from vae_core.train import Progress, Trainer
from vae_core.train_config import TrainConfig

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
STEPS = 20
CASES = {  # of the model, and of the training
    "mlp": ({}, {}),
    "conv": ({"arch": "conv", "widths": (8, 8)}, {"kl_warmup": 2.0}),
    "binarised": ({}, {"binarize": True}),
    "optimal σ": ({"likelihood": "gaussian-optimal"}, {}),
    "range of β": ({"beta_range": (0.1, 4.0)}, {"binarize": True}),
    "free bits": ({"latent_dim": 5}, {"free_bits": 0.3}),
    "β-TCVAE": ({"latent_dim": 3}, {"objective": "beta-tcvae", "beta": 4.0}),
    "several samples": ({"likelihood": "gaussian-optimal"}, {"importance_samples": 3}),
    "IWAE": ({}, {"objective": "iwae", "importance_samples": 5}),
    "ranks without a row": ({"likelihood": "gaussian-optimal", "beta_range": (0.1, 4.0)}, {"batch_size": 2}),
    "IWAE without a row": ({}, {"objective": "iwae", "importance_samples": 5, "batch_size": 1}),
}

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no processes")


def _train(ranks: Ranks, model: dict, config: dict, dataset: data.Dataset) -> tuple[Trainer, list[Progress]]:
    """After STEPS steps or more, with a record of each."""
    shape = ModelConfig(dataset.image_shape, **({"widths": (16,)} | model))
    trainer = Trainer(shape, TrainConfig(**({"epochs": 100, "batch_size": 32} | config)), dataset, CPU, ranks)
    records = []
    for record in trainer.run():
        records.append(record)
        if record.step >= STEPS and any(record.test for record in records):
            break
    return trainer, records


def _apart(ranks: Ranks, *case: object) -> dict[str, float]:
    """The largest difference of weights, and of what is recorded, between training on ranks and alone."""
    (shared, records), (alone, expected) = (_train(which, *case) for which in (ranks, Ranks()))
    weights = [value.flatten().double() for value in shared.model.state_dict().values()]
    others = [value.flatten().double() for value in alone.model.state_dict().values()]
    assert [record.step for record in records] == [record.step for record in expected]
    return {
        "weights": float((torch.cat(weights) - torch.cat(others)).abs().max()),
        "records": max(_distance(*pair) for pair in zip(records, expected, strict=True)),
    }


def _distance(a: Progress, b: Progress) -> float:
    """The largest difference of two records, those of time left out."""
    a, b = ({**asdict(record), **(asdict(record)["test"] or {})} for record in (a, b))
    left_out = ("test", "seconds", "images_per_second")
    names = [name for name in a if name not in left_out and a[name] is not None]
    return max(float((torch.tensor(a[name]).double() - torch.tensor(b[name])).abs().max()) for name in names)


def _program(path: str) -> None:
    train._REPORT_SECONDS = 0.0
    with distributed.joined(CPU) as ranks:
        found = {"float32": _apart(ranks, {}, {"batch_size": 128}, data.load("digits"))}
        torch.set_default_dtype(torch.float64)
        for module in (train, evaluate):
            module.to_unit = lambda images, device: torch.as_tensor(images, device=device).double() / 255
        for name, case in CASES.items():
            found[name] = _apart(ranks, *case, blobs(train=81, test=31))
    if ranks.rank == 0:
        Path(path).write_text(json.dumps(found))


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    path = tmp_path_factory.mktemp("ranks") / "apart.json"
    subprocess.run([*TORCHRUN, "-m", "tests.test_distributed", str(path)], cwd=ROOT, check=True, timeout=PATIENCE)
    return json.loads(path.read_text())


def test_two_ranks_take_the_steps_of_one_process(apart: dict[str, dict[str, float]]) -> None:
    """The weights after 20 steps on the digits agree to 1e-5, in float32."""
    assert apart["float32"]["weights"] < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_every_objective_is_that_of_the_whole_batch(apart: dict[str, dict[str, float]], name: str) -> None:
    """Weights, norms of gradients, training and test figures, in float64, of shards and batches that are uneven."""
    assert apart[name]["weights"] < 1e-10
    assert apart[name]["records"] < 1e-9


def test_ranks_share_the_images_and_every_batch() -> None:
    """Each image is on one rank, and what the ranks take of a batch adds up to it."""
    images = torch.tensor(blobs(train=50).train.images)
    index = torch.randperm(50)[:17]
    ranks = [Ranks(rank, 3) for rank in range(3)]
    assert sorted(len(rank.shard(images)) for rank in ranks) == [16, 17, 17]
    parts = [rank.take(rank.shard(images), index) for rank in ranks]
    assert torch.equal(sum(parts), images[index])
    assert torch.equal(Ranks().take(Ranks().shard(images), index), images[index])
    assert (sum((part.flatten(1) > 0).any(1).int() for part in parts) == 1).all()


def _other_rank(run: Run, job: subprocess.Popen) -> int:
    """The process that torchrun started beside the one that writes the run."""
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    pids = [path.parent.name for path in Path("/proc").glob("[0-9]*/stat")]
    children = {int(pid) for pid, stat in zip(pids, stats, strict=True) if int(stat[1]) == job.pid}
    (other,) = children - {run.state()["pid"]}
    return other


@pytest.fixture
def job(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A job of two processes that torchrun starts once more when one of them is killed."""
    options = "train --epochs 12 --widths 512 256 --json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "VAE_RUNS": str(tmp_path)}
    process = subprocess.Popen(
        [*TORCHRUN, "--max-restarts", "1", "-m", "vae_core", *options.split()],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.terminate()
    process.communicate()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the processes")
def test_a_killed_rank_costs_no_more_than_what_was_not_saved(
    job: subprocess.Popen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when it is paused and has been steered: it goes on in the same place by itself, and is still paused.
    Killed again: it says so and ends.

    What one process then makes of the rest is what it would have come to with nothing of all that.
    """
    until(lambda: list(tmp_path.glob("*/state.json")), job)
    run = Run(next(tmp_path.glob("*/state.json")).parent)
    until(lambda: run.state()["status"] == "starting", job)
    run.step_epoch()
    until(lambda: run.state()["status"] == "paused", job)
    assert run.state()["device"] == "2 × CPU, 1 thread"
    run.steer(beta=2.0)
    until(lambda: run.metrics().events, job)
    first = run.state()["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: run.state()["status"] == "paused" and run.state()["pid"] != first, job)
    run.step_epoch()
    until(lambda: run.state()["status"] == "paused" and run.state()["epoch"] == 2, job)
    lines = len(run.metrics().records)
    run.go_on()
    until(lambda: len(run.metrics().records) > lines, job)
    os.kill(_other_rank(run, job), signal.SIGKILL)
    _, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode != 0
    assert "The connection to another process of this training is lost" in errors
    assert run.state()["status"] == "failed"
    assert "Give the same command again" in run.state()["message"]

    assert worker.train_run(run, device="cpu") == "finished"
    assert [path.name for path in tmp_path.glob("*/config.json")] == ["config.json"]
    config, (steered,) = run.config(), run.metrics().events
    assert steered["step"] == 11
    monkeypatch.setattr(train, "_REPORT_SECONDS", 0.0)
    whole = Trainer(config.model, config.train, data.load("digits"), CPU)
    for record in whole.run():
        whole.beta = 2.0 if record.step >= steered["step"] else 1.0
    tests = run.metrics().tests
    assert [test["epoch"] for test in tests] == list(range(1, 13))
    assert tests[-1]["test"]["elbo"] == pytest.approx(record.test.elbo, rel=1e-4)


if __name__ == "__main__":
    _program(sys.argv[1])
