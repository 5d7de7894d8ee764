"""What the page Reparameterisation shows of gradients: clouds, spreads, and walks that follow them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from ui import layout, theme, understand
from ui.components.gaussian import Gaussian
from ui.state import Entry
from vae_core.amortisation import GaussianPosterior, elbo
from vae_core.checkpoint import Checkpoint, LatentSnapshot
from vae_core.gradients import ESTIMATORS, Ascent, Moments, ascend, exact_moments, gradient_draws
from vae_core.latent import rank_by_kl
from vae_core.model import VAE
from vae_core.posterior import ImagePosterior

__all__ = [
    "DRAWS",
    "ELBO_DRAWS",
    "NAMES",
    "STEPS",
    "WIDE",
    "Gradients",
    "Walks",
    "clouds",
    "costs",
    "draws_needed",
    "elbo_figure",
    "gradients",
    "lesson",
    "start_of",
    "summary",
    "two_digits",
    "two_dimensions",
    "variances",
    "walk_figure",
    "walks",
]

DRAWS, STEPS = 400, 60
WIDE = 0.2
ELBO_DRAWS = 32
_EVERY = 6
_LITTLE, _LIKE = 0.05, 0.15  # nats, and part of the gain, by which an estimator may end lower and have kept up
NAMES = dict(zip(ESTIMATORS, ("Reparameterised", "Score function", "Score function, baseline"), strict=True))
_SPOKEN = dict(zip(ESTIMATORS[1:], ("The score function", "With a baseline it"), strict=True))
_COLOURS = dict(zip(ESTIMATORS, ("#2a9d9d", "#c0378a", "#d98a1f"), strict=True))


@dataclass(frozen=True)
class Gradients:
    """Gradients by (μ, log σ) for one image and q: by estimator (K, 2d) float32, and what they estimate where d ≤ 2."""

    draws: dict[str, np.ndarray]
    exact: Moments | None


def two_dimensions(snapshot: LatentSnapshot) -> tuple[int, int]:
    """The two latent dimensions with the largest KL, in their order."""
    first, second = sorted(int(j) for j in rank_by_kl(snapshot.kl.mean(0))[:2])
    return first, second


def start_of(posterior: ImagePosterior, pair: tuple[int, int]) -> Gaussian:
    """Where q starts in two dimensions: the encoder's μ, and its σ, or 0.2 where that is smaller."""
    mu, sigma = posterior.mu[list(pair)], np.maximum(posterior.sigma[list(pair)], WIDE)
    return Gaussian(tuple(map(float, mu)), tuple(map(float, sigma)))


def gradients(entry: Entry, checkpoint: Checkpoint, image: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> Gradients:
    """One gradient a draw by each estimator, from the same noise, for q = N(mu, diag sigma²), both (d,); kept."""

    def compute(progress: Callable[[float], None]) -> Gradients:
        model = checkpoint.model
        found = gradient_draws(model, image, mu, sigma, DRAWS)
        progress(0.5)
        draws = {one: values.astype(np.float32) for one, values in found.items()}
        return Gradients(draws, exact_moments(model, image, mu, sigma) if len(mu) <= 2 else None)

    key = understand.result_key("gradients", entry, checkpoint.model.beta, image, *mu.tolist(), *sigma.tolist())
    return understand.kept(key, compute, "Drawing gradients", passing=True)


def clouds(found: Gradients, pair: tuple[int, int], names: tuple[str, str]) -> dict[str, theme.Chart]:
    """A cloud by each estimator, on the same axes: the gradients by μ in two dimensions, and their common mean."""
    reach = 1.15 * max(float(np.quantile(np.abs(draws[:, pair]), 0.99)) for draws in found.draws.values())
    return {one: _cloud(one, draws[:, pair], found.exact, pair, names, reach) for one, draws in found.draws.items()}


def _cloud(
    estimator: str,
    draws: np.ndarray,
    exact: Moments | None,
    pair: tuple[int, int],
    names: tuple[str, str],
    reach: float,
) -> theme.Chart:
    middle = draws.mean(0) if exact is None else exact.mean[list(pair)]
    traces = [
        {
            "type": "scatter",
            "x": draws[:, 0],
            "y": draws[:, 1],
            "mode": "markers",
            "marker": {"size": 5, "color": _COLOURS[estimator], "opacity": 0.45},
            "hovertemplate": "%{x:.4~g}, %{y:.4~g}<extra></extra>",
        },
        {
            "type": "scatter",
            "x": middle[:1],
            "y": middle[1:],
            "mode": "markers",
            "marker": {
                "size": 12,
                "symbol": "cross-thin",
                "line": {"width": 2.5, "color": theme.TERM_COLOURS["total"]},
            },
            "hovertemplate": "mean %{x:.4~g}, %{y:.4~g}<extra></extra>",
        },
    ]
    return theme.chart(
        f"by μ of {names[0]}, nats per unit",
        f"by μ of {names[1]}",
        traces,
        height=320,
        hovermode="closest",
        showlegend=False,
        margin={"t": 8},
        xaxis={"range": [-reach, reach]},
        yaxis={"range": [-reach, reach]},
    )


def variances(found: Gradients) -> dict[str, float]:
    """The variance of each estimator's gradient, summed over its components: by quadrature where d ≤ 2."""
    if found.exact:
        return {one: float(variance.sum()) for one, variance in found.exact.variance.items()}
    return {one: float(_squares(draws).mean()) for one, draws in found.draws.items()}


def _squares(draws: np.ndarray) -> np.ndarray:
    """How far each draw (K, 2d) lies from their mean, squared, with the K that makes their mean the variance: (K,)."""
    return ((draws - draws.mean(0, dtype=np.float64)) ** 2).sum(1) * len(draws) / (len(draws) - 1)


def costs(found: Gradients) -> dict[str, tuple[float, float]]:
    """How many draws each estimator needs for the accuracy of one reparameterised draw, and that number's standard
    error, 0 where the variances are exact: ratios of total variance."""
    spread = variances(found)
    first = max(spread[ESTIMATORS[0]], 1e-300)
    ratios = {one: value / first for one, value in spread.items()}
    if found.exact:
        return {one: (ratio, 0.0) for one, ratio in ratios.items()}
    squares = {one: _squares(draws) / max(spread[one], 1e-300) for one, draws in found.draws.items()}
    errors = {one: (squares[one] - squares[ESTIMATORS[0]]).std() / len(squares[one]) ** 0.5 for one in ratios}
    return {one: (ratio, ratio * float(errors[one])) for one, ratio in ratios.items()}


def draws_needed(cost: float, error: float) -> str:
    """One of `costs`, for people: '31 draws', '118 ± 5 draws'."""
    if cost == 1:
        return "1 draw"
    if not error:
        return f"{two_digits(cost)} draws"
    digits = max(0, -math.floor(math.log10(error)))
    return f"{cost:,.{digits}f} ± {error:,.{digits}f} draws"


def two_digits(value: float) -> str:
    """'0.012', '79', '1,200,000'."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def summary(found: Gradients, dimensions: tuple[int, ...]) -> pd.DataFrame:
    """By estimator and component of (μ, log σ): the mean over the draws, its standard error, and the exact value."""
    rows = []
    d = next(iter(found.draws.values())).shape[1] // 2
    for estimator, draws in found.draws.items():
        for offset, what in ((0, "μ"), (d, "log σ")):
            for j in dimensions:
                values = draws[:, offset + j].astype(np.float64)
                rows.append(
                    {
                        "Estimator": NAMES[estimator],
                        "By": f"{what} of {layout.dimension_name(j)}",
                        "Mean, nats": values.mean(),
                        "Standard error, nats": values.std(ddof=1) / len(values) ** 0.5,
                        "Standard deviation of one draw, nats": values.std(ddof=1),
                        "Exact, nats": None if found.exact is None else found.exact.mean[offset + j],
                    }
                )
    return pd.DataFrame(rows).dropna(axis=1)


@dataclass(frozen=True)
class Walks:
    """Gradient ascent by each estimator: mu, sigma (steps + 1, d), and the ELBO of every sixth state, in nats."""

    mu: dict[str, np.ndarray]
    sigma: dict[str, np.ndarray]
    elbo: dict[str, np.ndarray]


def walks(
    entry: Entry,
    checkpoint: Checkpoint,
    image: np.ndarray,
    mu: np.ndarray,
    sigma: np.ndarray,
    *,
    samples: int,
    learning_rate: float,
) -> Walks:
    """Sixty steps of plain ascent with each estimator from q = N(mu, diag sigma²); kept."""

    def compute(progress: Callable[[float], None]) -> Walks:
        model, like = checkpoint.model, next(checkpoint.model.parameters())
        found = Walks({}, {}, {})
        for place, one in enumerate(ESTIMATORS):
            states = []
            for state in ascend(
                model, image, mu, sigma, one, steps=STEPS, samples=samples, learning_rate=learning_rate, seed=1
            ):
                states.append(state)
                progress((place + state.step / STEPS) / len(ESTIMATORS))
            found.mu[one] = np.stack([state.mu for state in states])
            found.sigma[one] = np.stack([state.sigma for state in states])
            found.elbo[one] = np.array([_elbo(model, like, image, state) for state in states[::_EVERY]])
        return found

    settings = (*mu.tolist(), *sigma.tolist(), samples, learning_rate)
    return understand.kept(
        understand.result_key("walks", entry, checkpoint.model.beta, image, *settings),
        compute,
        "Climbing with each estimator",
        passing=True,
    )


def _elbo(model: VAE, like: torch.Tensor, image: np.ndarray, at: Ascent) -> float:
    """The ELBO of one state of a walk, by the same noise for every state, so that a curve shows the way and not the
    chance of its draws."""
    mu, sigma = (torch.as_tensor(part[None]).to(like) for part in (at.mu, at.sigma))
    return float(elbo(model, image[None], GaussianPosterior(mu, torch.diag_embed(sigma)), ELBO_DRAWS).values[0])


def lesson(found: Walks) -> str:
    """What the walks show: where each estimator came to, beside where the reparameterised one did."""
    first, *others = ESTIMATORS
    start, best = found.elbo[first][0], found.elbo[first][-1]
    slack = max(_LITTLE, _LIKE * abs(best - start))
    said = [f"From {layout.nats(start)}, sixty reparameterised steps come to **{layout.nats(best)}**."]
    for one in others:
        end = found.elbo[one][-1]
        if end < min(start, best) - slack:
            where = f"is lost: it ends at **{layout.nats(end)}**, below where it began"
        elif end < best - slack:
            where = f"ends {_apart(best - end)} lower than the reparameterised one"
        elif end < best + slack:
            where = "keeps up"
        else:
            where = f"ends {_apart(end - best)} higher than the reparameterised one"
        said.append(f"{_SPOKEN[one]} {where}.")
    return " ".join([*said, "This is one walk of each: with other draws they would end elsewhere."])


def _apart(nats: float) -> str:
    return layout.nats(nats, 1 if nats >= 1 else 2)


def elbo_figure(found: Walks) -> theme.Chart:
    """The ELBO of each walk against steps, from the lowest of the reparameterised one a little down."""
    traces = [
        {
            "type": "scatter",
            "x": _EVERY * np.arange(len(values)),
            "y": values,
            "name": NAMES[one],
            "line": {"color": _COLOURS[one], "width": 3 if one == ESTIMATORS[0] else 2},
            "hovertemplate": "%{y:.1f}",
        }
        for one, values in found.elbo.items()
    ]
    top = float(max(values.max() for values in found.elbo.values()))
    bottom = float(found.elbo[ESTIMATORS[0]].min())
    reach = max(top - bottom, 1.0)
    return theme.chart(
        "step", "ELBO, nats", traces, height=360, yaxis={"range": [bottom - 0.6 * reach, top + 0.1 * reach]}
    )


def walk_figure(found: Walks, pair: tuple[int, int], names: tuple[str, str], cloud: np.ndarray) -> theme.Chart:
    """Where μ went in two dimensions, over a cloud of posterior means (N, 2)."""
    traces = [
        {
            "type": "scatter",
            "x": cloud[:, 0],
            "y": cloud[:, 1],
            "mode": "markers",
            "marker": {"size": 3, "color": theme.TERM_COLOURS["total"], "opacity": 0.25},
            "hoverinfo": "skip",
        }
    ]
    for one, means in found.mu.items():
        last = len(means) - 1
        traces.append(
            {
                "type": "scatter",
                "x": means[:, pair[0]],
                "y": means[:, pair[1]],
                "mode": "lines+markers",
                "line": {"color": _COLOURS[one], "width": 2},
                "marker": {"size": [10, *[3] * (last - 1), 10], "symbol": ["circle-open", *["circle"] * last]},
                "customdata": np.arange(last + 1),
                "hovertemplate": f"{NAMES[one]}, step %{{customdata}}<br>%{{x:.3f}}, %{{y:.3f}}<extra></extra>",
            }
        )
    reach = 1.08 * max(3.0, float(np.abs(cloud).max(initial=0)))
    axis = {"range": [-reach, reach], "constrain": "domain"}
    look = {"height": 360, "hovermode": "closest", "showlegend": False}
    return theme.chart(*names, traces, xaxis=axis, yaxis=axis | {"scaleanchor": "x"}, **look)
