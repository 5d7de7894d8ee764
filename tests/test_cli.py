"""The command line: what it prints, writes and refuses."""

import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.waiting import PATIENCE, until
from vae_core import cli, data
from vae_core.checkpoint import Checkpoint, load, save
from vae_core.evaluate import encode, evaluate
from vae_core.information import split_rate
from vae_core.model import ModelConfig
from vae_core.rate_distortion import curve
from vae_core.runs import Run, find
from vae_core.train_config import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ["train", "--epochs", "2", "--latent-dim", "3", "--widths", "16"]


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_RUNS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def trained(runs_folder: Path) -> Run:
    assert cli.main([*TRAIN, "--json"]) == 0
    return Run(next(runs_folder.iterdir()))


def _values(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """What a command prints with --json as its last line; nothing goes to stderr."""
    capsys.readouterr()
    assert cli.main([*map(str, arguments), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out.splitlines()[-1])


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that ends with status 2."""
    capsys.readouterr()
    try:
        status = cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    return printed.err


def test_train_says_what_came_out_and_the_second_time_at_once(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = trained.checkpoint.stat().st_mtime_ns
    values = _values(capsys, *TRAIN)
    assert values["run"] == str(trained.path)
    assert values["checkpoint"] == str(trained.checkpoint)
    assert values["images_per_second"] > 100
    test = values["test"]
    assert test["elbo"] == pytest.approx(-(test["reconstruction"] + test["kl"]))
    assert trained.checkpoint.stat().st_mtime_ns == before
    assert _values(capsys, "resume", trained.path) == values
    assert _values(capsys, "resume", trained.name)["test"] == test


def test_train_options_reach_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--arch conv --latent-dim 5 --beta 0.5 --likelihood gaussian --sigma 0.2 --epochs 1 --batch-size 250"
    options += " --lr 0.002 --seed 7 --kl-warmup 0.5 --free-bits 0.1 --binarize --device cpu --widths 4"
    values = _values(capsys, "train", *options.split(), "--run", tmp_path / "mine")
    assert values["run"] == str(tmp_path / "mine")
    config = find(values["run"]).config()
    assert config.model == ModelConfig((1, 8, 8), 5, "conv", "gaussian", (4,), 0.2)
    assert config.train == TrainConfig("digits", 1, 250, 0.002, 0.5, 0.5, 0.1, True, 7)


def test_curve_equals_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "checkpoints" / "digits-beta.safetensors"
    values, found = _values(capsys, "curve", path), curve(load(path).betas)
    assert values["beta"] == pytest.approx(found.betas)
    assert values["rate"] == pytest.approx(found.rate)
    assert values["loss"] == pytest.approx(found.distortion + found.betas * found.rate)
    assert values["kl_per_dimension"] == found.kl.tolist()
    assert "one β alone" in _refused(capsys, "curve", ROOT / "checkpoints" / "digits-d2.safetensors")


def test_information_equals_the_library(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """And with known factors come the scores; a rate of some images at a β is that of the model at this β."""
    values = _values(capsys, "information", trained.checkpoint, "--limit", 50, "--seed", 3)
    split = split_rate(*encode(load(trained.checkpoint).model, data.load("digits").test.images[:50]), seed=3)
    assert values["mutual_information"] == pytest.approx(split.mutual_information, abs=1e-5)
    assert values["dimension_kl_per_dimension"] == pytest.approx(split.dimension_kl, abs=1e-5)
    parts = ("mutual_information", "total_correlation", "dimension_kl")
    assert sum(values[part] for part in parts) == pytest.approx(values["rate"], rel=1e-6)
    assert "mig" not in values
    sprites = _values(capsys, "information", min((ROOT / "checkpoints").glob("sprites*")), "--limit", 50)
    assert len(sprites["matrix"]) == 5
    assert 0 <= sprites["mig"] <= sprites["factor_vae"] <= 1


def test_the_objective_reaches_the_run_and_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--epochs", 1, "--objective", "beta-tcvae", "--beta", 6)
    values = _values(capsys, "train", "--run", tmp_path / "run", *options)
    train = find(values["run"]).config().train
    assert (train.objective, train.beta) == ("beta-tcvae", 6)
    assert values["test"]["elbo"] == pytest.approx(-(values["test"]["reconstruction"] + values["test"]["kl"]))
    assert "not of β from 0.1 to 2" in _refused(capsys, "train", *options[:4], "--beta-range", 0.1, 2)


def test_iwae_and_a_tanh_network_reach_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--epochs", 1, "--objective", "iwae", "--importance-samples", 3, "--activation", "tanh")
    values = _values(capsys, "train", "--run", tmp_path / "run", *options, "--bias-from-mean")
    config = find(values["run"]).config()
    assert (config.train.objective, config.train.importance_samples, config.train.bias_from_mean) == ("iwae", 3, True)
    assert config.model.activation == load(find(values["run"]).checkpoint).model.config.activation == "tanh"
    assert "1 importance sample is the ELBO" in _refused(capsys, "train", *options[:4])


def test_defaults_are_those_of_the_configs() -> None:
    parsed = vars(cli._parser().parse_args(["train"]))
    renamed = {"learning_rate": "lr"}
    for config in (TrainConfig, ModelConfig):
        for field in dataclasses.fields(config):
            if field.name not in ("image_shape", "pictures"):
                assert parsed[renamed.get(field.name, field.name)] == field.default, field.name


@pytest.mark.parametrize("command", [["evaluate", "--iwae-samples", "2"], ["evidence"]], ids=lambda value: value[0])
def test_log_p_of_grey_pixels_is_said_to_be_none(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    name, *options = command
    arguments = [name, str(ROOT / "checkpoints" / "digits-d2.safetensors"), "--limit", "3", *options]
    assert cli.main(arguments) == 0
    assert "is not the logarithm of a probability" in capsys.readouterr().out
    assert cli.main([*arguments, "--binarize"]) == 0
    assert "probability" not in capsys.readouterr().out


def test_other_pictures_in_the_same_folder_are_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    (tmp_path / "cats").mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)

    def add(some: range) -> None:
        for i in some:
            Image.fromarray(pictures[i]).save(tmp_path / "cats" / f"{i:02d}.png")

    arguments = ("train", "--dataset", f"{tmp_path / 'cats'}@28", "--epochs", 1, "--widths", 8)
    add(range(20))
    first = _values(capsys, *arguments)["run"]
    assert _values(capsys, *arguments)["run"] == first
    add(range(20, 40))
    second = _values(capsys, *arguments)["run"]
    assert second != first
    (Path(first) / "state.json").write_text('{"status": "stopped"}')
    assert "are not those that this training began with" in _refused(capsys, "resume", first)


def test_evaluate_equals_the_library(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    values = _values(capsys, "evaluate", trained.checkpoint, "--limit", 40, "--binarize", "--iwae-samples", 200)
    model, images = load(trained.checkpoint).model, data.load("digits").test.images[:40]
    expected = evaluate(model, images, binarize=True)
    for name in ("elbo", "reconstruction", "kl", "kl_per_dimension"):
        assert values[name] == pytest.approx(getattr(expected, name), rel=1e-5)
    assert values["active_units"] == expected.active_units
    assert values["images"] == 40
    bound = values["log_likelihood"]
    assert bound["samples"] == 200
    assert values["elbo"] < bound["value"] + 5 * bound["standard_error"]
    assert 1 < bound["effective_samples"] <= 200
    assert "log_likelihood" not in _values(capsys, "evaluate", trained.name, "--dataset", "digits")
    assert _values(capsys, "evaluate", trained.name, "--iwae-samples", 1)["log_likelihood"]["standard_error"] is None


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "seven.png"
    Image.fromarray(data.load("digits").test.images[0, 0]).save(path)
    return path


def _commands(checkpoint: Path, picture: Path) -> dict[str, list[object]]:
    return {
        "sample": ["sample", checkpoint, "--count", 7, "--seed", 3],
        "reconstruct": ["reconstruct", checkpoint, picture, picture],
        "interpolate": ["interpolate", checkpoint, picture, "1", "--steps", 5],
        "traverse": ["traverse", checkpoint, "--steps", 5, "--at", "0"],
        "embed": ["embed", checkpoint, "--method", "pca", "--limit", 30],
    }


ROWS = {"sample": 7, "reconstruct": 2, "interpolate": 5, "traverse": 15, "embed": 30}
FRAMES = {"sample": 7, "reconstruct": 2, "interpolate": 5, "traverse": 5, "embed": 1}


@pytest.mark.parametrize("command", ROWS)
def test_outputs_by_their_ending(
    trained: Run, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    arguments = _commands(trained.checkpoint, picture)[command]
    for ending in ("png", "gif", "csv", "PNG"):
        path = tmp_path / f"out.{ending}"
        assert _values(capsys, *arguments, "-o", path)["file"] == str(path)
    with Image.open(tmp_path / "out.png") as image:
        assert image.format == "PNG"
        assert min(image.size) >= 64
        assert np.asarray(image).std() > 0
    with Image.open(tmp_path / "out.gif") as image:
        assert image.format == "GIF"
        assert getattr(image, "n_frames", 1) == FRAMES[command]
    header, *rows = csv.reader(io.StringIO((tmp_path / "out.csv").read_text()))
    assert len(rows) == ROWS[command]
    assert all(len(row) == len(header) for row in rows)
    message = _refused(capsys, *arguments, "-o", tmp_path / "out.pdf")
    assert "out.pdf" in message
    assert ".png, .gif or .csv" in message


@pytest.mark.parametrize("count", [9, 25, 49])
def test_a_square_number_of_samples_makes_a_square(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    _values(capsys, "sample", trained.checkpoint, "--count", count, "-o", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.width == image.height


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run for every β from 0.1 to 5."""
    folder = tmp_path_factory.mktemp("range") / "run"
    options = "--epochs 5 --latent-dim 3 --widths 16 --lr 0.01 --beta-range 0.1 5"
    assert cli.main(["train", *options.split(), "--run", str(folder)]) == 0
    return folder / "checkpoint.safetensors"


def test_a_range_of_beta_reaches_the_run_and_the_header(ranged: Path) -> None:
    assert find(str(ranged.parent)).config().model.beta_range == (0.1, 5.0)
    assert load(ranged).model.config.beta_range == (0.1, 5.0)


def test_evaluate_at_a_beta_equals_the_library(ranged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, images = load(ranged).model, data.load("digits").test.images
    found = {beta: _values(capsys, "evaluate", ranged, "--beta", beta) for beta in (0.1, 1, 5)}
    for beta, values in found.items():
        expected = evaluate(model.at(beta), images)
        assert values["elbo"] == pytest.approx(expected.elbo, rel=1e-5)
        assert values["kl"] == pytest.approx(expected.kl, rel=1e-5)
        assert values["beta"] == beta
        assert values["loss"] == pytest.approx(expected.reconstruction + beta * expected.kl, rel=1e-5)
    assert found[0.1]["kl"] != pytest.approx(found[5]["kl"], rel=0.01)
    assert _values(capsys, "evaluate", ranged)["elbo"] == pytest.approx(found[1]["elbo"], rel=1e-6)


@pytest.mark.parametrize("command", ROWS)
def test_commands_at_a_beta(
    ranged: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Each answers for the β that it is given: 1 is what it gives without, other pictures come of others."""
    arguments = _commands(ranged, picture)[command]
    made = []
    for options in ([], ["--beta", 1], ["--beta", 5]):
        path = tmp_path / f"{len(made)}.png"
        _values(capsys, *arguments, *options, "-o", path)
        with Image.open(path) as image:
            made.append(np.asarray(image).astype(int))
    assert abs(made[0] - made[1]).max() <= 1
    assert abs(made[0] - made[2]).max() > 3
    message = _refused(capsys, *arguments, "--beta", 6, "-o", tmp_path / "a.png")
    assert "from 0.1 to 5" in message


def test_numbered_test_images_are_encoded_at_the_beta(
    ranged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "way.csv"
    _values(capsys, "interpolate", ranged, "3", "5", "--beta", 0.1, "--steps", 3, "-o", path)
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    mu, _ = encode(load(ranged).model.at(0.1), data.load("digits").test.images[[3, 5]])
    np.testing.assert_allclose(rows[[0, 2], 1:], mu, rtol=1e-4, atol=1e-5)


def test_interpolation_ends_at_the_codes_of_its_ends(
    trained: Run, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "way.csv"
    _values(capsys, "interpolate", trained.checkpoint, picture, "5", "--steps", 3, "-o", path)
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    mu, _ = encode(load(trained.checkpoint).model, data.load("digits").test.images[[0, 5]])
    np.testing.assert_allclose(rows[[0, 2], 1:], mu, rtol=1e-4, atol=1e-5)


def test_embedding_table_has_the_classes(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "map.csv"
    values = _values(capsys, "embed", trained.checkpoint, "--method", "tsne", "--limit", 60, "-o", path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert values["points"] == len(rows) == 60
    assert [int(row["class"]) for row in rows] == data.load("digits").test.labels[:60].tolist()
    assert 0.8 < values["trustworthiness"] <= 1
    assert values["kl_divergence"] > 0


def test_traversal_is_ranked_by_kl(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = _values(capsys, "traverse", trained.checkpoint, "-o", tmp_path / "t.csv", "--top", 2)
    kl = np.array(_values(capsys, "evaluate", trained.checkpoint)["kl_per_dimension"])
    assert values["dimensions"] == (1 + (-kl).argsort(kind="stable")).tolist()[:2]
    values = _values(capsys, "traverse", trained.checkpoint, "-o", tmp_path / "t.csv", "--dimensions", 3, 1)
    assert values["dimensions"] == [3, 1]


def test_runs_and_datasets_are_listed(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = _values(capsys, "runs")["runs"]
    assert (run["name"], run["status"], run["epoch"], run["epochs"]) == (trained.name, "finished", 2, 2)
    assert run["elbo"] == trained.metrics().tests[-1]["test"]["elbo"]
    names = {row["name"]: row["available"] for row in _values(capsys, "datasets")["datasets"]}
    assert names.keys() == set(data.NAMES)
    assert names["digits"] is True
    assert _values(capsys, "download", "digits") == {"dataset": "digits", "train": 1500, "test": 297}
    for command in (["runs"], ["datasets"], ["evaluate", str(trained.path)], TRAIN):
        assert cli.main(command) == 0
        assert "{" not in capsys.readouterr().out


def test_no_runs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "none"))
    assert _values(capsys, "runs") == {"runs": []}
    assert cli.main(["runs"]) == 0
    assert "no runs yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["train", "--epochs", "many"], "many"),
        (["train", "--epochs", "0"], "0"),
        (["train", "--beta", "-1"], "-1"),
        (["train", "--beta", "nan"], "nan"),
        (["train", "--beta-range", "10", "0.1"], "10.0 to 0.1"),
        (["train", "--beta-range", "0", "1"], "0.0001"),
        (["train", "--beta-range", "0.1"], "--beta-range"),
        (["train", "--beta-range", "0.1", "10", "--beta", "4"], "Leave out"),
        (["evaluate", "CHECKPOINT", "--beta", "2"], "--beta-range"),
        (["sample", "CHECKPOINT", "--beta", "2"], "--beta-range"),
        (["train", "--arch", "transformer"], "transformer"),
        (["train", "--latent-dim", "129"], "129"),
        (["train", "--lr", "5"], "5"),
        (["train", "--device", "abacus"], "abacus"),
        (["train", "--device", "meta"], "meta"),
        (["train", "--dataset", "mnits"], "mnist"),
        (["train", "--run", "a" * 300], "File name too long"),
        (["train", "--run", ""], "a folder has a name"),
        (["train", "--run", "."], "holds other things than a run"),
        (["train", "--epochs", "2", "--kl-warmup", "3"], "3 epochs does not end within a training of 2"),
        (["train", "--widths", "4096", "4096", "4096", "4096"], "is the most"),
        (["evaluate", ""], "No checkpoint is named"),
        (["train", "--epoch", "3"], "--epoch"),
        (["train", "surplus"], "surplus"),
        (["evaluate"], "CHECKPOINT"),
        (["evaluate", "gone.safetensors"], "gone.safetensors"),
        (["sample", "CHECKPOINT", "-o", "nowhere/a.png"], "no folder nowhere"),
        (["embed", "CHECKPOINT", "--perplexity", "1e9", "-o", "a.csv"], "not 1e+09"),
        (["evaluate", "CHECKPOINT", "--limit", "0"], "0"),
        (["evaluate", "CHECKPOINT", "--iwae-samples", "0"], "0"),
        (["evaluate", "CHECKPOINT", "--dataset", "sprites"], "(1, 32, 32)"),
        (["evaluate", "CHECKPOINT", "--seed", "-1"], "-1"),
        (["sample", "CHECKPOINT", "--count", "0"], "0"),
        (["sample", "CHECKPOINT", "--temperature", "-2"], "-2"),
        (["reconstruct", "CHECKPOINT", "gone.png"], "gone.png"),
        (["reconstruct", "CHECKPOINT", "TEXT"], "text.png"),
        (["reconstruct", "CHECKPOINT"], "IMAGE"),
        (["interpolate", "CHECKPOINT", "0", "297"], "297"),
        (["interpolate", "CHECKPOINT", "0", "1", "--steps", "1"], "1"),
        (["traverse", "CHECKPOINT", "--dimensions", "4"], "4"),
        (["embed", "CHECKPOINT", "--limit", "2"], "2"),
        (["embed", "CHECKPOINT", "--limit", "0"], "0"),
        (["interpolate", "CHECKPOINT", "a" * 300, "0"], "File name too long"),
        (["evaluate", "a" * 300], "File name too long"),
        (["pause", "a" * 300], "no run"),
        (["pause", ""], "no run ''"),
        (["pause", "nothing"], "nothing"),
        (["pause", "RUN"], "finished"),
        (["stop", "RUN"], "finished"),
        (["resume", "nothing"], "nothing"),
        (["download", "imagenet"], "imagenet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_status_two(
    trained: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    places = {"CHECKPOINT": trained.checkpoint, "RUN": trained.name, "TEXT": tmp_path / "text.png"}
    assert said in _refused(capsys, *(places.get(argument, argument) for argument in arguments))


def test_checkpoints_without_record_or_snapshot(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model still samples; what needs images asks for a data set."""
    path = tmp_path / "bare.safetensors"
    save(path, Checkpoint(load(trained.checkpoint).model))
    assert _values(capsys, "sample", path, "-o", tmp_path / "a.png")["count"] == 64
    assert _values(capsys, "traverse", path, "-o", tmp_path / "a.png")["dimensions"] == [1, 2, 3]
    assert "--dataset" in _refused(capsys, "evaluate", path)
    assert "no picture '0'" in _refused(capsys, "interpolate", path, "0", "1")
    assert _values(capsys, "evaluate", path, "--dataset", "digits")["images"] == 297
    assert _values(capsys, "embed", path, "--dataset", "digits", "--method", "pca", "-o", tmp_path / "a.csv")


def test_a_full_disk_is_one_line(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in _refused(capsys, "sample", trained.checkpoint, "-o", tmp_path / "a.png")


def _process(*arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vae_core", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_help_is_instant_and_says_the_defaults() -> None:
    """No torch is imported for it."""
    code = "import sys; from vae_core.cli import main\ntry: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "train", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("False\n")
    assert done.stderr == ""
    for text in ("(default: digits)", "(default: 0.001)", "(default: 1.0)", "(default: 0)", "--kl-warmup"):
        assert text in " ".join(done.stdout.split())


def test_ctrl_c_saves_and_resume_goes_on(
    runs_folder: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """Status 130, one line that names the next command, a checkpoint; pause and stop reach the process that goes on."""
    folder = runs_folder.parent / "interrupted"
    process = _process("train", "--epochs", 100_000, "--widths", 16, "--run", folder)
    request.addfinalizer(process.kill)
    until(lambda: Run(folder).metrics().tests, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert out == ""
    assert err == f"Stopped and saved. Go on with: python -m vae_core resume {folder}\n"
    assert Run(folder).state()["status"] == "stopped"
    epoch = load(Run(folder).checkpoint).record["epoch"]
    assert epoch >= 1

    process = _process("resume", folder, "--json")
    request.addfinalizer(process.kill)
    until(lambda: Run(folder).state()["epoch"] > epoch, process)
    assert _values(capsys, "pause", folder)["status"] == "paused"
    assert _values(capsys, "stop", folder)["status"] == "stopped"
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    values = json.loads(out.splitlines()[-1])
    assert values["status"] == "stopped"
    assert values["test"]["elbo"] == load(Run(folder).checkpoint).record["test"]["elbo"]
