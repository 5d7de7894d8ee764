"""A public demo's rules: limits, whose run is whose, and a disk budget. Imports no torch by itself."""

import hashlib
import hmac
import math
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vae_core.errors import UserError
from vae_core.files import read_json, write_json

if TYPE_CHECKING:
    from vae_core.run_config import RunConfig
    from vae_core.runs import Run

__all__ = [
    "LIMITS",
    "Limits",
    "active",
    "check_config",
    "check_pictures",
    "check_turn",
    "claim",
    "clean_up",
    "limits",
    "most_unpacked",
    "owns",
    "visible",
]

_OWNER = "owner.json"
_UPLOAD = re.compile(r"upload:[0-9a-f]{16}")


@dataclass(frozen=True)
class Limits:
    """What a visitor of a public demo may ask for.

    seconds: of wall-clock time a turn, pauses included. waiting: runs that train or wait, of all visitors, of
    whom each has at most one, or one sweep of as many as `sweep`. disk_bytes: of all runs, and as much again of all
    uploaded pictures. pixels: decoded in a step by a convolutional network, whose layers hold 0.4 to 1 KB for each.
    pairs: of the codes in a batch of β-TCVAE, times their dimensions, some 40 bytes each. expanded_bytes: what zips may
    unpack to, `picture_bytes` being those uploaded.
    """

    epochs: int = 200
    latent_dim: int = 64
    parameters: int = 3_000_000
    batch_size: int = 1024
    pixels: int = 640 * 32**2
    pairs: int = 2**22
    seconds: float = 600.0
    pictures: int = 2_000
    picture_bytes: int = 30 * 2**20
    expanded_bytes: int = 60 * 2**20
    waiting: int = 8
    sweep: int = 3
    disk_bytes: int = 400 * 2**20
    datasets: tuple[str, ...] = ("digits", "sprites", "sprites-64", "mnist", "fashion-mnist")


LIMITS = Limits()


def active() -> bool:
    """Whether this is a public demo: $VAE_HOSTED is set, and not to 0."""
    return os.environ.get("VAE_HOSTED", "0").lower() not in ("", "0", "false", "no")


def limits() -> Limits | None:
    """The limits in force; None on one's own machine."""
    return LIMITS if active() else None


def check_config(config: "RunConfig") -> None:
    """Raise UserError where a public demo does not train this config; on one's own machine everything goes."""
    if not active():
        return
    from vae_core.model import count_parameters

    train, model = config.train, config.model
    if train.dataset not in LIMITS.datasets and not _UPLOAD.fullmatch(train.dataset):
        raise UserError("This public demo does not train on that data set. Choose one of those it offers.")
    parameters = count_parameters(model) if model.latent_dim <= LIMITS.latent_dim else 0
    _, height, width = model.image_shape
    decoded, most_decoded = "pictures decoded a step", LIMITS.batch_size
    if model.arch == "conv":
        decoded = f"pictures of {width} × {height} pixels decoded a step by a convolutional network"
        most_decoded = min(most_decoded, LIMITS.pixels // (height * width))
    compared = f"pictures a batch for β-TCVAE with {model.latent_dim} latent dimensions"
    most_compared = math.isqrt(LIMITS.pairs // model.latent_dim)
    for name, value, most in (
        ("epochs", train.epochs, LIMITS.epochs),
        ("latent dimensions", model.latent_dim, LIMITS.latent_dim),
        (decoded, train.batch_size * train.importance_samples, most_decoded),
        (compared, train.batch_size if train.objective == "beta-tcvae" else 0, most_compared),
        ("parameters", parameters, LIMITS.parameters),
    ):
        if value > most:
            raise UserError(
                f"{value:,} {name} are more than this public demo trains. Choose at most {most:,}, "
                "or run the laboratory on your own machine."
            )


def check_pictures(count: int, size: int) -> None:
    """Raise UserError where `count` uploaded pictures of `size` bytes in all are too many for a public demo."""
    if not active():
        return
    if count > LIMITS.pictures:
        raise UserError(f"These are {count:,} pictures; {LIMITS.pictures:,} are the most here. Choose fewer.")
    if size > LIMITS.picture_bytes:
        raise UserError(
            f"These files have {size / 2**20:.0f} MB; {LIMITS.picture_bytes >> 20} MB are the most here. "
            "Choose fewer, or make them smaller."
        )


def most_unpacked() -> dict[str, int]:
    """What `archives.unpack` is to hold uploads to, as its keyword arguments; nothing on one's own machine."""
    return {"most_files": LIMITS.pictures, "most_bytes": LIMITS.expanded_bytes} if active() else {}


def check_turn(runs: "Iterable[Run]", token: str | None, wanted: int = 1) -> None:
    """Raise UserError where `token` has a run in training or waiting already, or the queue has no room for so many."""
    if not active():
        return
    from vae_core.runs import LIVE  # which imports this module

    live = [run for run in runs if run.state()["status"] in LIVE]
    if any(owns(run, token) for run in live):
        raise UserError("You have a run in training or in the queue already. Stop it, or wait for its end.")
    if wanted > LIMITS.sweep:
        raise UserError(f"{wanted} models are more than a sweep has on this public demo. Choose {LIMITS.sweep}.")
    if len(live) + wanted > LIMITS.waiting:
        raise UserError(f"The queue is full: {len(live)} runs are before you. Come back in some minutes.")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def claim(run: "Run", token: str | None) -> None:
    """Make the browser that holds `token` the owner of a new run; only the token's hash is kept."""
    if active() and token and not (run.path / _OWNER).exists():
        write_json(run.path / _OWNER, {"token_sha256": _hash(token)})


def owns(run: "Run", token: str | None) -> bool:
    """Whether the browser that holds `token` may steer, stop or delete the run. Always on one's own machine."""
    if not active():
        return True
    if not token:
        return False
    try:
        kept = read_json(run.path / _OWNER)["token_sha256"]
    except (UserError, KeyError, TypeError):
        return False
    return isinstance(kept, str) and hmac.compare_digest(kept, _hash(token))


def visible(run: "Run", token: str | None) -> bool:
    """Whether the holder of `token` may see the run: not those on other people's own pictures."""
    return not active() or not run.name.startswith("upload") or owns(run, token)


def clean_up(runs: "Iterable[Run]", uploads: Path, keep: "Iterable[Run]" = ()) -> None:
    """Bring the runs and the uploaded pictures of a public demo back under its disk budget, the oldest first.

    Live runs, and those to `keep`, stay; so do the pictures of runs that stay.
    """
    if not active():
        return
    kept = {run.path for run in keep}
    remaining, total = [], 0
    for run in sorted(runs, key=lambda run: _modified(run.path), reverse=True):
        total += _held(run.path)
        if total > LIMITS.disk_bytes and run.path not in kept:
            with suppress(UserError, OSError):
                run.delete()
                continue
        remaining.append(run)
    _clean_uploads(uploads, remaining)


def _clean_uploads(uploads: Path, runs: "Iterable[Run]") -> None:
    needed = set()
    for run in runs:
        with suppress(UserError):
            needed.add(run.config().train.dataset.removeprefix("upload:"))
    total = 0
    for path in sorted(uploads.glob("*.safetensors"), key=_modified, reverse=True):
        total += _size(path)
        if total > LIMITS.disk_bytes and path.stem not in needed:
            path.unlink(missing_ok=True)


def _held(folder: Path) -> int:
    """The bytes of all files in a folder; 0 where somebody deletes it meanwhile."""
    with suppress(OSError):
        return sum(map(_size, folder.rglob("*")))
    return 0


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _modified(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
