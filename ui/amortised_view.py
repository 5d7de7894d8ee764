"""What the page Amortised and classical shows: the encoder's answer beside inference image by image."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ui import theme, understand
from ui.state import Entry
from vae_core.amortisation import FAMILIES, GaussianPosterior, InferenceGap, elbo, encoded, improve, starts
from vae_core.annealed import annealed
from vae_core.checkpoint import Checkpoint
from vae_core.model import VAE

__all__ = ["DRAWS", "IMAGES", "STEPS", "Comparison", "bars", "compare", "compared", "gap_table", "quality", "sentence"]

IMAGES, STEPS = 8, 200
DRAWS = 2048
_DRAWN_ON_THE_WAY, _CHECKED = 128, 10
_TIMED = 5
_CHAINS, _TEMPERATURES = 16, 300
_NAMES = {"diagonal": "independent dimensions", "full": "full covariance"}
_COLOURS = {"encoder": "#2a9d9d", "diagonal": "#d98a1f", "full": "#8a6bd1", "log p(x)": "#c0378a"}
_PARTS = {"amortisation": "#d98a1f", "independence": "#8a6bd1", "shape": "#8a93a3"}


@dataclass(frozen=True)
class Comparison:
    """Inference by the encoder and image by image, for N images, in nats and seconds.

    elbo: of the encoder's q and of the best q of each family, (N,) by 'encoder', 'diagonal' and, of more than one
    latent dimension, 'full'; by quadrature where log p(x) is, else by draws. seconds, course: after how long each
    family had which ELBO, averaged over the images, from the encoder's on. log_likelihood, errors (N,): log p(x), by
    quadrature (errors 0), else by annealed importance sampling.
    """

    elbo: dict[str, np.ndarray]
    encoder_seconds: float
    seconds: dict[str, np.ndarray]
    course: dict[str, np.ndarray]
    log_likelihood: np.ndarray
    errors: np.ndarray

    @property
    def exact(self) -> bool:
        """Whether log p(x) is known by quadrature."""
        return not self.errors.any()

    @property
    def gaps(self) -> dict[str, np.ndarray]:
        """The parts of log p(x) − ELBO(encoder), (N,) each: what each wider family wins, and what no Gaussian can."""
        gap = InferenceGap(self.log_likelihood, self.elbo["encoder"], self.elbo["diagonal"])
        if "full" not in self.elbo:
            return {"amortisation": gap.amortisation, "shape": gap.approximation}
        independence = self.elbo["full"] - self.elbo["diagonal"]
        return {
            "amortisation": gap.amortisation,
            "independence": independence,
            "shape": gap.approximation - independence,
        }


def _key(entry: Entry, checkpoint: Checkpoint, images: np.ndarray) -> tuple:
    return understand.result_key("amortised", entry, checkpoint.model.beta, images, STEPS)


def compared(entry: Entry, checkpoint: Checkpoint, images: np.ndarray) -> Comparison | None:
    """The comparison for these images, if anyone has asked for it."""
    return understand.peek(_key(entry, checkpoint, images))


def compare(entry: Entry, checkpoint: Checkpoint, images: np.ndarray, draw: Callable[[dict, dict], None]) -> Comparison:
    """Optimise q for each of uint8 images (N, C, H, W), from each of its `starts`, and take the best; kept.

    `draw` is called as it goes, with `seconds` and `course` as they are so far.
    """

    def compute(progress: Callable[[float, str], None]) -> Comparison:
        progress(0.0, "Looking among draws of the prior for places to begin")
        model = checkpoint.model
        q, encoder_seconds = _encoded_and_timed(model, images)
        found = {"encoder": _elbo(entry, checkpoint, images, q, DRAWS)}
        began = time.perf_counter()
        owner, start = starts(model, images)
        search_seconds = time.perf_counter() - began
        seconds, course = {}, {}
        families = FAMILIES if model.config.latent_dim > 1 else FAMILIES[:1]
        for place, family in enumerate(families):
            spent, times, means = search_seconds, [encoder_seconds], [found["encoder"].mean()]
            walk = improve(model, images[owner], family, start=start, steps=STEPS)
            next(walk)
            kind = f", {_NAMES[family]}" if len(families) > 1 else ""
            for _ in range(STEPS):
                began = time.perf_counter()
                step = next(walk)
                spent += time.perf_counter() - began
                if step.step < _CHECKED or step.step % _CHECKED == 0:
                    times.append(encoder_seconds + spent)
                    values = _elbo(entry, checkpoint, images[owner], step.q, _DRAWN_ON_THE_WAY)
                    means.append(_best(values, owner).mean())
                    seconds[family], course[family] = np.array(times), np.array(means)
                    draw(seconds, course)
                done = (place + step.step / STEPS) / (len(families) + 1)
                progress(done, f"Optimising {len(images)} Gaussians{kind}: step {step.step} of {STEPS}")
            reached = _best(_elbo(entry, checkpoint, images[owner], step.q, DRAWS), owner)
            found[family] = np.maximum(reached, found.get("diagonal", -np.inf))  # each family contains the one before
        exact = understand.exact_log_likelihoods(entry, checkpoint, images)
        if exact is not None:
            return Comparison(found, encoder_seconds, seconds, course, exact, np.zeros(len(images)))
        second = annealed(
            model,
            images,
            _CHAINS,
            _TEMPERATURES,
            progress=lambda done: progress((len(families) + done) / (len(families) + 1), "Annealing, for log p(x)"),
        )
        return Comparison(found, encoder_seconds, seconds, course, second.values, second.standard_errors)

    return understand.kept(_key(entry, checkpoint, images), compute, "Optimising", asked=True)


def _encoded_and_timed(model: VAE, images: np.ndarray) -> tuple[GaussianPosterior, float]:
    """The encoder's q, and the seconds that it takes, the median of some times after the first."""
    q, seconds = encoded(model, images), []
    for _ in range(_TIMED):
        began = time.perf_counter()
        encoded(model, images).mu.cpu()  # which waits for a GPU
        seconds.append(time.perf_counter() - began)
    return q, float(np.median(seconds))


def _elbo(entry: Entry, checkpoint: Checkpoint, images: np.ndarray, q: GaussianPosterior, draws: int) -> np.ndarray:
    """The ELBO of each image (N,) by quadrature, or, of over two latent dimensions, by draws."""
    if checkpoint.model.config.latent_dim > 2:
        return elbo(checkpoint.model, images, q, draws).values
    return understand.latent_plane(entry, checkpoint).elbo(images, q.mu, q.scale_tril)


def _best(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The greatest of the values (N + M,) of each image, whose they are being `owner`: (N,)."""
    best = np.full(owner.max() + 1, -np.inf)
    np.maximum.at(best, owner, values)
    return best


def quality(
    seconds: dict[str, np.ndarray],
    course: dict[str, np.ndarray],
    log_likelihood: float | None = None,
    *,
    one_family: bool = False,
) -> go.Figure:
    """The average ELBO against time: the encoder's one dot, and the climb of each family; log p(x) where known."""
    chart = theme.figure("seconds for all images", "ELBO, nats, averaged over the images", height=400)
    for family, values in course.items():
        chart.add_scatter(
            x=seconds[family],
            y=values,
            name="image by image" if one_family else f"image by image, {_NAMES[family]}",
            mode="lines",
            line={"color": _COLOURS[family], "width": 3},
            hovertemplate="%{y:.2f}",
        )
    first = next(iter(course))
    chart.add_scatter(
        x=seconds[first][:1],
        y=course[first][:1],
        name="the encoder",
        mode="markers",
        marker={"size": 13, "color": _COLOURS["encoder"]},
        hovertemplate="%{y:.2f}",
    )
    if log_likelihood is not None:
        chart.add_hline(log_likelihood, line={"color": _COLOURS["log p(x)"], "width": 2, "dash": "dash"})
        chart.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=log_likelihood,
            yanchor="bottom",
            text="log p(x)",
            font={"color": _COLOURS["log p(x)"]},
            showarrow=False,
        )
    return chart.update_xaxes(type="log", tickformat="~g", dtick=1)


def bars(found: Comparison, names: list[str]) -> go.Figure:
    """The inference gap of each image in its parts, stacked."""
    chart = theme.figure("test image", "nats below log p(x)", height=400, barmode="relative", bargap=0.3)
    titles = {
        "amortisation": "amortisation: one encoder for all images",
        "independence": "independent dimensions",
        "shape": "no Gaussian fits better" if found.exact else "no Gaussian fits better (log p(x) by annealing)",
    }
    for part, value in found.gaps.items():
        chart.add_bar(x=names, y=value, name=titles[part], marker_color=_PARTS[part], hovertemplate="%{y:.2f} nats")
    return chart.update_xaxes(type="category")


def gap_table(found: Comparison, names: list[str]) -> pd.DataFrame:
    """One row an image: log p(x), the encoder's ELBO and the parts of the gap between them, in nats."""
    columns = {"log p(x)": found.log_likelihood}
    if not found.exact:
        columns["Standard error"] = found.errors
    columns |= {"ELBO of the encoder": found.elbo["encoder"]}
    columns |= {part.capitalize(): value for part, value in found.gaps.items()}
    return pd.DataFrame({"Test image": names} | {f"{name}, nats": values for name, values in columns.items()})


def sentence(found: Comparison) -> str:
    """What was gained, and what it cost."""
    before, after = found.elbo["encoder"].mean(), found.elbo["diagonal"].mean()
    spent = found.seconds["diagonal"][-1]
    mean = {part: value.mean() for part, value in found.gaps.items()}
    error = np.sqrt(np.square(found.errors).sum()) / len(found.errors)
    within = "" if found.exact else f" ± {error:,.2f}"
    parts = [f"{mean['amortisation']:,.2f} are amortisation"]
    if "independence" in mean:
        parts.append(f"{mean['independence']:,.2f} come from q’s independent dimensions")
    parts.append(f"{mean['shape']:,.2f}{within} come from what no Gaussian can follow")
    times = float(f"{spent / found.encoder_seconds:.2g}")
    return (
        f"The encoder answers for {len(found.log_likelihood)} images in {1000 * found.encoder_seconds:,.1f} ms; "
        f"optimising q for each takes {spent:,.1f} s, some {times:,.0f} times as long, and raises the average ELBO "
        f"from {before:,.2f} to {after:,.2f} nats. Of the inference gap of {sum(mean.values()):,.2f}{within} nats, "
        f"{', '.join(parts[:-1])}, and {parts[-1]}."
    ).replace(" -", " −")
