"""The slider for β: pictures, latent map and rate–distortion curve move under it; Python hears where it is let go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from ui.components.position import Position, settle_in_session
from ui.components.scripts import script, style
from ui.components.sheets import packed, sheet
from vae_core.imaging import Sheet

__all__ = ["BetaStripContent", "beta_strip", "beta_strip_props"]

_component = st.components.v2.component(
    "vae_laboratory.beta_strip",
    js=script("save", "ticks", "dot_raster", "strip", "beta_strip"),
    css=style("strip", "beta_strip", "save"),
)
_LEVELS = 32767
_SHOWN = 0.995  # of the coordinates of all points at all β
_PRIOR = 3.15  # its circle of 3 σ, and some room


@dataclass(frozen=True, eq=False)
class BetaStripContent:
    """What moves: F frames of pictures, and K values of β for map and curve, the first and last the same;
    `every` frames go from one of the K to the next, so that F = every·(K − 1) + 1.

    labels: one text a frame. reconstructions, samples: uint8 (F, C, H, W), each a whole grid. positions (K, N, 2):
    the points of the map, around the prior's centre; classes (N,) and a colour for each. betas, rate,
    distortion (K,), the last two in nats. captions: those of the four panels.
    """

    labels: Sequence[str]
    reconstructions: np.ndarray
    samples: np.ndarray
    positions: np.ndarray
    classes: np.ndarray
    colours: Sequence[str]
    axes: tuple[str, str]
    betas: np.ndarray
    rate: np.ndarray
    distortion: np.ndarray
    captions: tuple[str, str, str, str]

    @property
    def every(self) -> int:
        """Frames from one of the K values of β to the next."""
        return (len(self.labels) - 1) // (len(self.betas) - 1)


def beta_strip(content: BetaStripContent, *, key: str, index: int, scale: int, on_release: Callable[[], None]) -> None:
    """Draw the strip; `index`, `scale` and `on_release` as in `film_strip`, and `film_strip_index(key)` says where it
    is."""
    reconstructed, reconstructions = sheet(content.reconstructions)
    sampled, samples = sheet(content.samples)
    digest = f"{reconstructed} {sampled}"
    count = len(content.labels)
    position = settle_in_session(key, "released", content=digest, count=count, given=index, start=0, keep=True)
    props = beta_strip_props(content, (reconstructed, reconstructions), (sampled, samples), position, key, scale)
    _component(key=key, data=props, on_released_change=on_release)


def beta_strip_props(
    content: BetaStripContent,
    reconstructions: tuple[str, Sheet],
    samples: tuple[str, Sheet],
    position: Position,
    key: str,
    scale: int,
) -> dict:
    """What the browser is given: the same bytes until pictures, points or Python's own index change.

    Sheets come with their digests. Positions are sent in 16 bits, to 1/32767 of the farthest. The map's extent is the
    same at every β: it holds the prior to 3 σ and all but the farthest points, which lie outside.
    """
    captions = content.captions
    far = np.abs(content.positions)
    reach, extent = float(far.max()) or 1.0, max(float(np.quantile(far, _SHOWN)), _PRIOR)
    return {
        "key": key,
        "label": "β",
        "labels": list(content.labels),
        "ends": [f"{beta:g}" for beta in (content.betas[0], content.betas[-1])],
        "every": content.every,
        "index": position.sent,
        "version": position.version,
        "scale": scale,
        "fps": 12,
        "reconstructions": _pictures(captions[0], *reconstructions),
        "samples": _pictures(captions[1], *samples),
        "map": {
            "label": captions[2],
            "positions": packed(np.round(content.positions / reach * _LEVELS), "<i2"),
            "reach": reach,
            "classes": packed(content.classes, "u1"),
            "colours": list(content.colours),
            "extent": [-extent, extent],
            "axes": list(content.axes),
        },
        "curve": {
            "label": captions[3],
            "rate": _numbers(content.rate),
            "distortion": _numbers(content.distortion),
            "logBeta": _numbers(np.log(content.betas)),
        },
    }


def _pictures(label: str, digest: str, picture: Sheet) -> dict:
    return {"label": label, "content": digest, "sprite": picture.url, "frame": picture.frame}


def _numbers(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
