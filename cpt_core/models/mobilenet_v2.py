"""MobileNetV2 in CIFAR form: 3x32x32 images (Sandler et al., "MobileNetV2", 2018, with strides for small images)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpt_core.models.registry import register_model
from cpt_core.norms import BatchNormReLU2d
from cpt_core.sizes.model import MOBILENET_GROUPS


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter by a depthwise 3x3, project by a 1x1.

    At stride 1 there is a shortcut, a 1x1 convolution where the channels change.
    """

    def __init__(self, in_channels: int, channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.expand = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.bn1 = BatchNormReLU2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.bn2 = BatchNormReLU2d(hidden)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module | None = None
        if stride == 1:
            self.shortcut = nn.Identity()
            if in_channels != channels:
                self.shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, h, w) to (batch, channels, h / stride, w / stride)."""
        out = self.bn2(self.depthwise(self.bn1(self.expand(x))))
        out = self.bn3(self.project(out))
        result: Tensor = out if self.shortcut is None else out + self.shortcut(x)
        return result


@register_model("mobilenet_v2")
class MobileNetV2(nn.Module):
    """A 3x3 stem, seven groups of inverted residuals, a 1x1 convolution to 1280 channels, a classifier."""

    fixed_precision_layers = {"*.depthwise": (8, 16)}
    """Depthwise convolutions keep these forward and backward bits, as in the paper."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.bn1 = BatchNormReLU2d(32)
        blocks = []
        in_channels = 32
        for expansion, channels, count, first_stride in MOBILENET_GROUPS:
            for stride in (first_stride, *(1,) * (count - 1)):
                blocks.append(InvertedResidual(in_channels, channels, expansion, stride))
                in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(in_channels, 1280, 1, bias=False)
        self.bn2 = BatchNormReLU2d(1280)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1280, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, 3, 32, 32) to logits (batch, num_classes)."""
        x = self.bn2(self.conv2(self.blocks(self.bn1(self.conv1(x)))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits
