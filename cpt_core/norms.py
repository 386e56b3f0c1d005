"""A norm that is one module with what follows it, so that both can be computed in one pass over memory."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNormReLU2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, then a ReLU; same arguments, parameters and names."""

    def forward(self, input: Tensor, shortcut: Tensor | None = None) -> Tensor:  # noqa: A002  # torch's name
        """The rectified norm of `input`, (batch, channels, height, width), or of that plus a `shortcut`."""
        y = super().forward(input)
        return F.relu_(y if shortcut is None else y + shortcut)
