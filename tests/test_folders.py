"""Folders of pictures as a mapped cache: the same pictures in the same order, made once, whole, in little memory."""

import io
import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from tests.waiting import PATIENCE
from vae_core import data, decoding, folders, pictures, train
from vae_core.errors import UserError
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.runs import Run, create
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig
from vae_core.worker import train_run

ROOT = Path(__file__).resolve().parent.parent


def picture(seed: int, mode: str = "RGB", ending: str = "PNG") -> bytes:
    random = np.random.default_rng(seed)
    shape = (20 + seed % 7, 24, *((3,) if mode == "RGB" else ()))
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(file, ending)
    return file.getvalue()


def fill(folder: Path, names: list[str], mode: str = "RGB") -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(seed, mode))
    return folder


def expected(folder: Path, size: int = 32) -> tuple[np.ndarray, list[str]]:
    """All pictures at once (N, 3, size, size) and their paths, in the order of the data set: training, then test."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    images, names = [], []
    for path in found:
        try:
            images.append(pictures.fit(pictures.read(path.read_bytes(), path.name), (3, size, size)))
        except UserError:
            continue
        names.append(path.relative_to(folder).as_posix())
    order = np.random.RandomState(0).permutation(len(images))
    tested = max(2, len(images) // 10)
    order = np.concatenate([order[tested:], order[:tested]])
    return np.stack(images)[order], [names[i] for i in order]


def whole(dataset: data.Dataset) -> np.ndarray:
    return np.concatenate([dataset.train.images, dataset.test.images])


def labels(dataset: data.Dataset) -> np.ndarray:
    return np.concatenate([dataset.train.labels, dataset.test.labels])


def in_python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of caches, not there yet, and nothing kept by this process."""
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(data, "_kept", {})
    return tmp_path / "data" / "cache"


@pytest.fixture
def three_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_WORTH", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """200 pictures, some in colour, and four files that are none."""
    folder = fill(tmp_path / "birds", [f"{'wren' if i % 3 else 'owl'}/{i}.png" for i in range(200)], "L")
    (folder / "owl" / "colour.png").write_bytes(picture(1))
    for name in ("owl/a.txt", "wren/b.txt", "z.txt"):
        (folder / name).write_text("not a picture")
    (folder / "owl" / "cut.png").write_bytes(picture(2)[:60])
    return folder


# The same pictures, in the same order


@pytest.mark.parametrize("size", [28, 64])
def test_pictures_and_labels_are_as_if_read_one_by_one(birds: Path, cache: Path, size: int) -> None:
    told: list[tuple[float, str]] = []
    dataset = data.load(data.folder_name(birds, size), progress=lambda *report: told.append(report))
    images, names = expected(birds, size)
    np.testing.assert_array_equal(whole(dataset), images)
    assert len(dataset.test) == 20
    assert dataset.class_names == ("owl", "wren")
    assert [dataset.class_names[label] for label in labels(dataset)] == [name.split("/")[0] for name in names]
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[-1] == (
        1.0,
        "Left out 4 of 205 files: owl/a.txt is not a picture in a format that can be read. Save it as PNG or JPEG.",
    )
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


@pytest.mark.usefixtures("three_processes")
def test_several_processes_make_what_one_makes(birds: Path, cache: Path) -> None:
    several = data.load(str(birds))
    images, _ = expected(birds)
    np.testing.assert_array_equal(whole(several), images)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("cache")
def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    folder = fill(tmp_path / "grey", [f"{i}.png" for i in range(70)], "L")
    dataset = data.load(str(folder))
    assert dataset.train.labels is None
    np.testing.assert_array_equal(whole(dataset), expected(folder)[0][:, :1])
    (folder / "69.png").write_bytes(picture(3))
    assert data.load(str(folder)).image_shape == (3, 32, 32)


def test_files_are_listed_in_the_order_of_their_paths_parts(tmp_path: Path) -> None:
    names = ["a", "a.b", "a b/c", "a-b/c", "b/a", "b/a.x/é", "b/ü\n", "b.c", "B/日", ".hid/x", "b/.x", "c/d/e"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "turn").symlink_to(tmp_path / "turn")
    (tmp_path / "d").symlink_to(tmp_path / "c")
    listing = folders.list_files(tmp_path, tmp_path / "c")
    wanted = sorted(tmp_path / name for name in [*names, "link"] if "/." not in f"/{name}" and name[0] != "c")
    assert [name for chunk in listing.chunks for name in json.loads(chunk)] == [
        path.relative_to(tmp_path).as_posix() for path in wanted
    ]
    assert [listing.directories[i] for i in listing.directory_of] == [
        f"{path.parent.relative_to(tmp_path).as_posix()}/".removeprefix("./") for path in wanted
    ]
    assert listing.count == len(wanted)


def test_training_on_the_map_is_training_in_memory_bit_for_bit(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_DATA", str(birds.parent / "data"))
    mapped = data.load(str(birds))
    assert not mapped.train.images.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        mapped.train.images[0] = 0
    held = data.Dataset("held", *(data.Split(np.array(split.images)) for split in (mapped.train, mapped.test)))
    assert not folders.wants_reading_ahead(mapped.train.images)
    ends = []
    for dataset, room, memory in ((mapped, True, 2**30), (mapped, False, 2**20), (held, True, 2**20)):
        monkeypatch.setattr(train.devices, "has_room", lambda *_, room=room: room)
        monkeypatch.setattr(os, "sysconf", lambda _, memory=memory: memory // mmap.PAGESIZE)
        trainer = Trainer(
            ModelConfig((3, 32, 32), widths=(16,)), TrainConfig(epochs=2, batch_size=64), dataset, torch.device("cpu")
        )
        assert trainer.reads_ahead == (not room)
        assert trainer.images.data_ptr() == dataset.train.images.ctypes.data
        tested = [record.test for record in trainer.run()][-1]
        ends.append((tested, list(trainer.model.state_dict().values())))
    for tested, weights in ends[1:]:
        assert tested == ends[0][0]
        assert all(torch.equal(one, other) for one, other in zip(weights, ends[0][1], strict=True))


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no advice on maps")
@pytest.mark.parametrize("step", [1, 3])
def test_reading_ahead_asks_for_the_pages_of_the_rows_and_no_others(tmp_path: Path, step: int) -> None:
    asked = []

    class Map(mmap.mmap):
        def madvise(self, *arguments: int) -> None:
            asked.append(arguments)
            super().madvise(*arguments)

    before, row, rows = 4099, 3 * 28 * 28, [0, 7, 3, 12]
    (tmp_path / "file").write_bytes(np.random.default_rng(0).bytes(before + 60 * row))
    with (tmp_path / "file").open("rb") as file:
        mapped = Map(file.fileno(), 0, access=mmap.ACCESS_READ)
    images = np.ndarray((60, 3, 28, 28), np.uint8, mapped, before)[::step]
    folders.read_ahead(images, rows)
    needed = {
        byte // mmap.PAGESIZE for i in rows for byte in range(before + i * step * row, before + (i * step + 1) * row)
    }
    assert {advice for advice, _, _ in asked} == {mmap.MADV_WILLNEED}
    assert {
        page
        for _, start, length in asked
        for page in range(start // mmap.PAGESIZE, -(-(start + length) // mmap.PAGESIZE))
    } == needed


# Made once, whole


def test_another_process_recalls_what_one_has_made(birds: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = whole(data.load(str(birds)))
    (path,) = cache.iterdir()
    before = path.stat().st_ino
    code = f"""
from vae_core import data, folders
folders.decode = None
told = []
dataset = data.load({str(birds)!r}, progress=lambda *report: told.append(report))
print(dataset.train.images.sum() + dataset.test.images.sum(), dataset.class_names, [text[:8] for _, text in told])
"""
    process = in_python(code)
    out, _ = process.communicate(timeout=PATIENCE)
    assert out == f"{images.sum()} ('owl', 'wren') ['Left out']\n"
    assert path.stat().st_ino == before
    monkeypatch.setattr(folders, "decode", None)
    data._kept.clear()
    np.testing.assert_array_equal(whole(data.load(str(birds))), images)


def test_the_file_is_a_safetensors_file(birds: Path, cache: Path) -> None:
    dataset = data.load(str(birds))
    (path,) = cache.iterdir()
    arrays = safetensors.numpy.load_file(path)
    assert sorted(arrays) == ["test", "test_labels", "train", "train_labels"]
    for part, split in (("train", dataset.train), ("test", dataset.test)):
        np.testing.assert_array_equal(arrays[part], split.images)
        np.testing.assert_array_equal(arrays[f"{part}_labels"], split.labels)


@pytest.mark.parametrize("change", ["name", "size", "time", "gone"])
def test_a_folder_that_changed_in_any_way_is_read_again_and_its_old_cache_goes(
    birds: Path, cache: Path, change: str
) -> None:
    data.load(str(birds))
    data.load(f"{birds}@28")
    before = set(cache.iterdir())
    file = birds / "owl" / "0.png"
    about = file.stat()
    if change == "name":
        file.rename(file.with_name("00.png"))
    elif change == "size":
        file.write_bytes(picture(5))
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    elif change == "time":
        file.write_bytes(picture(7, "L")[: about.st_size].ljust(about.st_size, b"\0"))
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    else:
        file.unlink()
    np.testing.assert_array_equal(whole(data.load(str(birds))), expected(birds)[0])
    assert len(before) == len(set(cache.iterdir())) == 2
    assert len(before & set(cache.iterdir())) == 1  # that at 28 pixels


@pytest.mark.parametrize("damage", ["cut", "header", "empty"])
def test_a_damaged_cache_is_made_again(birds: Path, cache: Path, damage: str) -> None:
    data.load(str(birds))
    (path,) = cache.iterdir()
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-9], "header": b"\xff" * 8 + content[8:], "empty": b""}[damage])
    data._kept.clear()
    np.testing.assert_array_equal(whole(data.load(str(birds))), expected(birds)[0])


def stop_at(fraction: float, then: Callable[[], None]) -> Callable[[float, str], None]:
    def report(done: float, _: str) -> None:
        if done >= fraction:
            then()

    return report


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, in a job in the background, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("three_processes", "interruptible")
@pytest.mark.parametrize("fraction", [0.1, 0.9, 0.95])
def test_ctrl_c_leaves_nothing(birds: Path, cache: Path, fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = []
    monkeypatch.setattr(decoding, "_start", lambda *a, start=decoding._start: workers.append(start(*a)) or workers[-1])
    monkeypatch.setattr(folders, "_KEEPING", 50)
    with pytest.raises(KeyboardInterrupt):
        data.load(str(birds), progress=stop_at(fraction, lambda: signal.raise_signal(signal.SIGINT)))
    assert len(workers) == 3
    assert all(worker.poll() is not None for worker in workers)
    assert [path.name for path in cache.iterdir()] == []


def test_a_build_that_was_killed_is_not_taken_for_finished(birds: Path, cache: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal
from vae_core import data, decoding
decoding._WORTH = 1
os.cpu_count = lambda: 2
data.load({str(birds)!r}, progress=lambda done, _: done > 0.3 and os.kill(os.getpid(), signal.SIGKILL))
"""
    process = in_python(code)
    process.wait(timeout=PATIENCE)
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    left = {path.suffix for path in cache.iterdir()}
    assert ".building" in left
    assert ".safetensors" not in left
    other = fill(tmp_path / "other", [f"{i}.png" for i in range(12)])
    data.load(str(other))  # what was left of another folder goes, too
    assert {path.suffix for path in cache.iterdir()} == {".safetensors"}
    np.testing.assert_array_equal(whole(data.load(str(birds))), expected(birds)[0])


@pytest.mark.usefixtures("cache")
def test_of_two_processes_one_makes_the_cache(birds: Path) -> None:
    code = f"""
import time
from vae_core import data, folders
def slowly(*arguments, decode=folders.decode):
    print("made", end=" ")
    time.sleep(1)
    return decode(*arguments)
folders.decode = slowly
print(data.load({str(birds)!r}).train.images.sum())
"""
    outs = [process.communicate(timeout=PATIENCE)[0].split() for process in [in_python(code), in_python(code)]]
    assert sorted(len(out) for out in outs) == [1, 2]
    assert outs[0][-1] == outs[1][-1]


# Room


def test_the_least_recently_used_caches_go_over_the_budget(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "CACHE_BYTES", 2.5 * 12 * 3 * 32 * 32)
    sets = [str(fill(tmp_path / name, [f"{i}.png" for i in range(12)])) for name in "abc"]
    files = []
    for name in sets[:2]:
        data.load(name)
        files += set(cache.iterdir()) - set(files)
    for age, path in enumerate(files):
        os.utime(path, (10 + age, 10 + age))
    data._kept.clear()
    data.load(sets[0])  # used again: now the second is the oldest
    data.load(sets[2])
    assert files[0].exists()
    assert not files[1].exists()
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr(folders, "CACHE_BYTES", 1)
    data.load(sets[1])
    assert len(list(cache.iterdir())) == 1  # the one in use is over the budget by itself, and stays


def test_a_cache_that_somebody_else_removes_meanwhile_is_no_error(birds: Path, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "gone.safetensors").symlink_to(cache / "nowhere")
    assert len(data.load(str(birds)).train)


def test_a_full_disk_is_a_sentence(birds: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_chunk", full)
        with pytest.raises(UserError, match=r"^The cache of birds could not be written: No space left .* \$VAE_DATA"):
            data.load(str(birds))
    with monkeypatch.context() as patch:
        patch.setattr(folders.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
        with pytest.raises(UserError, match=r"takes 0\.0 GB, and 0\.0 GB are free"):
            data.load(str(birds))
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("cache", "three_processes")
def test_a_process_that_dies_is_a_sentence(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = decoding._start
    monkeypatch.setattr(decoding, "_start", lambda command, out: start([*command[:-2], "not a number", "3"], out))
    with pytest.raises(UserError, match="ended early"):
        data.load(str(birds))


def test_a_cache_inside_the_folder_is_not_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "all", [f"{i}.png" for i in range(12)])
    monkeypatch.setenv("VAE_DATA", str(folder))
    told: list[str] = []
    first = data.load(str(folder), progress=lambda _, text: told.append(text))
    assert data.load(str(folder)) is first
    assert not any("Left out" in text for text in told)


@pytest.mark.usefixtures("cache")
def test_a_folder_that_is_slow_to_list_is_trusted_for_a_while(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(folders, "list_files", lambda *a, f=folders.list_files: calls.append(a) or f(*a))
    monkeypatch.setattr(data, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(data, "_TRUSTED", 1e6)
    first = data.load(str(birds))
    (birds / "owl" / "0.png").unlink()
    assert data.load(str(birds)) is first
    assert len(calls) == 1
    data._listed.clear()
    assert len(data.load(str(birds)).train) == len(first.train) - 1


# A run on a folder


@pytest.mark.usefixtures("cache")
def test_a_run_tells_how_far_its_pictures_are_and_can_be_stopped_meanwhile(
    birds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_core.worker._STATE_SECONDS", -1.0)
    config = RunConfig(ModelConfig((3, 32, 32), widths=(16,)), TrainConfig(str(birds), epochs=1, batch_size=32))
    run = create(config, birds.parent / "run")
    said, write = [], Run.write_state

    def noted(run: Run, **changes: object) -> None:
        said.append(changes)
        write(run, **changes)

    monkeypatch.setattr(Run, "write_state", noted)
    run.stop()
    assert train_run(run, device="cpu") == "stopped"
    assert run.state()["status"] == "stopped"
    run.go_on()
    assert train_run(run, device="cpu") == "finished"
    assert any("Reading pictures: 205 of 205" in changes.get("message", "") for changes in said)


# Memory


FLAT = """
import resource, sys
from pathlib import Path
import torch
from vae_core import data
from vae_core.evaluate import evaluate
from vae_core.model import ModelConfig
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig

def claimed():
    return int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024

def train(folder):
    dataset = data.load(folder)
    trainer = Trainer(
        ModelConfig(dataset.image_shape, widths=(32,)), TrainConfig(batch_size=128), dataset, torch.device("cpu")
    )
    next(trainer.run())
    evaluate(trainer.model, dataset.test.images[:1000])
    return dataset

train(sys.argv[1])
limit = claimed() + int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
dataset = train(sys.argv[2])
print(len(dataset.train) + len(dataset.test), dataset.train.images.nbytes + dataset.test.images.nbytes)
"""


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes folders of n small pictures, 100 to a sub-folder, all of them links to 100 files."""
    originals = tmp_path / "originals"
    originals.mkdir()
    for i in range(100):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)).save(originals / f"{i}.bmp")

    def make(count: int) -> Path:
        folder = tmp_path / str(count)
        for start in range(0, count, 100):
            (folder / f"{start % 1000}" / f"{start}").mkdir(parents=True)
            for i in range(100):
                os.link(originals / f"{i}.bmp", folder / f"{start % 1000}" / f"{start}" / f"{i}.bmp")
        return folder

    return make


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
@pytest.mark.usefixtures("cache")
def test_fifty_thousand_pictures_take_no_more_memory_than_five_thousand(many: Callable[[int], Path]) -> None:
    """64 MB more suffice to read, keep and train on pictures of 154 MB, and to list their files."""
    arguments = [str(many(5_000)), str(many(50_000)), str(64 * 2**20)]
    done = subprocess.run(
        [sys.executable, "-c", FLAT, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    assert done.stdout == f"50000 {50_000 * 3 * 32 * 32}\n"
