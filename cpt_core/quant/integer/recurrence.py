"""A layer of a quantised LSTM over a whole sequence, in one direction, whose products run on codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core import onednn
from cpt_core.quant import gates, noise
from cpt_core.quant.integer import native_products
from cpt_core.quant.integer.codes import Codes, code_error, code_weight, recode_weight
from cpt_core.quant.integer.native_products import KeptWeight

if TYPE_CHECKING:
    from cpt_core.quant.lstm import QuantLSTM


class IntegerRecurrence(torch.autograd.Function):
    """As `recurrence.Recurrence`, with the product of the input in it too, as their errors are the same.

    One product of six is in floats: that which makes the gradient of the weight of the hidden states, both of whose
    operands have ranges that differ along the sum.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        bias: Tensor | None,
        hidden: Tensor,
        cell: Tensor,
        layer: QuantLSTM,
        name: str,
        index: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run through the sequence.

        Args:
            ctx: autograd's.
            x: input, (time, batch, features), contiguous.
            w_ih: weight of the input, (4 x units, features).
            w_hh: weight of the hidden state, (4 x units, units).
            bias: the sum of both, (4 x units).
            hidden: first hidden state, (batch, units).
            cell: first cell state, (batch, units).
            layer: codes inputs and hidden states, by its present bit widths.
            name: of the layer and direction, such as "l0" or "l1_reverse".
            index: of the layer and direction, which numbers its errors.
        """
        ctx.order = order_of(len(x), name)
        widths = layer.bit_widths
        inputs = layer.code_input(x, f"_ih_{name}")
        w_i, w_h = (code_weight(weight, widths.forward_levels) for weight in (w_ih, w_hh))
        from_input = native_products.linear(_rows(inputs), w_i, bias).view(*x.shape[:2], -1)
        time, batch, units = *x.shape[:2], cell.shape[-1]
        activated = torch.empty_like(from_input)
        outputs, cells, squashed = (from_input.new_empty(time, batch, units) for _ in range(3))
        states: list[Codes] = []
        kept = KeptWeight(w_h, backward=False)
        cell = first_cell = cell.to(x.dtype).contiguous()
        for t in ctx.order:
            states.append(layer.code_input(hidden.contiguous(), f"_hh_{name}"))
            hidden = outputs[t]
            gates.step(kept.linear(states[-1]), from_input[t], activated[t], cell, cells[t], squashed[t], hidden)
            cell = cells[t]
        ctx.fast = layer.input_gradient == "fast"
        ctx.has_bias, ctx.stochastic, ctx.first_product = bias is not None, widths.stochastic, 2 * index * time
        # Levels are saved as tensors, so that setting other widths before the backward pass is an error of autograd's.
        ctx.save_for_backward(
            *inputs, w_ih, *w_i[1:3], w_hh, *w_h[1:3], *_stacked(states), first_cell, activated, cells, squashed,
            widths.backward_levels, layer.noise_seed(),
        )  # fmt: skip
        return outputs, hidden.clone(), cell.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_hidden: Tensor, d_cell: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the first six inputs."""
        saved = ctx.saved_tensors
        levels = saved[3]
        inputs, states = (Codes(saved[at], saved[at + 1], saved[at + 2], levels) for at in (0, 10))
        w_i, w_h = (recode_weight(saved[at], saved[at + 1], saved[at + 2], levels) for at in (4, 7))
        first_cell, activated, cells, squashed, error_levels, seed = saved[13:]
        d_outputs, d_hidden = d_outputs.contiguous(), d_hidden.contiguous()
        d_cell = d_cell.clone(memory_format=torch.contiguous_format)
        kept = KeptWeight(w_h, backward=True, fast=ctx.fast)
        errors: list[Codes] = []
        cells_before = dict(zip(ctx.order, (first_cell, *(cells[t] for t in ctx.order)), strict=False))
        for t in reversed(ctx.order):
            error = torch.empty_like(activated[t])
            gates.step_back(error, activated[t], cells_before[t], squashed[t], d_hidden + d_outputs[t], d_cell)
            key = seed + noise.product_stream(ctx.first_product + 2 * t) if ctx.stochastic else None
            # As one time step of (time, batch, features), so that each batch row has its own range.
            codes = code_error(error.unsqueeze(0), error_levels, key, None)
            errors.append(codes._replace(codes=codes.codes.squeeze(0)))
            d_hidden = kept.input_gradient(errors[-1])
        # In the order of the steps, in which the states are too; the inputs are in that of time.
        in_order = _stacked(errors[::-1])
        in_time = in_order if ctx.order[0] == 0 else tuple(part.flip(0) for part in in_order)
        all_errors = Codes(in_time[0].flatten(0, 1), in_time[1].flatten(), in_time[2].flatten(), error_levels)
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.has_bias and ctx.needs_input_grad[3])
        dx, dw_ih, dbias = native_products.linear_backward(all_errors, 1, _rows(inputs), w_i, wanted, fast=ctx.fast)
        of_errors = _numbers(Codes(in_order[0], in_order[1], in_order[2], error_levels)).flatten(0, 1)
        dw_hh = onednn.weight_gradient(of_errors, _numbers(states).flatten(0, 1))
        return (
            None if dx is None else dx.view(inputs.codes.shape), dw_ih, dw_hh, dbias, d_hidden, d_cell,
            None, None, None,
        )  # fmt: skip


def order_of(time: int, name: str) -> range:
    """The time steps in the order in which a layer and direction of this name takes them."""
    return range(time - 1, -1, -1) if name.endswith("_reverse") else range(time)


def _rows(x: Codes) -> Codes:
    """(time, batch, features) as rows."""
    return x._replace(codes=x.codes.flatten(0, 1))


def _stacked(steps: list[Codes]) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, lows and spans of all steps, the first dimension being the step."""
    codes, low, span, _levels = zip(*steps, strict=True)
    return torch.stack(codes), torch.stack(low), torch.stack(span)


def _numbers(x: Codes) -> Tensor:
    """What the codes (time, batch, features) stand for; ranges are those of steps (time), or of rows (time, batch)."""
    shape = x.low.shape + (1,) * (3 - x.low.dim())
    return x.codes * x.scale.view(shape) + x.low.view(shape)
