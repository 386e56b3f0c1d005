"""The recurrence of a quantised LSTM over a whole sequence as one autograd function.

What autograd would do anew at each time step, a product for the gradient of the weight and a sum of such gradients,
is one product over all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core.quant import noise

if TYPE_CHECKING:
    from cpt_core.quant.lstm import QuantLSTM


class Recurrence(torch.autograd.Function):
    """The hidden states of one layer in one direction, and its last hidden and cell state."""

    @staticmethod
    def forward(
        ctx: Any,
        from_input: Tensor,
        weight: Tensor,
        hidden: Tensor,
        cell: Tensor,
        layer: QuantLSTM,
        name: str,
        index: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run through the sequence.

        Args:
            ctx: autograd's.
            from_input: what the gates get from the input, with the biases, (time, batch, 4 x units).
            weight: rounded, of the hidden state, (4 x units, units).
            hidden: first hidden state, (batch, units).
            cell: first cell state, (batch, units).
            layer: rounds hidden states and errors, by its present bit widths.
            name: of the layer and direction, such as "l0" or "l1_reverse".
            index: of the layer and direction, which numbers its errors.
        """
        ctx.reverse = name.endswith("_reverse")
        time, batch, _gates = from_input.shape
        units = cell.shape[-1]
        gates, rounded = torch.empty_like(from_input), from_input.new_empty(time, batch, units)
        outputs, cells, squashed = (torch.empty_like(rounded) for _ in range(3))
        first_cell = cell
        for t in _steps(time, reverse=ctx.reverse):
            rounded[t] = layer.quantize_input(hidden, f"_hh_{name}")
            torch.mm(rounded[t], weight.t(), out=gates[t]).add_(from_input[t])
            gates[t, :, : 2 * units].sigmoid_()
            gates[t, :, 2 * units : 3 * units].tanh_()
            gates[t, :, 3 * units :].sigmoid_()
            i, f, g, o = gates[t].chunk(4, dim=-1)
            cell = torch.mul(f, cell, out=cells[t]).add_(i * g)
            hidden = torch.mul(o, torch.tanh(cell, out=squashed[t]), out=outputs[t])
        widths = layer.bit_widths
        ctx.rounds, ctx.share = widths.quantize_backward, layer.share
        ctx.rounding, ctx.first_product, ctx.stochastic = layer.quantizer.gradient, 2 * index * time, widths.stochastic
        # Levels are saved as a tensor, so that setting other widths before the backward pass is an error of autograd's.
        ctx.save_for_backward(
            weight, first_cell, gates, rounded, cells, squashed, widths.backward_levels, layer.noise_seed()
        )
        return outputs, hidden.clone(), cell.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_hidden: Tensor, d_cell: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the first four inputs."""
        weight, first_cell, gates, rounded, cells, squashed, levels, seed = ctx.saved_tensors
        time, units = len(gates), cells.shape[-1]
        errors = torch.empty_like(gates)
        for t in reversed(_steps(time, reverse=ctx.reverse)):
            i, f, g, o = gates[t].chunk(4, dim=-1)
            before = t + 1 if ctx.reverse else t - 1
            cell = cells[before] if 0 <= before < time else first_cell
            d_hidden = d_hidden + d_outputs[t]
            d_cell = d_cell + d_hidden * o * (1 - squashed[t] * squashed[t])
            error = errors[t]
            torch.mul(d_cell, g, out=error[:, :units])
            torch.mul(d_cell, cell, out=error[:, units : 2 * units])
            torch.mul(d_cell, i, out=error[:, 2 * units : 3 * units]).mul_(1 - g * g)
            torch.mul(d_hidden, squashed[t], out=error[:, 3 * units :]).mul_(o).mul_(1 - o)
            error[:, : 2 * units].mul_(gates[t, :, : 2 * units]).mul_(1 - gates[t, :, : 2 * units])
            if ctx.rounds:
                key = seed + noise.product_stream(ctx.first_product + 2 * t) if ctx.stochastic else None
                # As one time step of (time, batch, features), so that each batch row has its own range.
                error.copy_(ctx.rounding(error.unsqueeze(0), levels, key, ctx.share).squeeze(0))
            d_hidden, d_cell = error @ weight, d_cell * f
        d_weight = errors.flatten(0, 1).t() @ rounded.flatten(0, 1)
        return errors, d_weight, d_hidden, d_cell, None, None, None


def _steps(time: int, *, reverse: bool) -> range:
    return range(time - 1, -1, -1) if reverse else range(time)
