"""The latent space page's right side: what is selected in the map, point by point and group by group."""

import numpy as np
import pandas as pd
import streamlit as st

from ui import latent_view as view
from ui import layout, reconstruction, state
from ui.components.latent_map import Selection
from ui.decoded import decoded, finer
from ui.endpoints import spec_of
from ui.latent_view import NamedSnapshot, Projection
from ui.layout import plain
from ui.prior import log_prior, prior_inside
from vae_core import imaging, latent
from vae_core.checkpoint import Checkpoint
from vae_core.errors import UserError
from vae_core.posterior import posterior
from vae_core.words import percent

__all__ = ["named_points", "selection_panel"]

_NEIGHBOURS = 5
_LASSO_PICTURES = 50
_LASSO_WIDTH = 300  # screen pixels: the narrowest column that they stand in
_ENDS = ("A", "B")


def named_points(checkpoint: Checkpoint) -> dict[str, state.Point]:
    """The points that stand in the map by name: the one in the URL as ?map_point=…, and the ends A and B."""
    specs = {"here": st.session_state.get("map_point", "")} | {end: _end(end) for end in _ENDS}
    found = {}
    for name, spec in specs.items():
        try:
            if spec:
                found[name] = state.resolve(spec, checkpoint)
        except UserError:  # chosen with another model
            continue
    return found


def selection_panel(
    entry: state.Entry,
    checkpoint: Checkpoint,
    found: NamedSnapshot,
    projection: Projection,
    selection: Selection | None,
    points: dict[str, state.Point],
) -> None:
    """Draw what is known of the selection, of the point in the URL, and of the ends chosen so far."""
    if selection is not None and selection.kind == "lasso":
        _group(entry, checkpoint, found, np.array(selection.indices))
    elif selection is not None and selection.kind == "point":
        _test_image(entry, checkpoint, found, projection, selection.indices[0], "selected")
    elif selection is not None and projection.lift is not None:
        z = projection.lift(np.array([[selection.x, selection.y]], np.float32))[0].astype(np.float32)
        _place(entry, checkpoint, found, z, spec_of(z), "selected")
    elif "here" not in points:
        pad = (
            "**Plane pad**: with the tool, or P, a point follows your finger or the arrow keys, and is decoded as it "
            "moves. "
        )
        st.markdown(
            "**Point** at a dot to see its picture. **Click** it for its reconstruction, its posterior and its "
            "neighbours. **Lasso** a group, with the tool or while holding Shift, for its pictures and its mean. "
            f"{pad if projection.lift else ''}**Drop** a picture of yours on the map to see where it lands."
        )
    if "here" in points:
        _named_point(entry, checkpoint, found, projection, points["here"], st.session_state["map_point"])
    _ends(entry, checkpoint, {end: points[end] for end in _ENDS if end in points})


def _test_image(
    entry: state.Entry, checkpoint: Checkpoint, found: NamedSnapshot, projection: Projection, index: int, key: str
) -> None:
    name = found.class_name(index)
    st.subheader(f"Test image {index}" + (f", class {name}" if name else ""), anchor=False)
    shown, real = state.pictures(checkpoint, np.array([index]))
    with st.container(horizontal=True):
        if real:
            layout.picture(shown[0], "image", target=112)
        layout.picture(decoded(entry, checkpoint, found.mu[index]), "reconstruction, decoded from μ", target=112)
    if real:
        seen = posterior(checkpoint.model, shown[0])
        _terms(seen.elbo, seen.reconstruction.mean(), seen.kl.sum())
    else:
        _terms(found.elbo[index], found.reconstruction[index], found.kl[index].sum())
        st.caption("By one draw of z: the image itself is not here.")
    reconstruction.say_if_a_loss(checkpoint, shown)
    _posterior(found.mu[index], found.sigma[index], found.kl[index], key)
    _neighbours(checkpoint, found, found.mu[index], leave_out=index)
    spec = f"test:{index}" if index < len(checkpoint.snapshot) else spec_of(found.mu[index])
    _use_as_end(spec, key)
    if spec != st.session_state.get("map_point") and projection.lift is not None and found.mu.shape[1] > 2:
        st.button(
            "Lay the plane through it",
            icon=":material/push_pin:",
            key="map_hold",
            on_click=_name,
            args=(spec,),
            help="What is decoded over the map then has this image's values in all other dimensions.",
        )


def _group(entry: state.Entry, checkpoint: Checkpoint, found: NamedSnapshot, indices: np.ndarray) -> None:
    st.subheader(f"{len(indices):,} images", anchor=False)
    shown, _ = state.pictures(checkpoint, indices[:_LASSO_PICTURES])
    scale = layout.whole_scale(shown.shape[-1], 28)
    columns = _LASSO_WIDTH // ((shown.shape[-1] + 1) * scale)
    grid = imaging.grid(shown, columns, scale, gap=1)
    more = f"the first {_LASSO_PICTURES} of them" if len(indices) > _LASSO_PICTURES else "all of them"
    layout.drawing(grid, more)
    mean = found.mu[indices].mean(0)
    with st.container(horizontal=True, vertical_alignment="center"):
        layout.picture(decoded(entry, checkpoint, mean), "their mean, decoded", target=112)
        st.caption(
            f"On average: ELBO {layout.nats(found.elbo[indices].mean())}, reconstruction "
            f"{layout.nats(found.reconstruction[indices].mean())}, KL {layout.nats(found.kl[indices].sum(1).mean())}.",
            width=200,
        )
    if found.labels is not None:
        layout.chart(view.class_counts(found, indices), "How many of the group are of each class", key="map_counts")
    _use_as_end(spec_of(mean), "selected")


def _place(
    entry: state.Entry,
    checkpoint: Checkpoint,
    found: NamedSnapshot,
    z: np.ndarray,
    spec: str,
    key: str,
    title: str = "",
) -> None:
    st.subheader(title or f"z = {layout.coordinates(z)}", anchor=False)
    layout.picture(decoded(entry, checkpoint, z), "decoded", target=140)
    st.caption(
        f"Prior density log p(z) = {layout.nats(log_prior(z), 2)}; {np.linalg.norm(z):.2f} from the "
        f"origin: {percent(prior_inside(z))} of the prior's draws lie closer."
    )
    _neighbours(checkpoint, found, z)
    _use_as_end(spec, key)


def _named_point(
    entry: state.Entry,
    checkpoint: Checkpoint,
    found: NamedSnapshot,
    projection: Projection,
    point: state.Point,
    spec: str,
) -> None:
    if spec.startswith("picture:"):
        _own_picture(checkpoint, found, point, spec)
    elif spec.startswith("test:"):
        _test_image(entry, checkpoint, found, projection, int(spec.removeprefix("test:")), "here")
    else:
        title = point.label.capitalize() if point.label != "z" else ""
        _place(entry, checkpoint, found, point.z, spec, "here", title)
    st.button("Remove from the map", icon=":material/close:", key="map_remove", on_click=_name, args=("",))


def _name(spec: str) -> None:
    """Make `spec` the point that stands in the map and in the URL."""
    st.session_state["map_point"] = spec


def _own_picture(checkpoint: Checkpoint, found: NamedSnapshot, point: state.Point, spec: str) -> None:
    seen = posterior(checkpoint.model, point.picture)
    st.subheader(plain(point.label), anchor=False)
    with st.container(horizontal=True):
        layout.picture(point.picture, "as the model is given it", target=112)
        layout.picture(seen.mean_picture, "reconstruction, decoded from μ", target=112)
    _terms(seen.elbo, seen.reconstruction.mean(), seen.kl.sum())
    reconstruction.say_if_a_loss(checkpoint, point.picture)
    _posterior(seen.mu, seen.sigma, seen.kl, "here")
    _neighbours(checkpoint, found, seen.mu)
    _use_as_end(spec, "here")


def _terms(elbo: float, reconstruction: float, kl: float) -> None:
    with st.container(horizontal=True):
        for label, value in (("ELBO", elbo), ("Reconstruction", reconstruction), ("KL", kl)):
            st.metric(f"{label} (nats)", layout.number(value, 1), width="content")


def _posterior(mu: np.ndarray, sigma: np.ndarray, kl: np.ndarray, key: str) -> None:
    if len(mu) > 2:
        alt = "The posterior’s mean, with its σ, and its KL by latent dimension"
        layout.chart(view.posterior_figure(mu, sigma, kl), alt, key=f"map_posterior_{key}")
    order = latent.rank_by_kl(kl)
    rows = pd.DataFrame(
        {"μ": mu[order], "σ": sigma[order], "KL (nats)": kl[order]},
        index=pd.Index([layout.dimension_name(j) for j in order], name="Dimension"),
    )
    st.dataframe(
        rows.style.format(lambda value: layout.number(value, 3)),
        height=min(38 + 35 * len(mu), 178),
        key=f"map_table_{key}",
    )


def _neighbours(checkpoint: Checkpoint, found: NamedSnapshot, z: np.ndarray, leave_out: int | None = None) -> None:
    near = view.nearest_codes(found, z, _NEIGHBOURS, leave_out)
    shown, _ = state.pictures(checkpoint, near)
    fine = finer(shown)
    grid = imaging.grid(fine, columns=_NEIGHBOURS, scale=layout.whole_scale(fine.shape[-1], 52), gap=1)
    names = ", ".join(found.class_name(i) for i in near) if found.labels is not None else ""
    layout.drawing(grid, "nearest test images in latent space" + (f": {names}" if names else ""))


def _end(end: str) -> str | None:
    return st.session_state.get("map_ends", {}).get((st.session_state.get("model"), end))


def _set_end(end: str, spec: str) -> None:
    ends = st.session_state.setdefault("map_ends", {})
    ends[st.session_state.get("model"), end] = spec


def _use_as_end(spec: str, key: str) -> None:
    with st.container(horizontal=True):
        for end in _ENDS:
            st.button(
                f"Use as {end}",
                icon=":material/flag:",
                key=f"map_{key}_{end}",
                on_click=_set_end,
                args=(end, spec),
                help="One end of an interpolation.",
            )


def _ends(entry: state.Entry, checkpoint: Checkpoint, points: dict[str, state.Point]) -> None:
    if not points:
        return
    st.subheader("Interpolate", anchor=False)
    with st.container(horizontal=True):
        for end, point in points.items():
            name = end if point.label == "z" else f"{end}: {plain(point.label)}"
            layout.picture(decoded(entry, checkpoint, point.z), name, target=84)
    label = "Interpolate from A to B" if len(points) == 2 else f"Open Interpolate with {next(iter(points))}"
    if st.button(label, icon=":material/linear_scale:", type="primary", key="map_interpolate"):
        state.send("pages/explore/interpolate.py", **{end.lower(): _end(end) for end in points})
