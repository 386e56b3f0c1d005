"""The quantised `Conv1D` of transformers (GPT-2 and its kin): a linear layer whose weight is stored transposed."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.pytorch_utils import Conv1D

from cpt_core.quant.layers import QuantizedLayer


class QuantConv1D(Conv1D, QuantizedLayer):
    """`transformers.pytorch_utils.Conv1D` with quantised forward and backward pass; same parameters and shapes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.init_quantization()

    def forward(self, x: Tensor) -> Tensor:
        """The affine map of `x`, (..., nx), to (..., nf); `weight` is (nx, nf), so its columns are the channels."""
        if not self.bit_widths.quantize_forward:
            result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return result
        return self.linear(x, self.weight.t(), self.bias)
