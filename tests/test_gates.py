"""The β-conditioned model: one network for every β of a range, drawn per image, refused outside."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys import blobs, build, images
from vae_core import data, gates, runs
from vae_core.checkpoint import Checkpoint, load, read_header, read_tensors, save, write_tensors
from vae_core.errors import UserError
from vae_core.evaluate import encode, evaluate, snapshot, to_unit
from vae_core.likelihood import LIKELIHOODS
from vae_core.model import ARCHITECTURES, VAE, ModelConfig
from vae_core.objective import Terms, elbo_terms, loss
from vae_core.run_config import RunConfig
from vae_core.train import Trainer
from vae_core.train_config import TrainConfig
from vae_core.worker import train_run

RANGE = (0.01, 10.0)
SHAPE = (3, 12, 9)
CPU = torch.device("cpu")


def _model(arch: str = "mlp", **config: object) -> VAE:
    """A model of a range of β in float64, with polynomials that are not zero any more."""
    model = build(shape=SHAPE, arch=arch, latent_dim=3, beta_range=RANGE, **config).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if _is_polynomial(name):
                weight.copy_(0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return model


def _is_polynomial(name: str) -> bool:
    return any(part in ("scale", "shift", "change") for part in name.split("."))


def _pictures(n: int) -> torch.Tensor:
    return to_unit(images(n, SHAPE)).double()


def _outputs(model: VAE, x: torch.Tensor, beta: float | torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    mu, logvar = model.encode(x, beta)
    return mu, logvar, model.decode(mu, beta), model.decode_mean(mu, beta)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_in_the_middle_of_the_range_no_polynomial_counts(arch: str, likelihood: str) -> None:
    """At s = 0 all of them are 0 whatever their weights, to 1e-12; elsewhere they are not."""
    model = _model(arch, likelihood=likelihood)
    without = VAE(model.config).double()
    weights = model.state_dict()
    without.load_state_dict({name: weights[name] * (0 if _is_polynomial(name) else 1) for name in weights})
    x = _pictures(4)
    middle = math.sqrt(RANGE[0] * RANGE[1])
    for here, there in zip(_outputs(model, x, middle), _outputs(without, x, middle), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-12, atol=1e-12)
    for beta in (0.01, 1.0, 10.0):
        for here, there in zip(_outputs(model, x, beta), _outputs(without, x, beta), strict=True):
            assert not torch.allclose(here, there, rtol=0.01)


def test_without_polynomials_the_code_is_that_of_a_linear_vae() -> None:
    """σ² = β / (β + λ) with one λ for every β; and the decoder weighs z by √(1 − σ²) of a λ of its own."""
    torch.manual_seed(0)
    h, z = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    to_posterior, from_latent = gates.to_posterior(5, 3, RANGE).double(), gates.from_latent(3, 4, RANGE).double()
    with torch.no_grad():
        from_latent.log_ratio.copy_(torch.tensor([-2.0, 0.0, 3.0]))
    ratios = to_posterior.weight[3:] @ h.T + to_posterior.bias[3:, None]
    for beta in (0.01, 0.2, 1.0, 10.0):
        phi = gates.features(torch.full((6,), beta, dtype=torch.float64), RANGE)
        mu, logvar = to_posterior(h, phi).chunk(2, dim=-1)
        torch.testing.assert_close(logvar.exp(), beta / (beta + ratios.exp().T), rtol=1e-10, atol=0.0)
        torch.testing.assert_close(mu, h @ to_posterior.weight[:3].T + to_posterior.bias[:3])
        own = from_latent.log_ratio.exp()
        weighed = z * (1 - beta / (beta + own)).sqrt()
        expected = weighed @ from_latent.weight.T + from_latent.bias
        torch.testing.assert_close(from_latent(z, phi), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_beta_for_each_image_equals_one_beta_a_batch(arch: str, likelihood: str) -> None:
    """To 1e-10 in float64, at both ends and between: q(z|x), p(x|z), and both terms with the same noise."""
    model, x = _model(arch, likelihood=likelihood), _pictures(5)
    betas = torch.tensor([0.01, 10.0, 1.0, 0.3, 0.1], dtype=torch.float64)
    together = _outputs(model, x, betas)
    for i, beta in enumerate(betas.tolist()):
        for row, alone in zip(together, _outputs(model, x, beta), strict=True):
            torch.testing.assert_close(row[i], alone[i], rtol=1e-10, atol=1e-10)
        terms, alone = (elbo_terms(model, x, torch.Generator().manual_seed(0), b) for b in (betas, beta))
        torch.testing.assert_close(terms.kl[i], alone.kl[i], rtol=1e-10, atol=1e-10)
        if likelihood != "gaussian-optimal":  # whose σ is that of the whole batch
            torch.testing.assert_close(terms.reconstruction[i], alone.reconstruction[i], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("beta", [0.01, 0.3, 10.0])
def test_a_model_at_one_beta_answers_as_the_model_asked_for_it(arch: str, beta: float) -> None:
    """To 1e-10 in float64, though its responses are in its layers; values and gradients, and the model is unchanged."""
    model, x = _model(arch), _pictures(4)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    at = model.at(beta)
    with torch.inference_mode():  # what is made here must serve gradients later
        for here, there in zip(_outputs(at, x, None), _outputs(model, x, beta), strict=True):
            torch.testing.assert_close(here, there, rtol=1e-10, atol=1e-10)
    slopes = []
    for one, named in ((at, None), (model, beta)):
        z = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3).requires_grad_()
        slopes.append(torch.autograd.grad(one.decode(z, named).sum(), z)[0])
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model.state_dict(), before, rtol=0.0, atol=0.0)
    torch.testing.assert_close(at.decode_mean(z, 1.0), model.decode_mean(z, 1.0), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 27, 5)], ids=str)
def test_every_parameter_gets_a_gradient_from_the_first_step(arch: str, likelihood: str, shape: tuple) -> None:
    model = build(shape=shape, arch=arch, likelihood=likelihood, latent_dim=2, beta_range=RANGE)
    betas = gates.draw(16, RANGE, torch.Generator().manual_seed(0))
    terms = elbo_terms(model, to_unit(images(16, shape)), torch.Generator().manual_seed(0), betas)
    loss(terms, betas).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


def test_loss_weighs_each_image_by_its_own_beta() -> None:
    kl = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    terms = Terms(torch.tensor([10.0, 20.0]), kl)
    betas = torch.tensor([0.5, 2.0])
    assert loss(terms, betas).item() == pytest.approx((10 + 0.5 * 3 + 20 + 2 * 7) / 2)
    assert loss(terms, torch.tensor([2.0, 2.0])).item() == pytest.approx(loss(terms, 2.0).item())
    value = loss(terms, betas, free_bits=2.5)  # the first dimension averages 2 nats and feels no pull
    assert value.item() == pytest.approx(15 + 1.25 * 2.5 + (0.5 * 2 + 2 * 4) / 2)
    value.backward()
    assert kl.grad.tolist() == [[0.0, 0.25], [0.0, 1.0]]


def test_draws_are_log_uniform_in_three_parts_and_the_ends_get_more() -> None:
    """Of 200 draws one in each stratum, uniform in it: 10 are the lower end, 88 in the lower half of the range, 40 in
    the next 37 %, 32 in the last 13 %, and 30 are the upper end."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([gates.draw(200, RANGE, generator) for _ in range(500)])
    gates.check_beta(draws.flatten(), RANGE)
    places = ((draws.log() - math.log(0.01)) / math.log(1000)).double()
    torch.testing.assert_close(places[:, :10], torch.zeros(500, 10, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(places[:, 170:], torch.ones(500, 30, dtype=torch.float64), rtol=0, atol=1e-6)
    for first, count, start, length in ((10, 88, 0.0, 0.5), (98, 40, 0.5, 0.37), (138, 32, 0.87, 0.13)):
        within = (places[:, first : first + count] - start) * (count / length) - torch.arange(count)
        assert within.min() > -1e-3
        assert within.max() < 1 + 1e-3
        assert within.mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / within.numel()))
        assert within.var().item() == pytest.approx(1 / 12, abs=5 * math.sqrt(1 / 180 / within.numel()))


def test_features_are_zero_in_the_middle_and_tell_every_beta_apart() -> None:
    betas = torch.logspace(-2, 1, 301, dtype=torch.float64)
    phi = gates.features(betas, RANGE)
    assert phi[150].abs().max() < 1e-12
    assert phi.abs().max() <= 2
    assert torch.linalg.matrix_rank(phi) == phi.shape[1]
    assert (phi[1:, 0] > phi[:-1, 0]).all()


def test_beta_outside_the_range_is_refused_with_the_range() -> None:
    model, x = build(beta_range=RANGE, latent_dim=2).eval(), to_unit(images(2))
    z = torch.zeros(2, 2)
    for beta in (0.009, 11.0, 0.0, -1.0, math.nan, torch.tensor([1.0, 20.0]), torch.tensor([1.0, math.nan])):
        for use in (lambda b: model.encode(x, b), lambda b: model.decode(z, b), lambda b: model.decode_mean(z, b)):
            with pytest.raises(UserError, match=r"from 0\.01 to 10\.$"):
                use(beta)
    for beta in (0.0, 20.0, math.nan):
        with pytest.raises(UserError, match=r"from 0\.01 to 10\.$"):
            model.at(beta)
    for beta in RANGE:  # the ends belong to it, in float32 too
        assert model.encode(x, torch.tensor([beta, beta]))[0].isfinite().all()


def test_a_model_of_one_beta_takes_none() -> None:
    model, x = build(latent_dim=2), to_unit(images(2))
    for use in (lambda: model.encode(x, 1.0), lambda: model.decode(torch.zeros(2, 2), 1.0), lambda: model.at(1.0)):
        with pytest.raises(UserError, match=r"--beta-range\.$"):
            use()


@pytest.mark.parametrize(
    ("beta_range", "default"), [((0.01, 10.0), 1.0), ((2.0, 8.0), 2.0), ((0.01, 0.5), 0.5)], ids=str
)
def test_without_a_beta_it_is_one_or_the_nearest(beta_range: tuple, default: float) -> None:
    model, x = build(latent_dim=2, beta_range=beta_range, seed=3), to_unit(images(4))
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1
    assert model.config.default_beta == default
    assert torch.equal(model.encode(x)[0], model.encode(x, default)[0])
    other = model.at(beta_range[1])
    torch.testing.assert_close(other.encode(x)[0], model.encode(x, beta_range[1])[0])
    assert model.beta == default


@pytest.mark.parametrize(
    "wrong", [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (0.1, 2000.0), (math.nan, 1.0), ("a", "b"), (True, 2.0)]
)
def test_a_range_that_is_none_is_refused(wrong: tuple) -> None:
    with pytest.raises(UserError, match=r"no range.*\.$"):
        ModelConfig((1, 8, 8), beta_range=wrong)


@pytest.mark.parametrize("wrong", [(1.0,), (0.1, 1.0, 10.0), "ab", 3, {"low": 1}], ids=str)
def test_a_header_with_a_foreign_range_is_refused(tmp_path: Path, wrong: object) -> None:
    model = build(beta_range=RANGE)
    header = {"model": model.config.to_dict() | {"beta_range": wrong}, "record": {}}
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    write_tensors(tmp_path / "a.safetensors", weights, header)
    with pytest.raises(UserError, match=r"\.$"):
        load(tmp_path / "a.safetensors")


def test_runs_are_named_by_their_beta_or_its_range() -> None:
    config = RunConfig(ModelConfig((1, 28, 28)), TrainConfig("mnist"))
    assert config.name.startswith("mnist-mlp-d2-beta1-")
    ranged = RunConfig(ModelConfig((1, 8, 8), beta_range=RANGE), TrainConfig())
    assert "-beta0.01-10-" in ranged.name
    assert RunConfig.from_dict(ranged.to_dict()) == ranged
    assert {config.name, ranged.name, RunConfig(ModelConfig((1, 8, 8), beta_range=(0.1, 10)), TrainConfig()).name} > {
        config.name
    }
    with pytest.raises(UserError, match=r"0\.01 to 10.*4"):
        RunConfig(ModelConfig((1, 8, 8), beta_range=RANGE), TrainConfig(beta=4.0))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_saved_and_loaded_it_answers_alike(tmp_path: Path, arch: str) -> None:
    model = _model(arch).float().eval()
    path = tmp_path / "a.safetensors"
    save(path, Checkpoint(model))
    assert read_header(path)["model"]["beta_range"] == RANGE
    found = load(path).model
    assert found.config == model.config
    for beta in (0.01, 1.0, 10.0):
        for here, there in zip(
            _outputs(model, _pictures(3).float(), beta), _outputs(found, _pictures(3).float(), beta), strict=True
        ):
            assert torch.equal(here, there)


def _trainer(**config: object) -> Trainer:
    model = ModelConfig((1, 8, 8), 3, widths=(16,), beta_range=RANGE)
    return Trainer(model, TrainConfig(**({"epochs": 3, "batch_size": 32} | config)), blobs(), CPU)


@pytest.mark.parametrize("options", [{}, {"kl_warmup": 2.0, "free_bits": 0.2, "binarize": True}], ids=["plain", "all"])
def test_resumed_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict) -> None:
    monkeypatch.setattr("vae_core.train._REPORT_SECONDS", 0.0)
    whole, kept = _trainer(**options), []
    for progress in whole.run():
        write_tensors(tmp_path / f"{len(kept)}", *whole.state())
        kept.append(progress)
    for interrupted in (0, 4, 5, 11, 16):
        again = _trainer(**options)
        again.restore(*read_tensors(tmp_path / f"{interrupted}"))
        *_, last = again.run()
        assert last.test == kept[-1].test
        ours, theirs = again.state()[0], whole.state()[0]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a short run on the digits."""
    model = ModelConfig((1, 8, 8), 4, widths=(64, 32), beta_range=RANGE)
    config = RunConfig(model, TrainConfig(epochs=80, learning_rate=3e-3))
    run = runs.create(config, tmp_path_factory.mktemp("run") / "digits")
    assert train_run(run, device="cpu") == "finished"
    return run.checkpoint


def test_distortion_falls_and_rate_rises_as_beta_falls(digits: Path) -> None:
    model, test = load(digits).model, data.load("digits").test.images
    points = [evaluate(model.at(beta), test, samples=8) for beta in (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)]
    distortions, rates = [point.reconstruction for point in points], [point.kl for point in points]
    assert distortions == sorted(distortions, reverse=True)
    assert rates == sorted(rates)
    assert rates[0] < 0.5 * rates[2] < 0.25 * rates[-1] + rates[0]
    for beta, own in zip((10.0, 1.0, 0.1), (0, 2, 4), strict=True):  # each is the best of them for its own β
        costs = [distortion + beta * rate for distortion, rate in zip(distortions, rates, strict=True)]
        assert costs[own] < min(costs) + 0.3
        assert costs[own] < min(costs[0 if own else -1], costs[-1 if own != 4 else 0])


SHIPPED = sorted((Path(__file__).resolve().parent.parent / "checkpoints").glob("*-beta.safetensors"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_models_trade_rate_for_distortion(path: Path) -> None:
    checkpoint = load(path)
    if not data.available(checkpoint.record["dataset"]):
        pytest.skip(f"{checkpoint.record['dataset']} is not downloaded")
    test = data.load(checkpoint.record["dataset"]).test.images[:1000]
    points = [evaluate(checkpoint.model.at(beta), test, samples=4) for beta in (10.0, 3.0, 1.0, 0.3, 0.1)]
    distortions, rates = [point.reconstruction for point in points], [point.kl for point in points]
    assert distortions == sorted(distortions, reverse=True)
    assert rates == sorted(rates)


def test_the_run_is_tested_and_kept_at_beta_one(digits: Path) -> None:
    checkpoint, test = load(digits), data.load("digits").test
    model = checkpoint.model
    np.testing.assert_allclose(checkpoint.snapshot.mu, encode(model.at(1.0), test.images)[0], rtol=1e-4, atol=1e-5)
    assert checkpoint.record["test"]["elbo"] == pytest.approx(evaluate(model.at(1.0), test.images).elbo, rel=1e-5)
    assert abs(snapshot(model.at(5.0), test, 50).mu - checkpoint.snapshot.mu[:50]).max() > 0.1


def test_a_run_of_every_beta_is_not_steered(tmp_path: Path) -> None:
    run = runs.create(RunConfig(ModelConfig((1, 8, 8), beta_range=RANGE), TrainConfig()), tmp_path / "run")
    with pytest.raises(UserError, match=r"every β from 0\.01 to 10\."):
        run.steer(beta=2.0)
    run.steer(learning_rate=0.01)
    assert run.control()["learning_rate"] == 0.01
