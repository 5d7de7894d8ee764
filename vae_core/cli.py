"""The command line: its commands and options, and what a mistake comes to."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from vae_core.errors import EXIT_STATUS, UserError, check_range

__all__ = ["main"]

_INTERRUPTED = 130

_Add = Callable[[str, str, str], argparse.ArgumentParser]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for a user's mistake, 130 after Ctrl-C."""
    try:
        args = _parser().parse_args(arguments)
        command = getattr(import_module(f"vae_core.{args.module}"), args.command)  # only now, so that --help is instant
        if result := command(args):
            values, text = result
            print(json.dumps(values) if args.json else text, flush=True)
        return 0
    except UserError as error:
        return _fail(EXIT_STATUS, str(error))
    except KeyboardInterrupt as interrupt:
        return _fail(_INTERRUPTED, str(interrupt) or "Interrupted.")
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a name that no file system takes, a folder that may not be read
        named = f"{str(error.filename)[:80]}: " if error.filename else ""
        another = " Name another." if error.filename else ""
        return _fail(EXIT_STATUS, f"{named}{error.strerror or error}.{another}")


def _fail(status: int, message: str) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_STATUS, f"{message} (see {self.prog} --help)\n")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m vae_core", description="A laboratory for variational autoencoders.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(module: str, name: str, text: str) -> argparse.ArgumentParser:
        """The parser of a command, which the function of its name in `module` carries out."""
        sub = commands.add_parser(name, help=text, description=text, formatter_class=_Help, allow_abbrev=False)
        sub.set_defaults(module=module, command=name)
        sub.add_argument("--json", action="store_true", help="print one JSON object as the last line")
        return sub

    _add_runs(add)
    _add_measures(add)
    _add_pictures(add)
    add("data_commands", "datasets", "List the data sets by name.")
    download = add("data_commands", "download", "Download a data set into data/ or $VAE_DATA.")
    download.add_argument("name", metavar="NAME", help="mnist, fashion-mnist or cifar10")
    return parser


def _add_runs(add: _Add) -> None:
    train = add(
        "run_commands", "train", "Train a model; what was trained before with the same settings is there at once."
    )
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

    add("run_commands", "runs", "List the runs, the newest first.")

    def add_run(name: str, text: str) -> argparse.ArgumentParser:
        sub = add("run_commands", name, text)
        sub.add_argument("run", metavar="RUN", help="a run's name or folder")
        return sub

    add_run("pause", "Let a run's trainer wait; resume lets it go on.")
    add_run("stop", "Let a run's trainer save and end; the run can be resumed.")
    resume = add_run("resume", "Go on with a run that was paused, stopped or interrupted, to its end.")
    resume.add_argument("--device", help="where to train; the accelerator where there is one, if left out")


def _add_measures(add: _Add) -> None:
    measure = partial(_add_model, add, "measure_commands")

    evaluate = measure("evaluate", "The ELBO on test images, its terms, and bounds on log p(x), in nats.")
    _add_images(evaluate)
    samples = _within("number of importance samples", 1, 10**7)
    evaluate.add_argument("--iwae-samples", type=samples, metavar="K", help="estimate log p(x) by K importance samples")
    _add_binarize(evaluate)
    _add_seed(evaluate, "for the draws")

    information = measure("information", "Where the rate of test images goes; MIG where factors are known.")
    _add_images(information)
    _add_seed(information, "for the draws")

    measure("curve", "Rate and distortion of a model of a range of β, at several β, in nats.", at_one_beta=False)

    evidence = measure("evidence", "log p(x) = ELBO + KL(q ‖ p(z|x)), exactly, with one or two dimensions.")
    _add_images(evidence)
    _add_binarize(evidence)
    _add_seed(evidence, "for the draws")


def _add_pictures(add: _Add) -> None:
    picture = partial(_add_model, add, "picture_commands")

    sample = picture("sample", "Pictures from the prior.")
    count = _within("number of pictures", 1, 10_000)
    sample.add_argument("-n", "--count", type=count, default=64, metavar="N", help="pictures")
    _add_seed(sample, "the same seed draws the same points")
    temperature = _within("temperature", 0.0, 100.0)
    sample.add_argument("--temperature", type=temperature, default=1.0, help="the standard deviation of the draws")
    _add_output(sample, "samples.png")

    reconstruct = picture("reconstruct", "Pictures of your own, encoded and decoded, with their ELBO.")
    reconstruct.add_argument("images", nargs="+", metavar="IMAGE", help="a picture file")
    _add_seed(reconstruct, "for the posterior draws")
    _add_output(reconstruct, "reconstructions.png")

    interpolate = picture("interpolate", "The way from one picture to another through the latent space.")
    for end in ("A", "B"):
        interpolate.add_argument(end.lower(), metavar=end, help="a picture file, or the number of a test image")
    steps = _within("number of steps", 2, 1000)
    interpolate.add_argument("--steps", type=steps, default=16, metavar="N", help="points, both ends included")
    interpolate.add_argument("--method", default="spherical", choices=("linear", "spherical"), help="the way taken")
    _add_output(interpolate, "interpolation.gif")

    traverse = picture("traverse", "One latent dimension after another moved, the one with most KL first.")
    traverse.add_argument("--at", metavar="A", help="start from a picture file or a test image's number, not from 0")
    traverse.add_argument("--dimensions", type=int, nargs="+", metavar="J", help="these, counted from 1, in this order")
    most = _within("number of dimensions", 1, 128)
    traverse.add_argument("--top", type=most, default=10, metavar="N", help="at most so many dimensions")
    traverse.add_argument("--steps", type=steps, default=11, metavar="N", help="values a dimension")
    extent = _within("extent", 0.0, 100.0)
    traverse.add_argument("--extent", type=extent, default=3.0, help="values go from -EXTENT to EXTENT")
    _add_output(traverse, "traversal.png")

    embed = picture("embed", "A two-dimensional map of the posterior means of test images.")
    _add_images(embed)
    embed.add_argument("--method", default="tsne", choices=("tsne", "pca"), help="how the map is made")
    embed.add_argument("--perplexity", type=float, help="of t-SNE; max(5, √N/4), if left out")
    _add_seed(embed, "of t-SNE")
    _add_output(embed, "embedding.csv")


def _add_model(add: _Add, module: str, name: str, text: str, *, at_one_beta: bool = True) -> argparse.ArgumentParser:
    sub = add(module, name, text)
    sub.add_argument("checkpoint", metavar="CHECKPOINT", help="a .safetensors file, or a run's name or folder")
    if at_one_beta:
        sub.add_argument("--beta", type=float, metavar="B", help="for a model of a range of β; 1, if left out")
    else:
        sub.set_defaults(beta=None)
    sub.add_argument("--device", help="where to compute; the accelerator where there is one, if left out")
    return sub


def _add_images(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--dataset", metavar="NAME|FOLDER", help="the checkpoint's own data set, if left out")
    limit = _within("limit", 1, 10**9)
    sub.add_argument("--limit", type=limit, metavar="N", help="only the first N test images")


def _add_binarize(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--binarize", action="store_true", help="draw each pixel once from Bernoulli(grey value)")


def _add_seed(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument("--seed", type=_within("seed", 0, 2**31 - 1), default=0, help=text)


def _add_output(sub: argparse.ArgumentParser, default: str) -> None:
    ends = "ends in .png, .gif or .csv"
    sub.add_argument("-o", "--output", type=_output, default=default, metavar="FILE", help=ends)


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("a folder has a name, and '' is none")
    return Path(text)


def _output(text: str) -> str:
    """A file that can be written; see `export.check_output`."""
    from vae_core.export import check_output

    check_output(text)
    return text


def _within(name: str, low: float, high: float) -> Callable[[str], float]:
    """The type of an option: a number from `low` to `high`, whole where these are; see `errors.check_range`."""

    def number(text: str) -> float:
        value = type(low)(text)
        check_range(name, value, low, high)
        return value

    number.__name__ = type(low).__name__  # by which argparse calls it
    return number
