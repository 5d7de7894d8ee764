"""The ELBO lab of one latent dimension: p(z|x), q and the prior as curves, and q moved by two sliders."""

import numpy as np
import streamlit as st

from ui import layout, theme
from ui.components.gaussian import Gaussian
from ui.elbo_lab_view import Lab

__all__ = ["curves", "moved"]

_POINTS = 801
_COLOURS = ("#5663de", "#d9622b", "#429b8d", theme.TERM_COLOURS["total"])  # seen on light and dark


def moved(lab: Lab, start: Gaussian, version: int) -> Gaussian:
    """Draw the curves and the sliders, and return the q that the visitor left there: `start` in a new version."""
    centres, spreads = _shapes(lab)
    reach = 6 * float(max(spreads))
    low, high = min(centres) - reach, max(centres) + reach
    place = st.container()
    mu_slider, sigma_slider = st.columns(2, gap="medium")
    key = f"{version}_{lab.id}"
    mu = mu_slider.slider(
        "μ of q", min(low, start.mu[0]), max(high, start.mu[0]), start.mu[0], reach / 600, "%.3f", key=f"elbo_mu_{key}"
    )
    narrow, wide = 0.1 * float(min(spreads)), max(4 * float(max(spreads)), start.sigma[0])
    sigma = sigma_slider.slider(
        "σ of q", min(narrow, start.sigma[0]), wide, start.sigma[0], narrow / 10, "%.4f", key=f"elbo_sigma_{key}"
    )
    q = Gaussian((mu,), (sigma,))
    with place:
        layout.chart(
            curves(lab, q, (low, high)), "The densities of q, the encoder’s q and the true posterior", key="elbo_line"
        )
    return q


def _shapes(lab: Lab) -> tuple[list[float], list[float]]:
    mean, covariance = lab.posteriors.moments(0)
    return [float(mean[0]), lab.encoder.mu[0]], [float(covariance[0, 0]) ** 0.5, lab.encoder.sigma[0]]


def curves(lab: Lab, q: Gaussian, window: tuple[float, float]) -> theme.Chart:
    """The densities of p(z|x), q, the encoder's q and the prior over the window."""
    z = np.linspace(*window, _POINTS)
    curves = (
        ("p(z|x)", lab.posteriors.density(0, z), {"width": 3}),
        ("q", _normal(z, q), {"width": 3}),
        ("the encoder’s q", _normal(z, lab.encoder), {"width": 2, "dash": "dash"}),
        ("the prior", _normal(z, Gaussian((0.0,), (1.0,))), {"width": 2, "dash": "dot"}),
    )
    traces = [
        {
            "type": "scatter",
            "x": z,
            "y": density,
            "mode": "lines",
            "name": name,
            "line": look | {"color": colour},
            "hovertemplate": "%{y:.3g}",
        }
        for colour, (name, density, look) in zip(_COLOURS, curves, strict=True)
    ]
    return theme.chart("z", "density, 1 / unit of z", traces, height=360, xaxis={"hoverformat": ".3f"})


def _normal(z: np.ndarray, q: Gaussian) -> np.ndarray:
    return np.exp(-0.5 * ((z - q.mu[0]) / q.sigma[0]) ** 2) / (q.sigma[0] * np.sqrt(2 * np.pi))
