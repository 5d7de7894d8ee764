"""Zip archives of people's own pictures: unpacked in memory, or refused in a sentence."""

import io
import random
import stat
import struct
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_core import archives
from vae_core.errors import UserError

slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_a_zip_is_read_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    members = {
        "b/2.png": b"two",
        "a/1.png": b"one",
        "__MACOSX/a/._1.png": b"",
        "a/.DS_Store": b"",
        "a/Thumbs.db": b"",
    }
    found, problems = archives.read_zip(zipped(members), "pets.zip")
    assert found == [("a/1.png", b"one"), ("b/2.png", b"two")]
    assert problems == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\evil.png"])
def test_names_that_climb_out_are_skipped(name, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    found, problems = archives.read_zip(zipped({name: b"evil", "good.png": b"good"}))
    assert found == [("good.png", b"good")]
    assert len(problems) == 1
    assert "outside" in problems[0]
    assert [path.name for path in tmp_path.rglob("*")] == ["inner"]


def test_links_are_skipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    found, problems = archives.read_zip(file.getvalue())
    assert found == []
    assert "link" in problems[0]


def test_archives_within_and_unusual_packing_are_skipped():
    members = {"inner.zip": zipped({"a.png": b""}), "b.tar.gz": b"x"}
    assert [problem.split()[0] for problem in archives.read_zip(zipped(members))[1]] == [
        "b.tar.gz",
        "inner.zip",
    ]
    found, problems = archives.read_zip(zipped({"a.png": b"a" * 999}, zipfile.ZIP_LZMA))
    assert found == []
    assert "unusual" in problems[0]


def test_locked_and_damaged_members_are_skipped():
    content = bytearray(zipped({"a.png": random.Random(0).randbytes(600), "b.png": b"fine"}))
    content[60] ^= 255
    found, problems = archives.read_zip(bytes(content))
    assert found == [("b.png", b"fine")]
    assert "damaged" in problems[0]
    locked = bytearray(zipped({"a.png": b"x"}))
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    assert "password" in archives.read_zip(bytes(locked))[1][0]


def test_huge_expansion_is_refused():
    zeros = bytes(30 * 2**20)
    bomb = zipped({f"{i}.bmp": zeros for i in range(18)})
    assert len(bomb) < 2**20
    with pytest.raises(UserError, match="unpack to over 500 MB"):
        archives.read_zip(bomb, "bomb.zip")


def test_members_that_lie_about_their_size_are_not_believed(monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1000)
    liar = bytearray(zipped({"a.bmp": bytes(10**6)}))
    entry = liar.rindex(b"PK\x01\x02")
    liar[entry + 24 : entry + 28] = struct.pack("<I", 10)
    found, problems = archives.read_zip(bytes(liar))
    assert not found
    assert problems == ["a.bmp was skipped: it is damaged. Pack it again."]


def test_too_many_members_and_too_large_archives_are_refused(monkeypatch):
    content = zipped({f"{i}.png": b"" for i in range(50)})
    monkeypatch.setattr(archives, "MAX_FILES", 49)
    with pytest.raises(UserError, match="over 49 files"):
        archives.read_zip(content)
    monkeypatch.setattr(archives, "MAX_ARCHIVE_BYTES", 100)
    with pytest.raises(UserError, match=r"heavy\.zip"):
        archives.read_zip(content, "heavy.zip")


@slow
@given(st.binary(max_size=300), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=10))
def test_any_bytes_as_a_zip_raise_nothing_but_a_sentence(content, changes):
    broken = bytearray(zipped({"a/1.png": b"one" * 50, "b.png": content}))
    for place, value in changes:
        broken[min(int(place * len(broken)), len(broken) - 1)] = value
    for candidate in (content, bytes(broken)):
        try:
            archives.read_zip(candidate, "z.zip")
        except UserError as error:
            assert "z.zip" in str(error)


@pytest.mark.parametrize("members", [{}, {".hidden": b"x", "__MACOSX/a.png": b"x"}])
def test_a_zip_without_files_is_a_sentence(members):
    found, problems = archives.unpack([("none.zip", zipped(members))])
    assert found == []
    assert problems == ["none.zip holds no files. Put pictures into it."]


@pytest.mark.parametrize("order", [1, -1])
def test_only_what_was_packed_counts_towards_what_may_be_unpacked(order):
    files = [("large.png", bytes(900)), ("small.zip", zipped({"a.png": bytes(200)}))]
    found, problems = archives.unpack(files[::order], most_bytes=1000)
    assert ([name for name, _ in found], problems) == (["large.png", "small/a.png"], [])
    with pytest.raises(UserError, match="All these archives together"):
        archives.unpack([(f"{i}.zip", zipped({"a.png": bytes(600)})) for i in range(2)], most_bytes=1000)


def test_uploads_may_be_mixed():
    files = [
        ("loose.png", b"1"),
        ("cats.zip", zipped({"c.png": b"2"})),
        ("folder/.DS_Store", b"x"),
        ("broken.zip", b"no"),
        ("folder/d.png", b"3"),
    ]
    found, problems = archives.unpack(files)
    assert found == [("cats/c.png", b"2"), ("folder/d.png", b"3"), ("loose.png", b"1")]
    assert len(problems) == 1
    assert "broken.zip" in problems[0]
