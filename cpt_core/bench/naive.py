"""Simulated low precision written the naive way: what most published code does, and what ours is compared with.

The numbers are those of `cpt_core.quant.sbm`, but that an LSTM's input has a range for each time step. The cost is not:
a range per sample before that of the batch, a copy of the tensor, a pass over memory for each operation, noise from
torch's generator, and an LSTM that rounds its weights anew at every time step.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core.quant import quantize_model

FORWARD_BITS = BACKWARD_BITS = 8


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor, bits: int, rows: bool) -> Tensor:
        return _rounded(x, bits, rows=rows, stochastic=False)

    @staticmethod
    def backward(_ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return grad_outputs[0], None, None


class _RoundGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int, rows: bool) -> Tensor:
        ctx.bits, ctx.rows = bits, rows
        return x

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return _rounded(grad_outputs[0], ctx.bits, rows=ctx.rows, stochastic=True), None, None


def _rounded(x: Tensor, bits: int, *, rows: bool, stochastic: bool) -> Tensor:
    flat = x.flatten(1) if x.dim() > 1 else x.unsqueeze(0)
    low, high = flat.min(1).values, flat.max(1).values
    shape = (-1,) + (1,) * (x.dim() - 1)
    zero_point, top = (low.view(shape), high.view(shape)) if rows else (low.min(), high.max())
    scale = ((top - zero_point) / (2**bits - 1)).clamp(min=1e-8)
    output = x.clone()
    output.add_(-zero_point).div_(scale)
    if stochastic:
        output.add_(output.new(output.shape).uniform_(-0.5, 0.5))
    return output.clamp_(0, 2**bits - 1).round_().mul_(scale).add_(zero_point)


def _activation(x: Tensor) -> Tensor:
    result: Tensor = _Round.apply(x, FORWARD_BITS, False)
    return result


def _weight(w: Tensor) -> Tensor:
    result: Tensor = _Round.apply(w, FORWARD_BITS, True)
    return result


def _error(y: Tensor, *, rows: bool = False) -> Tensor:
    result: Tensor = _RoundGradient.apply(y, BACKWARD_BITS, rows)
    return result


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _error(F.linear(_activation(x), _weight(weight), bias))


class NaiveConv2d(nn.Conv2d):
    """The layer, naively rounded."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """As the layer's parent."""
        return _error(self._conv_forward(_activation(input), _weight(self.weight), self.bias))


class NaiveLinear(nn.Linear):
    """The layer, naively rounded."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """As the layer's parent."""
        return _linear(input, self.weight, self.bias)


class NaiveAttention(nn.MultiheadAttention):
    """Causal self-attention with batch first, as the transformer language model calls it."""

    def forward(self, query: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, None]:
        """Attended values; no weights."""
        batch, time, width = query.shape
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            _linear(query, weight, bias).view(batch, time, self.num_heads, -1).transpose(1, 2)
            for weight, bias in zip(weights, biases, strict=True)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, None, self.dropout if self.training else 0.0, is_causal=True)
        return _linear(
            mixed.transpose(1, 2).reshape(batch, time, width), self.out_proj.weight, self.out_proj.bias
        ), None


class NaiveLSTM(nn.LSTM):
    """One direction, batch first."""

    def forward(  # type: ignore[override]  # torch declares overloads for packed sequences
        self,
        input: Tensor,  # noqa: A002  # torch's name
        hx: Any = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Hidden states, and the last states."""
        x = input.transpose(0, 1)
        last = []
        for layer in range(self.num_layers):
            w_ih, w_hh, b_ih, b_hh = (
                self.get_parameter(f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            h = c = x.new_zeros(x.shape[1], self.hidden_size)
            if hx is not None:
                h, c = hx[0][layer], hx[1][layer]
            outputs = []
            for step in x:
                gates = _activation(step) @ _weight(w_ih).t() + b_ih + _activation(h) @ _weight(w_hh).t() + b_hh
                i, f, g, o = _error(gates, rows=True).chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                outputs.append(h)
            last.append((h, c))
            x = torch.stack(outputs)
        hidden, cell = zip(*last, strict=True)
        return x.transpose(0, 1), (torch.stack(hidden), torch.stack(cell))


_NAIVE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: NaiveConv2d,
    nn.Linear: NaiveLinear,
    nn.MultiheadAttention: NaiveAttention,
    nn.LSTM: NaiveLSTM,
}


def quantize_naively(model: nn.Module) -> None:
    """Have the layers of `model` that `quantize_model` quantises round naively, in place."""
    for name in quantize_model(copy.deepcopy(model)).layers:
        layer = model.get_submodule(name)
        layer.__class__ = _NAIVE[type(layer)]
