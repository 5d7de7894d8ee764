"""The split of the rate: against closed forms and quadrature, and its terms against the rate."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from vae_core import information, objective
from vae_core.checkpoint import load
from vae_core.errors import UserError
from vae_core.information import log_aggregate, log_density, split_rate
from vae_core.objective import kl_standard_normal, total_correlation

CHECKPOINTS = sorted((Path(__file__).resolve().parents[1] / "checkpoints").glob("*.safetensors"))


def posteriors(n: int = 400, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """mu and logvar of n images, wide and narrow ones, of correlated dimensions."""
    random = np.random.default_rng(seed)
    mu = random.standard_normal((n, d)) @ random.uniform(0.2, 1.2, (d, d))
    return mu, random.uniform(-4, 0.5, (n, d))


def quadrature(mu: np.ndarray, logvar: np.ndarray, extent: float = 9.0, n: int = 1501) -> tuple[float, float]:
    """KL(q(z) ‖ p(z)) in one dimension and E_q[log q(z)], by the trapezoidal rule."""
    z = torch.linspace(-extent, extent, n, dtype=torch.float64)
    mixture = MixtureSameFamily(
        Categorical(torch.ones(len(mu))), Normal(torch.as_tensor(mu), torch.as_tensor(logvar).div(2).exp())
    )
    log_q = mixture.log_prob(z)
    weigh = log_q.exp()
    return (
        torch.trapezoid(weigh * (log_q - Normal(0.0, 1.0).log_prob(z)), z).item(),
        torch.trapezoid(weigh * log_q, z).item(),
    )


@pytest.mark.parametrize("d", [1, 2, 7])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("draws", [1, 3])
def test_the_terms_sum_to_the_rate(d: int, kind: type, draws: int) -> None:
    """The rate is the closed form, and mutual information + total correlation + Σ dimension-wise KL is the rate."""
    mu, logvar = (part.astype(kind) for part in posteriors(d=d))
    split = split_rate(mu, logvar, draws=draws)
    rate = kl_standard_normal(torch.tensor(mu), torch.tensor(logvar)).sum(1).double().mean().item()
    assert split.rate == pytest.approx(rate, rel=1e-6)
    total = split.mutual_information + split.total_correlation + sum(split.dimension_kl)
    assert total == pytest.approx(rate, rel=1e-6)
    assert split.aggregate_kl == pytest.approx(rate - split.mutual_information, rel=1e-6)
    assert len(split.dimension_kl) == d
    assert split.most == pytest.approx(math.log(400))


def test_one_dimension_equals_quadrature() -> None:
    """Within four standard errors, and these are below 0.01 nats; one dimension has no total correlation."""
    mu, logvar = posteriors(300, 1, seed=2)
    split = split_rate(mu, logvar, draws=20)
    kl, mean_log_q = quadrature(mu[:, 0], logvar[:, 0])
    entropy = 0.5 * (math.log(2 * math.pi * math.e) + logvar.mean())
    information_error, correlation_error, kl_error = split.standard_errors
    assert max(split.standard_errors) < 0.01
    assert split.total_correlation == pytest.approx(0, abs=1e-9)
    assert correlation_error == pytest.approx(0, abs=1e-9)
    assert split.dimension_kl[0] == pytest.approx(kl, abs=4 * kl_error)
    assert split.mutual_information == pytest.approx(-mean_log_q - entropy, abs=4 * information_error)


def test_independent_dimensions_have_no_total_correlation() -> None:
    """All pairs of two sets of codes: q(z) is the product of two mixtures, whose KL quadrature knows."""
    (first, first_logvar), (second, second_logvar) = posteriors(20, 1, seed=3), posteriors(25, 1, seed=4)
    pairs = list(itertools.product(range(20), range(25)))
    mu = np.array([[first[i, 0], second[j, 0]] for i, j in pairs])
    logvar = np.array([[first_logvar[i, 0], second_logvar[j, 0]] for i, j in pairs])
    split = split_rate(mu, logvar, draws=10)
    assert split.total_correlation == pytest.approx(0, abs=1e-9)
    for found, (means, spreads) in zip(
        split.dimension_kl, ((first, first_logvar), (second, second_logvar)), strict=True
    ):
        assert found == pytest.approx(quadrature(means[:, 0], spreads[:, 0])[0], abs=0.02)


def test_repeated_dimensions_share_what_one_tells() -> None:
    """Far narrow codes, K of them, the same in both dimensions: TC = log K, and I = log K, by construction."""
    places = np.repeat(np.linspace(-20, 20, 5), 60)
    mu, logvar = np.stack([places, places], 1), np.full((300, 2), -2.0)
    split = split_rate(mu, logvar)
    assert split.mutual_information == pytest.approx(math.log(5), abs=1e-6)
    assert split.total_correlation == pytest.approx(math.log(5), abs=1e-6)


def test_codes_far_apart_tell_every_image() -> None:
    """I = log N and never more; TC is 0 where the second dimension says nothing."""
    mu = np.stack([np.linspace(-500, 500, 200), np.zeros(200)], 1)
    split = split_rate(mu, np.zeros((200, 2)))
    assert split.mutual_information == pytest.approx(math.log(200), abs=0.05)
    assert split.total_correlation == pytest.approx(0, abs=1e-9)


def test_a_collapsed_posterior_tells_nothing() -> None:
    split = split_rate(np.zeros((100, 4)), np.zeros((100, 4)))
    assert (split.rate, split.mutual_information, split.total_correlation) == pytest.approx((0, 0, 0), abs=1e-9)


def test_correlated_gaussian_aggregate() -> None:
    """Means from N(0, C − s²I) with narrow posteriors: q(z) is near N(0, C), whose terms have closed forms.

    Total correlation −½ log(1 − ρ²) and dimension-wise KL ½(v − 1 − log v), to 0.08 nats with 4,000 images.
    """
    v, rho, s = 0.6, 0.8, 0.3
    random = np.random.default_rng(0)
    covariance = v * np.array([[1, rho], [rho, 1]]) - s**2 * np.eye(2)
    mu = random.multivariate_normal([0, 0], covariance, 4000).astype(np.float32)
    split = split_rate(mu, np.full((4000, 2), 2 * math.log(s), np.float32), draws=1)
    assert split.total_correlation == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.08)
    assert split.dimension_kl == pytest.approx([0.5 * (v - 1 - math.log(v))] * 2, abs=0.03)
    expected = 0.5 * math.log(np.linalg.det(covariance + s**2 * np.eye(2)) / s**4)
    assert split.mutual_information == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("sharpness", [-6.0, -2.0, 0.0])
@pytest.mark.parametrize("images", [2, 3, 7, 20, 120])
def test_standard_errors_are_what_seeds_do(images: int, sharpness: float) -> None:
    """Over 60 seeds the spread of each term is its standard error, to a factor of 2, and the mean is unbiased."""
    mu, logvar = posteriors(images, 2, seed=5)
    splits = [split_rate(mu, logvar + sharpness, seed=seed) for seed in range(60)]
    found = np.array([(s.mutual_information, s.total_correlation, sum(s.dimension_kl)) for s in splits])
    errors = np.mean([s.standard_errors for s in splits], axis=0)
    assert (found.std(0) < 1.5 * errors + 1e-5).all()
    assert (found.std(0) > errors / 2).all()
    exact = split_rate(mu, logvar + sharpness, draws=24_000 // images, seed=99)
    exact = np.array([exact.mutual_information, exact.total_correlation, sum(exact.dimension_kl)])
    assert (np.abs(found.mean(0) - exact) < 4 * errors / math.sqrt(60) + 0.1 * errors + 1e-9).all()


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pairs are held at once, and progress rises to 1."""
    mu, logvar = posteriors(90, 2)
    whole, said = split_rate(mu, logvar, draws=3), []
    monkeypatch.setattr(information, "_PAIRS_AT_ONCE", 7 * 90)
    pieces = split_rate(mu, logvar, draws=3, progress=said.append)
    assert pieces.mutual_information == pytest.approx(whole.mutual_information, abs=1e-12)
    assert pieces.dimension_kl == pytest.approx(whole.dimension_kl, abs=1e-12)
    assert said == sorted(said)
    assert said[-1] == 1.0
    assert len(said) == 39


def test_densities_equal_torch_distributions() -> None:
    mu, logvar = posteriors(50, 3)
    z = np.random.default_rng(1).standard_normal((40, 3))
    joint, marginals = log_aggregate(z, mu, logvar)
    components = Normal(torch.tensor(mu), torch.tensor(logvar).div(2).exp())
    each = components.log_prob(torch.tensor(z)[:, None])  # (40, 50, 3)
    np.testing.assert_allclose(joint, torch.logsumexp(each.sum(-1), 1).numpy() - math.log(50), rtol=1e-12)
    np.testing.assert_allclose(marginals, torch.logsumexp(each, 1).numpy() - math.log(50), rtol=1e-12)
    np.testing.assert_allclose(log_density(z, mu, logvar), joint, rtol=1e-12)


def test_a_code_is_compared_to_all_images_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information, "_PAIRS_AT_ONCE", 7 * 30)
    mu, logvar = posteriors(30, 2)
    z = mu + 0.1
    others = [log_density(z[i : i + 1], np.delete(mu, i, 0), np.delete(logvar, i, 0))[0] for i in range(30)]
    np.testing.assert_allclose(log_density(z, mu, logvar, left_out=True), others, rtol=1e-10)


def test_the_information_of_codes_far_apart_is_at_its_ceiling_and_that_of_wide_ones_is_not() -> None:
    mu = np.linspace(-500, 500, 200)[:, None]
    assert split_rate(mu, np.zeros((200, 1))).at_ceiling
    assert not split_rate(mu / 500, np.zeros((200, 1))).at_ceiling


def test_densities_of_narrow_and_far_posteriors() -> None:
    """σ down to 0.001, codes up to 20 from the origin: log_density's products lose no more than 1e-6 nats."""
    generator = np.random.default_rng(3)
    mu, logvar = generator.uniform(-20, 20, (300, 2)), generator.uniform(-14, 0, (300, 2))
    z = np.concatenate([mu + 0.001, generator.uniform(-4, 4, (100, 2))])
    exact = log_aggregate(z, mu, logvar)[0]
    np.testing.assert_allclose(log_density(z, mu, logvar), exact, rtol=1e-10, atol=1e-6)


@pytest.mark.parametrize("sharpness", [-4.0, -2.0, 0.0])
def test_few_images_have_on_average_less_information_than_all_and_as_high_a_rate(sharpness: float) -> None:
    """Over 30 batches of 100 of 1,500: what the page says that N images bound. With four standard errors."""
    mu, logvar = posteriors(1500, 3, seed=6)
    logvar += sharpness
    whole, random = split_rate(mu, logvar, draws=8), np.random.default_rng(0)
    batches = [random.permutation(1500)[:100] for _ in range(30)]
    few = [split_rate(mu[chosen], logvar[chosen], seed=seed) for seed, chosen in enumerate(batches)]
    assert np.mean([split.mutual_information for split in few]) < whole.mutual_information < whole.rate
    rates = [split.rate for split in few]
    assert np.mean(rates) == pytest.approx(whole.rate, abs=4 * np.std(rates) / math.sqrt(30))


@pytest.mark.parametrize(("d", "draws"), [(1, 20), (2, 10), (16, 2), (50, 1)])
def test_the_fewer_the_dimensions_the_more_draws(d: int, draws: int) -> None:
    mu, logvar = posteriors(210, d)
    assert split_rate(mu, logvar) == split_rate(mu, logvar, draws=draws)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_the_information_of_shipped_models_is_sure_to_a_hundredth_of_a_nat(path: Path) -> None:
    codes = load(path).snapshot
    assert split_rate(codes.mu[:1000], codes.logvar[:1000]).standard_errors[0] < 0.012


def test_one_picture_is_refused() -> None:
    with pytest.raises(UserError, match=r"rate of a single picture has no parts\."):
        split_rate(np.zeros((1, 2)), np.zeros((1, 2)))


def test_a_batch_of_all_images_has_the_exact_total_correlation() -> None:
    """The stratified estimator with M = N, to 1e-10 the mean over the same draws of what `log_aggregate` gives."""
    mu, logvar = (torch.tensor(part) for part in posteriors(80, 3))
    z = mu + (0.5 * logvar).exp() * torch.randn(mu.shape, generator=torch.Generator().manual_seed(0), dtype=mu.dtype)
    joint, marginals = log_aggregate(z.numpy(), mu.numpy(), logvar.numpy())
    exact = (joint - marginals.sum(1)).mean()
    assert total_correlation(z, mu, logvar, 80).item() == pytest.approx(exact, abs=1e-10)


def test_the_minibatch_densities_are_unbiased() -> None:
    """The mean of the weighted mixture over random batches around one image is q(z), to four standard errors."""
    mu, logvar = (torch.tensor(part) for part in posteriors(60, 2, seed=7))
    z, generator, weights = mu[:1] + 0.3, torch.Generator().manual_seed(0), objective.stratified_weights(8, 60, mu)[0]
    exact = math.exp(log_aggregate(z.numpy(), mu.numpy(), logvar.numpy())[0][0])
    found = []
    for _ in range(3000):
        others = 1 + torch.randperm(59, generator=generator)[:7]
        batch = torch.cat([torch.zeros(1, dtype=torch.int64), others])
        each = Normal(mu[batch], (logvar[batch] / 2).exp()).log_prob(z).sum(-1).exp()
        found.append((weights * each).sum().item())
    assert abs(np.mean(found) - exact) < 4 * np.std(found) / math.sqrt(3000)


def test_the_minibatch_estimate_nears_the_truth_as_the_batch_grows() -> None:
    """Biased for small batches, as documented; for the whole set, what `split_rate` says."""
    mu, logvar = (torch.tensor(part) for part in posteriors(400, 3, seed=8))
    generator = torch.Generator().manual_seed(0)
    means = []
    for batch in (4, 40, 400):
        values = []
        for _ in range(200 if batch < 400 else 20):
            chosen = torch.randperm(400, generator=generator)[:batch]
            noise = torch.randn(batch, 3, generator=generator, dtype=mu.dtype)
            z = mu[chosen] + (logvar[chosen] / 2).exp() * noise
            values.append(total_correlation(z, mu[chosen], logvar[chosen], 400).item())
        means.append(np.mean(values))
    exact = split_rate(mu.numpy(), logvar.numpy(), draws=20).total_correlation
    bias = np.abs(np.array(means) - exact)
    assert bias[0] > 0.5 > 0.25 > bias[1] > 0.08
    assert bias[2] < 0.04
