"""What the page Bounds shows: L_K against K, the weights behind it, and the test log-likelihood of models."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ui import caching, layout, state, theme, understand
from ui.state import Entry
from vae_core import data
from vae_core.annealed import annealed
from vae_core.bounds import BoundCurve, LogLikelihood, bound_curve, effective_samples, importance_weights
from vae_core.checkpoint import Checkpoint
from vae_core.measured import MeanLikelihood, recall
from vae_core.model import ModelConfig
from vae_core.rate_distortion import pixel_bits
from vae_core.words import counted

__all__ = [
    "CHAINS",
    "TABLE_DRAWS",
    "TABLE_IMAGES",
    "TEMPERATURES",
    "TableRow",
    "anneal",
    "annealed_before",
    "annealed_verdict",
    "curve_csv",
    "curve_figure",
    "exact_log_likelihood",
    "histogram",
    "measured_words",
    "table",
    "table_row",
    "verdict",
    "whole_sets",
]

CHAINS, TEMPERATURES = 16, 400
TABLE_IMAGES, TABLE_DRAWS = 64, 1000
_BINS = 70
_CLOSE = 0.05  # nats
_PAPER = {("beta-vae", 1): -86.76, ("iwae", 5): -85.54}  # by objective and K: Burda et al. 2016, Table 1, one layer
_EXACT, _ANNEALED, _BOUND, _WEIGHT = "#c0378a", "#d98a1f", "#2a9d9d", "#d9622b"


def exact_log_likelihood(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> float | None:
    """log p(x) of one uint8 image (C, H, W) by quadrature, kept; None where there are over two latent dimensions."""
    if checkpoint.model.config.latent_dim > 2:
        return None
    found = understand.kept(
        understand.result_key("exact", entry, checkpoint.model.beta, image),
        lambda _: understand.exact_log_likelihoods(entry, checkpoint, image[None]),
        "Summing over the latent plane",
    )
    return float(found[0])


def _annealed_key(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> tuple:
    return understand.result_key("annealed", entry, checkpoint.model.beta, image, CHAINS, TEMPERATURES)


def annealed_before(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> LogLikelihood | None:
    """The estimate by annealing for this image, if anyone has asked for it."""
    return understand.peek(_annealed_key(entry, checkpoint, image))


def anneal(entry: Entry, checkpoint: Checkpoint, image: np.ndarray) -> LogLikelihood:
    """The estimate of log p(x) by annealed importance sampling for one uint8 image (C, H, W), kept."""
    return understand.kept(
        _annealed_key(entry, checkpoint, image),
        lambda progress: annealed(checkpoint.model, image[None], CHAINS, TEMPERATURES, progress=progress),
        f"Annealing {CHAINS} chains from the prior to the posterior",
        asked=True,
    )


def curve_figure(curve: BoundCurve, exact: float | None, second: LogLikelihood | None) -> theme.Chart:
    """L_K of one image with two standard errors against K; log p(x), exact where known, and by annealing."""
    traces = [
        {
            "type": "scatter",
            "x": curve.sizes,
            "y": curve.values[:, 0],
            "error_y": {"array": 2 * curve.standard_errors[:, 0], "thickness": 1.5, "width": 4},
            "mode": "lines+markers",
            "name": "L<sub>K</sub> ± 2 standard errors",
            "showlegend": True,
            "line": {"color": _BOUND, "width": 3},
            "marker": {"size": 8},
            "hovertemplate": "%{y:.2f}",
        }
    ]
    look = {"xaxis": {"type": "log", "tickvals": [1, 10, 100, 1000, 5000], "tickformat": ",d", "hoverformat": ",d"}}
    if exact is not None:
        traces.append(_level(curve, exact, "log p(x), exact", _EXACT, "dash"))
    if second is not None:
        middle, spread = float(second.values[0]), 2 * float(second.standard_errors[0])
        traces.append(_level(curve, middle, "by annealing ± 2 standard errors", _ANNEALED, "dot"))
        band = {"type": "rect", "fillcolor": _ANNEALED, "opacity": 0.15, "line": {"width": 0}}
        place = {"xref": "x domain", "x0": 0, "x1": 1, "yref": "y", "y0": middle - spread, "y1": middle + spread}
        look["shapes"] = [band | place]
    return theme.chart("K, draws under the logarithm", "L<sub>K</sub>, nats", traces, height=360, **look)


def _level(curve: BoundCurve, value: float, name: str, colour: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [curve.sizes[0], curve.sizes[-1]],
        "y": [value, value],
        "mode": "lines",
        "name": name,
        "line": {"color": colour, "width": 2, "dash": dash},
        "hovertemplate": "%{y:.2f}",
    }


def histogram(log_weights: np.ndarray, exact: float | None) -> theme.Chart:
    """Where the draws (K,) lie by log w, and where their weight lies; Jensen's gap between the two averages."""
    shown = float(np.quantile(log_weights, 0.01)), float(log_weights.max())
    bins = np.linspace(*shown, _BINS + 1)
    inside = log_weights[log_weights >= shown[0]]
    share = np.exp(inside - inside.max())
    bars = [
        {
            "type": "bar",
            "x": (bins[1:] + bins[:-1]) / 2,
            "y": np.histogram(inside, bins, weights=value)[0] / value.sum(),
            "name": name,
            "marker": {"color": colour},
            "opacity": 0.65,
            "hovertemplate": "%{y:.1%}",
        }
        for name, colour, value in (
            ("of the draws", theme.TERM_COLOURS["total"], np.ones(len(inside))),
            ("of the weight w", _WEIGHT, share),
        )
    ]
    elbo = float(log_weights.mean())
    bound = float(np.logaddexp.reduce(log_weights) - np.log(len(log_weights)))
    top = 1.06 * max(float(bar["y"].max()) for bar in bars)
    lines = [
        {
            "type": "scatter",
            "x": [at, at],
            "y": [0, top],
            "mode": "lines",
            "line": {"color": colour, "width": 2, "dash": dash},
            "showlegend": False,
            "hoverinfo": "skip",
        }
        for at, colour, dash in ((elbo, _BOUND, "solid"), (bound, _BOUND, "solid"), (exact, _EXACT, "dash"))
        if at is not None
    ]
    arrow = {"axref": "x", "ayref": "y", "arrowhead": 2, "arrowwidth": 2, "arrowcolor": _BOUND, "text": ""}
    gap = {"text": f"Jensen’s gap {bound - elbo:.2f} nats", "yshift": 10, "showarrow": False}
    reach = 0.04 * (shown[1] - shown[0])
    right = max(shown[1], exact or -np.inf) + reach
    return theme.chart(
        "log w, nats",
        "share",
        bars + lines,
        height=360,
        bargap=0,
        barmode="overlay",
        annotations=[{"x": bound, "ax": elbo, "y": top, "ay": top} | arrow, {"x": (elbo + bound) / 2, "y": top} | gap],
        xaxis={"range": [min(shown[0], elbo) - reach, right]},
        yaxis={"tickformat": ".0%", "range": [0, 1.12 * top]},
    )


def verdict(log_weights: np.ndarray, exact: float | None) -> str:
    """What the effective sample size says of L_K for one image, log w (K,)."""
    drawn, effective = len(log_weights), float(effective_samples(log_weights[None])[0])
    bound = float(np.logaddexp.reduce(log_weights) - np.log(drawn))
    missing = "" if exact is None else f" {_missing(exact - bound)}"
    count = f"**{counted(effective)} of {drawn:,} draws count.**"
    if exact is not None and abs(exact - bound) < _CLOSE:
        few = ", few as they are," if effective < 0.1 * drawn else ""
        return f"{count} They{few} suffice here: the bound meets the exact log p(x) within {_CLOSE:g} nats."
    if effective < 0.02 * drawn:
        return (
            f"{count} The bound hangs on a few lucky draws: q(z|x) hardly reaches where the true posterior has its "
            f"mass. It may be nats too low, and its standard error does not show it.{missing}"
        )
    if effective < 0.1 * drawn:
        return f"{count} Some draws outweigh most others; the bound may still be some tenths of a nat too low.{missing}"
    return (
        f"{count} The bound has arrived, unless the true posterior has a part that no draw of q(z|x) reaches: "
        f"that would show in nothing here.{missing}"
    )


def annealed_verdict(second: LogLikelihood, exact: float | None) -> str:
    """What the chains that count say of the estimate by annealing for one image."""
    effective = float(second.effective_samples[0])
    count = f"**Of {second.samples} annealed chains {effective:.1f} count.**"
    low = None if exact is None else exact - float(second.values[0])
    missing = "" if low is None else f" {_missing(low)}"
    fits = low is not None and low < 2 * float(second.standard_errors[0])
    if effective < 0.25 * second.samples:
        doubt = "this estimate may be many nats too low, and its ± does not show it."
        return (
            f"{count} The others were turned up too fast to find as good a place"
            f"{'.' if fits else f': {doubt}'}{missing}"
        )
    if effective < 0.75 * second.samples:
        doubt = "this estimate may be too low by more than its ± shows, and by far if no chain found the best place."
        return f"{count} The others found less good places{'.' if fits else f': {doubt}'}{missing}"
    return (
        f"{count} They agree on the weight that they found, so that the estimate’s ± tells its error, unless none of "
        f"them found the best place.{missing}"
    )


def _missing(low: float) -> str:
    if abs(low) < _CLOSE:
        return f"Here it meets the exact log p(x) within {_CLOSE:g} nats."
    return f"Here it lies {layout.nats(abs(low), 2)} {'below' if low > 0 else 'above'} the exact log p(x)."


@dataclass(frozen=True)
class TableRow:
    """A model's test log-likelihood: averages over `images` test images, in nats, from `draws` draws for each; or, not
    `real`, over as many pictures that are decoded in their place.

    by_draws is the Monte Carlo standard error of `bound`, by_images that of the average as one over all test images.
    exact: the average by quadrature, None where there are over two latent dimensions.
    """

    title: str
    images: int
    real: bool
    draws: int
    elbo: float
    bound: float
    by_draws: float
    exact: float | None
    by_images: float
    bits_per_dimension: float
    effective: float
    unreliable: float


def _row_key(entry: Entry) -> tuple:
    """The images, the first of the test set, go by whether they are at hand."""
    at_hand = data.available(caching.read_header(entry.path)["record"]["train"]["dataset"])
    return understand.result_key("test set", entry, 1.0, np.array([at_hand]), TABLE_IMAGES, TABLE_DRAWS)


def table_row(entry: Entry, *, compute: bool) -> TableRow | None:
    """The row of one model, at β = 1 where it serves several; None where it is not there yet and not to be computed.

    Raises UserError where its checkpoint cannot be read.
    """
    key = _row_key(entry)
    if not compute:
        return understand.peek(key)

    def measure(progress: Callable[[float], None]) -> TableRow:
        checkpoint = caching.load_checkpoint(*entry.version)
        index = np.arange(min(TABLE_IMAGES, len(checkpoint.snapshot)))
        images, real = understand.images_of(checkpoint, index)
        found = importance_weights(checkpoint.model, images, TABLE_DRAWS, progress=progress)
        curve = bound_curve(found, (1, TABLE_DRAWS))
        effective = effective_samples(found)
        exact = understand.exact_log_likelihoods(entry, checkpoint, images)
        best = curve.values[1] if exact is None else exact
        return TableRow(
            state.title(entry),
            len(index),
            real,
            TABLE_DRAWS,
            float(curve.means[0]),
            float(curve.means[1]),
            float(curve.mean_errors[1]),
            None if exact is None else float(exact.mean()),
            float(best.std(ddof=1) / len(best) ** 0.5),
            float(pixel_bits(-best.mean(), checkpoint.model.config)),
            float(np.median(effective)),
            float((effective < 0.02 * TABLE_DRAWS).mean()),
        )

    return understand.kept(key, measure, state.title(entry), asked=True)


def measured_words(entry: Entry) -> str | None:
    """What was measured over a model's test set, in a sentence beside the paper's number; None where nothing was, or
    where the paper has no such model. Raises UserError where the checkpoint cannot be read."""
    record, found = caching.read_header(entry.path)["record"], _measured(*entry.version)
    if "log_likelihood" not in record or found is None:
        return None
    train = record["train"]
    paper = _PAPER[train.get("objective", "beta-vae"), train.get("importance_samples", 1)]
    return (
        f"{state.title(entry)}, over {found.images:,} test images with {found.samples:,} draws for each: "
        f"log p(x) ≥ {layout.with_index('L', found.samples)} = **{layout.nats(found.value, 2)}**. For this "
        f"network and objective Burda et al. (2016, Table 1) report {layout.nats(paper, 2)} after 3,280 epochs; "
        f"this model saw {record['epoch']:,}."
    )


@functools.lru_cache(maxsize=64)
def _measured(path: str, modified: int) -> MeanLikelihood | None:  # noqa: ARG001 (part of the cache's key)
    return recall(Path(path))


def whole_sets(entries: Sequence[Entry]) -> pd.DataFrame:
    """What was measured of models over whole test sets, one row each, by data and then the best first; models of which
    nothing was are left out.

    Raises UserError where a checkpoint cannot be read.
    """
    found = [(entry, _measured(*entry.version)) for entry in entries]
    rows = sorted(
        [(entry, one) for entry, one in found if one is not None],
        key=lambda row: (caching.read_header(row[0].path)["record"]["train"]["dataset"], -row[1].value),
    )
    configs = [ModelConfig.from_dict(caching.read_header(entry.path)["model"]) for entry, _ in rows]
    return pd.DataFrame(
        {
            "Model": [state.title(entry) for entry, _ in rows],
            "Test images": [one.images for _, one in rows],
            "log p(x), nats": [round(one.value, 2) for _, one in rows],
            "How": [
                "exact" if one.samples is None else f"at least: {layout.with_index('L', one.samples)}"
                for _, one in rows
            ],
            "± draws": [round(one.by_draws, 3) for _, one in rows],
            "± images": [round(one.by_images, 2) for _, one in rows],
            "Bits per dimension": [
                round(float(pixel_bits(-one.value, config)), 4) for (_, one), config in zip(rows, configs, strict=True)
            ],
        }
    )


def table(rows: Sequence[TableRow]) -> pd.DataFrame:
    """One row a model."""
    return pd.DataFrame(
        {
            "Model": [row.title for row in rows],
            "Images": [f"{row.images}" + ("" if row.real else ", decoded") for row in rows],
            "ELBO, nats": [round(row.elbo, 2) for row in rows],
            f"{layout.with_index('L', TABLE_DRAWS)}, nats": [round(row.bound, 2) for row in rows],
            "± by draws, nats": [round(row.by_draws, 3) for row in rows],
            "log p(x), exact, nats": [np.nan if row.exact is None else round(row.exact, 2) for row in rows],
            "± by images, nats": [round(row.by_images, 1) for row in rows],
            "Bits per dimension": [round(row.bits_per_dimension, 4) for row in rows],
            "Effective draws, median": [round(row.effective, 1) for row in rows],
            "Images under 2 %": [row.unreliable for row in rows],
        }
    )


def curve_csv(curve: BoundCurve) -> str:
    """K, L_K and its standard error for one image."""
    columns = {"k": curve.sizes, "bound": curve.values[:, 0], "standard_error": curve.standard_errors[:, 0]}
    return pd.DataFrame(columns).to_csv(index=False)
