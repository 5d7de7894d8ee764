"""Files are written whole: a temporary file in the same folder, flushed, synced, renamed."""

import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from vae_core.errors import UserError

__all__ = ["clear_temporary", "read_json", "write_json", "write_whole"]

_TEMPORARY = ".part"
_ABANDONED_SECONDS = 60.0  # many times as long as a write takes


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` so that a reader, or a crash, sees the old file or the new one and nothing between.

    Raises UserError where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)  # mkstemp makes it private
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            f"Could not write {path.name}: {error.strerror or error}. "
            "Free some disk space or choose a folder that can be written."
        ) from error


def clear_temporary(folder: Path) -> None:
    """Remove from a folder, and those below it, what processes left that were killed while they wrote there."""
    for left in Path(folder).glob(f"**/.*{_TEMPORARY}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError where it is missing or not JSON."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path.name} in {path.parent.name}.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise UserError(f"{path.name} in {path.parent.name} cannot be read: {reason}.") from error
