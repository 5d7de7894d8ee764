"""Many picture files decoded into one flat file, by several processes.

Processes and not threads, which wait for each other's hold on Python (bench/README.md). They are started as
`python -m vae_core.decoding`, which, unlike `multiprocessing`, runs nothing of the caller's main module.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_core import pictures
from vae_core.downloads import Progress
from vae_core.errors import UserError
from vae_core.imaging import without_colour

__all__ = ["CHUNK", "Decoded", "decode"]

CHUNK = 64  # files that a process takes at a time
_WORTH = 256  # files that make it worth to start a process
_MOST_PROCESSES = 32


class Decoded(NamedTuple):
    """readable (N,) bool, whether all readable pictures are grey, and a sentence on the first that is not readable."""

    readable: np.ndarray
    grey: bool
    problem: str | None


def decode(folder: Path, names: Path, images: Path, size: int, count: int, progress: Progress | None) -> Decoded:
    """Write `count` pictures into the file `images`: uint8 (count, 3, size, size), zeros where one is not readable.

    The file `names` has their paths inside `folder`: a JSON list of `CHUNK` of them a line. Raises UserError where a
    process ends early, and OSError where `images` cannot be written.
    """
    readable, grey, problem, done = np.ones(count, bool), True, (count, None), 0
    with images.open("wb") as file:
        file.truncate(count * 3 * size * size)
    parts = max(1, min(os.cpu_count() or 1, _MOST_PROCESSES, count // _WORTH))
    arguments = [str(folder), str(names), str(images), str(size)]
    with closing(_reports(arguments, parts) if parts > 1 else _part(*arguments, "0", "1")) as reports:
        for report in reports:
            if "stopped" in report:
                raise OSError(*report["stopped"])
            first, unread = report["first"], report["unread"]
            readable[[first + offset for offset in unread]] = False
            grey &= report["grey"]
            if unread:
                problem = min(problem, (first + unread[0], report["problem"]))
            done += report["files"]
            if progress:
                progress(done / count, f"Reading pictures: {done:,} of {count:,}")
    return Decoded(readable, grey, problem[1])


def _reports(arguments: Sequence[str], parts: int) -> Iterator[dict[str, Any]]:
    """What `parts` processes report, as it comes: short lines through one pipe, each written at once."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "vae_core.decoding", *arguments]
    workers = []
    try:
        with os.fdopen(reader, encoding="utf-8") as reports:
            with os.fdopen(writer, "wb") as pipe:
                for part in range(parts):
                    workers.append(_start([*command, str(part), str(parts)], pipe.fileno()))
            yield from map(json.loads, reports)
    except BaseException:
        for worker in workers:
            worker.terminate()
        raise
    finally:
        ends = [worker.wait() for worker in workers]
    if any(ends):
        raise UserError("A process that read the pictures has ended early. Try again; less memory in use may help.")


def _start(command: Sequence[str], output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.DEVNULL,
        stdout=output,
        start_new_session=True,  # Ctrl-C is for the one who reads the reports
    )


def _part(folder: str, names: str, images: str, size: str, part: str, parts: str) -> Iterator[dict[str, Any]]:
    """Decode every `parts`-th chunk from number `part` on, with a report on each."""
    side = int(size)
    try:
        with Path(names).open("rb") as chunks, Path(images).open("r+b") as file:
            for number, line in enumerate(chunks):
                if number % int(parts) == int(part):
                    file.seek(number * CHUNK * 3 * side * side)
                    yield {"first": number * CHUNK} | _chunk(folder, json.loads(line), side, file)
    except OSError as error:
        yield {"stopped": (error.errno, error.strerror)}


def _chunk(folder: str, names: Sequence[str], size: int, file: Any) -> dict[str, Any]:
    pixels, unread, problem = np.zeros((len(names), 3, size, size), np.uint8), [], None
    for offset, name in enumerate(names):
        try:
            pixels[offset] = pictures.fit(_read(Path(folder, name), name), (3, size, size))
        except UserError as error:
            unread.append(offset)
            problem = problem or str(error)
    file.write(pixels)
    file.flush()
    return {"files": len(names), "unread": unread, "problem": problem, "grey": without_colour(pixels).shape[1] == 1}


def _read(path: Path, name: str) -> Any:
    try:
        if path.stat().st_size > pictures.MAX_FILE_BYTES:
            raise UserError(
                f"{pictures.shown_name(name)} is over {pictures.MAX_FILE_BYTES // 2**20} MB. Make it smaller first."
            )
        return pictures.read(path.read_bytes(), name)
    except OSError as error:
        raise UserError(f"{pictures.shown_name(name)} cannot be opened: {error.strerror}.") from error


def _main() -> None:
    for report in _part(*sys.argv[1:]):
        try:
            os.write(sys.stdout.fileno(), (json.dumps(report) + "\n").encode())
        except BrokenPipeError:  # nobody waits for them any more
            return


if __name__ == "__main__":
    _main()
