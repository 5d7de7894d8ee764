"""Decoders of affine maps with ReLUs between them, at many points that lie close together.

In a small part of the latent space most hidden units keep their sign, and those are affine in z. Only the few that
change it there need a column of their own, so that the wide products of the network become narrow ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["PiecewiseAffine"]


class PiecewiseAffine:
    """What the maps, weights (inputs, outputs) and biases (outputs,), make of z: exactly, up to rounding."""

    def __init__(self, maps: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.maps = maps

    def __call__(self, z: Tensor) -> Tensor:
        """The last map's outputs. Shapes: z (P, d), best close together → (P, outputs)."""
        return self._pre_activation(z, len(self.maps))

    def hidden(self, z: Tensor) -> Tensor:
        """What goes into the last map: the last hidden units. Shapes: (P, d) → (P, units)."""
        return torch.relu(self._pre_activation(z, len(self.maps) - 1))

    def _pre_activation(self, z: Tensor, depth: int) -> Tensor:
        """The outputs of map number `depth`, as basis (P, r) times weight (r, outputs)."""
        basis = torch.cat([torch.ones_like(z[:, :1]), z], 1)
        first, bias = self.maps[0]
        weight = torch.cat([bias[None], first])
        for matrix, bias in self.maps[1:depth]:
            h = basis @ weight
            positive = h.amin(0) > 0
            changing = torch.where((h.amax(0) > 0) & ~positive)[0]
            basis = torch.cat([basis, torch.relu(h[:, changing])], 1)
            weight = torch.cat([(weight * positive) @ matrix, matrix[changing]])
            weight[0] += bias
        return basis @ weight
