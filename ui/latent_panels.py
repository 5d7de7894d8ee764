"""The latent space page's parts: its settings, the map with its live t-SNE, and points of the visitor's own."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from ui import latent_view as view
from ui import layout, own_pictures, state
from ui.components.draw_pad import draw_pad
from ui.components.latent_map import (
    Atlas,
    DroppedFile,
    Mark,
    Selection,
    latent_map,
    latent_map_props,
    send_atlas,
)
from ui.guards import errors_said
from ui.latent_selection import named_points, selection_panel
from ui.latent_view import NamedSnapshot, Projection
from ui.refreshing import refreshing
from ui.tsne_job import TsneJob, tsne_jobs
from vae_core import embedding, latent, maps
from vae_core.checkpoint import Checkpoint
from vae_core.errors import UserError

__all__ = ["Settings", "explorer", "settings"]

_LIVE_SECONDS = 0.5
_LONGEST_LABEL = 24
_SELECTED = "map_image"  # in the address


@dataclass(frozen=True)
class Settings:
    """What the visitor has set; all of it is in the URL. `job` optimises a t-SNE map, `live` while it moves."""

    kind: str
    dimensions: tuple[int, int]
    job: TsneJob | None
    live: bool
    view: str
    colour: str
    thumbnails: bool
    manifold: bool
    contours: bool


def settings(entry: state.Entry, found: NamedSnapshot) -> Settings:
    """Draw the controls over the map."""
    d = found.mu.shape[1]
    kinds, colours = view.projection_titles(d), view.colour_titles(found)
    with st.container(horizontal=True):
        kind = st.segmented_control(
            "Projection", list(kinds), format_func=kinds.get, default=next(iter(kinds)), required=True,
            key="map_projection", **state.KEPT,
        )  # fmt: skip
        kind = kind if kind in kinds else next(iter(kinds))
        colour = st.selectbox(
            "Colour", list(colours), format_func=colours.get, key="map_colour", **state.KEPT, width=220
        )
        dimensions = _pick_dimensions(found) if kind == "dimensions" else (0, 1)
        job, live, asked = _pick_tsne(entry, found) if kind == "tsne" else (None, False, "")
    flat, is_latent = kind != "tsne" and d > 1, kind in ("plane", "dimensions") and d > 1
    with st.container(horizontal=True):
        thumbnails = st.toggle("Thumbnails", key="map_thumbnails", **state.KEPT)
        manifold = flat and st.toggle(
            "Decoded manifold", value=kind == "plane", key=f"map_manifold_{kind}", **state.KEPT,
            help="What the decoder makes of the places of the map.",
        )  # fmt: skip
        contours = is_latent and st.toggle(
            "Prior contours", value=True, key="map_contours", **state.KEPT,
            help="Circles of 1, 2 and 3 standard deviations of the prior N(0, I).",
        )  # fmt: skip
    return Settings(
        kind=kind,
        dimensions=dimensions,
        job=job,
        live=live,
        view=f"{found.key} {kind} {dimensions} {asked}",
        colour=colour if colour in colours else next(iter(colours)),
        thumbnails=thumbnails,
        manifold=manifold,
        contours=contours,
    )


def _pick_dimensions(found: NamedSnapshot) -> tuple[int, int]:
    d = found.mu.shape[1]
    first, second = (int(j) for j in latent.rank_by_kl(found.kl.mean(0))[:2])
    across = st.selectbox(
        "Across", range(d), index=first, format_func=layout.dimension_name, key="map_x", **state.KEPT, width=90
    )
    up = st.selectbox(
        "Up", range(d), index=second, format_func=layout.dimension_name, key="map_y", **state.KEPT, width=90
    )
    return across % d, up % d


def _pick_tsne(entry: state.Entry, found: NamedSnapshot) -> tuple[TsneJob, bool, str]:
    n = len(found)
    most = max(1, int(embedding.most_perplexity(n)))
    perplexity = st.number_input(
        "Perplexity", 1, most, min(round(embedding.default_perplexity(n)), most), key="map_perplexity", **state.KEPT,
        width=140, help="About how many neighbours each point keeps near. Default: √N / 4.",
    )  # fmt: skip
    seed = st.number_input("Seed", 0, 999_999, 0, key="map_seed", **state.KEPT, width=120)
    job = tsne_jobs().get(
        (found.key, perplexity, seed),
        lambda: found.mu,
        perplexity,
        seed,
        kept=lambda: maps.recall(maps.path_of(entry.path), found.mu, perplexity, seed),
    )
    # Not in the fragment that repeats itself: a click that meets the change from one to the other would be lost.
    live = job.running
    with st.container(width="content", height="stretch", vertical_alignment="bottom"):
        if live:
            st.button("Stop", icon=":material/stop:", key="map_stop", on_click=job.stop)
        elif job.stopped and not job.finished:
            st.button("Continue", icon=":material/play_arrow:", key="map_continue", on_click=job.resume)
    return job, live, f"{perplexity} {seed}"


def explorer(entry: state.Entry, checkpoint: Checkpoint, found: NamedSnapshot, chosen: Settings) -> None:
    """Draw the map and, beside it, what is selected in it."""
    real = state.held_out(checkpoint) is not None
    atlas = view.atlas(f"{found.key} {real}", checkpoint, len(found))
    map_area = st.container()
    _own_point(checkpoint)  # drawn below the map, but known to it
    if not real:
        st.caption(
            "The data set is not here, so thumbnails and pictures of test images are decoded from posterior means."
        )
    job, seen = chosen.job, (chosen.live, st.session_state.get("map_point"))
    here = named_points(checkpoint).get("here")
    held = here.z if here and found.mu.shape[1] > 2 else None
    flat = None if job else view.straight_projection(found, chosen.kind, chosen.dimensions, held)
    st.session_state.pop("map_drop_problem", None)

    def now() -> tuple[bool, str | None]:  # the address and what is drawn below name the point, too
        return job is not None and job.running, st.session_state.get("map_point")

    def map_and_selection() -> None:
        left, right = st.columns([3, 2], gap="medium")
        points = named_points(checkpoint)
        with left:
            if job is not None:
                _tsne_status(job)
            if problem := st.session_state.get("map_drop_problem"):
                st.error(layout.plain(problem), icon=":material/error:")
            projection = flat or view.tsne_projection(found, job)
            selection = _map(checkpoint, found, chosen, projection, atlas, points)
            _below(found, chosen, projection, here)
        with right:
            selection_panel(entry, checkpoint, found, projection, selection, points)

    with map_area:
        refreshing(map_and_selection, now=now, seen=seen, seconds=_LIVE_SECONDS if chosen.live else None)
        send_atlas(atlas, key="map_atlas")
        if flat:
            send_atlas(view.plane_atlas(f"{found.key} {flat.key}", checkpoint, flat), key="map_plane")


def _tsne_status(job: TsneJob) -> None:
    if job.running:
        job.watch()
    step = job.step
    text = f"Iteration {step.iteration} of {step.total}"
    if step.iteration:
        text += f" · KL divergence {step.kl_divergence:.2f} nats"
    if job.waiting:
        text = "Waiting: another map is optimising"
    elif job.running and job.seconds_left:
        text += f" · about {job.seconds_left:.0f} s left"
    st.progress(step.iteration / step.total, text=text)
    if job.error:
        st.error("t-SNE could not go on; the map shows how far it came. Try another perplexity.")


def _map(
    checkpoint: Checkpoint,
    found: NamedSnapshot,
    chosen: Settings,
    projection: Projection,
    atlas: Atlas,
    points: dict[str, state.Point],
) -> Selection | None:
    key, flat = f"{found.key} {projection.key}", projection.lift is not None
    background = view.manifold(key, checkpoint, projection) if chosen.manifold and flat else None
    labels = view.colour(found, "class") if found.labels is not None else None
    props = latent_map_props(
        projection.positions,
        view.colour(found, chosen.colour),
        id=found.key,
        view=chosen.view,
        axes=projection.axes,
        ticks=projection.ticks,
        label=f"{view.projection_titles(found.mu.shape[1])[chosen.kind]} map",
        file=f"latent-map-{chosen.kind}",
        labels=labels,
        atlas=atlas,
        background=background,
        contours=chosen.contours,
        marks=_marks(projection, points),
        placeable=flat,
        plane=view.decoded_plane(key, projection) if flat else None,
        thumbnails=chosen.thumbnails,
        droppable=True,
        remembers=True,
        chosen=_named_in_link(),
    )
    selection = latent_map(
        projection.positions,
        props,
        key="map_view",
        on_drop=lambda file: _take_dropped(file, checkpoint),
        on_select=lambda: st.query_params.pop(_SELECTED, None),
    )
    if selection is not None and selection.kind == "point":
        st.query_params[_SELECTED] = str(selection.indices[0])
    return selection


def _named_in_link() -> int | None:
    """The test image that was selected where the visitor's link comes from."""
    asked = st.query_params.get(_SELECTED, "")
    return st.session_state.setdefault("map_linked", int(asked) if asked.isdecimal() and len(asked) < 10 else None)


def _marks(projection: Projection, points: dict[str, state.Point]) -> list[Mark]:
    if not points or projection.place is None:
        return []
    places = projection.place(np.stack([point.z for point in points.values()]))
    return [_mark(name, point, place) for (name, point), place in zip(points.items(), places, strict=True)]


def _mark(name: str, point: state.Point, place: np.ndarray) -> Mark:
    x, y = (float(value) for value in place)
    if name == "here" and point.picture is not None:
        return Mark(
            x,
            y,
            point.label if len(point.label) <= _LONGEST_LABEL else "…" + point.label[-_LONGEST_LABEL:],
            point.picture,
        )
    return Mark(x, y, name)


def _below(found: NamedSnapshot, chosen: Settings, projection: Projection, here: state.Point | None) -> None:
    job, d = chosen.job, found.mu.shape[1]
    with st.container(horizontal=True, vertical_alignment="center"):
        count = f"{len(found):,} posterior means"
        if projection.is_latent and d == 2:
            st.caption(f"{count}, as they are: nothing is projected. What is decoded follows the pointer.")
        elif not (job and job.running):
            score = view.trustworthiness(f"{chosen.view} {job and job.step.iteration}", found.mu, projection.positions)
            st.caption(
                f"{count} · trustworthiness **{score:.3f}**{_held(projection, here, d)}"
                + (". t-SNE keeps neighbours: gaps, distances and the sizes of islands say little." if job else ""),
                help="How far neighbours in the map are neighbours in the latent space (5 neighbours, up to "
                "2,000 points): 1 is all of them, 0.5 is chance. Venna & Kaski 2001.",
            )
        else:
            st.caption(f"{count} · trustworthiness follows when the map is done")
        layout.download(
            "Coordinates (CSV)", lambda: view.coordinates_csv(found, projection), "latent-map.csv", key="map_csv"
        )


def _held(projection: Projection, here: state.Point | None, d: int) -> str:
    if projection.lift is None or d <= 2:
        return ""
    at = layout.plain(here.label) if here else "0" if projection.is_latent else "their mean"
    return f" · decoded with the other {d - 2} {'dimensions' if projection.is_latent else 'directions'} held at {at}"


def _own_point(checkpoint: Checkpoint) -> None:
    """A picture of the visitor's, or any point by its name; it stands in the URL as ?map_point=…."""
    drop, name = st.columns([3, 2], gap="medium")
    with drop:
        st.file_uploader(
            "A picture of yours",
            max_upload_size=own_pictures.MEGABYTES,
            key="map_file",
            help="Cut to the middle, brought to the model's size and, where that suits the data, inverted and centred. "
            "It can be dropped on the map, too.",
            on_change=lambda: _take_uploaded(checkpoint),
        )
        for problem in st.session_state.get("map_problems", ()):
            st.error(layout.plain(problem), icon=":material/error:")
        with st.popover("Draw one", icon=":material/draw:"):
            _take_drawn(draw_pad(key="map_drawing"), checkpoint)
    with name:
        spec = st.text_input(
            "Or name a point",
            key="map_point",
            **state.KEPT,
            max_chars=4000,
            placeholder="test:12",
            help="test:12 is a test image, prior:7 the draw from N(0, I) with seed 7, z:0.5,-1 a point itself.",
        )
        with errors_said():
            if spec:
                state.resolve(spec, checkpoint)


def _take_uploaded(checkpoint: Checkpoint) -> None:
    file = st.session_state["map_file"]
    found, problems = own_pictures.read_files([file] if file else [], key="map_pictures")
    st.session_state["map_problems"] = own_pictures.first(problems, 3)
    if found:
        _show(found[0], checkpoint)
    elif not file:
        st.session_state["map_point"] = ""


def _take_dropped(file: DroppedFile, checkpoint: Checkpoint) -> None:
    try:
        _show(own_pictures.read_dropped(file.name, file.data), checkpoint)
    except UserError as error:
        st.session_state["map_drop_problem"] = str(error)


def _take_drawn(drawing: bytes | None, checkpoint: Checkpoint) -> None:
    """Show what is on the drawing pad, once for each stroke, and not again when the pad comes back to the page."""
    if drawing not in (None, st.session_state.get("map_drawn")):
        st.session_state["map_drawn"] = drawing
        _show(own_pictures.read_drawing(drawing), checkpoint)


def _show(picture: own_pictures.OwnPicture, checkpoint: Checkpoint) -> None:
    """Make a picture the point that the map shows."""
    given = own_pictures.prepare(picture, checkpoint, own_pictures.suggest(picture, checkpoint))
    st.session_state["map_point"] = state.keep_picture(given, picture.name)
    st.session_state.pop("map_drop_problem", None)
