"""Commands that write what a trained model makes to a file: samples, reconstructions, ways and maps."""

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from vae_core import latent
from vae_core.errors import check_range
from vae_core.evaluate import encode, per_image_terms
from vae_core.export import Output, scatter, write
from vae_core.imaging import grid
from vae_core.model_inputs import code_of, codes, load_checkpoint, load_with_codes, read_pictures
from vae_core.terminal import Result, bar, elbo_line

__all__ = ["embed", "interpolate", "reconstruct", "sample", "traverse"]

_CELL = 64  # pixels that a picture is drawn with, or as near to that as whole multiples come
_DRAWS = 64


def sample(args: argparse.Namespace) -> Result:
    """Pictures from the prior."""
    model = load_checkpoint(args).model
    z = latent.sample_prior(args.count, model.config.latent_dim, args.seed, args.temperature)
    pictures = latent.decode(model, z)
    output = Output(
        picture=lambda: _strip(pictures, columns=math.ceil(args.count**0.5)),
        frames=lambda: _frames(pictures[:, None]),
        table=lambda: _latent_table(["sample"], [range(args.count)], z),
        milliseconds=300,
    )
    return _save(args, output, {"count": args.count, "seed": args.seed}, f"{args.count} samples")


def reconstruct(args: argparse.Namespace) -> Result:
    """Pictures of one's own, encoded and decoded, with their ELBOs in nats."""
    checkpoint = load_checkpoint(args)
    images = read_pictures(args.images, checkpoint)
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
        frames=lambda: _frames((given, decoded)),
        table=lambda: _latent_table(list(rows[0]), list(zip(*(row.values() for row in rows), strict=True)), mu),
        milliseconds=700,
    )
    lines = [f"{elbo_line('', row).strip()}  {row['image']}" for row in rows]
    return _save(args, output, {"images": rows}, "\n".join([*lines, "Given, and reconstructed"]))


def interpolate(args: argparse.Namespace) -> Result:
    """The way from one picture to another."""
    checkpoint = load_with_codes(args)
    ends = [code_of(text, checkpoint) for text in (args.a, args.b)]
    z = latent.path(*ends, args.steps, args.method)
    pictures = latent.decode(checkpoint.model, z)
    output = Output(
        picture=lambda: _strip(pictures, columns=args.steps),
        frames=lambda: _frames(pictures[:, None]),
        table=lambda: _latent_table(["t"], [np.linspace(0, 1, args.steps).tolist()], z),
    )
    return _save(args, output, {"steps": args.steps, "method": args.method}, f"{args.steps} steps, {args.method}")


def traverse(args: argparse.Namespace) -> Result:
    """One latent dimension after another, moved."""
    checkpoint = load_with_codes(args)
    d = checkpoint.model.config.latent_dim
    start = np.zeros(d, np.float32) if args.at is None else code_of(args.at, checkpoint)
    for number in args.dimensions or ():
        check_range("dimension", number, 1, d)
    kl = checkpoint.snapshot.kl.mean(0) if checkpoint.snapshot else np.zeros(d)
    numbers = args.dimensions or (latent.rank_by_kl(kl)[: args.top] + 1).tolist()  # people count from one
    values = np.linspace(-args.extent, args.extent, args.steps)
    z = np.concatenate([latent.traversal(start, number - 1, values) for number in numbers])
    pictures = latent.decode(checkpoint.model, z)
    by_value = pictures.reshape(len(numbers), args.steps, *pictures.shape[1:]).swapaxes(0, 1)
    labels = [np.repeat(numbers, args.steps).tolist(), np.tile(values, len(numbers)).tolist()]
    output = Output(
        picture=lambda: _strip(pictures, columns=args.steps),
        frames=lambda: _frames(by_value),
        table=lambda: _latent_table(["dimension", "value"], labels, z),
    )
    text = f"Dimensions {', '.join(map(str, numbers))}, one a row"
    return _save(args, output, {"dimensions": numbers, "steps": args.steps}, text)


def embed(args: argparse.Namespace) -> Result:
    """A two-dimensional map of posterior means."""
    from vae_core import embedding  # which imports scikit-learn

    checkpoint = load_with_codes(args)
    mu, labels, names = codes(checkpoint, args.dataset, args.limit)
    values: dict[str, Any] = {"method": args.method, "points": len(mu)}
    if args.method == "pca":
        maps = [embedding.pca(mu).map]
    else:
        with bar("t-SNE") as progress:
            maps = []
            for step in embedding.tsne(mu, args.perplexity, args.seed):
                maps.append(step.map)
                progress(step.iteration / step.total)
        values["kl_divergence"] = step.kl_divergence
    values["trustworthiness"] = embedding.trustworthiness(mu, maps[-1])
    classes = [""] * len(mu) if labels is None else [names[label] for label in labels]
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


def _latent_table(leading: Sequence[str], columns: Sequence[Sequence[Any]], z: np.ndarray) -> tuple[Any, Any]:
    header = [*leading, *(f"z{j + 1}" for j in range(z.shape[1]))]
    return header, ([*start, *point] for start, point in zip(zip(*columns, strict=True), z.tolist(), strict=True))


def _strip(pictures: np.ndarray, columns: int) -> Image.Image:
    return grid(pictures, columns, scale=max(1, round(_CELL / max(pictures.shape[2:]))))


def _frames(rows: Sequence[np.ndarray]) -> list[Image.Image]:
    """A picture for each of the rows (n, C, H, W)."""
    return [_strip(row, columns=len(row)) for row in rows]


def _save(args: argparse.Namespace, output: Output, values: dict[str, Any], text: str) -> Result:
    write(args.output, output)
    return {"file": args.output} | values, f"{text} → {args.output}"
