"""The recurrence of a quantised LSTM over a whole sequence as one autograd function.

What autograd would do anew at each time step, a product for the gradient of the weight and a sum of such gradients,
is one product over all of them. Between the products of a time step `gates` does all in one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core import onednn
from cpt_core.quant import gates, native, noise
from cpt_core.quant.integer.recurrence import order_of

if TYPE_CHECKING:
    from cpt_core.quant.lstm import QuantLSTM

PACKED_FROM = 1 << 18
"""Elements of a weight from which on it pays to lay it out for oneDNN, once for all time steps."""


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
        time, batch, _gates = from_input.shape
        ctx.order, units = order_of(time, name), cell.shape[-1]
        from_input, first_cell = from_input.contiguous(), cell.to(from_input.dtype).contiguous()
        activated = torch.empty_like(from_input)
        outputs, cells, squashed = (from_input.new_empty(time, batch, units) for _ in range(3))
        product, states = _product(weight, batch), []
        steps = list(zip(*(x.unbind() for x in (from_input, activated, cells, squashed, outputs)), strict=True))
        cell = first_cell
        for t in ctx.order:
            states.append(layer.quantize_input(hidden, f"_hh_{name}"))
            from_input_t, activated_t, new_cell, squashed_t, hidden = steps[t]
            gates.step(product(states[-1]), from_input_t, activated_t, cell, new_cell, squashed_t, hidden)
            cell = new_cell
        rounded = torch.stack(_in_time(states, ctx.order))
        widths = layer.bit_widths
        ctx.rounds, ctx.share = widths.quantize_backward, layer.share
        ctx.rounding, ctx.first_product, ctx.stochastic = layer.quantizer.gradient, 2 * index * time, widths.stochastic
        # Levels are saved as a tensor, so that setting other widths before the backward pass is an error of autograd's.
        ctx.save_for_backward(
            weight, first_cell, activated, rounded, cells, squashed, widths.backward_levels, layer.noise_seed()
        )
        return outputs, hidden.clone(), cell.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_hidden: Tensor, d_cell: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the first four inputs."""
        weight, first_cell, activated, rounded, cells, squashed, levels, seed = ctx.saved_tensors
        batch = activated.shape[1]
        d_outputs, d_hidden = d_outputs.contiguous(), d_hidden.contiguous()
        d_cell = d_cell.clone(memory_format=torch.contiguous_format)
        product = _product(native.transposed(weight), batch)
        errors: list[Tensor] = []
        steps = list(zip(*(x.unbind() for x in (activated, squashed, d_outputs)), strict=True))
        cells = cells.unbind()
        cells_before = dict(zip(ctx.order, (first_cell, *(cells[t] for t in ctx.order)), strict=False))
        for t in reversed(ctx.order):
            activated_t, squashed_t, d_output = steps[t]
            # As one time step of (time, batch, features), so that each batch row has its own range.
            error = activated_t.new_empty(1, *activated_t.shape)
            gates.step_back(error[0], activated_t, cells_before[t], squashed_t, d_hidden + d_output, d_cell)
            if ctx.rounds:
                key = seed + noise.product_stream(ctx.first_product + 2 * t) if ctx.stochastic else None
                error = ctx.rounding(error, levels, key, ctx.share)
            errors.append(error)
            d_hidden = product(error[0])
        d_from_input = torch.cat(_in_time(errors[::-1], ctx.order))
        d_weight = onednn.weight_gradient(d_from_input.flatten(0, 1), rounded.flatten(0, 1))
        return d_from_input, d_weight, d_hidden, d_cell, None, None, None


def _in_time(steps: list[Tensor], order: range) -> list[Tensor]:
    """What was made of the time steps in this order, in theirs."""
    return steps if order[0] == 0 else steps[::-1]


def _product(weight: Tensor, batch: int) -> Callable[[Tensor], Tensor]:
    """What gives `x @ weight.t()` for many `x` of `batch` rows.

    Matrix multiplication lays a weight out anew for each product, which with few rows is most of its time. oneDNN, of
    which torch's own LSTM is made too, can keep the layout.
    """
    takes = weight.dtype == torch.float32 and weight.device.type == "cpu"
    takes = takes and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    takes = takes and not torch.compiler.is_compiling()  # whose compiler lays out constants alone
    if not takes or weight.numel() < PACKED_FROM:
        return lambda x: torch.mm(x, weight.t())
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, batch)

    def product(x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
        return y

    return product
