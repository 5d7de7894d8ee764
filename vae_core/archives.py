"""Uploads with zip archives among them, unpacked in memory."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from vae_core.errors import UserError
from vae_core.pictures import MAX_FILE_BYTES, shown_name

__all__ = ["MAX_ARCHIVE_BYTES", "MAX_EXPANDED_BYTES", "MAX_FILES", "read_zip", "unpack"]

MAX_FILES = 20_000
MAX_ARCHIVE_BYTES = 200 * 2**20
MAX_EXPANDED_BYTES = 500 * 2**20

_ARCHIVE_ENDINGS = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_CLUTTER = ("thumbs.db", "desktop.ini")


def read_zip(
    data: bytes, name: str = "The archive", most_bytes: int = MAX_EXPANDED_BYTES
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Unpack a zip archive in memory; nothing is written to disk.

    Returns the members as (path inside the archive, content), by path, and a sentence for each one that was
    skipped: names that are absolute or climb out with "..", links, locked or damaged members, archives in
    the archive, members over MAX_FILE_BYTES. Folders, hidden files and the clutter of operating systems are
    passed over in silence.

    Raises UserError where it is no readable zip, is over MAX_ARCHIVE_BYTES, holds over MAX_FILES members,
    or unpacks to over `most_bytes`.
    """
    name = shown_name(name)
    if len(data) > MAX_ARCHIVE_BYTES:
        raise UserError(
            f"{name} has {len(data) / 2**20:.0f} MB; {MAX_ARCHIVE_BYTES // 2**20} MB is the most for a zip. Split it."
        )
    # Every directory entry begins with these bytes, so this bounds their number before any is parsed.
    if data.count(b"PK\x01\x02") > MAX_FILES:
        raise UserError(f"{name} holds over {MAX_FILES:,} files, which is the most. Split it.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # zipfile, too, meets hostile bytes here
        raise UserError(f"{name} is not a zip archive that can be read. Pack the pictures again.") from error
    with archive:
        listed = (m for m in archive.infolist() if not m.is_dir() and not _is_clutter(m.filename))
        wanted = sorted(listed, key=lambda member: member.filename)
        if sum(member.file_size for member in wanted) > most_bytes:
            raise UserError(_too_much(name, most_bytes))
        members, problems, total = [], [], 0
        for member in wanted:
            try:
                content = _read_member(archive, member)
            except UserError as problem:
                problems.append(str(problem))
                continue
            total += len(content)
            if total > most_bytes:
                raise UserError(_too_much(name, most_bytes))
            members.append((member.filename.replace("\\", "/"), content))
    return members, problems


def unpack(
    files: Iterable[tuple[str, bytes]], *, most_files: int = MAX_FILES, most_bytes: int = MAX_EXPANDED_BYTES
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Uploads, as (name, content) and zip archives among them, as a list of files by name, not yet decoded.

    A name may hold folders ("cats/1.png"); a zip's members lie in a folder called after it. Returns the
    files, and a sentence for each that was left out, such as a zip of over `most_bytes` when unpacked. Raises
    UserError where there are over `most_files` in all, or where the zips unpack to over `most_bytes` together.
    """
    found, problems, unpacked = [], [], 0
    for name, data in files:
        if not (name.lower().endswith(".zip") or data[:4] in (b"PK\x03\x04", b"PK\x05\x06")):
            found += [] if _is_clutter(name) else [(name, data)]
            continue
        try:
            members, skipped = read_zip(data, name, most_bytes)
        except UserError as problem:
            problems.append(str(problem))
            continue
        if not members and not skipped:
            skipped = [f"{shown_name(name)} holds no files. Put pictures into it."]
        folder = name[:-4] if name.lower().endswith(".zip") else name
        found += [(f"{folder}/{member}", content) for member, content in members]
        problems += skipped
        unpacked += sum(len(content) for _, content in members)
        if unpacked > most_bytes:
            raise UserError(_too_much("All these archives together", most_bytes))
    if len(found) > most_files:
        raise UserError(f"These are {len(found):,} files; {most_files:,} are the most. Choose fewer.")
    return sorted(found, key=lambda file: file[0]), problems


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """One member's content, or a UserError that says why not."""
    name = shown_name(member.filename)
    path = PurePosixPath(member.filename.replace("\\", "/"))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.is_absolute() or PureWindowsPath(path).drive or ".." in path.parts:
        raise UserError(f"{name} was skipped: its name points outside the archive.")
    if kind not in (0, stat.S_IFREG):
        raise UserError(f"{name} was skipped: it is a link or a device, not a file.")
    if path.suffix.lower() in _ARCHIVE_ENDINGS:
        raise UserError(f"{name} was skipped: it is an archive inside the archive. Unpack it first.")
    if member.flag_bits & 1:
        raise UserError(f"{name} was skipped: it is locked with a password.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{name} was skipped: it is packed in an unusual way. Pack it as an ordinary zip.")
    try:
        with archive.open(member) as file:
            content = file.read(MAX_FILE_BYTES + 1)  # never by the size that the archive claims
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, struct.error):
        raise UserError(f"{name} was skipped: it is damaged. Pack it again.") from None
    if len(content) > MAX_FILE_BYTES:
        raise UserError(f"{name} was skipped: it has over {MAX_FILE_BYTES // 2**20} MB.")
    return content


def _is_clutter(name: str) -> bool:
    """Hidden files and what operating systems leave in folders."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    hidden = any(part.startswith(".") and part != ".." for part in parts)
    return hidden or "__MACOSX" in parts or (bool(parts) and parts[-1].lower() in _CLUTTER)


def _too_much(name: str, most_bytes: int) -> str:
    return f"{name} would unpack to over {most_bytes // 2**20} MB, the most there may be. Send less."
