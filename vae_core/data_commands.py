"""Commands on data sets: which there are, and downloads."""

import argparse

from vae_core import data
from vae_core.terminal import Result, load_dataset

__all__ = ["datasets", "download"]


def datasets(_: argparse.Namespace) -> Result:
    """The data sets by name, and whether each is here."""
    rows = [{"name": name, "title": data.title(name), "available": data.available(name)} for name in data.NAMES]
    lines = [
        f"{row['name']:<14} {row['title']:<16} "
        + ("here" if row["available"] else f"python -m vae_core download {row['name']}")
        for row in rows
    ]
    return {"datasets": rows}, "\n".join(lines)


def download(args: argparse.Namespace) -> Result:
    """Fetch a data set, unless it is here."""
    dataset = load_dataset(args.name)
    values = {"dataset": dataset.name, "train": len(dataset.train), "test": len(dataset.test)}
    return values, f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test images."
