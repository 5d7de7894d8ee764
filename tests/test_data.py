"""Data sets: shapes, fixed splits, factors that agree with the pictures, and sentences where files are missing."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from vae_core import data, downloads, sprites
from vae_core.errors import UserError

has_mnist = pytest.mark.skipif(not data.available("mnist"), reason="the MNIST files are not in the data folder")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, and no network."""

    def refuse(*_, **__):
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tmp_path / "data"


def png(colour, size=(40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def rows(split: data.Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


# The embedded sets


@pytest.mark.parametrize(
    ("name", "shape", "train", "test", "classes"),
    [
        ("digits", (1, 8, 8), 1500, 297, 10),
        ("sprites", (1, 32, 32), 13_997, 1_555, 3),
        ("sprites-64", (1, 64, 64), 13_997, 1_555, 3),
        pytest.param("mnist", (1, 28, 28), 60_000, 10_000, 10, marks=has_mnist),
    ],
)
def test_shapes_and_a_fair_test_split(name, shape, train, test, classes):
    dataset = data.load(name)
    assert dataset.name == name
    assert data.available(name)
    assert dataset.image_shape == shape
    assert (len(dataset.train), len(dataset.test)) == (train, test)
    assert len(dataset.class_names) == classes
    for split in (dataset.train, dataset.test):
        assert split.images.shape[1:] == shape
        assert split.images.dtype == np.uint8
        assert split.images.max() == 255
        assert split.images.min() == 0
        assert split.labels.dtype == np.int64
        assert set(split.labels) == set(range(classes))
    first = np.bincount(dataset.test.labels[:100], minlength=classes) / 100
    whole = np.bincount(dataset.test.labels, minlength=classes) / test
    assert np.abs(first - whole).max() < 0.12


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    dataset = data.load("digits")
    images = np.concatenate([dataset.train.images, dataset.test.images])[:, 0]
    assert sorted(image.tobytes() for image in images) == sorted(
        np.round(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images
    )
    assert np.ptp(np.bincount(dataset.test.labels)) <= 2  # stratified
    assert not rows(dataset.train) & rows(dataset.test)


def test_the_splits_never_change():
    """The same bytes in another process, and today as on the day that checkpoints were made."""
    digits, drawn = data.load("digits"), data.load("sprites")
    assert digest(digits.test.images, digits.test.labels).startswith("4aaa587b20423f59")
    assert digest(drawn.test.images, drawn.test.factors).startswith("d45f5c1d61955738")
    script = (
        "import hashlib; from vae_core import data; s = data.load('sprites').train; "
        "print(hashlib.sha256(s.images.tobytes() + s.factors.tobytes()).hexdigest())"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == digest(drawn.train.images, drawn.train.factors)


# Sprites


def test_a_seed_gives_the_same_bytes_and_another_seed_another_order():
    images, factors = sprites.draw(32, seed=1)
    again, factors_again = sprites.draw(32, seed=1)
    assert digest(images, factors) == digest(again, factors_again)
    other, _ = sprites.draw(32, seed=2)
    assert digest(images) != digest(other)
    assert {image.tobytes() for image in images} == {image.tobytes() for image in other}


@pytest.mark.parametrize("size", [32, 64])
def test_every_combination_of_factors_is_drawn_once_and_looks_its_own(size):
    images, factors = sprites.draw(size)
    assert len(np.unique(factors, axis=0)) == len(factors) == 3 * 4 * 9 * 12 * 12
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("size", [32, 64])
def test_factors_agree_with_the_pictures(size):
    images, factors = sprites.draw(size)
    mass = images[:, 0].astype(float)
    index = np.arange(size) + 0.5
    total = mass.sum((1, 2))
    for axis, column in ((1, 3), (2, 4)):
        centre = (mass.sum(axis) * index).sum(1) / total
        stated = size / 2 + (factors[:, column] - 0.5) * size * 33 / 64
        np.testing.assert_allclose(centre, stated, atol=0.03)
    for shape in range(3):
        per_area = (total / factors[:, 1] ** 2)[factors[:, 0] == shape]
        assert per_area.std() / per_area.mean() < 0.02  # area grows with scale squared


def test_rotation_is_counter_clockwise():
    """The long axis of the ellipse, from second moments, is at the stated angle (in half turns)."""
    images, factors = sprites.draw(64)
    ellipses = factors[:, 0] == 1
    mass, angle = images[ellipses, 0].astype(float), factors[ellipses, 2]
    y, x = np.mgrid[:64, :64] + 0.5
    total = mass.sum((1, 2))
    dx = x - ((mass * x).sum((1, 2)) / total)[:, None, None]
    dy = ((mass * y).sum((1, 2)) / total)[:, None, None] - y  # upwards
    seen = 0.5 * np.arctan2(2 * (mass * dx * dy).sum((1, 2)), (mass * (dx**2 - dy**2)).sum((1, 2)))
    error = (seen - angle + np.pi / 2) % np.pi - np.pi / 2
    assert np.abs(error).max() < 0.03


def test_sprites_are_crisp():
    """Grey pixels lie along edges alone: twice the side halves their share."""
    shares = []
    for size in (32, 64):
        images, _ = sprites.draw(size)
        shares.append(((images > 0) & (images < 255)).sum() / (images > 0).sum())
    assert shares[0] < 0.5
    assert shares[1] == pytest.approx(shares[0] / 2, rel=0.15)


# Downloads


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_without_files_or_network_there_is_one_sentence(name, folder):
    assert not data.available(name)
    for download in (False, True):
        with pytest.raises(UserError) as caught:
            data.load(name, download=download)
        message = str(caught.value)
        assert message.startswith(data.title(name))
        assert downloads.SOURCES[name].folder in message
        assert "digits, sprites or sprites-64" in message
        assert message.count(". ") == 0
        assert str(folder) not in message  # $VAE_DATA by its name: no server path on a page
    assert "Name or service not known" in message


def idx(array: np.ndarray) -> bytes:
    return np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes() + array.astype(np.uint8).tobytes()


@functools.cache
def little_mnist() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 10, (60_000, 28, 28), np.uint8)
    files = {}
    for stem, count in downloads._IDX:
        array = digits[:count] if "images" in stem else digits[:count, 0, 0]
        files[f"{stem}.gz"] = gzip.compress(idx(array), 0, mtime=0)
    return files


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A web server on this machine: its files (a dict that a test may change), and its address."""
    files = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path[1:])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(data, "_kept", {})
    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield files, f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror(served, monkeypatch):
    """A made-up Fashion-MNIST where torchvision looks for it: its packed files, by name."""
    from torchvision import datasets

    files, address = served
    files |= little_mnist()
    md5 = [(file, hashlib.md5(content).hexdigest()) for file, content in files.items()]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", md5)
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"{address}gone/", address])
    return files


@pytest.fixture
def little_cifar10(served, monkeypatch):
    """A CIFAR-10 of twelve pictures where torchvision looks for it: images (12, 3, 32, 32), labels (12,)."""
    from torchvision.datasets import CIFAR10

    files, address = served
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 3, 32, 32), np.uint8), np.arange(12) % 10
    batches = {
        name: {"data": images[part].reshape(2, -1), "labels": labels[part].tolist()}
        for name, part in zip(downloads._CIFAR_FILES[:6], np.arange(12).reshape(6, 2), strict=True)
    }
    batches["batches.meta"] = {"label_names": list(downloads.SOURCES["cifar10"].class_names)}
    packed = {name: pickle.dumps(batch) for name, batch in batches.items()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in packed.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in packed.items()}
    *train, test, meta = downloads._CIFAR_FILES
    files[CIFAR10.filename] = archive.getvalue()
    monkeypatch.setattr(CIFAR10, "url", address + CIFAR10.filename)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.getvalue()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in train])
    monkeypatch.setattr(CIFAR10, "test_list", [[test, md5[test]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5[meta]})
    return images, labels


@pytest.mark.usefixtures("mirror")
def test_a_download_arrives_whole_and_torchvision_reads_it_too(tmp_path):
    from torchvision.datasets import FashionMNIST

    told = []
    dataset = data.load("fashion-mnist", download=True, progress=lambda *report: told.append(report))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert "MB" in told[0][1]
    assert dataset.class_names[9] == "Ankle boot"
    assert data.available("fashion-mnist")
    for train, split in ((True, dataset.train), (False, dataset.test)):
        theirs = FashionMNIST(tmp_path / "data", train=train)
        np.testing.assert_array_equal(split.images[:, 0], theirs.data.numpy())
        np.testing.assert_array_equal(split.labels, theirs.targets.numpy())
    left = sorted(path.name for path in (tmp_path / "data" / "FashionMNIST/raw").iterdir())
    assert left == sorted(stem for stem, _ in downloads._IDX)


@pytest.mark.usefixtures("mirror")
def test_what_two_ask_for_is_downloaded_once(monkeypatch):
    fetched, fetch = [], downloads._fetch

    def counted(urls, *rest):
        fetched.append(urls)
        return fetch(urls, *rest)

    monkeypatch.setattr(downloads, "_fetch", counted)
    with ThreadPoolExecutor(2) as pool, downloads._one_download:
        asked = [pool.submit(data.load, "fashion-mnist", download=True) for _ in range(2)]
        time.sleep(0.1)
        assert not fetched
    assert {one.result().name for one in asked} == {"fashion-mnist"}
    assert len(fetched) == 4


def test_a_download_cut_off_leaves_nothing_behind(mirror, tmp_path):
    name = "t10k-images-idx3-ubyte.gz"
    mirror[name] = mirror[name][:5000]
    with pytest.raises(UserError, match="cut off or altered"):
        data.load("fashion-mnist", download=True)
    assert not data.available("fashion-mnist")
    assert not [path for path in tmp_path.rglob("*") if "t10k-images" in path.name]


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("damage", ["short", "header", "labels"])
def test_damaged_files_are_told_and_mended_by_a_download(damage, tmp_path):
    data.load("fashion-mnist", download=True)
    data._kept.clear()
    path = (
        tmp_path
        / "data"
        / "FashionMNIST/raw"
        / ("t10k-labels-idx1-ubyte" if damage == "labels" else "train-images-idx3-ubyte")
    )
    content = bytearray(path.read_bytes())
    if damage == "short":
        content = content[:-100]
    else:
        content[1 if damage == "header" else 200] = 77
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"damaged.*{path.name}"):
        data.load("fashion-mnist")
    assert len(data.load("fashion-mnist", download=True).test) == 10_000


def test_cifar10_is_fetched_unpacked_and_read(little_cifar10, tmp_path):
    told = []
    dataset = data.load("cifar10", download=True, progress=lambda *report: told.append(report))
    images, labels = little_cifar10
    for split, part in ((dataset.train, slice(10)), (dataset.test, slice(10, 12))):
        np.testing.assert_array_equal(split.images, images[part])
        np.testing.assert_array_equal(split.labels, labels[part])
    assert dataset.class_names[8] == "ship"
    assert told[-1] == (1.0, "CIFAR-10 is here")
    assert data.available("cifar10")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-10-batches-py"], "the archive is not kept"


@pytest.mark.usefixtures("little_cifar10")
def test_a_cifar10_cut_off_is_a_sentence_and_leaves_nothing_behind(served, tmp_path):
    files, _ = served
    files.update({name: content[:-9] for name, content in files.items()})
    with pytest.raises(UserError, match=r"CIFAR-10 could not be downloaded \(cut off or altered on the way\)"):
        data.load("cifar10", download=True)
    files.clear()
    with pytest.raises(UserError, match=r"Not Found.*cifar-10-batches-py, or use digits"):
        data.load("cifar10", download=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_damaged_cifar10_is_a_sentence(folder):
    batches = folder / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    for name in downloads._CIFAR_FILES:
        (batches / name).write_bytes(b"cos\nsystem\n(S'echo unpickled'\ntR.")
    with pytest.raises(UserError, match="incomplete or damaged"):
        data.load("cifar10")


@pytest.mark.usefixtures("mirror")
def test_a_full_disk_is_a_sentence(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vae_core.downloads.tempfile.mkstemp", full)
    with pytest.raises(UserError, match="No space left"):
        data.load("fashion-mnist", download=True)


def test_nothing_heavy_is_imported_before_it_is_needed():
    script = (
        "import sys; from vae_core import data; data.load('sprites'); "
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'streamlit', 'plotly') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


# A folder on disk


@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    for kind, grey in (("cats", 60), ("dogs", 200)):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for i in range(20):
            (tmp_path / "pets" / kind / f"{i}.png").write_bytes(png(grey + i, (30 + i, 50)))
    (tmp_path / "pets" / "notes.txt").write_text("not a picture")
    (tmp_path / "pets" / ".hidden.png").write_bytes(png(0))
    return tmp_path / "pets"


@pytest.mark.parametrize("size", [28, 32, 64])
def test_a_folder_is_a_data_set(pets, size):
    told = []
    dataset = data.load(data.folder_name(pets, size), progress=lambda *report: told.append(report))
    assert dataset.image_shape == (1, size, size)
    assert dataset.class_names == ("cats", "dogs")
    assert (len(dataset.train), len(dataset.test)) == (36, 4)
    for split in (dataset.train, dataset.test):
        np.testing.assert_array_equal(split.images[:, 0, 5, 5] >= 200, split.labels == 1)
    assert "notes.txt" in told[-1][1]
    assert data.available(dataset.name)
    assert data.title(dataset.name) == f"pets ({size} px)"
    assert data.load(dataset.name) is dataset


def test_the_default_size_is_32_and_colour_is_kept(pets):
    (pets / "cats" / "red.png").write_bytes(png((255, 0, 0)))
    dataset = data.load(str(pets))
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.name == f"{pets}@32"


def test_a_folder_that_changed_is_read_again(pets):
    before = data.load(str(pets))
    (pets / "dogs" / "new.png").write_bytes(png(250))
    after = data.load(str(pets))
    assert len(after.train) + len(after.test) == len(before.train) + len(before.test) + 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mnst", "Did you mean mnist"),
        ("no/such/folder", "folder of pictures"),
        ("no/such/folder@31", "folder of pictures"),
        ("", "no data set"),
        ("~nobody-of-that-name/pictures", "no data set"),
        ("a" * 5000, "no data set"),
        ("a\0b", "no data set"),
    ],
)
def test_unknown_names_are_a_sentence(name, reason):
    assert not data.available(name)
    data.title(name)
    with pytest.raises(UserError, match=reason):
        data.load(name)


def test_a_size_that_is_not_offered_is_a_sentence(pets):
    assert not data.available(f"{pets}@31")
    with pytest.raises(UserError, match="31 pixels"):
        data.load(f"{pets}@31")


def test_too_few_pictures_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    (tmp_path / "a.png").write_bytes(png(3))
    (tmp_path / "b.txt").write_text("b")
    with pytest.raises(UserError, match=r"There is 1 readable picture .* at least 10 .*b\.txt"):
        data.load(str(tmp_path))


# Uploads


def upload(count: int = 20, **more: bytes) -> list[tuple[str, bytes]]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(count):
            archive.writestr(f"set/{'light' if i % 2 else 'dark'}/{i}.png", png(200 * (i % 2) + i))
    return [("my set.zip", file.getvalue()), *more.items()]


def test_an_upload_becomes_a_data_set_that_another_process_loads(folder):
    dataset, problems = data.from_uploads(upload(readme=b"hello"), size=28)
    assert len(problems) == 1
    assert "readme" in problems[0]
    assert dataset.class_names == ("dark", "light")
    assert not data.available(dataset.name)
    assert data.save_upload(dataset) == dataset.name
    assert data.available(dataset.name)
    (kept,) = folder.rglob("*.safetensors")
    os.utime(kept, (1, 1))
    data.save_upload(dataset)
    assert kept.stat().st_mtime > 1  # uploaded again, it is not the first to go
    assert [path.suffix for path in folder.rglob("*") if path.is_file()] == [".safetensors"]
    again = data.load(dataset.name)
    assert (again.name, again.class_names) == (dataset.name, dataset.class_names)
    for mine, theirs in ((dataset.train, again.train), (dataset.test, again.test)):
        np.testing.assert_array_equal(mine.images, theirs.images)
        np.testing.assert_array_equal(mine.labels, theirs.labels)
    script = f"from vae_core import data; print(data.load({dataset.name!r}).image_shape)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "(1, 28, 28)"


def test_the_order_of_an_upload_does_not_matter():
    files = [(f"{i}.png", png(i)) for i in range(12)]
    forwards, backwards = data.from_uploads(files)[0], data.from_uploads(files[::-1])[0]
    assert forwards.name == backwards.name
    assert forwards.train.labels is None
    assert forwards.class_names == ()
    assert data.from_uploads(files, size=64)[0].name != forwards.name


def test_two_zips_are_two_classes_and_the_rest_has_none():
    def pack(shade):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for i in range(6):
                archive.writestr(f"{i}.png", png(shade + i))
        return file.getvalue()

    dataset, problems = data.from_uploads([("b.zip", pack(100)), ("a.zip", pack(0)), ("loose.png", png(9))])
    assert dataset.class_names == ("(no folder)", "a", "b")
    assert problems == []


def packed(*folders: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(6 * len(folders)):
            archive.writestr(f"{folders[i % len(folders)]}{i}.png", png(20 * (i % len(folders)) + i))
    return file.getvalue()


def test_zips_dropped_together_keep_their_sub_folders_as_classes():
    first, second, flat = packed("one/cats/", "one/dogs/"), packed("birds/", "cats/"), packed("")
    files = [("a.zip", first), ("b.zip", second), ("c.zip", flat), ("loose.png", png(9)), ("x/fish/1.png", png(8))]
    dataset, _ = data.from_uploads(files)
    assert dataset.class_names == ("(no folder)", "birds", "c", "cats", "dogs", "x")
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    assert np.bincount(labels).tolist() == [1, 6, 6, 12, 6, 1]
    assert data.from_uploads(files[::-1])[0].name == dataset.name
    assert data.from_uploads(files[:1])[0].class_names == ("cats", "dogs")


def test_zips_whose_folders_have_the_same_name_are_classes_themselves():
    dataset, _ = data.from_uploads([("cats.zip", packed("pictures/")), ("dogs.ZIP", packed("pictures/"))])
    assert dataset.class_names == ("cats", "dogs")


@pytest.mark.parametrize("size", [0, 33, 4096])
def test_only_the_offered_sizes(size):
    with pytest.raises(UserError, match=str(size)):
        data.from_uploads(upload(), size=size)


def test_too_few_uploads_are_a_sentence():
    with pytest.raises(UserError, match="There are 9 readable pictures in this upload"):
        data.from_uploads(upload(9))


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "garbage"])
def test_a_damaged_upload_is_a_sentence(damage, folder):
    dataset, _ = data.from_uploads(upload())
    data.save_upload(dataset)
    (path,) = folder.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes({"missing": b"", "cut": content[:-9], "changed": content, "garbage": b"\x80\x04pickle"}[damage])
    if damage == "missing":
        path.unlink()
    with pytest.raises(UserError, match="Upload them again") as caught:
        data.load(dataset.name)
    assert str(folder) not in str(caught.value)


@pytest.mark.usefixtures("folder")
def test_sets_are_kept_whoever_asks_at_the_same_time(monkeypatch):
    monkeypatch.setattr(data, "_kept", {})
    nothing = data.Split(np.zeros((1, 1, 1, 1), np.uint8))
    sets = [data.Dataset(str(i), nothing, nothing) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for asked in [pool.submit(data._keep, i % 8, lambda i=i: sets[i % 8]) for i in range(20_000)]:
            asked.result()
    assert len(data._kept) == 4


def test_the_set_that_is_used_again_and_again_is_kept(monkeypatch):
    monkeypatch.setattr(data, "_kept", {})
    made = []
    nothing = data.Split(np.zeros((1, 1, 1, 1), np.uint8))
    for key in ("mnist", 1, "mnist", 2, "mnist", 3, "mnist", 4, "mnist", 5, "mnist"):
        data._keep(key, lambda key=key: made.append(key) or data.Dataset(str(key), nothing, nothing))
    assert made == ["mnist", 1, 2, 3, 4, 5]


def test_an_upload_name_cannot_leave_its_folder():
    for name in ("upload:../../etc/passwd", "upload:0123456789abcde/", "upload:" + "0" * 17):
        assert not data.available(name)
        with pytest.raises(UserError):
            data.load(name)


def test_a_home_folder_of_nobody_is_no_folder():
    with pytest.raises(UserError, match="no data set and no folder"):
        data.load(data.folder_name("~no-such-user/pictures"))
