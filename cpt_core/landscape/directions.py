"""Random directions in the space of the weights, of the same scale as the weights themselves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cpt_core.seeding import derive

Direction = dict[str, Tensor]
"""A tensor for each parameter, by name."""


def filter_normalized(weights: Mapping[str, Tensor], seed: int, *purpose: str | int) -> Direction:
    """A Gaussian direction in which each filter has the norm of the same filter of the weights (Li et al. 2018, 4).

    A filter is what makes one output: `weights[name][i]`, of a convolution shaped (in, height, width), of a linear
    layer (in,). Without this scaling a network whose weights are large looks flat, though rectifiers and batch norm
    make their size meaningless. Parameters of one dimension or none, biases and norms, have no filters: zero, so they
    stay as they are.

    The draw of a parameter depends on (seed, purpose, its name and shape) alone, so networks of the same form get the
    same draw, each scaled by its own weights.

    Args:
        weights: the parameters, by name.
        seed: of the draw.
        purpose: which of the directions of this seed.

    Returns:
        Tensors shaped, typed and placed as the parameters.
    """
    return {name: _scaled(weight, derive(seed, *purpose, name)) for name, weight in weights.items()}


def _scaled(weight: Tensor, seed: int) -> Tensor:
    if weight.dim() <= 1:
        return torch.zeros_like(weight)
    generator = torch.Generator().manual_seed(seed)  # the CPU's, so that the draw is the same on every device
    draw = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight.device)
    wanted = weight.detach().to(torch.float64).flatten(1).norm(dim=1)
    scale = wanted / draw.flatten(1).norm(dim=1)
    direction: Tensor = draw * scale.view(-1, *[1] * (weight.dim() - 1))
    return direction.to(weight.dtype)
