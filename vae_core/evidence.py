"""Exact evidence in one or two latent dimensions: log p(x), the true posterior, and how far q(z|x) is from it.

log p(x) = ELBO + KL(q(z|x) ‖ p(z|x)), and each of the three comes from sums of its own over points of its own:
log p(x) from a lattice over the latent plane, refined where p(x, z) is; the ELBO by Gauss–Hermite quadrature on q; the
KL from a lattice in units of q's standard deviations, with p(z|x) normalised on a second lattice over the plane. What
is left of log p(x) − ELBO − KL, the `residual`, shows the errors of all of them.

A decoder with ReLUs has kinks, so that every such sum converges with the square of the step and no faster. The points
of each sum fall into 2^d coarser lattices, and how far the sums over these disagree tells when they are close enough.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.errors import UserError
from vae_core.evaluate import encode, inference, to_unit
from vae_core.likelihood import Bernoulli
from vae_core.model import VAE
from vae_core.objective import kl_standard_normal
from vae_core.piecewise import PiecewiseAffine

__all__ = ["Evidence", "LatentPlane", "Mode", "TruePosteriors", "evidence", "extent_of"]

_EXTENT = 6.5
_KEPT_NUMBERS = 2**25  # of the decoded lattice: 128 MB
_KEPT_OFFSETS = 2**23  # of its finer parts: 64 MB
_MOST_STEPS = {1: 4001, 2: 201}
_POINTS_AT_ONCE = 512
_IMAGES_AT_ONCE = 64
_CUT = 15.0  # nats below the greatest p(x, z): a Gaussian in the plane has e^−15 of its mass beyond
_SLACK = 0.25  # of the range around a point: how far p(x, z) may rise between the points of a lattice
_ENOUGH = 2**17  # points of an image, where its posterior is cut off at the edge of the square
_MOST_PARTS = 2**10
_LEAST = 1e-8  # weight of a point, beside the greatest: a Gaussian in the plane has as much of its mass beyond
_STRETCH = 1.0
_STEPS_OF_Q = {1: (0.05, 0.01, 0.002), 2: (0.2, 0.16, 0.125, 0.1, 0.08, 0.06, 0.04, 0.03)}
_ORDERS = {1: (128, 256, 512, 1024), 2: (64, 96, 128, 192, 256, 384, 512, 768)}
_SPREAD = {
    1: 1e-5,
    2: 1.2e-3,
}  # nats between means over the coarser lattices; that over all of them is ten times better
_EVIDENCE_SPREAD = {1: 1e-6, 2: 1.2e-3}  # the same for log Σ p(x, z)
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


class _Rule(NamedTuple):
    """E[f(t)], t ~ N(0, I), as Σ weight f(t): points t (K, d), weight (K,) and, for each of the 2^d coarser lattices
    that they fall into, its own weights, share (K, 2^d)."""

    t: Tensor
    weight: Tensor
    share: Tensor


class _Lattice(NamedTuple):
    """Cells of the plane's lattice, each cut into parts^d equal parts with a point in the middle: whose a cell is (P,),
    its whole-number place (P, d), log p(x, z) at its points (P, parts^d)."""

    owner: Tensor
    cell: Tensor
    value: Tensor
    parts: int

    def where(self, rows: Tensor) -> "_Lattice":
        return _Lattice(self.owner[rows], self.cell[rows], self.value[rows], self.parts)

    def places(self) -> Tensor:
        """The points' own whole-number places (P, parts^d, d)."""
        return self.cell[:, None] * self.parts + _product(torch.arange(self.parts), self.cell.shape[1])

    def matters(self, reach: Tensor) -> Tensor:
        """Which cells may have points worth summing, if log p(x, z) has the range `reach` (P,) in and around them."""
        highest = self.value.amax(1)
        top = _highest(highest, self.owner, int(self.owner.max()) + 1)
        return highest + _SLACK * reach > top[self.owner] - _CUT

    def log_sums(self, images: int) -> Tensor:
        """log Σ p(x, z) over the points of each image on each of the 2^d coarser lattices: (images, 2^d)."""
        d = self.cell.shape[1]
        if self.parts == 1:
            of_cells = torch.where(_parity(self.cell)[:, None] == torch.arange(2**d), self.value, -math.inf)
        else:
            order = _parity(_product(torch.arange(self.parts), d)).argsort()
            of_cells = self.value[:, order].unflatten(1, (2**d, -1)).logsumexp(-1)
        return torch.stack([_log_sums(column, self.owner, images) for column in of_cells.unbind(1)], 1)


def extent_of(mu: np.ndarray, logvar: np.ndarray) -> float:
    """Half the side of a square that holds the prior (to 6.5 σ) and posteriors mu, logvar (N, d), to 6 σ of each."""
    return max(_EXTENT, float((np.abs(mu) + 6 * np.exp(0.5 * logvar)).max()))


def _log_prior(z: Tensor) -> Tensor:
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def _product(axis: Tensor, d: int) -> Tensor:
    """All points (n^d, d) of a lattice with the same axis (n,) in every dimension."""
    return torch.stack(torch.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)


def _parity(place: Tensor) -> Tensor:
    """Which of the 2^d lattices of twice the step each place (..., d) is on: (...)."""
    return (place % 2 * 2 ** torch.arange(place.shape[-1])).sum(-1)


def _rule(axis: Tensor, weight: Tensor, d: int) -> _Rule:
    """The product rule of one in one dimension, without points of next to no weight, neighbours close together."""
    t, weight = _product(axis, d), _product(weight, d).prod(-1)
    kind = _parity(_product(torch.arange(len(axis)), d))
    rows = torch.where(weight > _LEAST * weight.max())[0]
    rows = rows[_blockwise(torch.floor(t[rows]).long() + 16, 1).argsort()]
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
def _lattice(step: float, d: int) -> _Rule:
    """The trapezoid rule in u, t = sinh(_STRETCH u) / _STRETCH: points are a step apart at 0, and wider where there is
    less weight."""
    u = _STRETCH * step * torch.arange(-10 / step, 10 / step + 1, dtype=torch.float64)
    t = torch.sinh(u) / _STRETCH
    return _rule(t, torch.exp(-0.5 * t.square()) * torch.cosh(u), d)


def _blockwise(place: Tensor, side: int) -> Tensor:
    """A number for every place (P, d), by which neighbours come after one another: (P,)."""
    key = torch.zeros_like(place[:, 0])
    for column in (place // side).unbind(1):
        key = (key << 12) + column
    for column in (place % side).unbind(1):
        key = key * side + column
    return key


def _log_sums(value: Tensor, group: Tensor, groups: int) -> Tensor:
    """log Σ exp(value) in each group: (P,) and (P,) → (groups,)."""
    top = _highest(value, group, groups)
    total = torch.zeros_like(top).index_add_(0, group, torch.exp(value - top[group]))
    return top + torch.log(total)


def _highest(value: Tensor, owner: Tensor, images: int) -> Tensor:
    """The greatest value (P,) of each image: (images,)."""
    return value.new_full((images,), -math.inf).scatter_reduce(0, owner, value, "amax")


class LatentPlane:
    """The latent line or square [−extent, extent]^d of a model (at its β, see `VAE.at`), decoded once on a lattice.

    What log p(x|z) has for every x alike is kept for its finer parts too, once they have been asked for. It takes up to
    200 MB; keep it for as long as the model is looked at. `progress` is called with the fraction done.
    Raises UserError for a model of more than two latent dimensions.
    """

    def __init__(self, model: VAE, extent: float = _EXTENT, *, progress: Callable[[float], None] | None = None) -> None:
        self.check(model)
        d = model.config.latent_dim
        room = _KEPT_NUMBERS // math.prod(model.config.image_shape)
        self.model, self.extent, self.d = model, extent, d
        self.steps = min(_MOST_STEPS[d], int(room ** (1 / d)) // 16 * 16 + 1)
        axis = torch.linspace(-extent, extent, self.steps, dtype=torch.float64)
        self.step = 2 * extent / (self.steps - 1)
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        with inference(model):
            maps = model.affine_maps()
            self._decoder = PiecewiseAffine(maps) if maps else None
            z = _product(axis, d)
            pieces, parts = z.split(_POINTS_AT_ONCE), []
            for done, piece in enumerate(pieces, 1):
                parts.append(self._affine(piece))
                if progress:
                    progress(done / len(pieces))
        self._prior = _log_prior(z)
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

    def _affine(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x|z) at z (K, d) as an affine function of x: see `Bernoulli.affine`."""
        z = z.to(next(self.model.parameters()))
        if self._decoder is None:
            params = self.model.decode(z)
        else:
            params = self._decoder(z).unflatten(1, self.model.config.image_shape)
        slope, offset = self.model.likelihood.affine(params)
        return slope.cpu(), offset.cpu()

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z) on the lattice, in nats. Shapes: x (N, C, H, W) in [0, 1] → (N, steps, …, steps) float64."""
        with inference(self.model):
            fit = self.model.likelihood.from_affine(x, self._slope, self._offset)
        return (fit + self._prior).view(len(x), *[self.steps] * self.d)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) of each image at points of its own, in nats; quickest where neighbours in z are close together.

        Shapes: x (N, C, H, W) in [0, 1], z (N, K, d) → (N, K) float64.
        """
        from_affine = self.model.likelihood.from_affine
        with inference(self.model):
            rows = [
                [from_affine(image[None], *self._affine(piece))[0] for piece in points.split(_POINTS_AT_ONCE)]
                for image, points in zip(x, z, strict=True)
            ]
        return torch.stack([torch.cat(row) for row in rows])

    def points(self, place: Tensor, parts: int) -> Tensor:
        """z at the middles of the parts^d equal parts of cells around points `place` (P, d) of the lattice, or of such
        parts themselves, numbered through: (P, d)."""
        return self.step * ((place.double() + 0.5) / parts - 0.5) - self.extent

    def on_parts(self, x: Tensor, owner: Tensor, cell: Tensor, parts: int) -> Tensor:
        """log p(x, z) of images `owner` (P,) in the parts of their cells (P, d): (P, parts^d) float64, in nats."""
        inside = _product(torch.arange(parts), self.d)
        keys, which = torch.unique(_blockwise(cell, 4), return_inverse=True)
        place = torch.empty(len(keys), self.d, dtype=torch.long).index_copy_(0, which, cell)
        z = self.points(place[:, None] * parts + inside, parts)
        value = torch.empty(len(owner), len(inside), dtype=torch.float64)
        order = torch.argsort(which)
        with inference(self.model):
            fits = self._fits(x, keys, z, parts)
            at_once = max(1, 2 * _POINTS_AT_ONCE // len(inside))
            starts = torch.arange(0, len(keys), at_once)
            pieces = order.tensor_split(torch.searchsorted(which[order], starts[1:]))
            for start, rows in zip(starts.tolist(), pieces, strict=True):
                images, image = torch.unique(owner[rows], return_inverse=True)
                found = fits(images, slice(start, start + at_once)).view(len(images), -1, len(inside))
                value[rows] = found[image, which[rows] - start]
        return value + _log_prior(z)[which]

    def _fits(self, x: Tensor, keys: Tensor, z: Tensor, parts: int) -> Callable[[Tensor, slice], Tensor]:
        """log p(x|z) of some images in some cells, as a function: (n,), rows of z (U, parts^d, d) → (n, points)."""
        from_affine = self.model.likelihood.from_affine
        if self._decoder is None or not isinstance(self.model.likelihood, Bernoulli):
            return lambda images, rows: from_affine(x[images], *self._affine(z[rows].flatten(0, 1)))
        offset = self._offsets(keys, z, parts)
        weight, bias = self._decoder.maps[-1]
        flat = x.flatten(1).to(weight)
        units, constant = flat @ weight.T, flat @ bias

        def fits(images: Tensor, rows: slice) -> Tensor:
            hidden = self._decoder.hidden(z[rows].flatten(0, 1).to(weight))
            return (torch.addmm(constant[images, None], units[images], hidden.T)).cpu() + offset[rows].flatten()

        return fits

    def _offsets(self, keys: Tensor, z: Tensor, parts: int) -> Tensor:
        """What log p(x|z) has for every x alike, in cells that are `keys` (U,), in rising order: (U, parts^d)."""
        known, kept = self._kept.get(parts, (keys[:0], z[:0, :, 0]))
        new = torch.where(~torch.isin(keys, known))[0]
        if len(new):
            pieces = z[new].flatten(0, 1).split(_POINTS_AT_ONCE)
            added = torch.cat([self._affine(piece)[1] for piece in pieces]).view(len(new), -1)
            known, order = torch.sort(torch.cat([known, keys[new]]))
            kept = torch.cat([kept, added])[order]
            if self.kept_numbers + added.numel() > _KEPT_OFFSETS:
                self._kept = {}
            if kept.numel() <= _KEPT_OFFSETS:
                self._kept = self._kept | {parts: (known, kept)}
        return kept[torch.searchsorted(known, keys)]

    @property
    def kept_numbers(self) -> int:
        """How many numbers of finer parts are kept, of 8 bytes each."""
        return sum(kept.numel() for _, kept in self._kept.values())

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
        self._lattices, log_likelihood = self._resolve()
        self.log_likelihood = log_likelihood.numpy()
        beyond = plane.d * math.erfc(plane.extent / math.sqrt(2))  # the prior's mass outside the square, at most
        most = torch.stack([self._most_likely(lattice) for lattice in self._lattices]).amax(0)
        self.outside = torch.log1p(beyond * torch.exp(most - log_likelihood)).numpy()

    def _resolve(self) -> tuple[list[_Lattice], Tensor]:
        """Lattices that resolve p(x, z), and log p(x) by them (N,).

        Begins with the plane's own lattice, and halves the step until the coarser lattices agree, with one another and
        with the lattice before.
        """
        count, d = len(self._x), self._plane.d
        log_likelihood = torch.full((count,), math.inf, dtype=torch.float64)
        open_ = torch.ones(count, dtype=torch.bool)
        now, reach = self._on_plane()
        found = []
        while True:
            sums = now.log_sums(count)
            total = sums.logsumexp(1) + d * math.log(self._plane.step / now.parts)
            spread = torch.maximum(sums.amax(1) - sums.amin(1), (total - log_likelihood).abs())
            agreed = spread < _EVIDENCE_SPREAD[d]
            enough = torch.bincount(now.owner, minlength=count) * now.value.shape[1] * 2**d > _ENOUGH
            settled = open_ & (agreed | enough | (now.parts == _MOST_PARTS))
            log_likelihood[open_] = total[open_]
            now = now.where(now.matters(reach))
            if settled.any():
                found.append(now.where(settled[now.owner]))
            open_ &= ~settled
            if not open_.any():
                return found, log_likelihood
            now = self._cut(now.where(open_[now.owner]), 2 * now.parts)
            reach = now.value.amax(1) - now.value.amin(1)

    def _cut(self, lattice: _Lattice, parts: int) -> _Lattice:
        """The same cells cut into parts^d equal parts each."""
        owner, cell = lattice.owner, lattice.cell
        return _Lattice(owner, cell, self._plane.on_parts(self._x, owner, cell, parts), parts)

    @cached_property
    def _log_normaliser(self) -> Tensor:
        """log ∫ p(x, z) dz once more (N,), from a lattice of a somewhat smaller step."""
        total, d = torch.empty(len(self._x), dtype=torch.float64), self._plane.d
        for lattice in self._lattices:
            finer = self._cut(lattice, lattice.parts + max(1, lattice.parts // 4))
            owner, volume = finer.owner.unique(), d * math.log(self._plane.step / finer.parts)
            total[owner] = _log_sums(finer.value.logsumexp(1), finer.owner, len(total))[owner] + volume
        return total

    def _on_plane(self) -> tuple[_Lattice, Tensor]:
        """The plane's points that may matter, and the range of log p(x, z) around each of them (P,)."""
        joint, d = self._plane.log_joint(self._x), self._plane.d
        pool = (F.max_pool1d, F.max_pool2d)[d - 1]
        reach = pool(joint[:, None], 3, 1, 1)[:, 0] + pool(-joint[:, None], 3, 1, 1)[:, 0]
        matters = joint + _SLACK * reach > joint.amax(tuple(range(1, d + 1)), keepdim=True) - _CUT
        owner, *place = torch.where(matters)
        return _Lattice(owner, torch.stack(place, 1), joint[matters][:, None], 1), reach[matters]

    def _most_likely(self, lattice: _Lattice) -> Tensor:
        """At least the greatest log p(x|z) of each image on this lattice (N,), by the prior at their cells' ends."""
        corner = self._plane.points(lattice.cell, 1).abs() + self._plane.step / 2
        return _highest(lattice.value.amax(1) - _log_prior(corner), lattice.owner, len(self._x))

    def _points(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        """Those of image `row` that matter, the likeliest first: whole-number places and z (P, d), log p(x, z) (P,)."""
        lattice = next(lattice for lattice in self._lattices if (lattice.owner == row).any())
        lattice = lattice.where(lattice.owner == row)
        value, order = lattice.value.flatten().sort(descending=True)
        place = lattice.places().flatten(0, 1)[order[value > value[0] - _CUT]]
        return place, self._plane.points(place, lattice.parts), value[: len(place)]

    def against(self, mu: np.ndarray, logvar: np.ndarray) -> Evidence:
        """The ELBO and the gap of any diagonal Gaussians N(mu, diag exp(logvar)), one an image: both (N, d)."""
        mu, logvar = (torch.as_tensor(np.array(part), dtype=torch.float64) for part in (mu, logvar))
        sigma, d = torch.exp(0.5 * logvar), self._plane.d
        entropy = 0.5 * (logvar + 1 + math.log(2 * math.pi)).sum(1)
        gap = self._log_normaliser - entropy - self._mean(self._log_joint, mu, sigma, _lattice, _STEPS_OF_Q[d])
        reconstruction = -self._mean(self._plane.log_likelihood, mu, sigma, _gauss_hermite, _ORDERS[d])
        kl = kl_standard_normal(mu, logvar).sum(1)
        return Evidence(
            log_likelihood=self.log_likelihood,
            elbo=-(reconstruction + kl).numpy(),
            kl_to_true_posterior=gap.numpy(),
            reconstruction=reconstruction.numpy(),
            kl=kl.numpy(),
            outside=self.outside,
        )

    def _log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return self._plane.log_likelihood(x, z) + _log_prior(z)

    def _mean(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        mu: Tensor,
        sigma: Tensor,
        rule: Callable[[float, int], _Rule],
        sizes: Sequence[float],
    ) -> Tensor:
        """E_q[function(x, z)] (N,) by the first of the rules whose coarser lattices agree.

        Errors fall with the number of points: rules with too few of them are passed over, as the last one tells.
        """
        mean, wanted = torch.empty_like(mu[:, 0]), torch.ones_like(mu[:, 0])
        for size in sizes:
            t, weight, share = rule(size, self._plane.d)
            enough = math.inf if size == sizes[-1] else 1.5 * len(t)
            rows = torch.where((wanted > 0) & (wanted <= enough))[0]
            if not len(rows):
                continue
            value = function(self._x[rows], mu[rows, None] + sigma[rows, None] * t)
            mean[rows], parts = value @ weight, value @ share
            needed = (parts.amax(1) - parts.amin(1)) / _SPREAD[self._plane.d]
            wanted[rows] = torch.where(needed > 1, len(t) * needed, 0)
            if not wanted.any():
                break
        return mean

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
