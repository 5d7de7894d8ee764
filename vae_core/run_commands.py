"""Commands on runs: train one, alone or with other ranks, or steer and list those that are there."""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vae_core import device as devices
from vae_core import distributed
from vae_core.checkpoint import read_header
from vae_core.distributed import Lost, Ranks
from vae_core.errors import EXIT_STATUS, UserError
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.runs import LIVE, Run, create, find, list_runs
from vae_core.terminal import Result, bar, elbo_line, load_dataset
from vae_core.train import Progress, Trainer
from vae_core.train_config import TrainConfig
from vae_core.worker import assist, train_run

__all__ = ["pause", "resume", "runs", "stop", "train"]

_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 60.0


def train(args: argparse.Namespace) -> Result | None:
    """Train a new run, or go on with the run of the same settings; nothing is said on other ranks than 0."""
    return _on_ranks(lambda: _made(args), args.device)


def _made(args: argparse.Namespace) -> Run:
    """The run that the arguments of `train` ask for."""
    training = TrainConfig(
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
    devices.pick(args.device)  # a device that is not there leaves no run behind
    dataset = load_dataset(args.dataset)
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
    training = replace(training, dataset=dataset.name, pictures=dataset.fingerprint)
    return create(RunConfig(model, training), args.run)


def resume(args: argparse.Namespace) -> Result | None:
    """Go on with a run to its end; nothing is said on other ranks than 0."""
    return _on_ranks(lambda: find(args.run), args.device)


def pause(args: argparse.Namespace) -> Result:
    """Let a run's trainer wait."""
    return _ask(args.run, "pause", "paused")


def stop(args: argparse.Namespace) -> Result:
    """Let a run's trainer save and end."""
    return _ask(args.run, "stop", "stopped")


def runs(_: argparse.Namespace) -> Result:
    """The runs, the newest first."""
    rows = [_describe(run) for run in list_runs()]
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [
        f"{row['name']:<{width}}  {row['status']:<11}  epoch {row['epoch']}"
        + (f" of {row['epochs']}" if row["epochs"] else "")
        + ("" if row["elbo"] is None else f"  test ELBO {row['elbo']:.2f} nats")
        for row in rows
    ]
    return {"runs": rows}, "\n".join(lines) or "There are no runs yet. Start one with: python -m vae_core train"


def _on_ranks(choose: Callable[[], Run], device: str | None) -> Result | None:
    """Train the run that `choose` returns; on another rank than 0 train along and have nothing to say."""
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


def _assist(ranks: Ranks, device: str | None) -> None:
    try:
        assist(ranks, device)
    except Lost as error:
        if ranks.rank == 1:  # one says it, where rank 0 cannot
            raise
        raise SystemExit(EXIT_STATUS) from error


def _carry_on(run: Run, device: str | None, ranks: Ranks | None = None, *, as_it_was: bool = False) -> Result:
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


def _train_here(run: Run, device: str | None, ranks: Ranks | None) -> None:
    with tqdm(desc=run.name, unit=" steps", disable=None, leave=False) as steps:

        def report(progress: Progress, trainer: Trainer) -> None:
            steps.total = trainer.total_steps
            steps.set_postfix_str(f"−ELBO {progress.reconstruction + progress.kl:.2f} nats", refresh=False)
            steps.update(trainer.step - steps.n)

        status = train_run(run, report, device, ranks)
    if status == "stopped" and run.control()["command"] != "stop" and not run.state()["message"]:
        raise KeyboardInterrupt(f"Stopped and saved. Go on with: python -m vae_core resume {run.path}")


def _follow(run: Run) -> None:
    with bar(f"{run.name}, trained by another process") as move:
        for state in _states(run):
            move(state.get("step", 0) / max(1, state.get("total_steps", 1)))


def _states(run: Run) -> Iterator[dict[str, Any]]:
    """The states of a run, five a second while it is live, and its last. Raises UserError where it fails."""
    while (state := run.state())["status"] in LIVE:
        yield state
        time.sleep(_POLL_SECONDS)
    if state["status"] in ("failed", "interrupted"):
        raise UserError(state["message"])
    yield state


def _outcome(run: Run) -> Result:
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
    return values, "\n".join(lines + ([elbo_line("test", test)] if test else []))


def _describe(run: Run) -> dict[str, Any]:
    state, tested = run.state(), {}
    if run.checkpoint.exists():
        with suppress(UserError):
            tested = read_header(run.checkpoint)["record"]["test"] or {}
    try:
        training = run.config().train
        dataset, epochs = training.dataset, training.epochs
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


def _ask(name: str, command: str, answer: str) -> Result:
    """Give a live run's trainer a command, and wait until its status is the answer, or it has ended."""
    run = find(name)
    if (status := run.state()["status"]) not in LIVE:
        raise UserError(f"{run.name} is not being trained: it is {status}. Nothing to {command}.")
    getattr(run, command)()
    deadline = time.monotonic() + _ANSWER_SECONDS
    for state in _states(run):
        if state["status"] == answer:
            break
        if state["status"] in LIVE and time.monotonic() > deadline:
            raise UserError(f"{run.name} has not answered for {_ANSWER_SECONDS:.0f} seconds; it will {command} later.")
    values = {"run": str(run.path), "status": state["status"], "epoch": state["epoch"]}
    where = "" if state["status"] == "finished" else f" in epoch {state['epoch'] + 1}"
    return values, f"{run.path} is {state['status']}{where}."
