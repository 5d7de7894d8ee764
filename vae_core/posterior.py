"""One image seen through the model: its posterior, draws from it, and its ELBO."""

from dataclasses import dataclass

import numpy as np
import torch

from vae_core.evaluate import to_unit
from vae_core.model import VAE
from vae_core.objective import kl_standard_normal, reparameterise

__all__ = ["ImagePosterior", "posterior"]


@dataclass(frozen=True)
class ImagePosterior:
    """q(z|x) for one image x and K draws from it, all float32.

    mu, logvar (d,); z (K, d); decoded (K, C, H, W), the mean pictures of p(x|z) in [0, 1]; mean_picture
    (C, H, W), decoded from mu; reconstruction (K,), −log p(x|z) in nats; kl (d,) in nats.
    """

    mu: np.ndarray
    logvar: np.ndarray
    z: np.ndarray
    decoded: np.ndarray
    mean_picture: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray

    @property
    def sigma(self) -> np.ndarray:
        """The posterior's standard deviations (d,)."""
        return np.exp(0.5 * self.logvar)

    @property
    def elbo(self) -> float:
        """−(reconstruction averaged over the draws + KL), in nats."""
        return -float(self.reconstruction.mean(dtype=np.float64) + self.kl.sum(dtype=np.float64))

    @property
    def standard_error(self) -> float:
        """The Monte Carlo standard error of `elbo`, in nats."""
        return float(self.reconstruction.std(ddof=1, dtype=np.float64) / np.sqrt(len(self.reconstruction)))


@torch.inference_mode()
def posterior(model: VAE, image: np.ndarray, samples: int = 64, seed: int = 0) -> ImagePosterior:
    """Encode one uint8 image (C, H, W) and decode `samples` draws from its posterior. The model is in eval mode."""
    device = next(model.parameters()).device
    x = to_unit(image[None], device)
    mu, logvar = model.encode(x)
    generator = torch.Generator(device=device).manual_seed(seed)
    z = reparameterise(mu.expand(samples, -1), logvar.expand(samples, -1), generator)
    params = model.decode(torch.cat([mu, z]))
    pictures = model.likelihood.mean(params)
    arrays = (
        mu[0],
        logvar[0],
        z,
        pictures[1:],
        pictures[0],
        -model.likelihood.log_prob(x, params[1:]),
        kl_standard_normal(mu, logvar)[0],
    )
    return ImagePosterior(*(array.cpu().numpy() for array in arrays))
