"""Exact evidence in one or two latent dimensions: log p(x), the true posterior, and how far q(z|x) is from it.

log p(x) = ELBO + KL(q(z|x) ‖ p(z|x)), and each of the three comes from sums of its own over points of its own:
log p(x) from a lattice over the latent plane, refined where p(x, z) is; the ELBO by Gauss–Hermite quadrature on q; the
KL from a lattice in units of q's standard deviations, with p(z|x) normalised on a lattice between the points of the
first. What is left of log p(x) − ELBO − KL, the `residual`, shows the errors of all of them.

A decoder with ReLUs has kinks, so that every such sum converges with the square of the step and no faster. A lattice of
step h falls into 2^d lattices of step 2h, and how far these disagree tells when h is small enough.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.errors import UserError
from vae_core.evaluate import encode, inference, to_unit
from vae_core.model import VAE
from vae_core.objective import kl_standard_normal

__all__ = ["Evidence", "LatentPlane", "Mode", "TruePosteriors", "evidence", "extent_of"]

_EXTENT = 6.5
_KEPT_NUMBERS = 2**25  # of the decoded lattice: 128 MB
_MOST_STEPS = {1: 4001, 2: 201}
_NUMBERS_AT_ONCE = 2**22  # decoded: 16 MB
_IMAGES_AT_ONCE = 64
_CUT = 15.0  # nats below the greatest p(x, z): a Gaussian in the plane has e^−15 of its mass beyond
_BALL = 18.0  # the same for q in its own lattice, where log p(x|z) may be large and negative
_TOLERANCE = 8e-4  # nats between means of log p(x, z) over lattices of twice the step; all of it is better still
_EVIDENCE_TOLERANCE = 2e-3  # the same for sums of p(x, z)
_SLACK = 0.25  # of the range around a point: how far p(x, z) may rise between the points of a lattice
_COARSEST, _FINEST = {1: 0, 2: -3}, 14  # halvings of the step of the plane's lattice
_ENOUGH = 2**17  # points of an image, where its posterior is cut off at the edge of the square
_STEPS_OF_Q = (0.8, 0.4, 0.2, 0.1, 0.05)
_ORDERS = {1: (128, 256, 512, 1024), 2: (16, 32, 64, 128, 256, 512, 1024)}
_SETTLED = 1e-4  # nats that Gauss–Hermite quadrature is expected to be off by
_PROMINENCE = math.log(2)  # nats by which a mode rises above the saddle to a higher one


@dataclass(frozen=True)
class Evidence:
    """The three numbers of N images and what they are made of, in nats, float64 (N,): see the module.

    elbo = −(reconstruction + kl), with kl = KL(q ‖ N(0, I)) in closed form; kl_to_true_posterior = KL(q ‖ p(z|x)), the
    gap; residual = log_likelihood − elbo − kl_to_true_posterior; outside bounds what the mass beyond the square
    could add to log_likelihood, if p(x|z) is nowhere greater there than it is inside.
    """

    log_likelihood: np.ndarray
    elbo: np.ndarray
    kl_to_true_posterior: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray
    outside: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """What the three sums miss each other by."""
        return self.log_likelihood - self.elbo - self.kl_to_true_posterior


@dataclass(frozen=True)
class Mode:
    """A peak of p(z|x): where it is (d,), the share of the posterior's mass in its basin, and log p(x, z) there."""

    z: np.ndarray
    mass: float
    log_joint: float


@dataclass(frozen=True)
class _Points:
    """Points of lattices, one a row: whose it is (P,), its whole-number place (P, d), and log p(x, z) there (P,)."""

    owner: Tensor
    place: Tensor
    value: Tensor

    def where(self, rows: Tensor) -> "_Points":
        return _Points(self.owner[rows], self.place[rows], self.value[rows])

    def highest(self, images: int) -> Tensor:
        """The greatest log p(x, z) of each image: (images,), −∞ where no points are."""
        empty = self.value.new_full((images,), -math.inf)
        return empty.scatter_reduce(0, self.owner, self.value, "amax")


def extent_of(mu: np.ndarray, logvar: np.ndarray) -> float:
    """Half the side of a square that holds the prior (to 6.5 σ) and posteriors mu, logvar (N, d), to 6 σ of each."""
    return max(_EXTENT, float((np.abs(mu) + 6 * np.exp(0.5 * logvar)).max()))


def _log_prior(z: Tensor) -> Tensor:
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def _product(axis: Tensor, d: int) -> Tensor:
    """All points (n^d, d) of a lattice with the same axis (n,) in every dimension."""
    return torch.stack(torch.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)


@cache
def _gauss_hermite(order: int, d: int) -> tuple[Tensor, Tensor]:
    """Points (K, d) and weights (K,) of E[f(t)], t ~ N(0, I); those of next to no weight are left out.

    In one dimension they are the eigenvalues of the Hermite polynomials' Jacobi matrix, and the squares of the first
    components of its eigenvectors. Source: Golub & Welsch 1969.
    """
    beside = torch.arange(1, order, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    t, weight = _product(nodes, d), _product(vectors[0].square(), d).prod(-1)
    heavy = weight > 1e-10
    return t[heavy], weight[heavy] / weight[heavy].sum()


@cache
def _ball(step: float, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """A lattice (K, d) of that step around 0, N(0, I) on it (K,), and which of its 2^d coarser lattices each is on."""
    reach = math.ceil(math.sqrt(2 * _BALL) / step)
    place = _product(torch.arange(-reach, reach + 1), d)
    place = place[0.5 * step**2 * place.square().sum(-1) <= _BALL]
    t = step * place.double()
    return t, torch.softmax(-0.5 * t.square().sum(-1), 0), _parity(place)


def _parity(place: Tensor) -> Tensor:
    return (place % 2 * 2 ** torch.arange(place.shape[-1])).sum(-1)


def _log_sums(value: Tensor, group: Tensor, groups: int) -> Tensor:
    """log Σ exp(value) in each group: (P,) and (P,) → (groups,)."""
    top = value.new_full((groups,), -math.inf).scatter_reduce(0, group, value, "amax")
    total = torch.zeros_like(top).index_add_(0, group, torch.exp(value - top[group]))
    return top + torch.log(total)


def _spread(points: _Points, images: int) -> Tensor:
    """How far log Σ p(x, z) differs between the 2^d coarser lattices, in nats: (images,), NaN where no points are."""
    kinds = 2 ** points.place.shape[1]
    sums = _log_sums(points.value, points.owner * kinds + _parity(points.place), images * kinds).view(images, kinds)
    return sums.amax(1) - sums.amin(1)


def _around(place: Tensor, offsets: Tensor) -> Tensor:
    """Every place (P, d) moved by every offset (K, d): (P·K, d)."""
    return (place[:, None] + offsets).flatten(0, 1)


def _keys(owner: Tensor, place: Tensor) -> Tensor:
    key = owner
    for column in place.unbind(1):
        key = (key << 20) + column + 1
    return key


def _range_around(points: _Points) -> Tensor:
    """The greatest less the least value among a point's neighbours and itself: (P,)."""
    keys, order = torch.sort(_keys(points.owner, points.place))
    value = points.value[order]
    high, low = points.value.clone(), points.value.clone()
    for offset in _product(torch.tensor([-1, 0, 1]), points.place.shape[1]):
        wanted = _keys(points.owner, points.place + offset)
        at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        there = keys[at] == wanted
        high = torch.where(there, torch.maximum(high, value[at]), high)
        low = torch.where(there, torch.minimum(low, value[at]), low)
    return high - low


class LatentPlane:
    """The latent line or square [−extent, extent]^d of a model (at its β, see `VAE.at`), decoded once on a lattice.

    It takes up to 128 MB; keep it for as long as the model is looked at. `progress` is called with the fraction done.
    Raises UserError for a model of more than two latent dimensions.
    """

    def __init__(self, model: VAE, extent: float = _EXTENT, *, progress: Callable[[float], None] | None = None) -> None:
        self.check(model)
        d = model.config.latent_dim
        room = _KEPT_NUMBERS // math.prod(model.config.image_shape)
        self.model, self.extent, self.d = model, extent, d
        self.steps = min(_MOST_STEPS[d], int(room ** (1 / d)) // 16 * 16 + 1)
        self.axis = torch.linspace(-extent, extent, self.steps, dtype=torch.float64)
        self.step = 2 * extent / (self.steps - 1)
        z = _product(self.axis, d)
        self._prior = _log_prior(z)
        pieces, parts = z.split(self._at_once), []
        with inference(model):
            for done, piece in enumerate(pieces, 1):
                parts.append([part.cpu() for part in model.likelihood.affine(self._decode(piece))])
                if progress:
                    progress(done / len(pieces))
        self._slope, self._offset = (torch.cat(column) for column in zip(*parts, strict=True))

    @staticmethod
    def check(model: VAE) -> None:
        """Raises UserError for a model that has no such plane."""
        if (d := model.config.latent_dim) > 2:
            raise UserError(
                f"log p(x) is summed over the whole latent space here, and this model has {d} latent dimensions: 200 "
                f"steps in each would be 200^{d} pictures to decode. Choose a model with one or two, or estimate "
                "log p(x) by importance samples (evaluate --iwae-samples 5000)."
            )

    @property
    def _at_once(self) -> int:
        return max(1, _NUMBERS_AT_ONCE // math.prod(self.model.config.image_shape))

    def _decode(self, z: Tensor) -> Tensor:
        return self.model.decode(z.to(next(self.model.parameters())))

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z) on the lattice, in nats. Shapes: x (N, C, H, W) in [0, 1] → (N, steps, …, steps) float64."""
        rows = zip(self._slope.split(self._at_once), self._offset.split(self._at_once), strict=True)
        with inference(self.model):
            fit = torch.cat([self.model.likelihood.from_affine(x.cpu(), slope, offset) for slope, offset in rows], 1)
        return (fit + self._prior).view(len(x), *[self.steps] * self.d)

    def log_likelihood_at(self, x: Tensor, z: Tensor, owner: Tensor) -> Tensor:
        """log p(x_owner|z) at any points, in nats. Shapes: x (N, C, H, W), z (P, d), owner (P,) → (P,) float64."""
        parts = [z.new_zeros(0)]
        with inference(self.model) as (device, model):
            x, owner = x.to(device), owner.to(device)
            for points, whose in zip(z.split(self._at_once), owner.split(self._at_once), strict=True):
                parts.append(model.likelihood.log_prob(x[whose], self._decode(points)).cpu().double())
        return torch.cat(parts)

    def posteriors(self, images: np.ndarray) -> "TruePosteriors":
        """p(z|x) of uint8 images (N, C, H, W): some 64 at a time, for memory. Raises UserError for other shapes."""
        shape = self.model.config.image_shape
        if images.shape[1:] != shape or not len(images):
            raise UserError(f"Pictures of shape {images.shape[1:]} do not fit a model of pictures of shape {shape}.")
        return TruePosteriors(self, to_unit(images))


class TruePosteriors:
    """p(z|x) = p(x, z) / p(x) of N images, each on a lattice that is fine enough for it.

    log_likelihood (N,): log p(x) in nats, float64; outside (N,): see `Evidence`.
    """

    def __init__(self, plane: LatentPlane, x: Tensor) -> None:
        self._plane, self._x = plane, x
        self._on_plane = plane.log_joint(x)
        self._points, self._step, self._log_likelihood = self._resolve()
        self._normaliser: Tensor | None = None
        beyond = plane.d * math.erfc(plane.extent / math.sqrt(2))  # the prior's mass outside the square, at most
        fit = _Points(self._points.owner, self._points.place, self._points.value - _log_prior(self._z(self._points)))
        self.outside = torch.log1p(beyond * torch.exp(fit.highest(len(x)) - self._log_likelihood)).numpy()

    @property
    def log_likelihood(self) -> np.ndarray:
        """log p(x) of each image (N,), in nats."""
        return self._log_likelihood.numpy()

    def _z(self, points: _Points) -> Tensor:
        return -self._plane.extent + self._step[points.owner, None] * points.place

    def _joint_at(self, z: Tensor, owner: Tensor) -> Tensor:
        return self._plane.log_likelihood_at(self._x, z, owner) + _log_prior(z)

    def _resolve(self) -> tuple[_Points, Tensor, Tensor]:
        """Lattices that resolve p(x, z), their points that matter, their steps (N,), and log p(x) (N,).

        Begins with the plane's own lattice, in two dimensions with every eighth of its rows and columns, and halves the
        step until the coarser lattices agree.
        """
        count, d, step = len(self._x), self._plane.d, self._plane.step
        everywhere = self._on_plane.flatten(1).logsumexp(1) + d * math.log(step)
        steps, log_likelihood, found = everywhere.new_full((count,), step), everywhere.clone(), []
        points, open_ = None, torch.ones(count, dtype=torch.bool)
        for level in range(_COARSEST[d], _FINEST + 1):
            size = step * 2.0**-level
            points = self._sample(open_, 2**-level) if level <= 0 else self._halve(points, size)
            value = _log_sums(points.value, points.owner, count) + d * math.log(size)
            agreed = _spread(points, count) < _EVIDENCE_TOLERANCE
            if level < 0:
                agreed &= (value - everywhere).abs() < _EVIDENCE_TOLERANCE
            enough = torch.bincount(points.owner, minlength=count) > _ENOUGH
            settled = open_ & (agreed | enough | (level == _FINEST))
            steps[settled] = size
            if level > 0:
                log_likelihood[settled] = value[settled]
            found.append(points.where(settled[points.owner]))
            open_ &= ~settled
            points = points.where(open_[points.owner])
            if not open_.any():
                break
        columns = ([getattr(part, field.name) for part in found] for field in fields(_Points))
        return _Points(*map(torch.cat, columns)), steps, log_likelihood

    def _sample(self, images: Tensor, stride: int) -> _Points:
        """The points that matter of every `stride`-th of the plane's lattice, for `images` (N,)."""
        d = self._plane.d
        values = self._on_plane[(images, *[slice(None, None, stride)] * d)]
        pool = (F.max_pool1d, F.max_pool2d)[d - 1]
        reach = pool(values[:, None], 3, 1, 1)[:, 0] + pool(-values[:, None], 3, 1, 1)[:, 0]
        matters = values + _SLACK * reach > values.flatten(1).amax(1).view(-1, *[1] * d) - _CUT
        row, *place = torch.where(matters)
        return _Points(torch.where(images)[0][row], torch.stack(place, 1), values[matters])

    def _halve(self, points: _Points, size: float) -> _Points:
        """The lattice of half the step, around the points that matter; only new points are decoded."""
        d, last = self._plane.d, round(2 * self._plane.extent / size)
        slack = _SLACK * _range_around(points)
        points = points.where(points.value + slack > points.highest(len(self._x))[points.owner] - _CUT)
        offsets = _product(torch.tensor([-1, 0, 1]), d)
        offsets = offsets[offsets.any(1)]
        rows = torch.cat([points.owner.repeat_interleave(len(offsets))[:, None], _around(2 * points.place, offsets)], 1)
        owner, *place = torch.unique(rows[((rows >= 0) & (rows <= last))[:, 1:].all(1)], dim=0).unbind(1)
        place = torch.stack(place, 1)
        value = self._joint_at(-self._plane.extent + size * place.double(), owner)
        return _Points(
            torch.cat([points.owner, owner]),
            torch.cat([2 * points.place, place]),
            torch.cat([points.value, value]),
        )

    def _log_normaliser(self) -> Tensor:
        """log ∫ p(x, z) dz once more (N,): from the points half a step off those of the lattices."""
        if self._normaliser is None:
            count, d = len(self._x), self._plane.d
            points = self._points.where(self._points.value > self._points.highest(count)[self._points.owner] - _CUT)
            corners = _product(torch.tensor([0, 1]), d)
            rows = torch.cat([points.owner.repeat_interleave(2**d)[:, None], _around(points.place, corners)], 1)
            owner, *place = torch.unique(rows, dim=0).unbind(1)
            z = -self._plane.extent + self._step[owner, None] * (torch.stack(place, 1) - 0.5)
            self._normaliser = _log_sums(self._joint_at(z, owner), owner, count) + d * torch.log(self._step)
        return self._normaliser

    def against(self, mu: np.ndarray, logvar: np.ndarray) -> Evidence:
        """The ELBO and the gap of any diagonal Gaussians N(mu, diag exp(logvar)), one an image: both (N, d)."""
        mu, logvar = (torch.as_tensor(np.array(part), dtype=torch.float64) for part in (mu, logvar))
        sigma = torch.exp(0.5 * logvar)
        entropy = 0.5 * (logvar + 1 + math.log(2 * math.pi)).sum(1)
        gap = self._log_normaliser() - entropy - self._mean_log_joint(mu, sigma)
        reconstruction, kl = -self._mean_log_likelihood(mu, sigma), kl_standard_normal(mu, logvar).sum(1)
        return Evidence(
            log_likelihood=self.log_likelihood,
            elbo=-(reconstruction + kl).numpy(),
            kl_to_true_posterior=gap.numpy(),
            reconstruction=reconstruction.numpy(),
            kl=kl.numpy(),
            outside=self.outside,
        )

    def _mean_log_likelihood(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """E_q[log p(x|z)] (N,) by Gauss–Hermite quadrature, its order doubled until little more is to be expected.

        Since errors fall with the square of the order, a quarter of the last change is one estimate of what is left,
        and a quarter of the estimate before is another. The larger counts, from the third order on: a change may be
        small by chance.
        """
        mean, off = mu.new_full((len(mu),), math.inf), mu.new_full((len(mu),), math.inf)
        for order in _ORDERS[self._plane.d]:
            open_ = torch.where(~(off < _SETTLED))[0]
            if not len(open_):
                break
            t, weight = _gauss_hermite(order, self._plane.d)
            z = mu[open_, None] + sigma[open_, None] * t
            fit = self._plane.log_likelihood_at(self._x, z.flatten(0, 1), open_.repeat_interleave(len(t)))
            now = fit.view(len(open_), -1) @ weight
            change, before = (now - mean[open_]).abs(), off[open_]
            off[open_] = torch.where(before.isinf(), change.clamp(min=2 * _SETTLED), torch.maximum(change, before) / 4)
            mean[open_] = now
        return mean

    def _mean_log_joint(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """E_q[log p(x, z)] (N,) by the trapezoid rule: on the plane's lattice where q is wide, else on q's own."""
        mean, spread = self._mean_on_plane(mu, sigma)
        open_ = torch.where(~(spread < _TOLERANCE))[0]
        for step in _STEPS_OF_Q:
            if not len(open_):
                break
            t, weight, kind = _ball(step, self._plane.d)
            z = mu[open_, None] + sigma[open_, None] * t
            joint = self._joint_at(z.flatten(0, 1), open_.repeat_interleave(len(t))).view(len(open_), -1)
            mean[open_] = joint @ weight
            shares = F.one_hot(kind) * weight[:, None]
            parts = joint @ (shares / shares.sum(0))
            open_ = open_[parts.amax(1) - parts.amin(1) >= _TOLERANCE]
        return mean

    def _mean_on_plane(self, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """E_q[log p(x, z)] by the plane's lattice, and how far its coarser lattices differ: two (N,).

        The difference is infinite where q is narrow beside the step, or reaches beyond the square.
        """
        plane = self._plane
        exponents = -0.5 * ((plane.axis - mu[..., None]) / sigma[..., None]).square()
        log_q = exponents[:, 0] if plane.d == 1 else exponents[:, 0, :, None] + exponents[:, 1, None, :]

        def mean(every: tuple[slice, ...]) -> Tensor:
            weight = torch.softmax(log_q[:, *every].flatten(1), 1)
            return (weight * self._on_plane[:, *every].flatten(1)).sum(1)

        parts = torch.stack(
            [mean(every) for every in itertools.product((slice(0, None, 2), slice(1, None, 2)), repeat=plane.d)]
        )
        fits = (sigma.amin(1) > 2 * plane.step) & (mu.abs() + 5.5 * sigma < plane.extent).all(1)
        spread = torch.where(fits, parts.amax(0) - parts.amin(0), math.inf)
        return mean((slice(None),) * plane.d), spread

    def log_joint(self, row: int, *axes: np.ndarray) -> np.ndarray:
        """log p(x, z) of image `row` over the lattice with these axes, one a dimension (n,), (m,): (n, m), in nats."""
        z = torch.cartesian_prod(*(torch.as_tensor(axis, dtype=torch.float64) for axis in axes)).view(-1, len(axes))
        value = self._joint_at(z, torch.full((len(z),), row))
        return value.view(*map(len, axes)).numpy()

    def density(self, row: int, *axes: np.ndarray) -> np.ndarray:
        """p(z|x) of image `row` over the lattice with these axes: (n, m). It integrates to 1 over the plane."""
        return np.exp(self.log_joint(row, *axes) - self.log_likelihood[row])

    def moments(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean (d,) and covariance (d, d) of p(z|x) of image `row`."""
        points = self._points.where(self._points.owner == row)
        z, weight = self._z(points), torch.softmax(points.value, 0)
        mean = weight @ z
        return mean.numpy(), ((z - mean).T @ ((z - mean) * weight[:, None])).numpy()

    def modes(self, row: int) -> list[Mode]:
        """The peaks of p(z|x) of image `row`, the one with most mass first.

        A peak counts where one must go down by log 2 nats or more before going up to a higher one; each point belongs
        to the peak that it leads up to, lesser peaks to the one that they merge with.
        """
        points = self._points.where(self._points.owner == row)
        points = points.where(torch.argsort(points.value, descending=True))
        places, values = [tuple(place) for place in points.place.tolist()], points.value.tolist()
        offsets = [tuple(offset) for offset in _product(torch.tensor([-1, 0, 1]), self._plane.d).tolist()]
        at = {place: i for i, place in enumerate(places)}
        peak: list[int] = []  # of each point: the highest point of its basin, once small basins have been joined

        def root(i: int) -> int:
            while peak[i] != i:
                i = peak[i]
            return i

        for i, place in enumerate(places):
            near = (at.get(tuple(map(sum, zip(place, offset, strict=True))), i) for offset in offsets)
            basins = sorted({root(j) for j in near if j < i})
            peak.append(basins[0] if basins else i)
            for lower in basins[1:]:
                if values[lower] - values[i] < _PROMINENCE:
                    peak[lower] = basins[0]
        z, mass = self._z(points).numpy(), torch.softmax(points.value, 0).tolist()
        share: dict[int, float] = {}
        for i in range(len(places)):
            share[root(i)] = share.get(root(i), 0.0) + mass[i]
        return sorted((Mode(z[i], part, values[i]) for i, part in share.items()), key=lambda mode: -mode.mass)


def evidence(plane: LatentPlane, images: np.ndarray, *, progress: Callable[[float], None] | None = None) -> Evidence:
    """The evidence of uint8 images (N, C, H, W) with the encoder's q(z|x). `progress` gets the fraction done."""
    mu, logvar = encode(plane.model, images)
    parts = []
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        rows = slice(start, start + _IMAGES_AT_ONCE)
        parts.append(plane.posteriors(images[rows]).against(mu[rows], logvar[rows]))
        if progress:
            progress(min(1.0, (start + _IMAGES_AT_ONCE) / len(images)))
    names = [field.name for field in fields(Evidence)]
    return Evidence(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
