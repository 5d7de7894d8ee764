"""Watching and steering one run: what it is doing, its curves and pictures as they grow, its replay."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
from PIL import Image

from ui import caching, live_charts, replay, state, visitor
from ui.components.film_strip import film_strip
from ui.components.live_chart import live_chart
from ui.launching import guarded, resumable, resume
from ui.layout import dimension_name, nats, plain
from ui.refreshing import refreshing
from ui.train_form import BETAS, LEARNING_RATES, RATE_FALLS
from ui.ways import HOME, WAYS
from vae_core import hosted, imaging
from vae_core.curves import Curves
from vae_core.diagnose import diagnose
from vae_core.errors import UserError
from vae_core.evaluate import ACTIVE_VARIANCE, active
from vae_core.previews import read_given, read_preview
from vae_core.run_config import RunConfig
from vae_core.runs import LIVE, Run
from vae_core.words import decimal

__all__ = [
    "curves_of",
    "describe",
    "open_in",
    "run_watch",
]

_REFRESH_SECONDS = 1.5
_LOOK_SECONDS = 5.0
_GO_WIDTH = 132  # pixels: of the widest of Pause, Pausing … and Resume
_LOOKS = {
    "light": replay.Look((253, 252, 249), (28, 35, 48)),
    "dark": replay.Look((16, 21, 29), (228, 231, 236)),
}
_BADGES = {
    "queued": ("gray", ":material/hourglass_empty:"),
    "starting": ("blue", ":material/pending:"),
    "running": ("blue", ":material/play_arrow:"),
    "paused": ("orange", ":material/pause:"),
    "finished": ("green", ":material/check:"),
    "stopped": ("gray", ":material/stop:"),
    "interrupted": ("orange", ":material/bolt:"),
    "failed": ("red", ":material/error:"),
}
_LOSS = {
    "beta-vae": "Reconstruction + β·KL with the β in force, averaged over images; what training brings down.",
    "beta-tcvae": "Reconstruction + KL + (β − 1)·total correlation, averaged over images; what training brings down.",
    "iwae": "−L_K, the importance-weighted bound of K samples, averaged over images; what training brings down. "
    "Reconstruction and KL are the ELBO’s; this lies below their sum.",
    "range": "Reconstruction + β·KL, averaged over images, each with a β of its own; what training brings down.",
}
_ABOUT = {
    "reconstruction": "−log p(x|z) for z ~ q(z|x), summed over pixels: how badly pictures are drawn again.",
    "kl": "KL(q(z|x) ‖ p(z)), summed over dimensions: what the code costs.",
}


def describe(run: Run, config: RunConfig) -> str:
    """What `state.name` calls the run, with the β that it was steered to."""
    return state.name(config.model.to_dict(), config.train.to_dict(), run.control().get("beta"), run.name)


def _status_badge(status: str) -> None:
    """The run's status as a coloured word."""
    colour, icon = _BADGES[status]
    st.badge(status, icon=icon, color=colour)


@st.cache_resource(max_entries=128, show_spinner=False)
def _curves(path: str) -> Curves:
    return Curves(Path(path))


def curves_of(run: Run) -> Curves:
    """The run's curves, up to date."""
    return _curves(str(run.path.resolve() / "metrics.jsonl")).refresh()


def run_watch(run: Run) -> None:
    """Draw the run: controls, what it suffers from, curves, pictures, and its replay when it rests.

    What is there only at times is in a container of its own, so that the charts below stay where they are: one that
    moves is built anew, and its zoom is lost.
    """
    try:
        config = run.config()
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        return
    situation = _situation(run)
    status, mine = situation.status, hosted.owns(run, visitor.token())
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(plain(describe(run, config)), anchor=False, width="content")
        _status_badge(status)
    with st.container(horizontal=True, vertical_alignment="center"):
        if mine:
            _controls(run, status, situation.command)
        if situation.saved:
            open_in(run, "watched")
            _use_button(f"run-{run.name}")
        if not mine:
            st.caption("This is someone else’s run: you can watch it, but not steer it.")
    with st.container():
        if status in LIVE or resumable(run, status):
            _steering(run, config, mine)
    refreshing(
        lambda: _live(run, config),
        now=lambda: _situation(run),
        seen=situation,
        seconds=_REFRESH_SECONDS if status in LIVE else None,
    )
    if status not in LIVE:  # another tab may resume it; one that deletes it leaves what is seen here

        def now() -> _Situation:
            return _situation(run) if run.is_here() else situation

        refreshing(lambda: None, now=now, seen=situation, seconds=_LOOK_SECONDS)
    if status not in ("queued", "starting", "running"):
        _replay(run)


class _Situation(NamedTuple):
    """A run's status, whether it has a checkpoint, and what its trainer has been asked for, be it in another tab."""

    status: str
    saved: bool
    command: str
    beta: float | None
    learning_rate: float | None


def _situation(run: Run) -> _Situation:
    status, saved, control = run.state()["status"], run.checkpoint.exists(), run.control()
    return _Situation(status, saved, control["command"], control.get("beta"), control.get("learning_rate"))


def _controls(run: Run, status: str, command: str) -> None:
    """Buttons in three places that keep their keys: a button that replaced another would stand beside it for a moment,
    and move the rest from under the pointer."""

    def button(place: str, label: str, icon: str, action: Callable[[], None], **look: Any) -> None:
        st.button(label, key=f"train_do_{place}", icon=f":material/{icon}:", on_click=_ask, args=(run, action), **look)

    if status == "queued":
        button("go", "Leave the queue", "close", run.stop)
    elif status in ("starting", "running"):
        asked = command == "pause"
        button("go", "Pausing …" if asked else "Pause", "pause", run.pause, disabled=asked, width=_GO_WIDTH)
        button("step", "Step one epoch", "skip_next", run.step_epoch, disabled=command == "epoch")
        button("stop", "Stop", "stop", run.stop, disabled=command == "stop")
    elif status == "paused":
        button("go", "Resume", "play_arrow", run.go_on, type="primary", width=_GO_WIDTH)
        button("step", "Step one epoch", "skip_next", run.step_epoch)
        button("stop", "Stop", "stop", run.stop)
    elif resumable(run, status):
        button("go", "Resume", "play_arrow", lambda: resume(run), type="primary")


def _ask(run: Run, action: Callable[[], None]) -> None:
    """A callback. Of a run that another tab has deleted the page says no more than that."""
    if run.is_here():
        guarded(action)


def _use_button(model_id: str) -> None:
    """What the frame shows is another model, until this is pressed."""
    if st.session_state.get("model") != model_id:
        st.button(
            "Use this model",
            icon=":material/select_check_box:",
            key="train_use",
            on_click=state.choose,
            args=(model_id,),
            help="The sidebar, and with it every page, shows another model now.",
        )


def open_in(run: Run, place: str) -> None:
    """A menu that opens the run's model in any page; `place` tells two menus on one page apart."""
    with st.popover("Open in …", icon=":material/open_in_new:", key=f"train_open_{place}_{run.name}"):
        ways = (HOME, *WAYS)
        row = st.container(horizontal=True)
        halves = [row.container(width="content") for _ in range(2)]
        for i, way in enumerate(ways):
            if halves[2 * i // len(ways)].button(
                way.label,
                key=f"train_open_{place}_{way.label}",
                icon=way.icon,
                type="tertiary",
                on_click=state.choose,
                args=(f"run-{run.name}",),
            ):
                state.send(way.path)


def _steering(run: Run, config: RunConfig, mine: bool) -> None:
    """Sliders for β and the learning rate, which falls from there at the end; moving one is enough."""
    control = run.control()
    places = iter(st.columns(2))
    for name, label, help_text, options, first in (
        ("beta", "β now", None, BETAS, config.train.beta),
        ("learning_rate", "Learning rate now", RATE_FALLS, LEARNING_RATES, config.train.learning_rate),
    ):
        if name == "beta" and config.train.objective == "iwae":
            continue
        place = next(places)
        if name == "beta" and config.model.beta_range:
            low, high = config.model.beta_range
            place.caption(f"This model learns every β from {low:g} to {high:g}, drawn anew for each picture.")
            continue
        value = float(control.get(name, first))
        key = f"train_steer_{name}_{run.name}"
        st.session_state[key] = value  # which another tab may have changed
        place.select_slider(
            label,
            sorted({*options, value}),
            format_func=decimal,
            key=key,
            help=help_text,
            disabled=not mine,
            on_change=(lambda name=name, key=key: _steer(run, name, st.session_state[key])) if mine else None,
        )


def _steer(run: Run, name: str, value: float) -> None:
    _ask(run, lambda: run.steer(**{name: value}))


def _live(run: Run, config: RunConfig) -> None:
    """How the run goes: what changes by itself."""
    curves = curves_of(run)
    with st.container():
        _words(run, config, curves)
    if curves.last is None:
        return
    train, test = curves.train(), curves.test()
    changes = live_charts.marks(curves.events, config.train.beta, config.train.learning_rate)
    ranged = config.model.beta_range is not None
    about = _ABOUT | {"loss": _LOSS["range" if ranged else config.train.objective]}
    for column, (term, label) in zip(st.columns(3), live_charts.TERMS.items(), strict=True):
        with column:
            tested = "test, β = 1" if ranged and term != "loss" else "test"
            newest, where = (test[term], tested) if len(test[term]) else (train[term], "train")
            st.metric(f"{label}, {where}", nats(newest[-1], 2), help=about[term])
            live_chart(
                live_charts.term_curves(term, train, test, tested),
                key=f"train_chart_{term}",
                label=label,
                x="epoch",
                y="nats",
                marks=changes,
                y_range=live_charts.useful_range(train[term], test[term]),
                subject=run.name,
            )
    _pictures(run, curves)


def _average_speed(run: Run) -> float:
    """Images a second over the whole training, up to its last checkpoint; 0 where there is none."""
    with suppress(UserError):
        return caching.read_header(run.checkpoint)["record"]["images_per_second"]
    return 0.0


def _progress(run: Run, config: RunConfig, said: dict[str, Any], curves: Curves) -> None:
    last, epochs, status = curves.last, config.train.epochs, said["status"]
    if status == "queued":
        ahead = said.get("ahead", 0)
        before = f"{ahead} run{' is' if ahead == 1 else 's are'} before this one" if ahead else "this run is next"
        st.info(f"In the queue: {before}. One trains at a time.", icon=":material/hourglass_empty:")
    if last is None:
        if status in LIVE and status != "queued":
            st.progress(0.0, said.get("message") or "Starting: loading PyTorch and the images …")
        return
    texts = [f"Epoch {last['epoch']:.1f} of {epochs}" if status in LIVE else f"{last['epoch']:.0f} of {epochs} epochs"]
    pace = said.get("images_per_second") or last["images_per_second"]
    if speed := pace if status == "running" else _average_speed(run):
        texts.append(f"{speed:,.0f} images/s")
    if status == "running" and said.get("seconds_left") is not None:
        texts.append(f"{_duration(said['seconds_left'] - (time.time() - said['updated']))} left")
    elif status not in LIVE:
        texts.append(f"{_duration(last['seconds'])} of training on {said.get('device', 'CPU')}")
    st.progress(min(1.0, last["epoch"] / epochs), " · ".join(texts))


def _duration(seconds: float) -> str:
    """'8 s', '3 min', '2 h 5 min'."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _words(run: Run, config: RunConfig, curves: Curves) -> None:
    """How far the run is, why it is not going on, and what it suffers from."""
    said = run.state()
    status, message = said["status"], said.get("message", "")
    _progress(run, config, said, curves)
    if status == "failed":
        st.error(f"{message} Resume goes on from the last save.", icon=":material/error:")
    elif status == "interrupted":
        st.warning("The training process ended without a word. Resume it from its last save.", icon=":material/bolt:")
    elif status == "stopped" and message:
        st.info(message, icon=":material/info:")
    elif status == "finished" and not run.checkpoint.exists():
        st.warning("The checkpoint of this run is gone. Resume makes it again.", icon=":material/search_off:")
    for finding in diagnose(config, curves):
        if finding.kind == "warning":
            st.warning(finding.text, icon=":material/warning:")
        else:
            st.info(finding.text, icon=":material/lightbulb:")
    warmup = config.train.kl_warmup
    if status in LIVE and curves.last and curves.last["epoch"] < warmup:
        beta = curves.last["beta"]
        st.caption(f"KL warm-up: β is {beta:.2g} and rises until epoch {warmup:g}; “β now” is its target.")


def _pictures(run: Run, curves: Curves) -> None:
    """KL per dimension, reconstructions and samples, and the latent map, as of the latest preview."""
    seen = _latest_preview(run)
    row = st.container(horizontal=True, horizontal_alignment="distribute")
    bars, pictures, plane = (row.container(width=replay.WIDTH) for _ in range(3))
    with bars:
        kl = curves.last["kl_per_dimension"]
        trained = seen is not None and seen["epoch"] > 0 and len(seen["used"]) == len(kl)
        used = seen["used"] if trained else None
        st.metric(
            f"Active units, epoch {seen['epoch']}" if trained else "Active units",
            f"{sum(used)} of {len(kl)}" if trained else "–",
            help=f"Latent dimensions whose posterior mean has a variance over {ACTIVE_VARIANCE:g} across test images, "
            "counted when these were last evaluated. The others are silent, whatever their KL.",
        )
        live_chart(
            live_charts.kl_bars(kl, used),
            key="train_chart_bars",
            label="KL per latent dimension",
            x="latent dimension",
            y="nats",
            bars=list(map(dimension_name, range(len(kl)))),
            subject=run.name,
        )
    if seen is None:
        return
    epoch = f"epoch {seen['epoch']}"
    with pictures:
        st.image(seen["reconstructions"], f"Test images, each over its reconstruction, {epoch}", width=replay.WIDTH)
        st.image(seen["samples"], "Samples from fixed noise", width=replay.WIDTH)
    with plane:
        axes = {1: "latent line", 2: "latent plane"}.get(len(kl), "latent map (PCA)")
        st.image(seen["map"], f"The {axes}: test images at their posterior means, {epoch}", width=replay.WIDTH)


def _latest_preview(run: Run) -> dict[str, Any] | None:
    """What the newest preview shows that can be read: of a long run the last may be thinned out at this moment."""
    for preview in reversed(run.previews()[-3:]):
        with suppress(UserError):
            return _preview_pictures(str(preview), caching.modified(preview), _theme())
    return None


def _theme() -> str:
    return st.context.theme.type or "light"


@st.cache_data(max_entries=16, show_spinner=False)
def _given(folder: str, modified: int) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:  # noqa: ARG001
    return read_given(Run(Path(folder)))


@st.cache_data(max_entries=16, show_spinner=False)
def _preview_pictures(path: str, modified: int, theme: str) -> dict[str, Any]:  # noqa: ARG001
    """The pictures of one preview, ready to be shown, and which dimensions are in use. Raises UserError where it
    cannot be read."""
    preview, look, run = Path(path), _LOOKS[theme], Run(Path(path).parent.parent)
    arrays = read_preview(preview)
    given, labels, names = _given(str(run.path), caching.modified(run.path / "previews" / "given.safetensors"))
    rows = replay.reconstruction_rows(given, arrays["reconstruction"])
    mu = arrays["mu"]
    return {
        "epoch": replay.epoch_of(preview),
        "used": active(mu).tolist(),
        "reconstructions": _url(replay.picture_rows(rows, look, 2)),
        "samples": _url(replay.picture_rows(replay.sample_rows(arrays["samples"]), look)),
        "map": _url(replay.latent_map(mu, labels, names, replay.plane_of(mu), look)),
    }


def _url(picture: np.ndarray) -> str:
    """uint8 (3, height, width) as a data URL: with a file of its own, a picture that is soon replaced may be gone
    before a slow browser asks for it."""
    return imaging.data_url(imaging.png_bytes(Image.fromarray(picture.transpose(1, 2, 0))), "image/png")


@st.cache_resource(max_entries=4, show_spinner="Preparing the replay …")
def _frames(folder: str, newest: int, theme: str) -> tuple[np.ndarray, list[str]]:  # noqa: ARG001
    return replay.frames(Run(Path(folder)), _LOOKS[theme])


@st.fragment
def _replay(run: Run) -> None:
    previews = run.previews()
    if len(previews) < 2:
        return
    try:
        frames, names = _frames(str(run.path.resolve()), caching.modified(previews[-1]), _theme())
    except UserError as error:
        st.warning(str(error), icon=":material/warning:")
        return
    st.subheader("Replay", anchor=False)
    row = st.container(horizontal=True, gap="large")
    strip, words = row.container(width=replay.WIDTH), row.container(width="stretch")
    with strip:
        shown = film_strip(
            frames, key=f"train_replay_{run.name}", label="Epoch", labels=names, index=len(frames) - 1, scale=1
        )
    with words:
        st.markdown(
            "Drag through the epochs. Above are test images, each over its reconstruction; below them samples from "
            "fixed noise, and the latent map, seen throughout as the last epoch sees it."
        )
        _numbers_at(curves_of(run), names[shown])


def _numbers_at(curves: Curves, name: str) -> None:
    """What the curves say at the epoch that the replay shows."""
    test, epoch = curves.test(), int(name.removeprefix("epoch "))
    if not len(test["epoch"]) or epoch < 1:
        st.caption("Before the first epoch: random weights.")
        return
    i = int(np.abs(test["epoch"] - epoch).argmin())
    for term in ("elbo", "reconstruction", "kl"):
        label = "ELBO" if term == "elbo" else live_charts.TERMS[term]
        st.metric(f"{label}, test, {name}", nats(test[term][i], 2))
