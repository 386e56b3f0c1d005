"""Quantised training: layers that round weights, activations and errors to a bit width set per step.

state = quantize_model(model)
for step in range(steps):
    state.set(forward_bits, backward_bits)
    ...forward, backward, optimiser step
"""

from cpt_core.quant.attention import QuantMultiheadAttention
from cpt_core.quant.convert import PrecisionState, quantize_model
from cpt_core.quant.layers import QuantConv2d, QuantLinear
from cpt_core.quant.lstm import QuantLSTM
from cpt_core.quant.registry import BackendError

__all__ = [
    "BackendError",
    "PrecisionState",
    "QuantConv2d",
    "QuantLSTM",
    "QuantLinear",
    "QuantMultiheadAttention",
    "quantize_model",
]
