"""The network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cpt_core.spec.base import SpecModel


class CifarResNet(SpecModel):
    """A ResNet in CIFAR form: 3x3 stem, three groups of basic blocks of 16, 32 and 64 channels (He et al. 2016)."""

    name: Literal[
        "resnet8", "resnet14", "resnet20", "resnet32", "resnet38", "resnet74", "resnet110", "resnet152", "resnet164"
    ]
    """The depth. 6n+2 layers, where resnet164 has n = 27, as in the paper's cost figures."""


class MobileNetV2(SpecModel):
    """MobileNetV2 in CIFAR form. Its depthwise convolutions keep 8 forward and 16 backward bits, as in the paper."""

    name: Literal["mobilenet_v2"]


class ImageNetResNet(SpecModel):
    """A ResNet in ImageNet form: 7x7 stem with pooling (He et al. 2016, as torchvision has it)."""

    name: Literal["resnet18", "resnet34", "resnet50"]
    """The depth. Stem, downsample convolutions and classifier stay in full precision, as in the paper."""


ModelSpec = Annotated[CifarResNet | MobileNetV2 | ImageNetResNet, Field(discriminator="name")]
