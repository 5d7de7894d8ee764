"""Decoders as affine maps with ReLUs between them: the same function, wherever the points lie."""

import pytest
import torch

from tests.toys import build
from vae_core.piecewise import PiecewiseAffine


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("widths", [(7,), (32, 16), (24, 16, 8)])
@pytest.mark.parametrize("beta_range", [None, (0.1, 10.0)])
@pytest.mark.parametrize("size", [1e-3, 0.5, 20.0], ids="{:g} wide".format)
def test_it_is_the_decoder(d: int, widths: tuple[int, ...], beta_range: tuple | None, size: float) -> None:
    """To 1e-12 in float64, from a patch where no unit changes sign to one where almost all do, for any β."""
    model = build(1, latent_dim=d, widths=widths, beta_range=beta_range).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # also the responses to β, which begin at 0
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        model = model if beta_range is None else model.at(0.3)
        decoder = PiecewiseAffine(model.affine_maps())
        z = 0.4 + size * torch.randn(50, d, generator=generator, dtype=torch.float64)
        params = model.decode(z).flatten(1)
        torch.testing.assert_close(decoder(z), params, rtol=0, atol=1e-12 * float(params.abs().max()))
        weight, bias = decoder.maps[-1]
        torch.testing.assert_close(decoder.hidden(z) @ weight + bias, params, rtol=0, atol=1e-10)


@pytest.mark.parametrize("config", [{"arch": "conv"}, {"activation": "tanh"}])
def test_other_networks_have_no_such_form(config: dict) -> None:
    assert build(**config).affine_maps() is None
