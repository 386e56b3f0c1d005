"""The quantised LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cpt_core.quant import integer
from cpt_core.quant.integer.recurrence import IntegerRecurrence
from cpt_core.quant.layers import QuantizedLayer
from cpt_core.quant.recurrence import Recurrence

State = tuple[Tensor, Tensor]


class QuantLSTM(nn.LSTM, QuantizedLayer):
    """`torch.nn.LSTM` with quantised forward and backward pass; same arguments, parameters and shapes.

    A layer's input is rounded once, over the whole sequence, its hidden state at each time step, and its weights once
    per call. The gradient of the gates is rounded at each time step with one range per batch row. The cell state, the
    gates' functions and the biases are in full precision.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.init_quantization()

    def quantized_inputs(self) -> Sequence[str]:
        """One per weight: `_ih_l0`, `_hh_l0` and so on."""
        return [name.removeprefix("weight") for name in self._weight_names()]

    def quantized_weights(self) -> Sequence[Tensor]:
        """Those of the inputs, the hidden states and the projections."""
        return [self.get_parameter(name) for name in self._weight_names()]

    def forward(  # type: ignore[override]  # torch declares overloads for packed sequences
        self,
        input: Tensor,  # noqa: A002  # torch's name
        hx: State | None = None,
    ) -> tuple[Tensor, State]:
        """As `torch.nn.LSTM`: (time, batch, features), or as `batch_first` says, or without batch.

        Raises:
            TypeError: a packed sequence, while quantised: pad it.
            RuntimeError: a state of another size than the input and the layer ask for.
        """
        if not self.bit_widths.quantize_forward:
            return super().forward(input, hx)
        if isinstance(input, PackedSequence):
            raise TypeError("a quantised LSTM takes padded sequences, not packed ones")
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(0 if self.batch_first else 1)
        x = x.transpose(0, 1).contiguous() if self.batch_first else x
        hidden, cell = self._initial_state(x, hx if batched or hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1)))
        y, last_hidden, last_cell = self._layers(x, hidden, cell)
        y = y.transpose(0, 1) if self.batch_first else y
        if batched:
            return y, (last_hidden, last_cell)
        return y.squeeze(0 if self.batch_first else 1), (last_hidden.squeeze(1), last_cell.squeeze(1))

    def _weight_names(self) -> list[str]:
        return [name for name in self._flat_weights_names if name.startswith("weight")]

    def _initial_state(self, x: Tensor, hx: State | None) -> State:
        states = self.num_layers * (1 + self.bidirectional)
        sizes = [(states, x.shape[1], width) for width in (self.proj_size or self.hidden_size, self.hidden_size)]
        if hx is None:
            return x.new_zeros(sizes[0]), x.new_zeros(sizes[1])
        for index, (state, size) in enumerate(zip(hx, sizes, strict=True)):
            self.check_hidden_size(state, size, f"expected hx[{index}] of size {{}}, got {{}}")
        return hx

    def _layers(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        directions = ("", "_reverse") if self.bidirectional else ("",)
        last_hidden: list[Tensor] = []
        last_cell: list[Tensor] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in directions:
                index = len(last_hidden)
                name = f"l{layer}{direction}"
                y, h, c = self._direction(name, x, hidden[index], cell[index], index)
                outputs.append(y)
                last_hidden.append(h)
                last_cell.append(c)
            x = torch.cat(outputs, dim=-1) if self.bidirectional else outputs[0]
            if layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, torch.stack(last_hidden), torch.stack(last_cell)

    def _direction(self, name: str, x: Tensor, h: Tensor, c: Tensor, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """One layer in one direction: (time, batch, features) to the hidden states, and the last state."""
        bias = None
        if self.bias:
            bias = self.get_parameter(f"bias_ih_{name}") + self.get_parameter(f"bias_hh_{name}")
        if self.on_codes(x) and integer.has_recurrences(x.device):
            weights = (self.get_parameter(f"weight_{part}_{name}") for part in ("ih", "hh"))
            y, h, c = IntegerRecurrence.apply(x.contiguous(), *weights, bias, h, c, self, name, index)
            return y, h, c
        w_ih, w_hh = (self.quantize_weight(self.get_parameter(f"weight_{part}_{name}")) for part in ("ih", "hh"))
        w_hr = self.quantize_weight(self.get_parameter(f"weight_hr_{name}")) if self.proj_size else None
        from_input = F.linear(self.quantize_input(x, f"_ih_{name}"), w_ih)
        if bias is not None:
            from_input = from_input + bias
        if w_hr is None and x.numel() and not torch.compiler.is_compiling():
            y, h, c = Recurrence.apply(from_input, w_hh, h, c, self, name, index)
            return y, h, c
        steps = list(enumerate(from_input.unbind(0)))
        hidden: list[Tensor] = []
        for t, gates in reversed(steps) if name.endswith("_reverse") else steps:
            product = 2 * (index * len(steps) + t)
            gates = gates + F.linear(self.quantize_input(h, f"_hh_{name}"), w_hh)
            i, f, g, o = self._round_rows(gates, product).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            if w_hr is not None:
                h = self._round_rows(F.linear(self.quantize_input(h, f"_hr_{name}"), w_hr), product + 1)
            hidden.append(h)
        if name.endswith("_reverse"):
            hidden.reverse()
        return torch.stack(hidden), h, c

    def _round_rows(self, y: Tensor, product: int) -> Tensor:
        # As one time step of (time, batch, features), so that each batch row has its own range.
        return self.quantize_output_gradient(y.unsqueeze(0), product).squeeze(0)
