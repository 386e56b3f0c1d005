"""Modelled energy of a training step, from published energies per operation (45 nm; Horowitz, ISSCC 2014).

What is counted, for a layer with b_f-bit weights and activations and b_b-bit errors:

* arithmetic: per multiply-accumulate one multiplication, whose energy grows with the product of the widths, and one
  addition into a 32-bit accumulator, in three products: output (b_f x b_f), gradient of the input and gradient of the
  weight (b_f x b_b each). Full precision is fp32 arithmetic.
* traffic, linear in the width: each product reads its two operands from DRAM and writes its result there, once, passing
  through SRAM (one write, one read). Activations and their gradients travel per sample, weights once per step.
  The gradient of the weight is 32 bits wide; the optimiser then reads and writes a 32-bit weight and momentum.

This is a machine that reuses every operand perfectly and quantises for free, so it compares bit widths; it does not
predict a meter. Norms, activation functions, the loss and idle power are left out.
"""

from __future__ import annotations

from cpt_core.cost import Profile

PICO = 1e-12

MULTIPLY_PJ_PER_BIT2 = 3.1e-3
"""Integer multiplication, per bit of one operand and bit of the other: 0.2 pJ at 8 x 8, 3.1 at 32 x 32."""
ADD_INT32_PJ = 0.1
"""Addition into the integer accumulator."""
MULTIPLY_FP32_PJ = 3.7
ADD_FP32_PJ = 0.9
SRAM_PJ_PER_BIT = 0.16
"""8 KB SRAM: 10 pJ per 64 bits."""
DRAM_PJ_PER_BIT = 30.0
"""The middle of 1300 to 2600 pJ per 64 bits."""


def modelled_joules(profile: Profile, samples: int, forward_bits: int, backward_bits: int) -> float:
    """Modelled energy of one training step, in joules.

    Args:
        profile: the size of the model's work on one sample, from `cpt_core.cost.profile`.
        samples: samples of the step, over all devices.
        forward_bits: of weights and activations; 0 or 32 is full precision throughout.
        backward_bits: of the errors; 0 or 32 is full precision.
    """
    forward = forward_bits or 32
    backward = (backward_bits or 32) if forward != 32 else 32
    macs = profile.macs * samples
    arithmetic = macs * (_mac(forward, forward) + 2 * _mac(forward, backward))
    return PICO * (arithmetic + _traffic_bits(profile, samples, forward, backward) * _PJ_PER_BIT_MOVED)


_PJ_PER_BIT_MOVED = DRAM_PJ_PER_BIT + 2 * SRAM_PJ_PER_BIT


def _mac(bits: int, other_bits: int) -> float:
    if bits == other_bits == 32:
        return MULTIPLY_FP32_PJ + ADD_FP32_PJ
    return MULTIPLY_PJ_PER_BIT2 * bits * other_bits + ADD_INT32_PJ


def _traffic_bits(profile: Profile, samples: int, forward: int, backward: int) -> int:
    inputs, outputs, weights = profile.activations * samples, profile.outputs * samples, profile.weights
    output_product = (inputs + weights + outputs) * forward
    input_gradient = outputs * backward + weights * forward + inputs * backward
    weight_gradient = inputs * forward + outputs * backward + weights * 32
    optimiser = 5 * weights * 32
    return output_product + input_gradient + weight_gradient + optimiser
