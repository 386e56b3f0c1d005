"""ResNets in CIFAR form: 3x32x32 images (He et al., "Deep residual learning", 2016, section 4.2)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from cpt_core.models.registry import register_model
from cpt_core.norms import BatchNormReLU2d
from cpt_core.sizes.model import CIFAR_BLOCKS


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a strided 1x1 convolution and `bn3` where the shape changes.

    As in the published model every block has a `bn3`, which its parameter counts include. Where the shortcut is the
    identity it is not used, and frozen, so that DDP does not wait for its gradients.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.downsample: nn.Conv2d | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        self.bn3 = nn.BatchNorm2d(channels).requires_grad_(self.downsample is not None)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNormReLU2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = BatchNormReLU2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, h, w) to (batch, channels, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.bn3(self.downsample(x))
        result: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x))), shortcut)
        return result


class CifarResNet(nn.Module):
    """A 3x3 stem, three groups of `blocks` basic blocks of 16, 32 and 64 channels, average pooling, a classifier."""

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = BatchNormReLU2d(16)
        self.layer1 = _group(16, 16, blocks, stride=1)
        self.layer2 = _group(16, 32, blocks, stride=2)
        self.layer3 = _group(32, 64, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, 3, 32, 32) to logits (batch, num_classes)."""
        x = self.bn1(self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _group(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


for _name, _blocks in CIFAR_BLOCKS.items():
    register_model(_name)(partial(CifarResNet, _blocks))
