"""The form that asks what to train: the data, the network, the objective, the optimiser."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from ui import layout, own_pictures
from ui.background import in_background
from ui.layout import plain
from ui.state import KEPT
from vae_core import data, hosted, imaging, runs
from vae_core.data import Dataset
from vae_core.downloads import Progress
from vae_core.errors import UserError
from vae_core.evaluate import is_a_loss
from vae_core.likelihood import LIKELIHOODS
from vae_core.model import ModelConfig, count_parameters
from vae_core.objective import OBJECTIVES
from vae_core.run_config import RunConfig, check_new
from vae_core.train_config import TrainConfig
from vae_core.words import decimal

__all__ = ["BETAS", "LEARNING_RATES", "PRESETS", "RATE_FALLS", "Preset", "train_form"]

BETAS = (0.0, *(round(step * 10.0**power, 6) for power in (-2, -1, 0, 1) for step in (1, 1.5, 2, 3, 4, 6)), 100.0)
"""Six a decade, evenly on the logarithm, and 0, the plain autoencoder."""

LEARNING_RATES = (1e-5, 3e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 3e-2, 1e-1)

RATE_FALLS = "It falls to zero over the last 30 % of the training."

_BATCH_SIZES = (16, 32, 64, 128, 256, 512, 1024)
_OWN, _FOLDER = "own", "folder"
_LOADING = "train_loading"
_NETWORKS = {"mlp": "MLP", "conv": "Convolutional"}
_NETWORKS_HELP = (
    "The shape of encoder and decoder. An MLP is quick and knows nothing of neighbouring pixels; a convolutional "
    "network does, is slower, and suits larger pictures."
)
_LIKELIHOODS_HELP = (
    "What the decoder says of a pixel, and so what a reconstruction costs. Bernoulli: black or white, for drawings and "
    "digits. Gaussian: any value, with one σ for all pixels; a small σ asks for exact pixels, as a small β does. With "
    "the optimal σ it follows the error of the model."
)
_OBJECTIVES_HELP = (
    "β-VAE weighs the whole KL with β. β-TCVAE splits it and weighs with β only the total correlation of the codes, "
    "which asks for independent dimensions and not for a smaller rate as such. IWAE draws K codes for each picture and "
    "averages their weights under the logarithm, a bound that comes closer to log p(x) than the ELBO: it has no β."
)
_BETA_HELP = {
    "beta-vae": "The weight of the KL: 1 is the ELBO, 0 the plain autoencoder.",
    "beta-tcvae": "The weight of the total correlation: 1 is the ELBO.",
}
_SAMPLES_HELP = "Codes drawn for each picture in a step, each of which is decoded: time grows with K."
_THUMBNAILS = 14
_GAP = 6  # screen pixels


@dataclass(frozen=True)
class Preset:
    """Where the form starts for a data set: a good model, on the embedded sets within a minute on two cores."""

    arch: str = "mlp"
    latent_dim: int = 2
    likelihood: str = "bernoulli"
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    beta: float = 1.0


PRESETS = {
    "digits": Preset(epochs=80, batch_size=64, learning_rate=2e-3),
    "sprites": Preset(arch="conv", latent_dim=8, epochs=10, learning_rate=2e-3),
    "sprites-64": Preset(arch="conv", latent_dim=8, epochs=8, learning_rate=2e-3),
    "mnist": Preset(learning_rate=2e-3),
    "fashion-mnist": Preset(latent_dim=8),
    "cifar10": Preset(arch="conv", latent_dim=64, likelihood="gaussian-optimal"),
}
# On a few hundred pictures σ shrinks, and at β = 1 the codes leave the prior; β = 4 keeps them, at no worse an ELBO.
_OTHER = Preset(arch="conv", latent_dim=16, likelihood="gaussian-optimal", epochs=50, batch_size=32, beta=4.0)


def train_form() -> RunConfig | None:
    """Draw the form; the config, once the visitor has asked to train it and it is sound."""
    picker, side = st.columns([3, 1])
    with picker:
        kind = _data_picker()
    with side:
        seed = _number("Seed", 0, "train_seed", "The same seed gives the same weights, bit for bit.")
    try:
        dataset = _dataset(kind)
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        dataset = None
    if dataset is not None:
        _describe(dataset)
    try:
        config = _settings(kind, dataset, seed)
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        config = None
    asked = st.button(
        "Start training",
        key="train_start",
        type="primary",
        icon=":material/play_arrow:",
        disabled=config is None,
    )
    return config if asked else None


def _data_picker() -> str:
    limits = hosted.limits()
    names = [name for name in data.NAMES if limits is None or name in limits.datasets]
    own = {_OWN: "Your own pictures"} | ({} if limits else {_FOLDER: "A folder on this computer"})
    return st.selectbox(
        "Data",
        [*names, *own],
        format_func=lambda name: own.get(name) or data.title(name),
        key="train_data",
        **KEPT,
        filter_mode=None,
    )


def _dataset(kind: str) -> Dataset | None:
    if kind == _OWN:
        return _own_pictures()
    if kind == _FOLDER:
        return _folder()
    if data.available(kind):
        return data.load(kind)
    st.info(f"{data.title(kind)} is not on this computer yet.", icon=":material/cloud_download:")
    return in_background(
        lambda report: data.load(kind, download=True, progress=report),
        of=kind,
        key=_LOADING,
        start=f"Download {data.title(kind)}",
    )


def _folder() -> Dataset | None:
    path, size = st.columns([3, 1], vertical_alignment="bottom")
    folder = path.text_input(
        "Folder", key="train_folder", placeholder="~/pictures/cats", help=_CLASSES, persist_state="session"
    ).strip()
    side = _size(size)
    if not folder:
        return None
    name = data.folder_name(folder, side)
    return in_background(lambda report: data.load(name, progress=report), of=name, key=_LOADING)


_CLASSES = "PNG, JPEG and most other formats, up to 50 million pixels, cropped to squares; sub-folders are classes."


def _size(place) -> int:
    return place.segmented_control(
        "Pixels",
        data.SIZES,
        default=32,
        required=True,
        key="train_size",
        help="The side of the squares.",
        persist_state="session",
    )


def _own_pictures() -> Dataset | None:
    how, size = st.columns([3, 1])
    way = how.segmented_control(
        "Upload",
        ["Files or a zip", "A folder"],
        default="Files or a zip",
        required=True,
        key="train_upload_way",
        persist_state="session",
    )
    side = _size(size)
    files = st.file_uploader(
        "Pictures",
        accept_multiple_files="directory" if way == "A folder" else True,
        max_upload_size=limits.picture_bytes >> 20 if (limits := hosted.limits()) else None,
        key=f"train_upload_{way}",
        label_visibility="collapsed",
    )
    if files:
        _receive(files, side)
    for problem in st.session_state.get("train_upload_problems", ()):
        st.warning(plain(problem), icon=":material/warning:")
    name = st.session_state.get("train_upload")
    if not files:
        again = "As they were uploaded before. Choose the files again for other pictures, or another size."
        st.caption(again if name else f"{_CLASSES} {_sizes()}")
    return data.load(name) if name else None


def _sizes() -> str:
    limits = hosted.limits()
    if limits:
        return f"At most {limits.pictures:,} pictures, {limits.picture_bytes >> 20} MB together."
    return own_pictures.sizes()


def _receive(files, side: int) -> None:
    """Turn uploads into a data set, once for the same files. Raises UserError where they make none."""
    wanted = (tuple(file.file_id for file in files), side)
    if st.session_state.get("train_upload_of") == wanted:
        if refused := st.session_state.get("train_upload_refused"):
            raise UserError(refused)
        return
    for name in ("train_upload", "train_upload_of", "train_upload_refused"):
        st.session_state.pop(name, None)
    st.session_state["train_upload_problems"] = []
    try:
        hosted.check_pictures(len(files), sum(file.size for file in files))
        made = in_background(lambda report: _keep(files, side, report), of=wanted, key=_LOADING)
    except UserError as error:
        st.session_state["train_upload_of"], st.session_state["train_upload_refused"] = wanted, str(error)
        raise
    if made is None:
        return
    st.session_state["train_upload"], problems = made
    st.session_state["train_upload_of"] = wanted
    st.session_state["train_upload_problems"] = own_pictures.first(problems, 3)


def _keep(files, side: int, report: Progress) -> tuple[str, list[str]]:
    """The name of the data set of these uploads, and a sentence for each file that was left out."""
    dataset, problems = data.from_uploads([(file.name, file.getvalue()) for file in files], side, report)
    hosted.check_pictures(len(dataset.train) + len(dataset.test), 0)
    with runs.door():
        hosted.clean_up(runs.list_runs(), data.data_folder() / "uploads")
    return data.save_upload(dataset), problems


def _describe(dataset: Dataset) -> None:
    channels, height, width = dataset.image_shape
    thumbnails = dataset.test.images[:_THUMBNAILS] if len(dataset.test) >= _THUMBNAILS else dataset.train.images
    scale = layout.whole_scale(width, 40)
    picture = _strip(thumbnails[:_THUMBNAILS], scale)
    layout.drawing(picture, alt="Pictures of the data set")
    classes = f", {len(dataset.class_names)} classes" if dataset.class_names else ""
    st.caption(
        f"{len(dataset.train):,} pictures to train on, {len(dataset.test):,} to test, "
        f"{width} × {height} pixels, {'grey' if channels == 1 else 'colour'}{classes}"
    )


def _strip(images: np.ndarray, scale: int) -> Image.Image:
    """Images (N, C, H, W) in a row, each pixel a square of `scale` pixels, on nothing."""
    drawn = [imaging.grid(image[None], columns=1, scale=scale) for image in images]
    width, height = drawn[0].size
    strip = Image.new("RGBA", (len(drawn) * (width + _GAP) - _GAP, height))
    for i, one in enumerate(drawn):
        strip.paste(one, (i * (width + _GAP), 0))
    return strip


def _settings(kind: str, dataset: Dataset | None, seed: int) -> RunConfig | None:
    """Draw the settings; the config that they make with the data set, where there is one."""
    preset = PRESETS.get(kind, _OTHER)
    model, train = _fields(kind, preset)
    sigma, more = _more(model["likelihood"], kind, preset)
    if dataset is None:
        return None
    config = RunConfig(
        ModelConfig(dataset.image_shape, **model, sigma=sigma),
        TrainConfig(dataset.name, **train, **more, seed=seed, pictures=dataset.fingerprint),
    )
    check_new(config)
    hosted.check_config(config)
    loss = not config.train.binarize and is_a_loss(config.model, dataset.test.images[:64])
    note = " On grey pixels the Bernoulli term is a loss, not a density." if loss else ""
    st.caption(f"{count_parameters(config.model):,} parameters.{note}")
    return config


def _fields(kind: str, preset: Preset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw what is asked of everybody; by the names that it has in ModelConfig, and in TrainConfig."""
    columns = st.columns(4)
    with columns[0]:
        arch = _choice("Network", _NETWORKS, preset.arch, f"train_network_{kind}", _NETWORKS_HELP)
        about = "How often the model sees each picture."
        epochs = _number("Epochs", preset.epochs, f"train_epochs_{kind}", about)
    with columns[1]:
        about = "With 2, the latent plane itself is seen."
        latent_dim = _number("Latent size d", preset.latent_dim, f"train_d_{kind}", about)
        about = f"The step size of Adam. {RATE_FALLS}"
        rate = _slide("Learning rate", LEARNING_RATES, preset.learning_rate, f"train_rate_{kind}", about)
    with columns[2]:
        likelihood = _choice(
            "Likelihood p(x|z)", LIKELIHOODS, preset.likelihood, f"train_likelihood_{kind}", _LIKELIHOODS_HELP
        )
        warmup = float(_number("KL warm-up, epochs", 0, "train_warmup", "β rises from 0 over so many epochs."))
    with columns[3]:
        objective = _choice("Objective", OBJECTIVES, next(iter(OBJECTIVES)), "train_objective", _OBJECTIVES_HELP)
        if objective == "iwae":
            weight = {"importance_samples": _number("Importance samples K", 5, "train_samples", _SAMPLES_HELP)}
        else:
            weight = {"beta": _slide("β", BETAS, preset.beta, f"train_beta_{kind}", _BETA_HELP[objective])}
    model = {"arch": arch, "latent_dim": latent_dim, "likelihood": likelihood}
    return model, {"epochs": epochs, "learning_rate": rate, "kl_warmup": warmup, "objective": objective, **weight}


def _more(likelihood: str, kind: str, preset: Preset) -> tuple[float, dict[str, Any]]:
    """Draw what few need to change: σ of the pixels, and further settings by their names in TrainConfig."""
    with st.expander("More", type="compact"):
        columns = st.columns(4, vertical_alignment="bottom")
        with columns[0]:
            batch_size = _slide(
                "Batch size", _BATCH_SIZES, preset.batch_size, f"train_batch_{kind}", "Pictures a step."
            )
        with columns[1]:
            free_bits = st.number_input(
                "Free bits, nats a dimension",
                value=0.0,
                step=0.05,
                key="train_free_bits",
                **KEPT,
                help="A dimension that costs less than this feels no pull towards the prior.",
            )
        with columns[3 if likelihood == "gaussian" else 2]:
            binarize = st.toggle(
                "Binarise pixels",
                key="train_binarize",
                **KEPT,
                help="Each pixel is drawn 0 or 1 with its grey value as probability, anew each time it is shown.",
            )
        with columns[2]:
            sigma = 0.1
            if likelihood == "gaussian":
                sigma = st.number_input(
                    "σ of the pixels",
                    value=0.1,
                    step=0.01,
                    format="%.3f",
                    key="train_sigma",
                    **KEPT,
                    help="In units of the pixel range 0 to 1.",
                )
    return sigma, {"batch_size": batch_size, "free_bits": free_bits, "binarize": binarize}


def _choice(label: str, names: dict[str, str], default: str, key: str, about: str | None = None) -> str:
    return st.selectbox(
        label,
        list(names),
        index=list(names).index(default),
        format_func=names.get,
        key=key,
        help=about,
        **KEPT,
        filter_mode=None,
    )


def _number(label: str, default: int, key: str, about: str) -> int:
    """A whole number, without limits: a field would drop what is beyond them, where the config says a sentence."""
    return st.number_input(label, value=default, step=1, key=key, help=about, **KEPT)


def _slide(label: str, options: tuple, default: float, key: str, about: str) -> float:
    return st.select_slider(label, options, default, format_func=decimal, key=key, help=about, **KEPT)
