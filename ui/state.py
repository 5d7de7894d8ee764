"""What a visitor has chosen: the model that all pages share, and points sent from page to page."""

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from ui import caching, visitor
from ui.layout import plain
from vae_core import data, gates, hosted, runs
from vae_core.checkpoint import Checkpoint, LatentSnapshot
from vae_core.errors import UserError
from vae_core.evaluate import encode
from vae_core.likelihood import LIKELIHOODS
from vae_core.objective import describe_objective
from vae_core.rate_distortion import at_beta, steps

__all__ = [
    "BETA_PICKER",
    "KEPT",
    "Entry",
    "Point",
    "beta_picker",
    "beta_words",
    "choose",
    "entries",
    "held_out",
    "keep_picture",
    "model_picker",
    "name",
    "nearest",
    "next_seed",
    "of_run",
    "picture_name",
    "pictures",
    "resolve",
    "seed",
    "selected",
    "send",
    "shared",
    "snapshot_elbo",
    "title",
    "with_latent_dim",
]

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
BETA_PICKER = "beta_picker"
"""The fragment of the frame that `beta_picker` draws, for `st.rerun`."""

KEPT = {"bind": "query-params", "persist_state": "session"}
"""Of a widget whose value stands in the address, and is still there when the visitor comes back to its page."""

_DEFAULT = "mnist-d2-beta"
_SHORT = {"digits": "Digits", "sprites": "Sprites"}  # the picker is narrow
_ADDRESS = "address"
_LAST_BETA = "last_beta"
_SEED_DIGITS = 6
_FARTHEST = 1e6  # from 0 in any dimension; far beyond it, sums in 32 bits overflow


@dataclass(frozen=True)
class Entry:
    """A model that can be chosen: `id` stands in the URL, `path` is its checkpoint, `run` its run, if it has one, and
    `modified` when the checkpoint was written, in nanoseconds."""

    id: str
    path: Path
    run: str | None = None
    modified: int = 0

    @property
    def version(self) -> tuple[str, int]:
        """Exactly this checkpoint, for caches: what was computed of it is not that of one saved later."""
        return str(self.path), self.modified


@dataclass(frozen=True)
class Point:
    """A place in the latent space: z (d,), what to call it, and the uint8 picture (C, H, W) it came from, if any."""

    label: str
    z: np.ndarray
    picture: np.ndarray | None = None


def entries() -> dict[str, Entry]:
    """All models by id: those that ship (the default first), then runs with a checkpoint, the newest first."""
    shipped = sorted(SHIPPED.glob("*.safetensors"), key=lambda path: (path.stem != _DEFAULT, path.stem))
    found = {path.stem: Entry(path.stem, path, None, caching.modified(path)) for path in shipped}
    for run in runs.list_runs():
        if hosted.visible(run, visitor.token()):
            with suppress(UserError):  # no checkpoint yet
                found[f"run-{run.name}"] = of_run(run)
    return found


def of_run(run: runs.Run) -> Entry:
    """The model that a run has saved last. Raises UserError where there is none."""
    return Entry(f"run-{run.name}", run.checkpoint, run.name, caching.modified(run.checkpoint))


def title(entry: Entry) -> str:
    """What `name` calls the model."""
    try:
        header = caching.read_header(entry.path)
    except UserError:
        return f"{entry.id} (cannot be read)"
    return name(header["model"], header["record"]["train"], header["record"]["beta"], entry.run)


def name(model: dict[str, Any], train: dict[str, Any], beta_now: float | None = None, run: str | None = None) -> str:
    """'MNIST · d = 2 · β = 1 · mlp', of two configs as JSON values; four characters of a run's name before the network.

    'β 0.01–10' for a range of β, 'β = 1 → 4' where it has been steered, 'β-TCVAE · β = 4' or 'IWAE, K = 5' for another
    objective. The likelihood follows where it is not Bernoulli.
    """
    objective = train.get("objective", "beta-vae")
    dataset = train["dataset"]
    parts = [_SHORT.get(dataset) or data.title(dataset), f"d = {model['latent_dim']}"]
    if objective != "beta-vae":
        parts.append(describe_objective(objective, train.get("importance_samples", 1)))
    if objective != "iwae":
        parts.append(beta_words(model.get("beta_range"), train["beta"], beta_now))
    if run:
        parts.append(_tag(run))
    parts.append(model["arch"])
    if model["likelihood"] != "bernoulli":
        parts.append(LIKELIHOODS[model["likelihood"]])
    return " · ".join(parts)


def _tag(run: str) -> str:
    """The last four characters of a run's name, eight where another run ends in the same four."""
    folder = runs.runs_folder()
    return run[-4:] if _endings(folder, folder.stat().st_mtime_ns)[run[-4:]] < 2 else run[-8:]


@functools.lru_cache(maxsize=4)
def _endings(folder: Path, modified: int) -> Counter[str]:  # noqa: ARG001 (the cache's key)
    return Counter(path.name[-4:] for path in folder.iterdir())


def beta_words(beta_range: Sequence[float] | None, beta: float, now: float | None = None) -> str:
    """'β = 1', 'β = 1 → 4' where it has been steered, or 'β 0.01–10' for a model of a range."""
    if beta_range:
        return f"β {beta_range[0]:g}–{beta_range[1]:g}"
    return f"β = {beta:g}" + ("" if now in (None, beta) else f" → {now:g}")


def with_latent_dim(latent_dim: int) -> list[Entry]:
    """The models with so many latent dimensions."""

    def dimensions(entry: Entry) -> int | None:
        try:
            return caching.read_header(entry.path)["model"]["latent_dim"]
        except UserError:
            return None

    return [entry for entry in entries().values() if dimensions(entry) == latent_dim]


def model_picker() -> None:
    """The picker in the frame; its choice is in the URL as ?model=…."""
    found = entries()
    if not found:
        st.info("No model is here yet. Train one first.", icon=":material/model_training:")
        return
    _follow_address()
    asked = st.session_state.get("model")
    if asked not in found:
        if asked:
            st.warning(f"The model “{plain(asked[:80])}” is not here any more. Another one is shown.")
        st.session_state["model"] = next(iter(found))
    titles = {key: title(entry) for key, entry in found.items()}
    st.selectbox("Model", list(found), format_func=titles.get, key="model")
    st.query_params["model"] = st.session_state["model"]


def _follow_address() -> None:
    """Take the model and β from an address that the app has not written: a link, or Back to an earlier choice.

    From any address after `send`: Streamlit has dropped the picker's choice on the way.
    """
    found = _in_address()
    if any(found) and (found != st.session_state.get(_ADDRESS) or "model" not in st.session_state):
        st.session_state["model"], st.session_state["beta"] = found[0] or st.session_state.get("model"), found[1]


def _in_address() -> tuple[str | None, str | None]:
    return st.query_params.get("model"), st.query_params.get("beta")


@st.fragment(key=BETA_PICKER)
def beta_picker(*, shown: bool = True) -> None:
    """Below the model picker, for a model of a range of β: the β at which all pages show it; in the URL as ?beta=….

    Where it is not shown, what was chosen is kept for the next page.
    """
    found = entries().get(st.session_state.get("model", ""))
    choices = _beta_choices(found) if found else []
    if choices:
        _beta_slider(choices, shown)
    else:
        st.session_state.pop(_LAST_BETA, None)
        st.query_params.pop("beta", None)
    st.session_state[_ADDRESS] = _in_address()


def _beta_slider(choices: list[float], shown: bool) -> None:
    """Without its slider, "beta" is nobody's: Streamlit (1.67) may give it an earlier value at the next fragment's run,
    so that it is kept under another name."""
    default = nearest(choices, gates.clip(1.0, (choices[0], choices[-1])), choices[0])
    beta = nearest(choices, st.session_state.get("beta", st.session_state.get(_LAST_BETA)), default)
    st.session_state[_LAST_BETA] = beta
    if shown:
        st.session_state["beta"] = beta
        st.select_slider(
            "β",
            choices,
            key="beta",
            format_func=lambda beta: f"{beta:.3g}",
            help="This model was trained for every β of this range. Pages show it at this one.",
            on_change=st.rerun,  # the page as well
        )
    else:
        st.session_state.pop("beta", None)
    if beta == default:
        st.query_params.pop("beta", None)
    else:
        st.query_params["beta"] = f"{beta:g}"


def _beta_choices(entry: Entry) -> list[float]:
    """The values of β at which pages can show the model; none where its checkpoint holds one alone."""
    try:
        checkpoint = caching.load_checkpoint(*entry.version)
    except UserError:
        return []
    return steps(checkpoint.model.config.beta_range) if checkpoint.betas else []


def nearest(choices: list[float], asked: object, default: float) -> float:
    """The choice that is nearest to what was asked for, on the logarithm; the default for what is no β."""
    try:
        wanted = math.log(float(asked))
    except (TypeError, ValueError):
        return default
    return min(choices, key=lambda beta: abs(math.log(beta) - wanted)) if math.isfinite(wanted) else default


def choose(model_id: str) -> None:
    """Make `model_id` the selected model from the next run of the script on; for callbacks."""
    st.session_state["model"] = model_id


def selected() -> tuple[Entry, Checkpoint]:
    """The selected model, at the selected β where it serves several.

    Stops the page with a sentence where there is none or it cannot be read.
    """
    found = entries()
    entry = found.get(st.session_state.get("model", "")) or next(iter(found.values()), None)
    if entry is None:
        st.info("Train a model first: this page shows what it has learnt.", icon=":material/model_training:")
        st.stop()
    try:
        checkpoint = caching.load_checkpoint(*entry.version)
        if checkpoint.snapshot is None:
            raise UserError(f"{entry.id} has no latent snapshot, which the pages show. Choose another model.")
    except UserError as error:
        st.error(f"{entry.id}: {error}", icon=":material/error:")
        st.stop()
    return entry, _at_beta(entry, checkpoint)


def _at_beta(entry: Entry, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as it answers at the β that is chosen in the frame."""
    if checkpoint.betas is None:
        return checkpoint
    beta = st.session_state.get("beta", checkpoint.model.beta)
    return _answering(*entry.version, beta, checkpoint)


@st.cache_resource(max_entries=8, show_spinner=False)
def _answering(path: str, modified: int, beta: float, _checkpoint: Checkpoint) -> Checkpoint:  # noqa: ARG001
    snapshot = _checkpoint.snapshot
    if beta != _checkpoint.model.beta:
        snapshot = at_beta(snapshot, _checkpoint.betas, beta)
    return replace(_checkpoint, model=_checkpoint.model.at(beta), snapshot=snapshot)


def held_out(checkpoint: Checkpoint) -> np.ndarray | None:
    """The test images (N, C, H, W) uint8 of the model's data set, or None where it is not at hand."""
    return caching.test_images(checkpoint.record["train"], checkpoint.model.config.image_shape)


def pictures(checkpoint: Checkpoint, index: np.ndarray) -> tuple[np.ndarray, bool]:
    """Held-out pictures `index` (n,) → uint8 (n, C, H, W), and whether they are the real ones.

    Where the data set is not at hand, they are decoded from the snapshot's posterior means.
    """
    images = held_out(checkpoint)
    if images is not None:
        return images[index], True
    from vae_core.imaging import to_uint8
    from vae_core.latent import decode

    return to_uint8(decode(checkpoint.model, checkpoint.snapshot.mu[index])), False


def picture_name(checkpoint: Checkpoint, index: int) -> str:
    """What to call held-out picture `index`: 'test image 3, a “7”'; says so where it is decoded."""
    labels, names = checkpoint.snapshot.labels, checkpoint.record["class_names"]
    text = f"test image {index}" if held_out(checkpoint) is not None else f"test image {index}, decoded"
    return text if labels is None else f"{text}, “{names[labels[index]]}”"


def snapshot_elbo(snapshot: LatentSnapshot) -> np.ndarray:
    """The ELBO of each held-out image of the snapshot (N,), in nats."""
    return -(snapshot.reconstruction + snapshot.kl.sum(1))


def keep_picture(picture: np.ndarray, label: str) -> str:
    """Remember a visitor's picture, uint8 (C, H, W), for this session; returns its spec for `resolve`."""
    digest = hashlib.blake2b(picture.tobytes(), digest_size=6).hexdigest()
    st.session_state.setdefault("kept_pictures", {})[digest] = (picture, label)
    return f"picture:{digest}"


def send(page: str, **settings: str) -> None:
    """Open `page` (a path such as "pages/explore/interpolate.py") with widgets set by their keys."""
    st.switch_page(page, query_params=shared() | settings)


def seed(name: str) -> int:
    """The seed of this name that `next_seed` or a link has set, 0 at first; it stands in the address as ?name=…."""
    asked = st.query_params.get(name, "")
    if asked.isdecimal() and len(asked) <= _SEED_DIGITS:
        st.session_state[name] = int(asked)
    found = st.session_state.setdefault(name, 0)
    if found:
        st.query_params[name] = str(found)
    else:
        st.query_params.pop(name, None)
    return found


def next_seed(name: str) -> None:
    """Take another seed from the next run of the script on; for callbacks."""
    st.query_params[name] = str(seed(name) + 1)


def shared() -> dict[str, str]:
    """What a link to another page must say for it to show the same model at the same β."""
    beta = {"beta": st.query_params["beta"]} if "beta" in st.query_params else {}
    return {"model": st.session_state.get("model", _DEFAULT)} | beta


def resolve(spec: str, checkpoint: Checkpoint) -> Point:
    """The latent point that a short text names, fit for a URL.

    test:I is the posterior mean of held-out image I; prior:S the draw from N(0, I) with seed S; z:a,b,… the
    point itself; picture:HASH a picture that this visitor dropped. Raises UserError for anything else, and for a z that
    is out of range.
    """
    kind, _, rest = spec.partition(":")
    latent_dim = checkpoint.model.config.latent_dim
    try:
        if kind == "test" and 0 <= int(rest) < len(checkpoint.snapshot):
            index = int(rest)
            picture, real = pictures(checkpoint, np.array([index]))
            return Point(f"test image {index}", checkpoint.snapshot.mu[index], picture[0] if real else None)
        if kind == "prior" and int(rest) >= 0:
            from vae_core.latent import sample_prior

            return Point(f"prior sample {rest}", sample_prior(1, latent_dim, int(rest))[0])
        if kind == "z":
            z = np.array([float(value) for value in rest.split(",")], np.float32)
            if z.shape == (latent_dim,) and np.isfinite(z).all():
                if np.abs(z).max() > _FARTHEST:
                    raise UserError(
                        f"“{plain(spec[:60])}” is out of range: no coordinate of z may be over {_FARTHEST:,.0f}, or "
                        f"under its negative. The prior’s draws lie {latent_dim**0.5:.2f} from 0 (root mean square)."
                    )
                return Point("z", z)
        if kind == "picture":
            if rest not in st.session_state.get("kept_pictures", {}):
                raise UserError(
                    f"“{plain(spec[:60])}” is gone: own pictures are kept for one visit alone. Give it again."
                )
            picture, label = st.session_state["kept_pictures"][rest]
            if picture.shape == tuple(checkpoint.model.config.image_shape):
                return Point(label, encode(checkpoint.model, picture[None])[0][0], picture)
    except ValueError:
        pass
    raise UserError(
        f"“{plain(spec[:60])}” names no point of this model. Use test:12, prior:7, or z: and {latent_dim} numbers."
    )
