"""Commands that measure a trained model on test images: its ELBO, its curve over β, its rate, and exact evidence."""

import argparse
from typing import Any

from vae_core import evaluate as evaluation
from vae_core import evidence as exact
from vae_core import rate_distortion
from vae_core.bounds import log_likelihood
from vae_core.disentanglement import disentanglement
from vae_core.errors import UserError
from vae_core.information import split_rate
from vae_core.model_inputs import load_checkpoint, load_test_set
from vae_core.terminal import Result, bar, elbo_line, load_dataset

__all__ = ["curve", "evaluate", "evidence", "information"]

_GREY = "Grey pixels under a Bernoulli likelihood: log p(x) is not the logarithm of a probability. Use --binarize."


def evaluate(args: argparse.Namespace) -> Result:
    """The ELBO and its terms, and log p(x) by importance samples where asked for, in nats."""
    checkpoint = load_checkpoint(args)
    dataset = load_test_set(checkpoint, args.dataset, args.limit)
    images, options = dataset.test.images, {"seed": args.seed, "binarize": args.binarize}
    found = evaluation.evaluate(checkpoint.model, images, **options)
    values = found.to_dict() | {"dataset": dataset.name, "images": len(images)}
    lines = [
        elbo_line("test", values),
        f"active      {found.active_units} of {checkpoint.model.config.latent_dim} latent dimensions",
        "KL          " + " ".join(f"{value:.3f}" for value in found.kl_per_dimension),
    ]
    if checkpoint.model.config.beta_range:
        beta = checkpoint.model.beta
        values |= {"beta": beta, "loss": found.reconstruction + beta * found.kl}
        lines.insert(1, f"at β = {beta:<5g}  reconstruction + β·KL = {values['loss']:.3f} nats")
    if args.iwae_samples:
        with bar("Importance samples") as progress:
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
    if evaluation.is_a_loss(checkpoint.model.config, images) and not args.binarize:
        lines.append(_GREY)
    return values, "\n".join(lines)


def curve(args: argparse.Namespace) -> Result:
    """Rate and distortion at several β, in nats."""
    checkpoint = load_checkpoint(args)
    if checkpoint.model.config.beta_range is None:
        raise UserError("This model was trained for one β alone, which is one point: see it with evaluate.")
    taken = checkpoint.betas
    taken = taken or rate_distortion.beta_snapshot(checkpoint.model, load_test_set(checkpoint).test.images)
    found = rate_distortion.curve(taken)
    columns = {"beta": found.betas, "distortion": found.distortion, "rate": found.rate, "loss": found.objective}
    columns |= {"active_units": found.active_units, "kl_per_dimension": found.kl}
    values = {"images": found.images} | {name: column.tolist() for name, column in columns.items()}
    rows = zip(*list(columns.values())[:5], strict=True)
    lines = ["      β         D         R    D + βR  active units"]
    lines += [f"{beta:7.3g}{d:10.3f}{r:10.3f}{sum_:10.3f}{units:14d}" for beta, d, r, sum_, units in rows]
    return values, "\n".join(lines)


def information(args: argparse.Namespace) -> Result:
    """The parts of the rate, in nats, and scores of disentanglement where factors are known."""
    checkpoint = load_checkpoint(args)
    dataset = load_test_set(checkpoint, args.dataset, args.limit)
    codes = evaluation.encode(checkpoint.model, dataset.test.images)
    with bar("Splitting the rate") as progress:
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
        scores = disentanglement(checkpoint.model, load_dataset(dataset.name), seed=args.seed)
        values |= {"mig": scores.mig, "factor_vae": scores.factor_vae, "matrix": scores.matrix.tolist()}
        text += f"\nMIG {scores.mig:.3f}, FactorVAE score {scores.factor_vae:.3f}"
    return values, text


def evidence(args: argparse.Namespace) -> Result:
    """log p(x) = ELBO + KL(q ‖ p(z|x)) of each image and on average, in nats."""
    checkpoint = load_checkpoint(args)
    exact.LatentPlane.check(checkpoint.model)
    images = load_test_set(checkpoint, args.dataset, args.limit).test.images
    images = evaluation.binarise(images, args.seed) if args.binarize else images
    with bar("Decoding the plane") as progress:
        extent = exact.extent_of(*evaluation.encode(checkpoint.model, images))
        plane = exact.LatentPlane(checkpoint.model, extent, progress=progress)
    with bar("Integrating") as progress:
        found = exact.evidence(plane, images, progress=progress)
    columns = {name: getattr(found, name) for name in ("log_likelihood", "elbo", "kl_to_true_posterior", "residual")}
    mean = {name: float(column.mean()) for name, column in columns.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    text = (
        f"log p(x) {mean['log_likelihood']:.3f} nats = ELBO {mean['elbo']:.3f} + "
        f"KL(q ‖ p(z|x)) {mean['kl_to_true_posterior']:.3f}, on average over {len(images)} images\n"
        f"largest |residual| {abs(found.residual).max():.1e} nats, beyond the square at most {found.outside.max():.1e}"
    )
    return {"images": rows, "mean": mean}, text + (
        f"\n{_GREY}" if evaluation.is_a_loss(checkpoint.model.config, images) else ""
    )
