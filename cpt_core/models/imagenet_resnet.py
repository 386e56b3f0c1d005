"""ResNets in ImageNet form: 3x224x224 images, torchvision's (He et al. 2016, stride in the 3x3 convolution)."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from cpt_core.models.registry import register_model

FULL_PRECISION_LAYERS = ("conv1", "*.downsample.0", "fc")
"""What the paper leaves in full precision on ImageNet."""


def _imagenet_resnet(name: str, num_classes: int, **options: Any) -> nn.Module:
    # torchvision takes a second to load; the CIFAR models do without it.
    from torchvision.models import get_model

    model: nn.Module = get_model(name, weights=None, num_classes=num_classes, **options)
    model.full_precision_layers = FULL_PRECISION_LAYERS  # type: ignore[assignment]
    return model


for _name in ("resnet18", "resnet34", "resnet50"):
    register_model(_name)(partial(_imagenet_resnet, _name))
