"""torchvision's models of images."""

from __future__ import annotations

from typing import Any

import torchvision.models
from torch import nn

from cpt_core.models.sample import Sample


def names() -> list[str]:
    """The models of `torchvision.models` that classify."""
    listed: list[str] = torchvision.models.list_models(module=torchvision.models)
    return listed


def create(architecture: str, num_classes: int, options: dict[str, Any], sample: Sample | None) -> nn.Module:
    """The model; a vision transformer is made for the sample's size."""
    if sample is not None and architecture.startswith("vit_"):
        options = {"image_size": sample.shape[-1], **options}
    model: nn.Module = torchvision.models.get_model(architecture, weights=None, num_classes=num_classes, **options)
    return model
