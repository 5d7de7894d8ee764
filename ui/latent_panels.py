"""The latent space page's parts: its settings, the map with its live t-SNE, and what is selected in it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from ui import latent_view as view
from ui import layout, state
from ui.components.latent_map import (
    Mark,
    Selection,
    latent_map,
    latent_map_props,
    thumbnail_atlas,
)
from ui.latent_view import Codes, Projection
from ui.theme import CHART_CONFIG
from ui.tsne_job import TsneJob, tsne_jobs
from vae_core import embedding, imaging, latent, pictures
from vae_core.checkpoint import Checkpoint
from vae_core.errors import UserError
from vae_core.posterior import posterior

__all__ = ["Settings", "explorer", "settings"]

_LIVE_SECONDS = 0.5
_NEIGHBOURS = 8
_LASSO_PICTURES = 48
_ENDS = ("A", "B")


@dataclass(frozen=True)
class Settings:
    """What the visitor has set; all of it is in the URL."""

    kind: str
    dimensions: tuple[int, int]
    perplexity: int
    seed: int
    colour: str
    thumbnails: bool
    manifold: bool
    contours: bool


def settings(found: Codes) -> Settings:
    """Draw the controls over the map."""
    d = found.mu.shape[1]
    kinds, colours = view.projection_titles(d), view.colour_titles(found)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Projection", list(kinds), format_func=kinds.get, default=next(iter(kinds)), required=True,
            key="map_projection", bind="query-params",
        )  # fmt: skip
        kind = kind if kind in kinds else next(iter(kinds))
        colour = st.selectbox(
            "Colour", list(colours), format_func=colours.get, key="map_colour", bind="query-params", width=220
        )
        dimensions = _pick_dimensions(found) if kind == "dimensions" else (0, 1)
        perplexity, seed = _pick_tsne(len(found)) if kind == "tsne" else (0, 0)
    is_latent = kind in ("plane", "dimensions") and d > 1
    with st.container(horizontal=True):
        thumbnails = st.toggle("Thumbnails", key="map_thumbnails", bind="query-params")
        manifold = is_latent and st.toggle(
            "Decoded manifold", value=d == 2, key=f"map_manifold_{kind}", bind="query-params",
            help=None if d == 2 else "What the decoder makes of these two dimensions, all others held at 0.",
        )  # fmt: skip
        contours = is_latent and st.toggle(
            "Prior contours", value=True, key="map_contours", bind="query-params",
            help="Circles of 1, 2 and 3 standard deviations of the prior N(0, I).",
        )  # fmt: skip
    return Settings(
        kind=kind,
        dimensions=dimensions,
        perplexity=perplexity,
        seed=seed,
        colour=colour if colour in colours else next(iter(colours)),
        thumbnails=thumbnails,
        manifold=manifold,
        contours=contours,
    )


def _pick_dimensions(found: Codes) -> tuple[int, int]:
    d = found.mu.shape[1]
    first, second = (int(j) for j in latent.rank_by_kl(found.kl.mean(0))[:2])
    across = st.selectbox(
        "Across", range(d), index=first, format_func=view.dimension_name, key="map_x", bind="query-params", width=90
    )
    up = st.selectbox(
        "Up", range(d), index=second, format_func=view.dimension_name, key="map_y", bind="query-params", width=90
    )
    return across % d, up % d


def _pick_tsne(n: int) -> tuple[int, int]:
    most = max(2, (n - 1) // 3)
    perplexity = st.number_input(
        "Perplexity", 2, most, min(round(embedding.default_perplexity(n)), most), key="map_perplexity",
        bind="query-params", width=140, help="About how many neighbours each point keeps near. Default: √N / 4.",
    )  # fmt: skip
    seed = st.number_input("Seed", 0, 999_999, 0, key="map_seed", bind="query-params", width=120)
    return perplexity, seed


def explorer(checkpoint: Checkpoint, found: Codes, chosen: Settings) -> None:
    """Draw the map and, beside it, what is selected in it."""
    atlas, real = view.atlas(found.key, checkpoint, len(found))
    with st.container(gap=None):
        thumbnail_atlas(atlas, key="map_atlas")
    job = None
    if chosen.kind == "tsne":
        key = (found.key, chosen.perplexity, chosen.seed)
        job = tsne_jobs().get(key, lambda: found.mu, chosen.perplexity, chosen.seed)
    live = job is not None and job.running
    draw = st.fragment(_map_and_selection, run_every=_LIVE_SECONDS if live else None)
    draw(checkpoint, found, chosen, job, atlas, live)
    if not real:
        st.caption(
            "The data set is not here, so thumbnails and pictures of test images are decoded from posterior means."
        )


def _map_and_selection(
    checkpoint: Checkpoint, found: Codes, chosen: Settings, job: TsneJob | None, atlas, live
) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with left:
        if job is not None:
            if job.running:
                job.watch()
            _tsne_status(job)
            if job.running != live:
                st.rerun()
        projection = (
            view.tsne_projection(job) if job else view.straight_projection(found, chosen.kind, chosen.dimensions)
        )
        dropped = _dropped(checkpoint)
        selection = _map(checkpoint, found, chosen, projection, atlas, dropped)
        _below(found, chosen, projection, job)
        _uploader()
    with right:
        _selection(checkpoint, found, projection, selection)
        if dropped:
            _dropped_picture(checkpoint, found, dropped)
        _ends(checkpoint)


def _tsne_status(job: TsneJob) -> None:
    step = job.step
    text = f"Iteration {step.iteration} of {step.total}"
    if step.iteration:
        text += f" · KL divergence {step.kl_divergence:.2f} nats"
    if job.waiting:
        text = "Waiting: another map is optimising"
    elif job.running and job.seconds_left:
        text += f" · about {job.seconds_left:.0f} s left"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(step.iteration / step.total, text=text)
        if job.running:
            st.button("Stop", icon=":material/stop:", key="map_stop", on_click=job.stop)
        elif job.stopped:
            st.button("Continue", icon=":material/play_arrow:", key="map_continue", on_click=job.resume)
    if job.error:
        st.error("t-SNE could not go on; the map shows how far it came. Try another perplexity.")


def _map(
    checkpoint: Checkpoint, found: Codes, chosen: Settings, projection: Projection, atlas, dropped
) -> Selection | None:
    background = None
    if chosen.manifold and projection.dimensions:
        background = view.manifold(found.key, checkpoint, projection.dimensions)
    labels = view.colour(found, "class") if found.labels is not None else None
    props = latent_map_props(
        projection.positions,
        view.colour(found, chosen.colour),
        id=found.key,
        view=f"{found.key} {projection.key} {chosen.perplexity} {chosen.seed}",
        axes=projection.axes,
        item="Test image",
        label=f"{view.projection_titles(found.mu.shape[1])[chosen.kind]} map",
        file=f"latent-map-{projection.key.replace(' ', '-')}",
        labels=labels,
        atlas=atlas,
        background=background,
        contours=chosen.contours,
        marks=_marks(checkpoint, projection, dropped),
        placeable=projection.is_plane,
        thumbnails=chosen.thumbnails,
    )
    return latent_map(props, key="map_view")


def _marks(checkpoint: Checkpoint, projection: Projection, dropped: tuple[str, np.ndarray] | None) -> list[Mark]:
    specs = {end: spec for end in _ENDS if (spec := _end(end))}
    if dropped:
        specs["yours"] = dropped[0]
    if not specs or projection.place is None:
        return []
    z = {}
    for label, spec in specs.items():
        try:
            z[label] = state.resolve(spec, checkpoint).z
        except UserError:  # chosen with another model
            continue
    if not z:
        return []
    places = projection.place(np.stack(list(z.values())))
    return [Mark(float(x), float(y), label) for label, (x, y) in zip(z, places, strict=True)]


def _below(found: Codes, chosen: Settings, projection: Projection, job: TsneJob | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if projection.is_plane:
            st.caption(
                f"{len(found):,} posterior means, as they are: nothing is projected. Click an empty place to decode it."
            )
        elif not (job and job.running):
            key = f"{found.key} {projection.key} {chosen.perplexity} {chosen.seed} {job and job.step.iteration}"
            score = view.trustworthiness(key, found.mu, projection.positions)
            st.caption(
                f"{len(found):,} posterior means · trustworthiness **{score:.3f}**",
                help="How far neighbours in the map are neighbours in the latent space (5 neighbours, up to "
                "2,000 points): 1 is all of them, 0.5 is chance. Venna & Kaski 2001.",
            )
        else:
            st.caption(f"{len(found):,} posterior means · trustworthiness follows when the map is done")
        st.download_button(
            "Coordinates (CSV)",
            lambda: view.coordinates_csv(found, projection),
            "latent-map.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="map_csv",
        )


# ---- what is selected -----------------------------------------------------------------------------------------


def _selection(checkpoint: Checkpoint, found: Codes, projection: Projection, selection: Selection | None) -> None:
    if selection is None:
        st.markdown(
            "**Point** at a dot to see its picture. **Click** it for its reconstruction, its posterior and its "
            "neighbours. **Lasso** a group, with the tool or while holding Shift, for its pictures and its mean. "
            "**Drop** a picture below the map to see where it lands."
        )
    elif selection.kind == "point":
        _test_image(checkpoint, found, selection.indices[0])
    elif selection.kind == "lasso":
        _group(checkpoint, found, np.array(selection.indices))
    elif projection.is_plane:
        _place(checkpoint, found, np.array([selection.x, selection.y], np.float32))


def _test_image(checkpoint: Checkpoint, found: Codes, index: int) -> None:
    name = found.class_name(index)
    st.subheader(f"Test image {index}" + (f" · class {name}" if name else ""), anchor=False)
    shown, real = state.pictures(checkpoint, np.array([index]))
    decoded = latent.decode(checkpoint.model, found.mu[index : index + 1])[0]
    with st.container(horizontal=True):
        if real:
            layout.picture(shown[0], "image", target=112)
        layout.picture(decoded, "reconstruction, decoded from μ", target=112)
    _terms(found.elbo[index], found.reconstruction[index], found.kl[index].sum())
    _posterior(found.mu[index], found.sigma[index], found.kl[index], key="map_posterior")
    _neighbours(checkpoint, found, found.mu[index], leave_out=index)
    in_snapshot = checkpoint.snapshot is not None and index < len(checkpoint.snapshot)
    _send(f"test:{index}" if in_snapshot else _spec(found.mu[index]))


def _group(checkpoint: Checkpoint, found: Codes, indices: np.ndarray) -> None:
    st.subheader(f"{len(indices):,} images", anchor=False)
    shown, _ = state.pictures(checkpoint, indices[:_LASSO_PICTURES])
    scale = layout.whole_scale(shown.shape[-1], 28)
    grid = imaging.grid(shown, columns=12 if shown.shape[-1] <= 32 else 6, scale=scale, gap=1)
    more = f"the first {_LASSO_PICTURES} of them" if len(indices) > _LASSO_PICTURES else "all of them"
    st.image(grid, caption=more, width=grid.width, output_format="PNG")
    mean = found.mu[indices].mean(0)
    layout.picture(latent.decode(checkpoint.model, mean[None])[0], "the group's mean, decoded", target=112)
    st.caption(
        f"On average: ELBO {layout.nats(found.elbo[indices].mean())}, reconstruction "
        f"{layout.nats(found.reconstruction[indices].mean())}, KL {layout.nats(found.kl[indices].sum(1).mean())}."
    )
    if found.labels is not None:
        st.plotly_chart(view.class_counts(found, indices), config=CHART_CONFIG, key="map_counts")
    _send(_spec(mean))


def _place(checkpoint: Checkpoint, found: Codes, z: np.ndarray) -> None:
    st.subheader(f"z = ({z[0]:.2f}, {z[1]:.2f})".replace("-", "−"), anchor=False)
    layout.picture(latent.decode(checkpoint.model, z[None])[0], "decoded", target=140)
    radius = float(np.linalg.norm(z))
    outside = np.exp(-(radius**2) / 2)  # of N(0, I) in the plane
    st.caption(f"{radius:.2f} from the origin; {outside:.1%} of the prior lies farther out.")
    _neighbours(checkpoint, found, z)
    _send(_spec(z))


def _dropped_picture(checkpoint: Checkpoint, found: Codes, dropped: tuple[str, np.ndarray]) -> None:
    spec, image = dropped
    seen = posterior(checkpoint.model, image)
    st.subheader("Your picture", anchor=False)
    with st.container(horizontal=True):
        layout.picture(image, "as the model is given it", target=112)
        layout.picture(seen.mean_picture, "reconstruction, decoded from μ", target=112)
    _terms(seen.elbo, seen.reconstruction.mean(), seen.kl.sum())
    _posterior(seen.mu, seen.sigma, seen.kl, key="map_dropped_posterior")
    _neighbours(checkpoint, found, seen.mu)
    _send(spec, key="dropped")


def _terms(elbo: float, reconstruction: float, kl: float) -> None:
    with st.container(horizontal=True):
        for label, value in (("ELBO", elbo), ("Reconstruction", reconstruction), ("KL", kl)):
            st.metric(f"{label} (nats)", f"{value:,.1f}".replace("-", "−"), width="content")


def _posterior(mu: np.ndarray, sigma: np.ndarray, kl: np.ndarray, *, key: str) -> None:
    if len(mu) > 2:
        st.plotly_chart(view.posterior_figure(mu, sigma, kl), config=CHART_CONFIG, key=key)
    order = latent.rank_by_kl(kl)
    rows = pd.DataFrame(
        {"μ": mu[order], "σ": sigma[order], "KL (nats)": kl[order]},
        index=pd.Index([view.dimension_name(j) for j in order], name="Dimension"),
    )
    st.dataframe(rows.round(3), height=min(38 + 35 * len(mu), 178), key=f"{key}_table")


def _neighbours(checkpoint: Checkpoint, found: Codes, z: np.ndarray, leave_out: int | None = None) -> None:
    near = view.nearest_codes(found, z, _NEIGHBOURS, leave_out)
    shown, _ = state.pictures(checkpoint, near)
    grid = imaging.grid(shown, columns=_NEIGHBOURS, scale=layout.whole_scale(shown.shape[-1], 40), gap=1)
    names = ", ".join(found.class_name(i) for i in near) if found.labels is not None else ""
    st.image(
        grid,
        caption="nearest test images in latent space" + (f": {names}" if names else ""),
        width=grid.width,
        output_format="PNG",
    )


# ---- ends of an interpolation, and dropped pictures -----------------------------------------------------------


def _spec(z: np.ndarray) -> str:
    return "z:" + ",".join(f"{value:.4g}" for value in z)


def _end(end: str) -> str | None:
    return st.session_state.get("map_ends", {}).get(end)


def _set_end(end: str, spec: str) -> None:
    st.session_state["map_ends"] = st.session_state.get("map_ends", {}) | {end: spec}


def _send(spec: str, key: str = "selected") -> None:
    with st.container(horizontal=True):
        for end in _ENDS:
            st.button(
                f"Use as {end}", icon=":material/flag:", key=f"map_{key}_{end}", on_click=_set_end, args=(end, spec),
                help="One end of an interpolation.",
            )  # fmt: skip


def _ends(checkpoint: Checkpoint) -> None:
    named = {}
    for end in _ENDS:
        if spec := _end(end):
            try:
                named[end] = state.resolve(spec, checkpoint)
            except UserError:  # chosen with another model
                continue
    if not named:
        return
    st.subheader("Interpolate", anchor=False)
    with st.container(horizontal=True):
        for end, point in named.items():
            layout.picture(latent.decode(checkpoint.model, point.z[None])[0], f"{end}: {point.label}", target=84)
    chosen = {f"interpolate_{end.lower()}": _end(end) for end in named}
    label = "Interpolate from A to B" if len(named) == 2 else f"Open Interpolate with {next(iter(named))}"
    if st.button(label, icon=":material/linear_scale:", type="primary", key="map_interpolate"):
        state.send("pages/explore/interpolate.py", **chosen)


def _uploader() -> None:
    st.file_uploader("Drop a picture into the map", type=_endings(), key="map_upload")


def _endings() -> list[str]:
    return [ending for ending, kind in Image.registered_extensions().items() if kind in pictures.FORMATS]


def _dropped(checkpoint: Checkpoint) -> tuple[str, np.ndarray] | None:
    """The visitor's picture as the model is given it, and the text that names it; None without one."""
    file = st.session_state.get("map_upload")
    if file is None:
        return None
    try:
        image = pictures.read(file.getvalue(), file.name)
        sample, _ = state.pictures(checkpoint, np.arange(64))
        shape = checkpoint.model.config.image_shape
        picture = pictures.fit(image, shape, invert=pictures.suggest_invert(image, sample))
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        return None
    return state.keep_picture(picture, "your picture"), picture
