"""A folder of many pictures: listed, read into its cache, recalled by another process, trained on.

    python -m bench.folder [--files 50000] [--side 96] [--size 32] [--rounds 3]

The pictures are JPEG files of `--side` pixels, 500 of them under many names. Training is that of a 400-20 MLP with
batches of 128 through the map, beside the same with the same arrays held in memory, both in turns in one process.
Memory is that of a process that trains one epoch: its own, and what it has mapped of the cache, which the system takes
back when it needs it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import emit, machine, spread

_DISTINCT = 500
_STEPS = 60


def _make(folder: Path, files: int, side: int) -> None:
    from PIL import Image

    originals = folder / ".originals"
    originals.mkdir(parents=True)
    for i in range(_DISTINCT):
        rough = np.random.default_rng(i).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC).save(originals / f"{i}.jpg", quality=85)
    for i in range(files):
        if i % 1000 == 0:
            (folder / f"{i // 1000}").mkdir()
        os.link(originals / f"{i % _DISTINCT}.jpg", folder / f"{i // 1000}" / f"{i}.jpg")


def _child(task: str, name: str, **variables: str) -> dict[str, Any]:
    """What this module's function `task` says in a process of its own."""
    code = f"import json, bench.folder; print(json.dumps(bench.folder.{task}({name!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def listed(name: str) -> dict[str, float]:
    """Seconds to list the folder, and bytes that the listing takes at the most."""
    import tracemalloc

    from vae_core.folders import list_files

    folder = Path(name.rpartition("@")[0])
    started = time.perf_counter()
    list_files(folder, folder / "nothing")
    seconds = time.perf_counter() - started
    tracemalloc.start()
    list_files(folder, folder / "nothing")
    return {"seconds": seconds, "bytes": tracemalloc.get_traced_memory()[1]}


def loaded(name: str) -> dict[str, float]:
    """Seconds to load the set: to build its cache where there is none."""
    from vae_core import data

    if processes := os.environ.get("BENCH_PROCESSES"):
        os.cpu_count = lambda: int(processes)
    started = time.perf_counter()
    data.load(name)
    return {"seconds": time.perf_counter() - started}


def _trainer(dataset: Any) -> Any:
    import torch

    from vae_core.model import ModelConfig
    from vae_core.train import Trainer
    from vae_core.train_config import TrainConfig

    model = ModelConfig(dataset.image_shape, 20, widths=(400,))
    return Trainer(model, TrainConfig(epochs=1), dataset, torch.device("cpu"))


def trained(name: str) -> dict[str, list[float]]:
    """Images a second through the map and from memory, a turn of some steps each."""
    from vae_core import data

    mapped = data.load(name)
    held = data.Dataset("held", *(data.Split(np.array(split.images)) for split in (mapped.train, mapped.test)))
    trainers = {"map": _trainer(mapped), "memory": _trainer(held)}
    rates: dict[str, list[float]] = {"map": [], "memory": []}
    for turn in range(6):
        for kind, trainer in trainers.items():
            order = trainer._order()
            started = time.perf_counter()
            for step in range(_STEPS):
                trainer._train_step(order[step * 128 : (step + 1) * 128])
            if turn:
                rates[kind].append(_STEPS * 128 / (time.perf_counter() - started))
            trainer.epoch += 1  # another order
    return rates


def memory(name: str) -> dict[str, float]:
    """MB of a process that has trained an epoch: its own before and after, and what it has mapped of files since."""
    from vae_core import data

    dataset = data.load(name)
    trainer = _trainer(dataset)
    trainer._train_step(trainer._order()[:128])
    before = _resident()
    for _ in trainer.run():
        pass
    after = _resident()
    return {"before": before["Anon"], "after": after["Anon"], "mapped": after["File"] - before["File"]}


def _resident() -> dict[str, float]:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss"))
    return {name[3:-1]: int(kilobytes) / 1024 for name, kilobytes, _ in lines}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("files", 50_000), ("side", 96), ("size", 32), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    processors = os.cpu_count() or 1
    listings, rates, recalls = [], {1: [], processors: []}, []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "pictures")
        _make(folder, arguments.files, arguments.side)
        name, variables = f"{folder}@{arguments.size}", {"VAE_DATA": str(Path(place, "data"))}
        for _ in range(arguments.rounds):
            listings.append(_child("listed", name))
            for processes in rates:
                for path in Path(place, "data", "cache").glob("*"):
                    path.unlink()
                taken = _child("loaded", name, BENCH_PROCESSES=str(processes), **variables)
                rates[processes].append(arguments.files / taken["seconds"])
            recalls.append(_child("loaded", name, **variables)["seconds"])
        speed = _child("trained", name, **variables)
        held = _child("memory", name, **variables)
        megabytes = sum(path.stat().st_size for path in Path(place, "data", "cache").glob("*")) / 2**20
    rows = [
        {"what": "listed (s)"} | spread([listing["seconds"] for listing in listings]),
        {"what": "listed, memory at the most (MB)"} | spread([listing["bytes"] / 2**20 for listing in listings]),
        *({"what": f"cached by {n} process(es) (files/s)"} | spread(rate) for n, rate in rates.items()),
        {"what": "recalled by another process, listing included (s)"} | spread(recalls),
        {"what": "trained through the map (images/s)"} | spread(speed["map"]),
        {"what": "trained in memory (images/s)"} | spread(speed["memory"]),
        {"what": "map / memory"} | spread([a / b for a, b in zip(speed["map"], speed["memory"], strict=True)]),
        {"what": "own memory before / after an epoch (MB)"} | spread([held["before"], held["after"]]),
        {"what": f"mapped of the cache's {megabytes:.0f} MB (MB)"} | spread([held["mapped"]]),
    ]
    facts = machine("pillow", "torch") | {"files": str(arguments.files), "load": f"{os.getloadavg()[0]:.0f}"}
    emit(f"A folder of JPEG pictures of {arguments.side} pixels, cached at {arguments.size}", facts, rows)


if __name__ == "__main__":
    main()
