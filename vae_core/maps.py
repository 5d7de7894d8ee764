"""t-SNE maps kept as files beside the checkpoints whose codes they show: `python -m vae_core.maps CHECKPOINT…`."""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

from vae_core.checkpoint import read_snapshots, read_tensors, write_tensors
from vae_core.embedding import TsneStep, default_perplexity, tsne
from vae_core.errors import UserError

__all__ = ["keep", "main", "path_of", "recall"]


def path_of(checkpoint: Path) -> Path:
    """Where the map of the checkpoint at this path lies, if one is kept: maps/<its name> beside it."""
    return checkpoint.parent / "maps" / checkpoint.name


def keep(path: Path, mu: np.ndarray, perplexity: float, seed: int, step: TsneStep) -> None:
    """Write the map that `embedding.tsne` made of mu (N, d) with this perplexity and seed."""
    header = {"made_from": _made_from(mu, perplexity, seed), "total": step.total, "kl_divergence": step.kl_divergence}
    write_tensors(path, {"map": torch.from_numpy(step.map)}, header)


def recall(path: Path, mu: np.ndarray, perplexity: float, seed: int) -> TsneStep | None:
    """The finished map that is kept at `path`; None where there is none of exactly these codes (N, d) and settings."""
    try:
        tensors, header = read_tensors(path)
        if header["made_from"] != _made_from(mu, perplexity, seed):
            return None
        total = int(header["total"])
        return TsneStep(total, total, tensors["map"].numpy(), float(header["kl_divergence"]))
    except (UserError, KeyError, TypeError, ValueError):
        return None


def _made_from(mu: np.ndarray, perplexity: float, seed: int) -> str:
    codes = np.ascontiguousarray(mu, "<f4")
    return hashlib.blake2b(
        repr((codes.shape, float(perplexity), int(seed))).encode() + codes.tobytes(), digest_size=16
    ).hexdigest()


def main() -> None:
    """Make the maps of checkpoints' latent snapshots, at the default perplexity, rounded, and seed 0."""
    parser = argparse.ArgumentParser(prog="python -m vae_core.maps", description=main.__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    for path in parser.parse_args().checkpoints:
        try:
            snapshot, _ = read_snapshots(path)
            if snapshot is None:
                raise UserError(f"{path.name} has no latent snapshot to make a map of. Choose another checkpoint.")
            mu = snapshot.mu
            perplexity = round(default_perplexity(len(mu)))  # a whole number, as the page asks for
            *_, last = tsne(mu, perplexity)
            keep(path_of(path), mu, perplexity, 0, last)
        except UserError as error:
            parser.error(str(error))
        print(f"{path_of(path)}: {len(mu):,} points, KL divergence {last.kl_divergence:.3f} nats")


if __name__ == "__main__":
    main()
