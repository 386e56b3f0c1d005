"""Quantised training: layers that round weights, activations and errors to a bit width set per step.

state = quantize_model(model)
for step in range(steps):
    state.set(forward_bits, backward_bits)
    ...forward, backward, optimiser step
"""

from cpt_core.quant.convert import PrecisionState, quantize_model
from cpt_core.quant.layers import QuantConv2d, QuantLinear

__all__ = ["PrecisionState", "QuantConv2d", "QuantLinear", "quantize_model"]
