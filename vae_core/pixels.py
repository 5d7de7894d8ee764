"""p(x|z) pixel by pixel: how far off each pixel is, what it costs, and draws of whole pictures."""

import numpy as np
import torch

from vae_core.evaluate import to_unit
from vae_core.model import VAE

__all__ = ["absolute_error", "draw", "pixel_cost"]


def absolute_error(image: np.ndarray, mean_picture: np.ndarray) -> np.ndarray:
    """|x − x̂| of each pixel, averaged over its channels, on the scale where black is 0 and white is 1.

    Shapes: image (C, H, W) uint8, mean_picture (C, H, W) float in [0, 1] → (H, W).
    """
    return np.abs(image.astype(np.float32) / 255 - mean_picture).mean(0)


@torch.inference_mode()
def pixel_cost(model: VAE, image: np.ndarray, z: np.ndarray) -> np.ndarray:
    """−log p(x|z) of each pixel in nats, averaged over the draws z: its share of the reconstruction term.

    Shapes: image (C, H, W) uint8, z (K, d) → (H, W), summed over channels. The pixels sum to the mean over z of
    −log p(x|z), since p(x|z) is a product over pixels. The model is in evaluation mode.
    """
    device = next(model.parameters()).device
    x = to_unit(image, device)
    params = model.decode(torch.from_numpy(z).to(device))
    cost = -model.likelihood.log_prob(x[..., None, None, None], params[..., None, None, None])
    return cost.mean(0).sum(0).cpu().numpy()


@torch.inference_mode()
def draw(model: VAE, z: np.ndarray, seed: int = 0) -> np.ndarray:
    """One picture x ~ p(x|z) for each z, every pixel drawn by itself: z (K, d) → (K, C, H, W) float32.

    Gaussian draws are not clipped to [0, 1].
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    return model.likelihood.sample(model.decode(torch.from_numpy(z).to(device)), generator).cpu().numpy()
