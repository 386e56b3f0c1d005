"""Augmentation of whole batches, each image's a function of (seed, epoch, index) and of nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cpt_core.seeding import derive

PADDING = 4


def crop_flip(images: Tensor, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Random crops of the images padded with 4 zeros on each side, half of them mirrored.

    Args:
        images: uint8, shape (B, C, H, W).
        indices: each image's index in its split, int64 on the CPU, shape (B,).
        seed: the run's.
        epoch: the pass over the data.

    Returns:
        uint8, shape (B, C, H, W), on the device of `images`.
    """
    count, channels, height, width = images.shape
    draws = _hash(indices.numpy(), derive(seed, "augmentation", epoch))
    positions = np.uint64(2 * PADDING + 1)
    top, left, mirrored = (
        torch.from_numpy(draw.astype(np.int64)).to(images.device).view(-1, 1)
        for draw in (
            (draws & np.uint64(0xFFFF)) % positions,
            (draws >> np.uint64(16) & np.uint64(0xFFFF)) % positions,
            draws >> np.uint64(63),
        )
    )
    rows = torch.arange(height, device=images.device) + top
    columns = torch.arange(width, device=images.device).expand(count, -1)
    columns = torch.where(mirrored == 1, width - 1 - columns, columns) + left
    padded = F.pad(images, (PADDING,) * 4)
    image = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    return padded[image, channel, rows.view(count, 1, height, 1), columns.view(count, 1, 1, width)]


def _hash(indices: npt.NDArray[np.int64], key: int) -> npt.NDArray[np.uint64]:
    """64 random bits for each index: the output function of SplitMix64 (Steele, Lea & Flood 2014)."""
    state = (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
