"""Exact evidence in one or two latent dimensions: log p(x), the true posterior, and how far q(z|x) is from it.

log p(x) = ELBO + KL(q(z|x) ‖ p(z|x)), and each of the three comes from sums of its own over points of its own:
log p(x) from a lattice over the latent plane, refined where p(x, z) is; the ELBO by Gauss–Hermite quadrature on q; the
KL from a lattice in units of q's standard deviations, with p(z|x) normalised on a second lattice over the plane. What
is left of log p(x) − ELBO − KL, the `residual`, shows the errors of all of them.

The points of each sum fall into 2^d lattices of twice the step, and how far the sums over these disagree tells when the
step is small enough. Where log p(x|z) is smooth (a decoder of GELU, tanh or SiLU), sums over a lattice converge faster
than any power of the step; ReLUs have kinks, and theirs converge with its square.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.amortisation import GaussianPosterior
from vae_core.errors import UserError
from vae_core.evaluate import encode, inference, points_at_once, to_unit
from vae_core.model import VAE
from vae_core.objective import kl_standard_normal, log_prior

__all__ = ["Evidence", "LatentPlane", "Mode", "TruePosteriors", "evidence", "extent_of"]

_EXTENT = 6.5
_OUTSIDE = 1e-3  # nats that may lie beyond the square: where it may be more, a wider one is summed over
_WIDER, _WIDEST = 1.5, 32.0  # times as wide, as often as is needed, and how far at most
_KEPT_NUMBERS = 2**25  # of the decoded lattice: 128 MB
_MOST_STEPS = {1: 4000, 2: 128}
_IMAGES_AT_ONCE = 64
_CUT = 17.0  # nats below the greatest p(x, z): a Gaussian in the plane has e^−17 of its mass beyond
_SLACK = 1.0  # of the range in a cell: how far log p(x, z) may rise around its points
_MOST = 2**15  # points of an image, where its posterior is cut off at the edge of the square
_FEWEST = {1: 20, 2: 60}  # points that matter of an image: fewer may agree by chance
_MOST_PARTS = 2**10
_LEAST = 1e-8  # weight of a point, beside the greatest: a Gaussian in the plane has as much of its mass beyond
_STRETCH = 0.4  # of the lattice of q, see `_sinh_trapezoid`
_STEPS_OF_Q = {1: (0.4, 0.2, 0.1, 0.05, 0.01, 0.002), 2: (0.6, 0.4, 0.25, 0.16, 0.1, 0.06, 0.04, 0.03)}
_ORDERS = {1: (16, 32, 64, 128, 256, 512, 1024), 2: (16, 24, 36, 56, 96, 160, 256, 384, 512, 768)}
# Nats between sums over the coarser lattices, by latent dimensions and whether log p(x|z) is smooth. The sum over all
# of them is nearer: where it is smooth by the square of that, beside log p(x|z) itself, elsewhere some ten times.
_SPREAD = {(1, True): 1e-3, (2, True): 0.15, (1, False): 1e-5, (2, False): 1.5e-3}
_AGREE = {1: 1e-5, 2: 4e-4}  # nats between log p(x) by a lattice and by the same lattice moved
_MOVED = torch.tensor([0.5, 0.25], dtype=torch.float64)  # steps: what differs by its place is seen in every direction
_PROMINENCE = math.log(2)  # nats by which a mode rises above the saddle to a higher one


@dataclass(frozen=True)
class Evidence:
    """The three numbers of N images and what they are made of, in nats, float64 (N,): see the module.

    elbo = −(reconstruction + kl), with kl = KL(q ‖ N(0, I)) in closed form; kl_to_true_posterior = KL(q ‖ p(z|x)), the
    gap; residual = log_likelihood − elbo − kl_to_true_posterior; outside bounds what the mass beyond the square
    could add to log_likelihood, if p(x|z) is nowhere greater there than it is inside or where the encoder puts x.
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


class _Rule(NamedTuple):
    """E[f(t)], t ~ N(0, I), as Σ weight f(t): points t (K, d), weight (K,) and, for each of the 2^d coarser lattices
    that they fall into, its own weights, share (K, 2^d)."""

    t: Tensor
    weight: Tensor
    share: Tensor


class _Lattice(NamedTuple):
    """Cells of the latent line or plane, each with 2^d points, in the middles of its halves or quarters: whose a cell
    is (P,), its whole-number place among cells of its size (P, d), and log p(x, z) at its points (P, 2^d). Points lie
    1 / parts steps of the plane's own lattice apart, and fall by their place in the cell into the coarser lattices."""

    owner: Tensor
    cell: Tensor
    value: Tensor
    parts: int

    def where(self, rows: Tensor) -> "_Lattice":
        return _Lattice(self.owner[rows], self.cell[rows], self.value[rows], self.parts)

    def places(self) -> Tensor:
        """The points' own whole-number places (P, 2^d, d)."""
        return 2 * self.cell[:, None] + _corners(self.cell.shape[1])

    def counts(self, slack: float = 0.0) -> Tensor:
        """Which points have a p(x, z) that counts beside the greatest of their image, or would have it if log p(x, z)
        rose around them by `slack` of its range in the cell: (P, 2^d)."""
        highest = self.value.amax(1)
        top = _highest(highest, self.owner, int(self.owner.max()) + 1)
        rise = slack * (highest - self.value.amin(1))
        return self.value > (top[self.owner] - _CUT - rise)[:, None]

    def log_sums(self, images: int) -> Tensor:
        """log Σ p(x, z) over the points of each image on each of the 2^d coarser lattices: (images, 2^d)."""
        return torch.stack([_log_sums(column, self.owner, images) for column in self.value.unbind(1)], 1)


def extent_of(mu: np.ndarray, logvar: np.ndarray) -> float:
    """Half the side of a square that holds the prior (to 6.5 σ) and posteriors mu, logvar (N, d), to 6 σ of each."""
    return max(_EXTENT, float((np.abs(mu) + 6 * np.exp(0.5 * logvar)).max()))


def _most_beyond(extent: float, d: int, excess: Tensor) -> Tensor:
    """What the mass beyond [−extent, extent]^d could add to log p(x), in nats, if log p(x|z) is at most log p(x) +
    excess there: by the prior's mass beyond each side."""
    return F.softplus(excess + math.log(2 * d) + torch.special.log_ndtr(torch.tensor(-extent, dtype=torch.float64)))


def _reach(extent: float, d: int, excess: Tensor) -> float:
    """An extent from which on little lies beyond, by this excess, or the widest there is."""
    while _most_beyond(extent, d, excess) > _OUTSIDE and _WIDER * extent <= _WIDEST:
        extent *= _WIDER
    return extent


def _product(axis: Tensor, d: int) -> Tensor:
    """All points (n^d, d) of a lattice with the same axis (n,) in every dimension."""
    return torch.stack(torch.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)


@cache
def _corners(d: int) -> Tensor:
    """The places of a cell's 2^d points within it: (2^d, d)."""
    return _product(torch.arange(2), d)


def _parity(place: Tensor) -> Tensor:
    """Which of the 2^d lattices of twice the step each place (..., d) is on: (...)."""
    return (place % 2 * 2 ** torch.arange(place.shape[-1])).sum(-1)


def _rule(axis: Tensor, weight: Tensor, d: int) -> _Rule:
    """The product rule of one in one dimension, without points of next to no weight."""
    t, weight = _product(axis, d), _product(weight, d).prod(-1)
    kind = _parity(_product(torch.arange(len(axis)), d))
    rows = torch.where(weight > _LEAST * weight.max())[0]
    t, weight, share = t[rows], weight[rows], F.one_hot(kind[rows]) * weight[rows, None]
    return _Rule(t, weight / weight.sum(), share / share.sum(0))


@cache
def _gauss_hermite(order: int, d: int) -> _Rule:
    """In one dimension its points are the eigenvalues of the Hermite polynomials' Jacobi matrix, and its weights the
    squares of the first components of its eigenvectors. Source: Golub & Welsch 1969."""
    beside = torch.arange(1, order, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return _rule(nodes, vectors[0].square(), d)


@cache
def _sinh_trapezoid(step: float, d: int) -> _Rule:
    """The trapezoid rule in u, t = sinh(_STRETCH u) / _STRETCH: points are a step apart at 0, and wider where there is
    less weight."""
    u = _STRETCH * step * torch.arange(-10 / step, 10 / step + 1, dtype=torch.float64)
    t = torch.sinh(u) / _STRETCH
    return _rule(t, torch.exp(-0.5 * t.square()) * torch.cosh(u), d)


def _log_sums(value: Tensor, group: Tensor, groups: int) -> Tensor:
    """log Σ exp(value) in each group: (P,) and (P,) → (groups,)."""
    top = _highest(value, group, groups)
    total = torch.zeros_like(top).index_add_(0, group, torch.exp(value - top[group]))
    return top + torch.log(total)


def _highest(value: Tensor, owner: Tensor, images: int) -> Tensor:
    """The greatest value (P,) of each image: (images,)."""
    return value.new_full((images,), -math.inf).scatter_reduce(0, owner, value, "amax")


def _mean(
    function: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    mu: Tensor,
    scale_tril: Tensor,
    rule: Callable[[float, int], _Rule],
    sizes: Sequence[float],
    spread: float,
) -> tuple[Tensor, Tensor]:
    """E_q[function(x, z)] (N,) of q = N(mu, L Lᵀ), mu (N, d) and L (N, d, d), by the first of the rules whose coarser
    lattices agree to `spread`, else by the last; and for which of them one did, (N,) bool."""
    mean, open_ = torch.empty_like(mu[:, 0]), torch.arange(len(mu))
    for size in sizes:
        t, weight, share = rule(size, mu.shape[1])
        value = function(x[open_], mu[open_, None] + t @ scale_tril[open_].mT)
        mean[open_], parts = value @ weight, value @ share
        open_ = open_[parts.amax(1) - parts.amin(1) >= spread]
        if not len(open_):
            break
    agreed = torch.ones(len(mu), dtype=torch.bool)
    agreed[open_] = False
    return mean, agreed


class LatentPlane:
    """The latent line or square [−extent, extent]^d of a model (at its β, see `VAE.at`), decoded once on a lattice.

    It takes up to 130 MB, and as much again from when a picture needs a wider one; keep it for as long as the model is
    looked at. `progress` is called with the fraction done.
    Raises UserError for a model of more than two latent dimensions, and for one whose decoder gives infinite numbers.
    """

    def __init__(self, model: VAE, extent: float = _EXTENT, *, progress: Callable[[float], None] | None = None) -> None:
        self.check(model)
        d = model.config.latent_dim
        room = _KEPT_NUMBERS // math.prod(model.config.image_shape)
        self.model, self.extent, self.d = model, extent, d
        self.spread = _SPREAD[d, model.config.smooth]
        self.steps = min(_MOST_STEPS[d], int(room ** (1 / d)) // 2 * 2)
        self.step = 2 * extent / self.steps
        self._at_once = points_at_once(next(model.parameters()).device, model.config.image_shape)
        self._cells = _product(torch.arange(self.steps // 2), d)
        self._z = self.points(2 * self._cells[:, None] + _corners(d), 1).flatten(0, 1)
        with inference(model):
            pieces, parts = self._z.split(self._at_once), []
            for done, piece in enumerate(pieces, 1):
                parts.append(self._affine(piece))
                if progress:
                    progress(done / len(pieces))
        self._slope, self._offset = (torch.cat(column) for column in zip(*parts, strict=True))
        if not (self._slope.isfinite().all() and self._offset.isfinite().all()):
            raise UserError("This model’s decoder gives numbers that are not finite. Choose another model.")
        self._wider: LatentPlane | None = None

    def wider(self, extent: float) -> "LatentPlane":
        """The same model’s plane out to another extent. The last one is kept."""
        plane = self._wider
        if plane is None or plane.extent != extent:
            plane = self._wider = LatentPlane(self.model, extent)
        return plane

    @staticmethod
    def check(model: VAE) -> None:
        """Raises UserError for a model that has no such plane."""
        if (d := model.config.latent_dim) > 2:
            raise UserError(
                f"log p(x) is summed over the whole latent space here, and this model has {d} latent dimensions: 128 "
                f"steps in each would be 128^{d} pictures to decode. Choose a model with one or two, or estimate "
                "log p(x) by importance samples (evaluate --iwae-samples 5000)."
            )

    def _affine(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x|z) at z (K, d) as an affine function of x: see `Bernoulli.affine`."""
        params = self.model.decode(z.to(next(self.model.parameters())))
        return self.model.likelihood.affine(params.cpu())  # some devices have no float64

    def whole(self, x: Tensor) -> _Lattice:
        """log p(x, z) on the whole lattice. Shapes: x (N, C, H, W) in [0, 1]."""
        with inference(self.model):
            fit = self.model.likelihood.from_affine(x, self._slope, self._offset)
        value = (fit + log_prior(self._z)).view(-1, 2**self.d)
        owner = torch.arange(len(x)).repeat_interleave(len(self._cells))
        return _Lattice(owner, self._cells.repeat(len(x), 1), value, 1)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) of each image at points of its own, in nats.

        Shapes: x (N, C, H, W) in [0, 1], z (N, K, d) → (N, K) float64.
        """
        owner = torch.arange(len(x)).repeat_interleave(z.shape[1])
        return self.at_points(x, owner, z.flatten(0, 1)).view(len(x), -1)

    def at_points(self, x: Tensor, owner: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) of image `owner` (P,), in rising order, at z (P, d), in nats: (P,) float64."""
        value = torch.empty(len(z), dtype=torch.float64)
        with inference(self.model):
            for rows in torch.arange(len(z)).split(self._at_once):
                images, image = torch.unique_consecutive(owner[rows], return_inverse=True)
                fits = self.model.likelihood.from_affine(x[images], *self._affine(z[rows]))
                value[rows] = fits.gather(0, image[None])[0]
        return value

    def points(self, place: Tensor, parts: int) -> Tensor:
        """z at the middles of the parts^d equal parts of the lattice's squares, numbered through, `place` (..., d)."""
        return self.step * (place.double() + 0.5) / parts - self.extent

    def posteriors(self, images: np.ndarray) -> "TruePosteriors":
        """p(z|x) of uint8 images (N, C, H, W): some 64 at a time, for memory. Raises UserError for other shapes."""
        x = self._to_unit(images)
        return TruePosteriors(self, x, torch.as_tensor(encode(self.model, images)[0], dtype=torch.float64))

    def elbo(self, images: np.ndarray, mu: Tensor, scale_tril: Tensor) -> np.ndarray:
        """The ELBO of uint8 images (N, C, H, W) under Gaussians N(mu, L Lᵀ), one an image: (N,) float64, in nats.

        By Gauss–Hermite quadrature, as `TruePosteriors.against` has it for diagonal ones. Shapes: mu (N, d),
        scale_tril L (N, d, d). Raises UserError for images of another shape than the model's.
        """
        mu, scale_tril = mu.cpu().double(), scale_tril.cpu().double()
        fit, _ = _mean(
            self.log_likelihood, self._to_unit(images), mu, scale_tril, _gauss_hermite, _ORDERS[self.d], self.spread
        )
        return (fit - GaussianPosterior(mu, scale_tril).kl()).numpy()

    def _to_unit(self, images: np.ndarray) -> Tensor:
        shape = self.model.config.image_shape
        if images.shape[1:] != shape or not len(images):
            raise UserError(f"Pictures of shape {images.shape[1:]} do not fit a model of pictures of shape {shape}.")
        return to_unit(images)


class TruePosteriors:
    """p(z|x) = p(x, z) / p(x) of N images, each on a lattice that is fine enough for it and reaches far enough.

    codes (N, d): where the encoder puts them. log_likelihood (N,): log p(x) in nats, float64; outside (N,): see
    `Evidence`.
    """

    def __init__(self, plane: LatentPlane, x: Tensor, codes: Tensor) -> None:
        self._plane, self._x = plane, x
        first, widest = plane.whole(x), _WIDER * plane.extent > _WIDEST
        rough = self._most_likely(first) - first.log_sums(len(x)).logsumexp(1) - plane.d * math.log(plane.step)
        near = ~self._beyond(rough) | widest  # the others’ sums, cut off at the edge, would take long
        self._lattices, log_likelihood, self._log_normaliser = self._resolve(first, near)
        at_codes = plane.at_points(x, torch.arange(len(x)), codes)
        most = torch.stack([at_codes, *(self._most_likely(lattice) for lattice in self._lattices)]).amax(0)
        excess = torch.where(near, most - log_likelihood, rough)
        self.log_likelihood = log_likelihood.numpy()
        self.outside = _most_beyond(plane.extent, plane.d, excess).numpy()
        self._wide: dict[int, tuple[TruePosteriors, int]] = {}  # of images that need it: theirs on a wider plane
        rows = torch.where(self._beyond(excess))[0]
        if len(rows) and not widest:
            wider = plane.wider(_reach(plane.extent, plane.d, excess[rows].max()))
            self._take(TruePosteriors(wider, x[rows], codes[rows]), rows)

    def _beyond(self, excess: Tensor) -> Tensor:
        """Of which images more than next to nothing may lie beyond this plane: (N,)."""
        return _most_beyond(self._plane.extent, self._plane.d, excess) > _OUTSIDE

    def _take(self, wide: "TruePosteriors", rows: Tensor) -> None:
        """Have images `rows` from a wider plane."""
        self._log_normaliser[rows] = wide._log_normaliser
        self.log_likelihood[rows.numpy()], self.outside[rows.numpy()] = wide.log_likelihood, wide.outside
        self._wide = {row: (wide, there) for there, row in enumerate(rows.tolist())}

    def _resolve(self, first: _Lattice, wanted: Tensor) -> tuple[list[_Lattice], Tensor, Tensor]:
        """Lattices that resolve p(x, z) of the wanted images, and log p(x) by them and by the same lattices moved: (N,)
        each, 0 for other images.

        Begins with the plane's own lattice `first`, and halves the step until both, and the coarser lattices, agree.
        """
        count, d = len(self._x), self._plane.d
        log_likelihood, log_normaliser = torch.zeros(2, count, dtype=torch.float64)
        open_, found = wanted.clone(), []
        if not open_.any():
            return found, log_likelihood, log_normaliser
        now = first.where(open_[first.owner])
        while True:
            matters = now.counts(_SLACK)
            now, matters = now.where(cells := matters.any(1)), matters[cells]
            sums = now.log_sums(count)
            log_likelihood[open_] = sums.logsumexp(1)[open_] + d * math.log(self._plane.step / now.parts)
            points = torch.bincount(now.owner, now.counts().sum(1).double(), minlength=count)
            last = (points > _MOST) | (now.parts == _MOST_PARTS)
            near = open_ & (last | (sums.amax(1) - sums.amin(1) < self._plane.spread) & (points >= _FEWEST[d]))
            log_normaliser[near] = self._moved(now.where(near[now.owner]))[near]
            settled = near & (last | ((log_likelihood - log_normaliser).abs() < _AGREE[d]))
            found.append(now.where(settled[now.owner]))
            open_ &= ~settled
            if not open_.any():
                return found, log_likelihood, log_normaliser
            now = self._halved(now, matters & open_[now.owner, None])

    def _moved(self, lattice: _Lattice) -> Tensor:
        """log ∫ p(x, z) dz (N,) by the points that lie beside those of the lattice; −∞ for images without any."""
        if not len(lattice.owner):
            return torch.full((len(self._x),), -math.inf, dtype=torch.float64)
        heavy, d = lattice.counts(), self._plane.d
        owner = lattice.owner[torch.where(heavy)[0]]
        z = self._plane.points(lattice.places()[heavy] + _MOVED[:d], lattice.parts)
        value = self._plane.at_points(self._x, owner, z) + log_prior(z)
        return _log_sums(value, owner, len(self._x)) + d * math.log(self._plane.step / lattice.parts)

    def _halved(self, lattice: _Lattice, wanted: Tensor) -> _Lattice:
        """The lattice of half the step, in the squares around the wanted points (P, 2^d)."""
        cell, points = lattice.places()[wanted], 2**self._plane.d
        finer = _Lattice(lattice.owner[torch.where(wanted)[0]], cell, cell.new_empty(0), 2 * lattice.parts)
        z = self._plane.points(finer.places(), finer.parts).flatten(0, 1)
        value = self._plane.at_points(self._x, finer.owner.repeat_interleave(points), z) + log_prior(z)
        return finer._replace(value=value.view(-1, points))

    def _most_likely(self, lattice: _Lattice) -> Tensor:
        """At least the greatest log p(x|z) of each image on this lattice (N,), by the prior at their cells' ends."""
        corner = self._plane.points(2 * lattice.cell + 0.5, lattice.parts).abs() + self._plane.step / lattice.parts
        return _highest(lattice.value.amax(1) - log_prior(corner), lattice.owner, len(self._x))

    def _points(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        """Those of image `row` that matter, the likeliest first: whole-number places and z (P, d), log p(x, z) (P,)."""
        if row in self._wide:
            wide, there = self._wide[row]
            return wide._points(there)
        lattice = next(lattice for lattice in self._lattices if (lattice.owner == row).any())
        lattice = lattice.where(lattice.owner == row)
        value, order = lattice.value.flatten().sort(descending=True)
        place = lattice.places().flatten(0, 1)[order[value > value[0] - _CUT]]
        return place, self._plane.points(place, lattice.parts), value[: len(place)]

    def against(self, mu: np.ndarray, logvar: np.ndarray) -> Evidence:
        """The ELBO and the gap of any diagonal Gaussians N(mu, diag exp(logvar)), one an image: both (N, d).

        Where the three numbers do not add up, both sums over q are made once more, to a tenth of the error, unless the
        finest there is was not fine enough for one of them.
        """
        mu, logvar = (torch.as_tensor(np.array(part), dtype=torch.float64) for part in (mu, logvar))
        scale_tril, d = torch.diag_embed(torch.exp(0.5 * logvar)), self._plane.d
        entropy = 0.5 * (logvar + 1 + math.log(2 * math.pi)).sum(1)
        kl = kl_standard_normal(mu, logvar).sum(1)
        reconstruction, gap = torch.empty(2, len(mu), dtype=torch.float64)
        rows = torch.arange(len(mu))
        for spread in (self._plane.spread, 0.1 * self._plane.spread):
            q = self._x[rows], mu[rows], scale_tril[rows]
            fit, fit_agreed = _mean(self._plane.log_likelihood, *q, _gauss_hermite, _ORDERS[d], spread)
            joint, joint_agreed = _mean(self._log_joint, *q, _sinh_trapezoid, _STEPS_OF_Q[d], spread)
            reconstruction[rows], gap[rows] = -fit, (self._log_normaliser - entropy)[rows] - joint
            residual = torch.as_tensor(self.log_likelihood) + reconstruction + kl - gap
            again = (residual.abs() > 1.5 * _AGREE[d])[rows] & fit_agreed & joint_agreed
            rows = rows[again]
            if not len(rows):
                break
        return Evidence(
            log_likelihood=self.log_likelihood,
            elbo=-(reconstruction + kl).numpy(),
            kl_to_true_posterior=gap.numpy(),
            reconstruction=reconstruction.numpy(),
            kl=kl.numpy(),
            outside=self.outside,
        )

    def _log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return self._plane.log_likelihood(x, z) + log_prior(z)

    def log_joint(self, row: int, *axes: np.ndarray) -> np.ndarray:
        """log p(x, z) of image `row` over the lattice with these axes, one a dimension (n,), (m,): (n, m), in nats."""
        z = torch.cartesian_prod(*(torch.as_tensor(axis, dtype=torch.float64) for axis in axes)).view(-1, len(axes))
        return self._log_joint(self._x[row, None], z[None]).view(*map(len, axes)).numpy()

    def density(self, row: int, *axes: np.ndarray) -> np.ndarray:
        """p(z|x) of image `row` over the lattice with these axes: (n, m). It integrates to 1 over the plane."""
        return np.exp(self.log_joint(row, *axes) - self.log_likelihood[row])

    def moments(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean (d,) and covariance (d, d) of p(z|x) of image `row`."""
        _, z, value = self._points(row)
        weight = torch.softmax(value, 0)
        mean = weight @ z
        return mean.numpy(), ((z - mean).T @ ((z - mean) * weight[:, None])).numpy()

    def modes(self, row: int) -> list[Mode]:
        """The peaks of p(z|x) of image `row`, the one with most mass first.

        A peak counts where one must go down by log 2 nats or more before going up to a higher one; each point belongs
        to the peak that it leads up to, lesser peaks to the one that they merge with.
        """
        place, z, value = self._points(row)
        places, values = [tuple(one) for one in place.tolist()], value.tolist()
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
        mass = torch.softmax(value, 0).tolist()
        share: dict[int, float] = {}
        for i in range(len(places)):
            share[root(i)] = share.get(root(i), 0.0) + mass[i]
        return sorted((Mode(z[i].numpy(), part, values[i]) for i, part in share.items()), key=lambda mode: -mode.mass)


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
