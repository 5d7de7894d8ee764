"""The networks: every shape, every parameter, every image for itself."""

import json
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal
from torch.nn import functional as F

from tests.toys import build, images
from vae_core.errors import UserError
from vae_core.evaluate import to_unit
from vae_core.likelihood import LIKELIHOODS
from vae_core.model import ACTIVATIONS, ARCHITECTURES, ModelConfig, _Upsample, default_widths
from vae_core.objective import elbo_terms, loss

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 27, 5)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("latent_dim", [1, 128])
def test_every_parameter_gets_a_gradient(arch: str, likelihood: str, shape: tuple, latent_dim: int) -> None:
    model = build(shape=shape, arch=arch, likelihood=likelihood, latent_dim=latent_dim)
    x = to_unit(images(4, shape))
    mu, logvar = model.encode(x)
    assert mu.shape == logvar.shape == (4, latent_dim)
    assert model.decode(mu).shape == x.shape
    assert ((model.decode_mean(mu) >= 0) & (model.decode_mean(mu) <= 1)).all()
    loss(elbo_terms(model, x), beta=1.0).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_do_not_touch_one_another(arch: str, shape: tuple) -> None:
    """Exactly no gradient from one image to another's output; alone or in a batch, equal to 1e-5."""
    model = build(shape=shape, arch=arch, latent_dim=3)
    x = to_unit(images(5, shape)).requires_grad_()
    mu, logvar = model.encode(x)
    params = model.decode(mu)
    for output in (mu, logvar, params):
        (gradient,) = torch.autograd.grad(output[2].sum(), x, retain_graph=True)
        assert gradient[[0, 1, 3, 4]].eq(0).all()
        assert gradient[2].ne(0).any()
    torch.testing.assert_close(model.encode(x[2:3])[0], mu[2:3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.decode(mu[2:3]), params[2:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (7, 2)])
def test_upsampling_is_nearest_neighbour_and_a_convolution(size: tuple[int, int]) -> None:
    """One transposed convolution equals both steps, to 1e-12 in float64, gradients too."""
    layer = _Upsample(5, 3).double()
    h = torch.randn(2, 5, *size, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(F.interpolate(h, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(h), expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((layer(h) * weights).sum(), (h, layer.weight, layer.bias)),
        torch.autograd.grad((expected * weights).sum(), (h, layer.weight, layer.bias)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_upsampling_a_flat_field_stays_flat() -> None:
    """No checkerboard: inside the border all pixels of a constant input come out equal, to 1e-12."""
    inside = _Upsample(4, 2).double()(torch.ones(1, 4, 6, 6, dtype=torch.float64))[..., 1:-1, 1:-1]
    assert inside.amax((-2, -1)).sub(inside.amin((-2, -1))).abs().max() < 1e-12


def test_log_variance_is_bounded_smoothly() -> None:
    """|logvar| ≤ 10 for any weights; the loss stays finite; the slope at 0 is 1 and never negative."""
    model = build(latent_dim=2)
    with torch.no_grad():
        model.encoder.head.weight *= 1e5
    x = to_unit(images(50))
    _, logvar = model.encode(x)
    assert logvar.abs().max() <= 10
    assert logvar.abs().max() > 9.9
    assert loss(elbo_terms(model, x), beta=1.0).isfinite()
    model = build(latent_dim=1)
    with torch.no_grad():
        model.encoder.head.weight.zero_()
        model.encoder.head.bias.copy_(torch.tensor([0.0, 0.01]))
    assert model.encode(x[:1])[1].item() == pytest.approx(0.01, rel=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_config_survives_json(arch: str, likelihood: str) -> None:
    config = ModelConfig((1, 27, 5), 7, arch, likelihood, sigma=0.3)
    values = json.loads(json.dumps(config.to_dict()))
    assert ModelConfig.from_dict(values) == config
    assert config.widths == default_widths(arch, (1, 27, 5))
    assert config.activation == {"mlp": "gelu", "conv": "silu"}[arch]
    del values["activation"]  # as in the files from before there was a choice
    assert ModelConfig.from_dict(values) == replace(config, activation={"mlp": "relu", "conv": "silu"}[arch])


def test_gelu_is_x_times_the_normal_distribution_function() -> None:
    """Source: Hendrycks & Gimpel 2016. The function itself, not the approximation by tanh."""
    x = torch.linspace(-6, 6, 97, dtype=torch.float64)
    torch.testing.assert_close(ACTIVATIONS["gelu"](x), x * Normal(0.0, 1.0).cdf(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta_range", [None, (0.1, 10.0)])
def test_a_tanh_network_is_one(beta_range: tuple[float, float] | None) -> None:
    """Its hidden layers are odd: with biases of zero, mu of −x is −mu of x; not so with the others."""
    for activation in ACTIVATIONS:
        model = build(latent_dim=3, widths=(16, 8), activation=activation, beta_range=beta_range)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
        x = to_unit(images(4))
        odd = torch.allclose(model.encode(-x)[0], -model.encode(x)[0], atol=1e-6)
        z = torch.randn(4, 3)
        assert odd == torch.allclose(model.decode(-z), -model.decode(z), atol=1e-6) == (activation == "tanh")
    loss(elbo_terms(build(latent_dim=3, activation="tanh"), x), beta=1.0).backward()


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"latent_dim": 0}, "0"),
        ({"latent_dim": 129}, "129"),
        ({"latent_dim": 2.0}, "2.0"),
        ({"latent_dim": True}, "True"),
        ({"arch": "transformer"}, "transformer"),
        ({"likelihood": "poisson"}, "poisson"),
        ({"image_shape": (2, 8, 8)}, "2"),
        ({"image_shape": (1, 8)}, "8"),
        ({"image_shape": (1, 0, 8)}, "0"),
        ({"image_shape": (1, 600, 8)}, "600"),
        ({"widths": ()}, "()"),
        ({"widths": (0,)}, "0"),
        ({"widths": (1,) * 9}, "1"),
        ({"sigma": 0.0}, "0.0"),
        ({"activation": "sine"}, "sine"),
        ({"arch": "conv", "activation": "tanh"}, "tanh"),
        ({"sigma": float("nan")}, "nan"),
    ],
)
def test_config_out_of_range_is_refused_with_its_value(changes: dict, value: str) -> None:
    with pytest.raises(UserError, match=r"\.$") as error:
        ModelConfig(**({"image_shape": (1, 8, 8)} | changes))
    assert value in str(error.value)
