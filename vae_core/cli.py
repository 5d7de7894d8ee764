"""The command line: train, list, pause and stop runs, evaluate checkpoints, and write what they generate to files."""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vae_core.errors import UserError

if TYPE_CHECKING:  # the commands import what they need themselves, so that --help is instant
    import numpy as np

    from vae_core.checkpoint import Checkpoint
    from vae_core.data import Dataset
    from vae_core.distributed import Ranks
    from vae_core.export import Output
    from vae_core.runs import Run

__all__ = ["main"]

_INTERRUPTED = 130
_USER_ERROR = 2
_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 60.0
_CELL = 64
_DRAWS = 64
_CODES = 5000  # as many as a run keeps in its checkpoint
_GREY = "Grey pixels under a Bernoulli likelihood: log p(x) is not the logarithm of a probability. Use --binarize."

Result = tuple[dict[str, Any], str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for a user's mistake, 130 after Ctrl-C."""
    args = _parser().parse_args(arguments)
    try:
        if result := args.command(args):
            values, text = result
            print(json.dumps(values) if args.json else text, flush=True)
        return 0
    except UserError as error:
        return _fail(_USER_ERROR, str(error))
    except KeyboardInterrupt as interrupt:
        return _fail(_INTERRUPTED, str(interrupt) or "Interrupted.")
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a name that no file system takes, a folder that may not be read
        named = f"{str(error.filename)[:80]}: " if error.filename else ""
        another = " Name another." if error.filename else ""
        return _fail(_USER_ERROR, f"{named}{error.strerror or error}.{another}")


def _fail(status: int, message: str) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_USER_ERROR, f"{message} (see {self.prog} --help)\n")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m vae_core", description="A laboratory for variational autoencoders.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Callable[[argparse.Namespace], Result], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, formatter_class=_Help, allow_abbrev=False)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", help="print one JSON object as the last line")
        return sub

    _add_training(add)
    _add_models(add)
    add("datasets", _datasets, "List the data sets by name.")
    download = add("download", _download, "Download a data set into data/ or $VAE_DATA.")
    download.add_argument("name", metavar="NAME", help="mnist, fashion-mnist or cifar10")
    return parser


def _add_training(add: Callable[..., argparse.ArgumentParser]) -> None:
    train = add("train", _train, "Train a model; what was trained before with the same settings is there at once.")
    option = train.add_argument
    option("--dataset", default="digits", metavar="NAME|FOLDER", help="a data set, or a folder of pictures[@SIZE]")
    option("--arch", default="mlp", choices=("mlp", "conv"), help="the network")
    option("--latent-dim", default=2, type=int, metavar="D", help="latent dimensions, 1 to 128")
    option("--widths", type=int, nargs="+", metavar="N", help="hidden widths, or channels of the conv stages")
    likelihoods = ("bernoulli", "gaussian", "gaussian-optimal")
    option("--likelihood", default="bernoulli", choices=likelihoods, help="the observation model p(x|z)")
    option("--sigma", default=0.1, type=float, help="the fixed σ of the gaussian likelihood; pixels are in [0, 1]")
    activations = ("gelu", "relu", "tanh")
    option("--activation", choices=activations, help="of the hidden layers of an mlp (gelu)")
    objectives = ("beta-vae", "beta-tcvae", "iwae")
    weighed = "whether β weighs the KL or its total correlation, or the importance-weighted bound instead"
    option("--objective", default="beta-vae", choices=objectives, help=weighed)
    draws = "posterior samples of each image in a step: those of the bound for iwae, averaged over for beta-vae"
    option("--importance-samples", default=1, type=int, metavar="K", help=draws)
    option("--beta", default=1.0, type=float, metavar="B", help="the weight of the KL; 0 is the plain autoencoder")
    option("--beta-range", type=float, nargs=2, metavar=("LO", "HI"), help="train one model for every β from LO to HI")
    option("--kl-warmup", default=0.0, type=float, metavar="E", help="epochs over which β rises from 0")
    option("--free-bits", default=0.0, type=float, metavar="NATS", help="KL a latent dimension that costs nothing")
    option("--binarize", action="store_true", help="draw pixels from Bernoulli(grey value) each time they are shown")
    option("--bias-from-mean", action="store_true", help="start the output bias at the logit of the mean picture")
    option("--epochs", default=60, type=int, metavar="N", help="passes over the training images")
    option("--batch-size", default=128, type=int, metavar="N", help="images a step")
    falls = "Adam's learning rate, which falls to 0 over the last 30 %% of the steps"
    option("--lr", default=1e-3, type=float, metavar="X", help=falls)
    option("--seed", default=0, type=int, metavar="S", help="the same seed gives the same weights")
    option("--device", help="cpu, cuda, mps …; the accelerator where there is one, if left out")
    folder = (
        "the run's folder (--run-dir behind torchrun, which has a --run of its own); else one in runs/ or $VAE_RUNS"
    )
    option("--run", "--run-dir", type=_folder, metavar="DIR", help=folder)

    add("runs", _runs, "List the runs, the newest first.")
    for name, command, text in (
        ("pause", _pause, "Let a run's trainer wait; resume lets it go on."),
        ("stop", _stop, "Let a run's trainer save and end; the run can be resumed."),
        ("resume", _resume, "Go on with a run that was paused, stopped or interrupted, to its end."),
    ):
        sub = add(name, command, text)
        sub.add_argument("run", metavar="RUN", help="a run's name or folder")
    sub.add_argument("--device", help="where to train; the accelerator where there is one, if left out")


def _add_models(add: Callable[..., argparse.ArgumentParser]) -> None:
    def add_model(name: str, command: Callable[[argparse.Namespace], Result], text: str) -> argparse.ArgumentParser:
        sub = add(name, command, text)
        sub.add_argument("checkpoint", metavar="CHECKPOINT", help="a .safetensors file, or a run's name or folder")
        sub.add_argument("--beta", type=float, metavar="B", help="for a model of a range of β; 1, if left out")
        sub.add_argument("--device", help="where to compute; the accelerator where there is one, if left out")
        return sub

    def add_output(sub: argparse.ArgumentParser, default: str) -> None:
        sub.add_argument("-o", "--output", default=default, metavar="FILE", help="ends in .png, .gif or .csv")

    def add_images(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--dataset", metavar="NAME|FOLDER", help="the checkpoint's own data set, if left out")
        sub.add_argument("--limit", type=int, metavar="N", help="only the first N test images")

    evaluate = add_model("evaluate", _evaluate, "The ELBO on test images, its terms, and bounds on log p(x), in nats.")
    add_images(evaluate)
    evaluate.add_argument("--iwae-samples", type=int, metavar="K", help="estimate log p(x) by K importance samples")
    evaluate.add_argument("--binarize", action="store_true", help="draw each pixel once from Bernoulli(grey value)")
    evaluate.add_argument("--seed", type=int, default=0, help="for the draws")

    information = add_model(
        "information", _information, "Where the rate of test images goes; MIG where factors are known."
    )
    add_images(information)
    information.add_argument("--seed", type=int, default=0, help="for the draws")

    curve = add("curve", _curve, "Rate and distortion of a model of a range of β, at several β, in nats.")
    curve.add_argument("checkpoint", metavar="CHECKPOINT", help="a .safetensors file, or a run's name or folder")
    curve.add_argument("--device", help="where to compute; the accelerator where there is one, if left out")
    curve.set_defaults(beta=None)

    exact = add_model("evidence", _evidence, "log p(x) = ELBO + KL(q ‖ p(z|x)), exactly, with one or two dimensions.")
    add_images(exact)
    exact.add_argument("--binarize", action="store_true", help="draw each pixel once from Bernoulli(grey value)")
    exact.add_argument("--seed", type=int, default=0, help="for the draws")

    sample = add_model("sample", _sample, "Pictures from the prior.")
    sample.add_argument("-n", "--count", type=int, default=64, metavar="N", help="pictures")
    sample.add_argument("--seed", type=int, default=0, help="the same seed draws the same points")
    sample.add_argument("--temperature", type=float, default=1.0, help="the standard deviation of the draws")
    add_output(sample, "samples.png")

    reconstruct = add_model("reconstruct", _reconstruct, "Pictures of your own, encoded and decoded, with their ELBO.")
    reconstruct.add_argument("images", nargs="+", metavar="IMAGE", help="a picture file")
    reconstruct.add_argument("--seed", type=int, default=0, help="for the posterior draws")
    add_output(reconstruct, "reconstructions.png")

    interpolate = add_model(
        "interpolate", _interpolate, "The way from one picture to another through the latent space."
    )
    for end in ("A", "B"):
        interpolate.add_argument(end.lower(), metavar=end, help="a picture file, or the number of a test image")
    interpolate.add_argument("--steps", type=int, default=16, metavar="N", help="points, both ends included")
    interpolate.add_argument("--method", default="spherical", choices=("linear", "spherical"), help="the way taken")
    add_output(interpolate, "interpolation.gif")

    traverse = add_model("traverse", _traverse, "One latent dimension after another moved, the one with most KL first.")
    traverse.add_argument("--at", metavar="A", help="start from a picture file or a test image's number, not from 0")
    traverse.add_argument("--dimensions", type=int, nargs="+", metavar="J", help="these, counted from 1, in this order")
    traverse.add_argument("--top", type=int, default=10, metavar="N", help="at most so many dimensions")
    traverse.add_argument("--steps", type=int, default=11, metavar="N", help="values a dimension")
    traverse.add_argument("--extent", type=float, default=3.0, help="values go from -EXTENT to EXTENT")
    add_output(traverse, "traversal.png")

    embed = add_model("embed", _embed, "A two-dimensional map of the posterior means of test images.")
    add_images(embed)
    embed.add_argument("--method", default="tsne", choices=("tsne", "pca"), help="how the map is made")
    embed.add_argument("--perplexity", type=float, help="of t-SNE; max(5, √N/4), if left out")
    embed.add_argument("--seed", type=int, default=0, help="of t-SNE")
    add_output(embed, "embedding.csv")


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("a folder has a name, and '' is none")
    return Path(text)


@contextmanager
def _bar(text: str) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal's stderr, moved by calls with (fraction, text=None)."""
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed} < {remaining}"
    with tqdm(total=1.0, desc=text, disable=None, leave=False, bar_format=layout) as bar:

        def move(fraction: float, text: str | None = None) -> None:
            if text:
                bar.set_description_str(text, refresh=False)
            bar.update(fraction - bar.n)

        yield move


def _whole(name: str, value: int | None, low: int, high: int) -> None:
    from vae_core.train import check_range

    if value is not None:
        check_range(name, value, low, high)


def _load_dataset(name: str) -> "Dataset":
    from vae_core import data

    with _bar(f"Loading {name}") as progress:
        return data.load(name, download=True, progress=progress)


def _train(args: argparse.Namespace) -> Result | None:
    return _on_ranks(lambda: _made(args), args.device)


def _made(args: argparse.Namespace) -> "Run":
    """The run that the arguments of `train` ask for."""
    from vae_core import device
    from vae_core.model import ModelConfig
    from vae_core.runs import RunConfig, create
    from vae_core.train import TrainConfig

    train = TrainConfig(
        dataset=args.dataset,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.lr,
        beta=args.beta,
        kl_warmup=args.kl_warmup,
        free_bits=args.free_bits,
        binarize=args.binarize,
        seed=args.seed,
        objective=args.objective,
        importance_samples=args.importance_samples,
        bias_from_mean=args.bias_from_mean,
    )
    device.pick(args.device)  # a device that is not there leaves no run behind
    dataset = _load_dataset(args.dataset)
    model = ModelConfig(
        image_shape=dataset.image_shape,
        latent_dim=args.latent_dim,
        arch=args.arch,
        likelihood=args.likelihood,
        widths=args.widths,
        sigma=args.sigma,
        beta_range=args.beta_range,
        activation=args.activation,
    )
    train = replace(train, dataset=dataset.name, pictures=dataset.fingerprint)
    return create(RunConfig(model, train), args.run)


def _resume(args: argparse.Namespace) -> Result | None:
    from vae_core.runs import find

    return _on_ranks(lambda: find(args.run), args.device)


def _on_ranks(choose: "Callable[[], Run]", device: str | None) -> Result | None:
    """Train the run that `choose` returns; on another rank than 0 train along and have nothing to say."""
    from vae_core import distributed
    from vae_core.runs import Run

    if not distributed.launched():
        return _carry_on(choose(), device)
    with distributed.joined(distributed.pick_device(device)) as ranks:
        if ranks.rank:
            return _assist(ranks, device)
        if restarted := ranks.remembered():
            return _carry_on(Run(Path(restarted)), device, ranks, as_it_was=True)
        try:
            run = choose()
        except UserError:
            ranks.begin(None)
            raise
        ranks.remember(str(run.path))
        return _carry_on(run, device, ranks)


def _assist(ranks: "Ranks", device: str | None) -> None:
    from vae_core.distributed import Lost
    from vae_core.worker import assist

    try:
        assist(ranks, device)
    except Lost as error:
        if ranks.rank == 1:  # one says it, where rank 0 cannot
            raise
        raise SystemExit(_USER_ERROR) from error


def _carry_on(run: "Run", device: str | None, ranks: "Ranks | None" = None, *, as_it_was: bool = False) -> Result:
    """Train the run to its end, or watch the process that does so already, and say what came out.

    A run that was paused goes on, unless it is to be `as_it_was`.
    """
    state = run.state()
    if state["status"] == "finished" and run.checkpoint.is_file():
        if ranks:
            ranks.begin(None)
    elif run.is_held() and not ranks:
        run.go_on()
        _follow(run)
    else:
        launched = state["status"] == "starting" and state.get("pid") == os.getpid()
        if not launched and not as_it_was:  # whoever launched this process said what it wants, and may have paused it
            run.go_on()
        _train_here(run, device, ranks)
    return _outcome(run)


def _train_here(run: "Run", device: str | None, ranks: "Ranks | None") -> None:
    from tqdm import tqdm

    from vae_core.train import Progress, Trainer
    from vae_core.worker import train_run

    with tqdm(desc=run.name, unit=" steps", disable=None, leave=False) as bar:

        def report(progress: Progress, trainer: Trainer) -> None:
            bar.total = trainer.total_steps
            bar.set_postfix_str(f"−ELBO {progress.reconstruction + progress.kl:.2f} nats", refresh=False)
            bar.update(trainer.step - bar.n)

        status = train_run(run, report, device, ranks)
    if status == "stopped" and run.control()["command"] != "stop" and not run.state()["message"]:
        raise KeyboardInterrupt(f"Stopped and saved. Go on with: python -m vae_core resume {run.path}")


def _follow(run: "Run") -> None:
    from vae_core.runs import LIVE

    with _bar(f"{run.name}, trained by another process") as move:
        while (state := run.state())["status"] in LIVE:
            move(state.get("step", 0) / max(1, state.get("total_steps", 1)))
            time.sleep(_POLL_SECONDS)
    if state["status"] in ("failed", "interrupted"):
        raise UserError(state["message"])


def _outcome(run: "Run") -> Result:
    from vae_core.checkpoint import read_header

    if not run.checkpoint.exists():
        again = f"python -m vae_core resume {run.path}"
        raise UserError(f"{run.name} was stopped before anything was saved. Go on with: {again}")
    record = read_header(run.checkpoint)["record"]
    test = record["test"] and {name: record["test"][name] for name in ("elbo", "reconstruction", "kl")}
    values = {
        "run": str(run.path),
        "checkpoint": str(run.checkpoint),
        "status": run.state()["status"],
        "images_per_second": record["images_per_second"],
        "test": test,
    }
    lines = [
        f"run         {run.path} ({values['status']})",
        f"checkpoint  {run.checkpoint}",
        f"speed       {record['images_per_second']:,.0f} images/s",
    ]
    return values, "\n".join(lines + ([_elbo_line("test", test)] if test else []))


def _elbo_line(name: str, terms: dict[str, float]) -> str:
    return (
        f"{name:<10}  ELBO {terms['elbo']:.3f} nats = "
        f"−(reconstruction {terms['reconstruction']:.3f} + KL {terms['kl']:.3f})"
    )


def _runs(_: argparse.Namespace) -> Result:
    from vae_core.runs import list_runs

    rows = [_describe(run) for run in list_runs()]
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [
        f"{row['name']:<{width}}  {row['status']:<11}  epoch {row['epoch']}"
        + (f" of {row['epochs']}" if row["epochs"] else "")
        + ("" if row["elbo"] is None else f"  test ELBO {row['elbo']:.2f} nats")
        for row in rows
    ]
    return {"runs": rows}, "\n".join(lines) or "There are no runs yet. Start one with: python -m vae_core train"


def _describe(run: "Run") -> dict[str, Any]:
    from vae_core.checkpoint import read_header

    state, tested = run.state(), {}
    if run.checkpoint.exists():
        with suppress(UserError):
            tested = read_header(run.checkpoint)["record"]["test"] or {}
    try:
        train = run.config().train
        dataset, epochs = train.dataset, train.epochs
    except UserError:
        dataset = epochs = None
    return {
        "name": run.name,
        "run": str(run.path),
        "status": state["status"],
        "message": state["message"],
        "epoch": state["epoch"],
        "epochs": epochs,
        "dataset": dataset,
        "elbo": tested.get("elbo"),
    }


def _pause(args: argparse.Namespace) -> Result:
    return _ask(args.run, "pause", ("paused",))


def _stop(args: argparse.Namespace) -> Result:
    return _ask(args.run, "stop", ())


def _ask(name: str, command: str, answers: tuple[str, ...]) -> Result:
    """Give a live run's trainer a command, and wait until it has obeyed or ended."""
    from vae_core.runs import LIVE, find

    run = find(name)
    if (status := run.state()["status"]) not in LIVE:
        raise UserError(f"{run.name} is not being trained: it is {status}. Nothing to {command}.")
    getattr(run, command)()
    deadline = time.monotonic() + _ANSWER_SECONDS
    while (state := run.state())["status"] in LIVE and state["status"] not in answers:
        if time.monotonic() > deadline:
            raise UserError(f"{run.name} has not answered for {_ANSWER_SECONDS:.0f} seconds; it will {command} later.")
        time.sleep(_POLL_SECONDS)
    if state["status"] in ("failed", "interrupted"):
        raise UserError(state["message"])
    values = {"run": str(run.path), "status": state["status"], "epoch": state["epoch"]}
    where = "" if state["status"] == "finished" else f" in epoch {state['epoch'] + 1}"
    return values, f"{run.path} is {state['status']}{where}."


def _load_checkpoint(args: argparse.Namespace) -> "Checkpoint":
    from vae_core import device
    from vae_core.checkpoint import load
    from vae_core.runs import runs_folder

    if not args.checkpoint:
        raise UserError("No checkpoint is named. Name a .safetensors file, or a run.")
    given = Path(args.checkpoint)
    places = (given, given / "checkpoint.safetensors", runs_folder() / given / "checkpoint.safetensors")
    checkpoint = load(next((place for place in places if place.is_file()), given), device.pick(args.device))
    if args.beta is None:
        return checkpoint
    return replace(checkpoint, model=checkpoint.model.at(args.beta), snapshot=None)  # the file's is of another β


def _load_with_codes(args: argparse.Namespace) -> "Checkpoint":
    """The checkpoint with a latent snapshot at --beta: the file's own, or one made anew from its data set."""
    from vae_core.evaluate import snapshot

    checkpoint = _load_checkpoint(args)
    if args.beta is None or not isinstance(checkpoint.record.get("dataset"), str):
        return checkpoint
    test = _test_split(checkpoint, None, _CODES).test
    return replace(checkpoint, snapshot=snapshot(checkpoint.model, test, _CODES))


def _test_split(checkpoint: "Checkpoint", name: str | None, limit: int | None) -> "Dataset":
    """The data set that is named, or the checkpoint's own, its test images cut to `limit`."""
    from vae_core.data import Split

    _whole("limit", limit, 1, 10**9)
    name = checkpoint.record.get("dataset") if name is None else name
    if not isinstance(name, str):
        raise UserError("The checkpoint does not say what it was trained on. Name a data set with --dataset.")
    dataset = _load_dataset(name)
    if dataset.image_shape != checkpoint.model.config.image_shape:
        raise UserError(
            f"{name} has pictures of shape {dataset.image_shape}, but this model takes "
            f"{checkpoint.model.config.image_shape}. Choose another data set or checkpoint."
        )
    test = dataset.test
    columns = (test.images, test.labels, test.factors)
    return replace(dataset, test=Split(*(column if column is None else column[:limit] for column in columns)))


def _evaluate(args: argparse.Namespace) -> Result:
    from vae_core.bounds import log_likelihood
    from vae_core.evaluate import evaluate

    _whole("number of importance samples", args.iwae_samples, 1, 10**7)
    _whole("seed", args.seed, 0, 2**31 - 1)
    checkpoint = _load_checkpoint(args)
    dataset = _test_split(checkpoint, args.dataset, args.limit)
    images, options = dataset.test.images, {"seed": args.seed, "binarize": args.binarize}
    evaluation = evaluate(checkpoint.model, images, **options)
    values = evaluation.to_dict() | {"dataset": dataset.name, "images": len(images)}
    lines = [
        _elbo_line("test", values),
        f"active      {evaluation.active_units} of {checkpoint.model.config.latent_dim} latent dimensions",
        "KL          " + " ".join(f"{value:.3f}" for value in evaluation.kl_per_dimension),
    ]
    if checkpoint.model.config.beta_range:
        beta = checkpoint.model.beta
        values |= {"beta": beta, "loss": evaluation.reconstruction + beta * evaluation.kl}
        lines.insert(1, f"at β = {beta:<5g}  reconstruction + β·KL = {values['loss']:.3f} nats")
    if args.iwae_samples:
        with _bar("Importance samples") as progress:
            bound = log_likelihood(checkpoint.model, images, args.iwae_samples, progress=progress, **options)
        error = bound.standard_error if args.iwae_samples > 1 else None
        values["log_likelihood"] = {
            "value": bound.mean,
            "standard_error": error,
            "samples": args.iwae_samples,
            "effective_samples": float(bound.effective_samples.mean()),
        }
        spread = "" if error is None else f" ± {error:.3f}"
        lines.append(f"log p(x)    {bound.mean:.3f}{spread} nats, by {args.iwae_samples} importance samples an image")
    if _are_grey(checkpoint, images) and not args.binarize:
        lines.append(_GREY)
    return values, "\n".join(lines)


def _curve(args: argparse.Namespace) -> Result:
    from vae_core.rate_distortion import beta_snapshot, curve

    checkpoint = _load_checkpoint(args)
    if checkpoint.model.config.beta_range is None:
        raise UserError("This model was trained for one β alone, which is one point: see it with evaluate.")
    found = curve(checkpoint.betas or beta_snapshot(checkpoint.model, _test_split(checkpoint, None, None).test.images))
    columns = {"beta": found.betas, "distortion": found.distortion, "rate": found.rate, "loss": found.objective}
    columns |= {"active_units": found.active_units, "kl_per_dimension": found.kl}
    values = {"images": found.images} | {name: column.tolist() for name, column in columns.items()}
    rows = zip(*list(columns.values())[:5], strict=True)
    lines = ["      β         D         R    D + βR  active units"]
    lines += [f"{beta:7.3g}{d:10.3f}{r:10.3f}{sum_:10.3f}{units:14d}" for beta, d, r, sum_, units in rows]
    return values, "\n".join(lines)


def _information(args: argparse.Namespace) -> Result:
    from vae_core.disentanglement import disentanglement
    from vae_core.evaluate import encode
    from vae_core.information import split_rate

    _whole("seed", args.seed, 0, 2**31 - 1)
    checkpoint = _load_checkpoint(args)
    dataset = _test_split(checkpoint, args.dataset, args.limit)
    codes = encode(checkpoint.model, dataset.test.images)
    with _bar("Splitting the rate") as progress:
        split = split_rate(*codes, seed=args.seed, progress=progress)
    parts = (split.mutual_information, split.total_correlation, sum(split.dimension_kl))
    named = ("mutual_information", "total_correlation", "dimension_kl")
    values: dict[str, Any] = {"images": split.images, "rate": split.rate} | dict(zip(named, parts, strict=True))
    values["standard_errors"] = dict(zip(named, split.standard_errors, strict=True))
    values["dimension_kl_per_dimension"] = list(split.dimension_kl)
    rows = [f"{part:.3f} ± {error:.3f}" for part, error in zip(parts, split.standard_errors, strict=True)]
    text = (
        f"rate {split.rate:.3f} nats = mutual information {rows[0]} (at most log {split.images} = {split.most:.3f}) "
        f"+ total correlation {rows[1]} + dimension-wise KL {rows[2]}"
    )
    if dataset.factor_names:
        scores = disentanglement(checkpoint.model, _load_dataset(dataset.name), seed=args.seed)
        values |= {"mig": scores.mig, "factor_vae": scores.factor_vae, "matrix": scores.matrix.tolist()}
        text += f"\nMIG {scores.mig:.3f}, FactorVAE score {scores.factor_vae:.3f}"
    return values, text


def _evidence(args: argparse.Namespace) -> Result:
    from vae_core.evaluate import binarise, encode
    from vae_core.evidence import LatentPlane, evidence, extent_of

    _whole("seed", args.seed, 0, 2**31 - 1)
    checkpoint = _load_checkpoint(args)
    LatentPlane.check(checkpoint.model)
    images = _test_split(checkpoint, args.dataset, args.limit).test.images
    images = binarise(images, args.seed) if args.binarize else images
    with _bar("Decoding the plane") as progress:
        plane = LatentPlane(checkpoint.model, extent_of(*encode(checkpoint.model, images)), progress=progress)
    with _bar("Integrating") as progress:
        found = evidence(plane, images, progress=progress)
    columns = {name: getattr(found, name) for name in ("log_likelihood", "elbo", "kl_to_true_posterior", "residual")}
    mean = {name: float(column.mean()) for name, column in columns.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    text = (
        f"log p(x) {mean['log_likelihood']:.3f} nats = ELBO {mean['elbo']:.3f} + "
        f"KL(q ‖ p(z|x)) {mean['kl_to_true_posterior']:.3f}, on average over {len(images)} images\n"
        f"largest |residual| {abs(found.residual).max():.1e} nats, beyond the square at most {found.outside.max():.1e}"
    )
    return {"images": rows, "mean": mean}, text + (f"\n{_GREY}" if _are_grey(checkpoint, images) else "")


def _are_grey(checkpoint: "Checkpoint", images: "np.ndarray") -> bool:
    """Whether p(x|z) is no probability of these images: a Bernoulli likelihood, and pixels neither black nor white."""
    return checkpoint.model.config.likelihood == "bernoulli" and bool(((images != 0) & (images != 255)).any())


def _latent_table(leading: Sequence[str], columns: Sequence[Sequence[Any]], z: "np.ndarray") -> tuple[Any, Any]:
    header = [*leading, *(f"z{j + 1}" for j in range(z.shape[1]))]
    return header, ([*start, *point] for start, point in zip(zip(*columns, strict=True), z.tolist(), strict=True))


def _strip(pictures: "np.ndarray", columns: int) -> Any:
    from vae_core.imaging import grid

    return grid(pictures, columns, scale=max(1, round(_CELL / max(pictures.shape[2:]))))


def _save(args: argparse.Namespace, output: "Output", values: dict[str, Any], text: str) -> Result:
    from vae_core.export import write

    write(args.output, output)
    return {"file": args.output} | values, f"{text} → {args.output}"


def _sample(args: argparse.Namespace) -> Result:
    from vae_core import latent
    from vae_core.export import Output, check_output
    from vae_core.train import check_range

    check_output(args.output)
    _whole("number of pictures", args.count, 1, 10_000)
    _whole("seed", args.seed, 0, 2**31 - 1)
    check_range("temperature", args.temperature, 0.0, 100.0)
    model = _load_checkpoint(args).model
    z = latent.sample_prior(args.count, model.config.latent_dim, args.seed, args.temperature)
    pictures = latent.decode(model, z)
    output = Output(
        picture=lambda: _strip(pictures, columns=math.ceil(args.count**0.5)),
        frames=lambda: [_strip(picture[None], columns=1) for picture in pictures],
        table=lambda: _latent_table(["sample"], [range(args.count)], z),
        milliseconds=300,
    )
    return _save(args, output, {"count": args.count, "seed": args.seed}, f"{args.count} samples")


def _read_pictures(paths: Sequence[str], checkpoint: "Checkpoint") -> "np.ndarray":
    """Picture files as the model takes them, uint8 (n, C, H, W); dark on light is inverted where need be."""
    import numpy as np

    from vae_core import imaging, latent, pictures

    model, snapshot = checkpoint.model, checkpoint.snapshot
    codes = snapshot.mu[:16] if snapshot else latent.sample_prior(16, model.config.latent_dim)
    examples = imaging.to_uint8(latent.decode(model, codes))
    images = []
    for path in map(Path, paths):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"The picture {path} cannot be read: {error.strerror}.") from error
        image = pictures.read(content, path.name)
        images.append(pictures.fit(image, model.config.image_shape, invert=pictures.suggest_invert(image, examples)))
    return np.stack(images)


def _reconstruct(args: argparse.Namespace) -> Result:
    import numpy as np

    from vae_core import latent
    from vae_core.evaluate import encode, per_image_terms
    from vae_core.export import Output, check_output

    check_output(args.output)
    _whole("seed", args.seed, 0, 2**31 - 1)
    checkpoint = _load_checkpoint(args)
    images = _read_pictures(args.images, checkpoint)
    mu, _ = encode(checkpoint.model, images)
    decoded = latent.decode(checkpoint.model, mu)
    reconstruction, kl = per_image_terms(checkpoint.model, images, samples=_DRAWS, seed=args.seed)
    rows = [
        {"image": name, "elbo": -float(r + k.sum()), "reconstruction": float(r), "kl": float(k.sum())}
        for name, r, k in zip(args.images, reconstruction, kl, strict=True)
    ]
    given = images / np.float32(255)
    output = Output(
        picture=lambda: _strip(np.concatenate([given, decoded]), columns=len(images)),
        frames=lambda: [_strip(pictures, columns=len(images)) for pictures in (given, decoded)],
        table=lambda: _latent_table(list(rows[0]), list(zip(*(row.values() for row in rows), strict=True)), mu),
        milliseconds=700,
    )
    lines = [f"{_elbo_line('', row).strip()}  {row['image']}" for row in rows]
    return _save(args, output, {"images": rows}, "\n".join([*lines, "Given, and reconstructed"]))


def _code(text: str, checkpoint: "Checkpoint") -> "np.ndarray":
    """The posterior mean (d,) of a picture file, or of the test image with that number."""
    from vae_core.evaluate import encode

    snapshot = checkpoint.snapshot
    if Path(text).is_file():
        return encode(checkpoint.model, _read_pictures([text], checkpoint))[0][0]
    if text.isdecimal() and snapshot and int(text) < len(snapshot):
        return snapshot.mu[int(text)]
    most = f", or the number of a test image from 0 to {len(snapshot) - 1}" if snapshot else ""
    raise UserError(f"There is no picture {text!r}. Name a picture file{most}.")


def _interpolate(args: argparse.Namespace) -> Result:
    import numpy as np

    from vae_core import latent
    from vae_core.export import Output, check_output

    check_output(args.output)
    _whole("number of steps", args.steps, 2, 1000)
    checkpoint = _load_with_codes(args)
    ends = [_code(text, checkpoint) for text in (args.a, args.b)]
    z = latent.path(*ends, args.steps, args.method)
    pictures = latent.decode(checkpoint.model, z)
    output = Output(
        picture=lambda: _strip(pictures, columns=args.steps),
        frames=lambda: [_strip(picture[None], columns=1) for picture in pictures],
        table=lambda: _latent_table(["t"], [np.linspace(0, 1, args.steps).tolist()], z),
    )
    return _save(args, output, {"steps": args.steps, "method": args.method}, f"{args.steps} steps, {args.method}")


def _traverse(args: argparse.Namespace) -> Result:
    import numpy as np

    from vae_core import latent
    from vae_core.export import Output, check_output
    from vae_core.train import check_range

    check_output(args.output)
    _whole("number of steps", args.steps, 2, 1000)
    _whole("number of dimensions", args.top, 1, 128)
    check_range("extent", args.extent, 0.0, 100.0)
    checkpoint = _load_with_codes(args)
    d = checkpoint.model.config.latent_dim
    start = np.zeros(d, np.float32) if args.at is None else _code(args.at, checkpoint)
    for number in args.dimensions or ():
        _whole("dimension", number, 1, d)
    numbers = args.dimensions or [int(j) + 1 for j in _by_kl(checkpoint)[: args.top]]  # people count from one
    values = np.linspace(-args.extent, args.extent, args.steps)
    z = np.concatenate([latent.traversal(start, number - 1, values) for number in numbers])
    pictures = latent.decode(checkpoint.model, z)
    by_value = pictures.reshape(len(numbers), args.steps, *pictures.shape[1:]).swapaxes(0, 1)
    labels = [np.repeat(numbers, args.steps).tolist(), np.tile(values, len(numbers)).tolist()]
    output = Output(
        picture=lambda: _strip(pictures, columns=args.steps),
        frames=lambda: [_strip(row, columns=len(numbers)) for row in by_value],
        table=lambda: _latent_table(["dimension", "value"], labels, z),
    )
    text = f"Dimensions {', '.join(map(str, numbers))}, one a row"
    return _save(args, output, {"dimensions": numbers, "steps": args.steps}, text)


def _by_kl(checkpoint: "Checkpoint") -> list[int]:
    """Latent dimensions by the KL of the snapshot's posteriors, the largest first; in order without a snapshot."""
    from vae_core.latent import rank_by_kl

    snapshot = checkpoint.snapshot
    if not snapshot:
        return list(range(checkpoint.model.config.latent_dim))
    return rank_by_kl(snapshot.kl.mean(0)).tolist()


def _codes(
    args: argparse.Namespace, checkpoint: "Checkpoint"
) -> tuple["np.ndarray", "np.ndarray | None", Sequence[str]]:
    """Posterior means (N, d), labels and class names: from the snapshot where it is enough, else from the images."""
    from vae_core.evaluate import encode

    snapshot = checkpoint.snapshot
    if snapshot and args.dataset is None and (args.limit is None or 1 <= args.limit <= len(snapshot)):
        names = checkpoint.record["class_names"]
        return (
            snapshot.mu[: args.limit],
            snapshot.labels if snapshot.labels is None else snapshot.labels[: args.limit],
            names,
        )
    dataset = _test_split(checkpoint, args.dataset, args.limit)
    return encode(checkpoint.model, dataset.test.images)[0], dataset.test.labels, dataset.class_names


def _embed(args: argparse.Namespace) -> Result:
    from vae_core import embedding
    from vae_core.export import Output, check_output, scatter

    check_output(args.output)
    _whole("seed", args.seed, 0, 2**31 - 1)
    checkpoint = _load_with_codes(args)
    mu, labels, names = _codes(args, checkpoint)
    values: dict[str, Any] = {"method": args.method, "points": len(mu)}
    if args.method == "pca":
        maps = [embedding.pca(mu).map]
    else:
        with _bar("t-SNE") as progress:
            maps = []
            for step in embedding.tsne(mu, args.perplexity, args.seed):
                maps.append(step.map)
                progress(step.iteration / step.total)
        values["kl_divergence"] = step.kl_divergence
    values["trustworthiness"] = embedding.trustworthiness(mu, maps[-1])
    classes = [""] * len(mu) if labels is None else [_class_name(names, label) for label in labels]
    output = Output(
        picture=lambda: scatter(maps[-1], labels, names),
        frames=lambda: [scatter(points, labels, names, side=500) for points in maps],
        table=lambda: (
            ["image", "x", "y", "class"],
            ([i, *point, name] for i, (point, name) in enumerate(zip(maps[-1].tolist(), classes, strict=True))),
        ),
    )
    text = f"{len(mu)} points by {args.method}, trustworthiness {values['trustworthiness']:.3f}"
    return _save(args, output, values, text)


def _class_name(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else str(label)


def _datasets(_: argparse.Namespace) -> Result:
    from vae_core import data

    rows = [{"name": name, "title": data.title(name), "available": data.available(name)} for name in data.NAMES]
    lines = [
        f"{row['name']:<14} {row['title']:<16} "
        + ("here" if row["available"] else f"python -m vae_core download {row['name']}")
        for row in rows
    ]
    return {"datasets": rows}, "\n".join(lines)


def _download(args: argparse.Namespace) -> Result:
    dataset = _load_dataset(args.name)
    values = {"dataset": dataset.name, "train": len(dataset.train), "test": len(dataset.test)}
    return values, f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test images."
