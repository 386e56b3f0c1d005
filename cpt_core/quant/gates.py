"""One time step of an LSTM between its products: from gates to states, and from errors of states to those of gates.

In C++ (`gates.cpp`) for what `native` takes. The way back is equal bit for bit, the way forward to within a few units
in the last place, as its exp and tanh are not torch's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpt_core.quant import native


def step(
    product: Tensor,
    from_input: Tensor,
    gates: Tensor,
    cell_before: Tensor,
    cell: Tensor,
    squashed: Tensor,
    hidden: Tensor,
) -> None:
    """From the product with the hidden state to the gates and the new states.

    Args:
        product: (batch, 4 x units).
        from_input: what is added to it, (batch, 4 x units).
        gates: where the input, forget, cell and output gates go, (batch, 4 x units).
        cell_before: cell state, (batch, units).
        cell: where the new cell state goes, (batch, units), and so on:
        squashed: its tanh.
        hidden: the new hidden state.
    """
    if native.takes(product):
        native.lstm_step(product, from_input, gates, cell_before, cell, squashed, hidden)
        return
    units = cell.shape[-1]
    torch.add(product, from_input, out=gates)
    gates[:, : 2 * units].sigmoid_()
    gates[:, 2 * units : 3 * units].tanh_()
    gates[:, 3 * units :].sigmoid_()
    i, f, g, o = gates.chunk(4, dim=-1)
    torch.mul(f, cell_before, out=cell).add_(i * g)
    torch.mul(o, torch.tanh(cell, out=squashed), out=hidden)


def step_back(
    errors: Tensor, gates: Tensor, cell_before: Tensor, squashed: Tensor, d_hidden: Tensor, d_cell: Tensor
) -> None:
    """From the gradients of the new states to those of the gates, before their functions, and of the cell state before.

    Args:
        errors: where the gradient of the gates goes, (batch, 4 x units).
        gates: as `step` left them.
        cell_before: cell state, (batch, units).
        squashed: tanh of the new one.
        d_hidden: gradient of the new hidden state.
        d_cell: gradient of the new cell state, but for the hidden state's part; becomes that of `cell_before`.
    """
    if native.takes(errors):
        native.lstm_step_back(errors, gates, cell_before, squashed, d_hidden, d_cell)
        return
    units = cell_before.shape[-1]
    i, f, g, o = gates.chunk(4, dim=-1)
    d_cell.add_((d_hidden * o).mul_(1 - squashed * squashed))
    torch.mul(d_cell, g, out=errors[:, :units])
    torch.mul(d_cell, cell_before, out=errors[:, units : 2 * units])
    torch.mul(d_cell, i, out=errors[:, 2 * units : 3 * units]).mul_(1 - g * g)
    torch.mul(d_hidden, squashed, out=errors[:, 3 * units :]).mul_(o).mul_(1 - o)
    errors[:, : 2 * units].mul_(gates[:, : 2 * units]).mul_(1 - gates[:, : 2 * units])
    d_cell.mul_(f)
