"""Exact evidence against closed forms and brute force, and the sum that must come out."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from tests.toys import build, images
from vae_core import data
from vae_core.checkpoint import Checkpoint, load, save
from vae_core.cli import main
from vae_core.errors import UserError
from vae_core.evaluate import binarise, encode, inference, to_unit
from vae_core.evidence import LatentPlane, evidence, extent_of
from vae_core.likelihood import Gaussian, make
from vae_core.model import ModelConfig
from vae_core.objective import log_prior

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
SIGMA = 0.5
_MNIST = pytest.mark.skipif(not data.available("mnist"), reason="MNIST is not here")
PICTURES = np.random.default_rng(0).integers(0, 256, (6, 1, 1, 3), dtype=np.uint8)


class _Mean(Gaussian):
    def mean(self, params: Tensor) -> Tensor:
        return params


class LinearGaussian(nn.Module):
    """x = Wz + noise over three pixels in float64: log p(x), p(z|x) and its KL to any Gaussian are known.

    The encoder has the posterior's mean, moved by `shift`, and the best diagonal Gaussian's σ, times `width`.
    """

    def __init__(
        self, d: int, scale: float = 1.0, width: float = 1.0, shift: float = 0.0, sigma: float = SIGMA
    ) -> None:
        super().__init__()
        self.config = ModelConfig((1, 1, 3), latent_dim=d)
        weight = scale * torch.tensor([[0.8, 0.2, -0.1], [0.3, 0.6, 0.1]], dtype=torch.float64)
        self.weight = nn.Parameter(weight[:d])
        self.likelihood = _Mean(sigma).double()
        self.likelihood.log_sigma.fill_(math.log(sigma))
        self.width, self.shift, self.sigma = width, shift, sigma

    def posterior(self, x: Tensor) -> MultivariateNormal:
        weight = self.weight.detach()
        precision = torch.eye(len(weight)) + weight @ weight.T / self.sigma**2
        mean = torch.linalg.solve(precision, weight @ x.double().flatten(1).T / self.sigma**2).T
        return MultivariateNormal(mean, precision_matrix=precision)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        exact = self.posterior(x)
        logvar = 2 * math.log(self.width) - exact.precision_matrix.diagonal(dim1=-2, dim2=-1).log()
        return exact.mean + self.shift, logvar.expand_as(exact.mean)

    def decode(self, z: Tensor) -> Tensor:
        return (z.double() @ self.weight)[:, None, None]

    def log_evidence(self, x: Tensor) -> np.ndarray:
        covariance = self.weight.T @ self.weight + self.sigma**2 * torch.eye(3)
        zero = torch.zeros(3, dtype=torch.float64)
        return MultivariateNormal(zero, covariance).log_prob(x.double().flatten(1)).detach().numpy()


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize(
    ("scale", "width", "shift"), [(1, 1, 0), (1, 0.3, 0.2), (1, 2.5, -1), (30, 1, 0), (30, 0.2, 0.01)]
)
def test_linear_gaussian_in_closed_form(d: int, scale: float, width: float, shift: float) -> None:
    """log p(x), the gap and the ELBO to 5e-6, whether q is right, narrow, wide or beside; the posterior's moments.

    Coarser lattices that differ by 0.15 nats leave a Gaussian's sum with an error of up to 4e-6.
    """
    model = LinearGaussian(d, scale, width, shift)
    x = to_unit(PICTURES)
    plane = LatentPlane(model)
    found = evidence(plane, PICTURES)
    exact, (mu, logvar) = model.posterior(x), model.encode(x)
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    gap = torch.distributions.kl_divergence(q, exact).numpy()
    np.testing.assert_allclose(found.log_likelihood, model.log_evidence(x), atol=5e-6)
    np.testing.assert_allclose(found.kl_to_true_posterior, gap, atol=5e-6)
    np.testing.assert_allclose(found.elbo, model.log_evidence(x) - gap, atol=5e-6)
    np.testing.assert_allclose(found.elbo, -(found.reconstruction + found.kl), atol=1e-12)
    assert found.outside.max() < 1e-6
    posteriors = plane.posteriors(PICTURES)
    for row in range(2):
        mean, covariance = posteriors.moments(row)
        np.testing.assert_allclose(mean, exact.mean[row], atol=1e-5)
        np.testing.assert_allclose(covariance, exact.covariance_matrix[row], rtol=1e-4, atol=1e-9)
        (mode,) = posteriors.modes(row)
        assert mode.mass == pytest.approx(1)
        assert np.abs(mode.z - exact.mean[row].numpy()).max() < exact.stddev.max()


def test_mass_beyond_the_square_is_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_core.evidence._WIDEST", 0.0)
    model = LinearGaussian(2, 0.3)
    posteriors = LatentPlane(model, 3.0).posteriors(PICTURES)
    missing, bound = model.log_evidence(to_unit(PICTURES)) - posteriors.log_likelihood, posteriors.outside
    assert (missing > 1e-3).any()
    assert (missing < bound).all()


@pytest.mark.parametrize(("extent", "pictures"), [(3.0, PICTURES), (1.0, PICTURES[:1])])
def test_a_picture_with_mass_beyond_the_square_is_summed_over_a_wider_one(extent: float, pictures: np.ndarray) -> None:
    """log p(x), the moments of p(z|x) and the sum as on a plane that holds it all."""
    model = LinearGaussian(2, 0.3)
    plane, exact = LatentPlane(model, extent), model.posterior(to_unit(pictures))
    found, posteriors = evidence(plane, pictures), plane.posteriors(pictures)
    np.testing.assert_allclose(found.log_likelihood, model.log_evidence(to_unit(pictures)), atol=1e-3)
    assert found.outside.max() <= 1e-3
    assert np.abs(found.residual).max() <= 1e-3
    for row in range(len(pictures)):
        mean, covariance = posteriors.moments(row)
        np.testing.assert_allclose(mean, exact.mean[row], atol=1e-2)
        np.testing.assert_allclose(covariance, exact.covariance_matrix[row], atol=2e-2)
        assert sum(mode.mass for mode in posteriors.modes(row)) == pytest.approx(1)


def test_where_the_encoder_puts_a_picture_is_looked_at_beyond_the_square() -> None:
    """Right and narrow, with its posterior's mean at 4.9 and a square to 3: inside it p(x|z) is nowhere as great."""
    model, picture = LinearGaussian(1, 0.2, sigma=0.05), np.full((1, 1, 1, 3), 255, np.uint8)
    x = to_unit(picture)
    assert model.encode(x)[0].item() > 3
    found = evidence(LatentPlane(model, 3.0), picture)
    np.testing.assert_allclose(found.log_likelihood, model.log_evidence(x), atol=1e-3)


@_MNIST
def test_a_picture_whose_code_lies_far_out_has_all_its_mass() -> None:
    """Test image 1772 beside one lattice to ±14: the snapshot’s square, to 7.92, misses 1.7 nats."""
    model = load(CHECKPOINTS / "mnist-d2-beta.safetensors").model.at(0.01)
    picture = binarise(data.load("mnist").test.images[:1773], 0)[1772:]
    found = LatentPlane(model, 7.92).posteriors(picture)
    assert found.log_likelihood[0] == pytest.approx(_on_one_lattice(model, picture, 14.0, 0.1), abs=1e-3)
    assert found.outside[0] <= 1e-3


def _brute_force(model: nn.Module, pictures: np.ndarray, steps: int, extent: float) -> tuple[np.ndarray, ...]:
    """log p(x), ELBO and gap as three plain sums over one fine lattice, in float64."""
    d = model.config.latent_dim
    axis = torch.linspace(-extent, extent, steps, dtype=torch.float64)
    z = torch.cartesian_prod(*[axis] * d).view(-1, d)
    cell = (2 * extent / (steps - 1)) ** d
    with inference(model):
        x = to_unit(pictures)
        fit = torch.cat(
            [model.likelihood.log_prob(x[:, None], model.decode(p.float())) for p in z.split(4096)], 1
        ).double()
        mu, logvar = (part.double() for part in model.encode(x))
    standard = MultivariateNormal(torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64))
    joint = fit + standard.log_prob(z)
    total = joint.logsumexp(1) + math.log(cell)
    log_q = MultivariateNormal(mu[:, None], torch.diag_embed(logvar.exp())[:, None]).log_prob(z)
    q = log_q.exp() * cell
    np.testing.assert_allclose(q.sum(1), 1, atol=1e-6)
    return total.numpy(), (q * (joint - log_q)).sum(1).numpy(), (q * (log_q - joint + total[:, None])).sum(1).numpy()


@pytest.mark.parametrize("arch", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian-optimal"])
def test_every_network_and_likelihood_against_brute_force(arch: str, likelihood: str) -> None:
    """One dimension, 20,001 points: to 3e-4 nats and 1e-5 of the value.

    (The network computes in float32, and q is as wide as the prior over thousands of nats of log p(x|z).)
    """
    model = build(3, latent_dim=1, arch=arch, likelihood=likelihood).eval()
    pictures = binarise(images(4), 0)
    found = evidence(LatentPlane(model), pictures)
    for ours, theirs in zip(
        (found.log_likelihood, found.elbo, found.kl_to_true_posterior),
        _brute_force(model, pictures, 20_001, 8),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=3e-4)


@pytest.mark.parametrize("d", [1, 2])
def test_the_elbo_of_any_gaussian_by_quadrature(d: int) -> None:
    """At the true posterior, which is slanted here, it is log p(x); elsewhere KL(q ‖ p(z|x)) lower: to 1e-6 nats."""
    model = LinearGaussian(d)
    truth = model.posterior(to_unit(PICTURES))
    plane = LatentPlane(model)
    exact = plane.posteriors(PICTURES).log_likelihood
    np.testing.assert_allclose(plane.elbo(PICTURES, truth.mean, truth.scale_tril), exact, atol=1e-6)
    other = MultivariateNormal(truth.mean + 0.3, scale_tril=(truth.scale_tril * 1.2 + 0.05).tril())
    gap = torch.distributions.kl_divergence(other, truth).numpy()
    np.testing.assert_allclose(plane.elbo(PICTURES, other.mean, other.scale_tril), exact - gap, atol=1e-6)


def test_the_elbo_by_quadrature_is_that_of_diagonal_gaussians_and_refuses_other_pictures() -> None:
    model = load(CHECKPOINTS / "digits-d2.safetensors").model
    pictures = binarise(data.load("digits").test.images[:3], 0)
    mu, logvar = encode(model, pictures)
    plane = LatentPlane(model)
    ours = plane.elbo(pictures, torch.tensor(mu), torch.diag_embed(torch.exp(0.5 * torch.tensor(logvar))))
    np.testing.assert_allclose(ours, plane.posteriors(pictures).against(mu, logvar).elbo, atol=1e-3)
    with pytest.raises(UserError, match="do not fit"):
        plane.elbo(np.zeros((3, 1, 4, 4), np.uint8), torch.tensor(mu), torch.eye(2).expand(3, 2, 2))


def test_a_trained_model_against_brute_force() -> None:
    """Two dimensions, digits, 401 × 401 points: to 1e-3 nats."""
    model = load(CHECKPOINTS / "digits-d2.safetensors").model
    pictures = binarise(data.load("digits").test.images[:2], 0)
    found = evidence(LatentPlane(model), pictures)
    for ours, theirs in zip(
        (found.log_likelihood, found.elbo, found.kl_to_true_posterior),
        _brute_force(model, pictures, 401, 6),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "dataset", "beta"),
    [
        ("digits-d2", "digits", None),
        ("digits-beta", "digits", 0.01),
        ("digits-beta", "digits", 0.3),
        ("digits-beta", "digits", 4.0),
        pytest.param("mnist-d2", "mnist", None, marks=_MNIST),
        pytest.param("mnist-d2-beta", "mnist", 10.0, marks=_MNIST),
    ],
)
def test_the_three_numbers_add_up(name: str, dataset: str, beta: float | None) -> None:
    """|log p(x) − ELBO − KL| ≤ 1e-3 nats; ELBO below log p(x)."""
    model = load(CHECKPOINTS / f"{name}.safetensors").model
    model = model if beta is None else model.at(beta)
    pictures = binarise(data.load(dataset).test.images[:8], 0)
    found = evidence(LatentPlane(model, extent_of(*encode(model, pictures))), pictures)
    assert np.abs(found.residual).max() <= 1e-3
    assert (found.kl_to_true_posterior > 0).all()
    assert (found.elbo < found.log_likelihood).all()
    assert found.outside.max() < 1e-3


def _on_one_lattice(model: nn.Module, picture: np.ndarray, extent: float, step: float) -> float:
    """log p(x) of one picture by a plain sum over the plane."""
    z = torch.arange(-extent, extent, step)
    with inference(model):
        parts = [
            model.likelihood.log_prob(to_unit(picture), model.decode(row)).double() + log_prior(row)
            for row in torch.cartesian_prod(z, z).split(len(z) * 50)
        ]
    return torch.logsumexp(torch.cat(parts), 0).item() + 2 * math.log(step)


@_MNIST
@pytest.mark.parametrize(("name", "index"), [("mnist-d2-beta", 33), ("mnist-d2", 985)])
def test_no_narrow_ridge_between_the_first_lattice_s_points_is_missed(name: str, index: int) -> None:
    """log p(x) beside that of one fine lattice, to 1e-4 nats: half the slack left out 0.003 and 0.001."""
    model = load(CHECKPOINTS / f"{name}.safetensors").model
    picture = binarise(data.load("mnist").test.images[: index + 1], 0)[index:]
    found = LatentPlane(model, extent_of(*encode(model, picture))).posteriors(picture)
    assert found.log_likelihood[0] == pytest.approx(_on_one_lattice(model, picture, 4.0, 0.0125), abs=1e-4)


def test_a_hand_moved_q_keeps_the_sum() -> None:
    """Narrow, wide and far: ELBO and gap change, log p(x) and their sum do not, to 2e-3 nats."""
    model = load(CHECKPOINTS / "digits-d2.safetensors").model
    posteriors = LatentPlane(model).posteriors(binarise(data.load("digits").test.images[4:5], 0))
    moved = [
        posteriors.against(np.array([mu]), 2 * np.log([sigma]))
        for mu, sigma in (((0, 0), (1, 1)), ((1, -1), (0.2, 0.05)), ((-2, 2), (0.02, 0.6)), ((0.3, 0), (0.5, 0.3)))
    ]
    assert [abs(found.residual[0]) for found in moved] == pytest.approx([0] * 4, abs=2e-3)
    assert len({found.log_likelihood[0] for found in moved}) == 1
    elbos = [found.elbo[0] for found in moved]
    assert min(abs(a - b) for a, b in itertools.combinations(elbos, 2)) > 0.1


class _Folded(LinearGaussian):
    """Depends on |z₁| alone in its first direction, so that p(z|x) has two equal modes."""

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(torch.cat([z[:, :1].abs(), z[:, 1:]], 1))


@pytest.mark.parametrize("d", [1, 2])
def test_both_modes_are_found_and_a_gaussian_must_fail(d: int) -> None:
    """Two equal modes far apart: the best single Gaussian stays log 2 away, the gap of one mode's posterior."""
    model = _Folded(d, sigma=0.1)
    pictures = np.array([[[[255, 60, 0]]]], np.uint8)
    plane = LatentPlane(model)
    posteriors = plane.posteriors(pictures)
    modes = posteriors.modes(0)
    assert [mode.mass for mode in modes] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert modes[0].z[0] == pytest.approx(-modes[1].z[0], abs=1e-6)
    one = LinearGaussian(d, sigma=0.1)
    gap = evidence(LatentPlane(one), pictures).kl_to_true_posterior
    np.testing.assert_allclose(evidence(plane, pictures).kl_to_true_posterior, gap + math.log(2), atol=1e-3)


def test_the_density_integrates_to_one_and_matches_its_moments() -> None:
    model = load(CHECKPOINTS / "digits-d2.safetensors").model
    posteriors = LatentPlane(model).posteriors(binarise(data.load("digits").test.images[2:3], 0))
    mean, covariance = posteriors.moments(0)
    axes = [m + np.sqrt(v) * np.linspace(-8, 8, 161) for m, v in zip(mean, covariance.diagonal(), strict=True)]
    density = posteriors.density(0, *axes)
    cell = math.prod(axis[1] - axis[0] for axis in axes)
    assert density.shape == (161, 161)
    assert density.sum() * cell == pytest.approx(1, abs=1e-3)
    assert (density.sum(1) * axes[0]).sum() * cell == pytest.approx(mean[0], abs=1e-3)
    assert (density.sum(0) * axes[1]).sum() * cell == pytest.approx(mean[1], abs=1e-3)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "gaussian-optimal"])
def test_affine_form_is_log_prob(name: str) -> None:
    likelihood = make(name, 0.1).eval()
    x, params = to_unit(images(3)), torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pairs = likelihood.from_affine(x, *likelihood.affine(params))
    np.testing.assert_allclose(pairs, likelihood.log_prob(x[:, None], params), rtol=1e-5, atol=1e-4)


def test_more_dimensions_are_refused_with_a_way_out() -> None:
    with pytest.raises(UserError, match="3 latent dimensions"):
        LatentPlane(build(latent_dim=3))


def test_pictures_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match="do not fit"):
        LatentPlane(build(latent_dim=1)).posteriors(images(2, (1, 4, 4)))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "evidence",
        str(CHECKPOINTS / "digits-beta.safetensors"),
        "--limit",
        "3",
        "--binarize",
        "--beta",
        "0.5",
    ]
    assert main([*arguments, "--json"]) == 0
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(values["images"]) == 3
    for row in values["images"]:
        assert row["log_likelihood"] - row["elbo"] - row["kl_to_true_posterior"] == pytest.approx(
            row["residual"], abs=1e-9
        )
        assert abs(row["residual"]) < 1e-3
    for name, mean in values["mean"].items():
        assert mean == pytest.approx(np.mean([row[name] for row in values["images"]]))
    assert main(arguments) == 0
    assert "log p(x)" in capsys.readouterr().out
    save(tmp_path / "d3.safetensors", Checkpoint(build(latent_dim=3)))
    assert main(["evidence", str(tmp_path / "d3.safetensors"), "--limit", "3"]) == 2
    assert "importance samples" in capsys.readouterr().err


def test_images_are_the_same_alone_and_among_others() -> None:
    """To 1e-4 nats: float32 networks round as their points are grouped."""
    model = load(CHECKPOINTS / "digits-d2.safetensors").model
    pictures = binarise(data.load("digits").test.images[:6], 0)
    plane = LatentPlane(model)
    alone = evidence(plane, pictures[3:4])
    among = evidence(plane, pictures)
    for name in ("log_likelihood", "elbo", "kl_to_true_posterior"):
        assert getattr(among, name)[3] == pytest.approx(getattr(alone, name)[0], abs=1e-4)
