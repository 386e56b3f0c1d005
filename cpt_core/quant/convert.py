"""Turns the layers of any module into quantised ones, in place, and holds what is set once per step."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import nn

from cpt_core.quant import noise
from cpt_core.quant.bit_widths import BitWidths
from cpt_core.quant.layers import QuantConv2d, QuantizedLayer, QuantLinear
from cpt_core.quant.registry import Quantizer, check_backend, find_quantizer

QUANTIZED_CLASS: dict[type[nn.Module], type[QuantizedLayer]] = {nn.Conv2d: QuantConv2d, nn.Linear: QuantLinear}
"""What each torch layer becomes. Subclasses are left alone: their forward pass may do more."""


class PrecisionState:
    """The precision of a quantised model. Starts in full precision; change it between optimiser steps only."""

    def __init__(self, layers: dict[str, QuantizedLayer], bit_widths: BitWidths) -> None:
        self._layers = layers
        self._bit_widths = bit_widths
        self.forward_bits = 32
        """Bit width of weights and activations; 32 is full precision."""
        self.backward_bits = 32
        """Bit width of the errors; 32 is full precision."""

    @property
    def layers(self) -> list[str]:
        """Names of the quantised layers, in the model's order."""
        return list(self._layers)

    def set(self, forward_bits: int, backward_bits: int) -> None:
        """Set the bit widths of the steps to come.

        Args:
            forward_bits: of weights and activations, 2 to 16; 0 or 32 is full precision, and then nothing at all is
                quantised, gradients included.
            backward_bits: of the errors, 2 to 16; 0 or 32 leaves them alone.

        Raises:
            ValueError: another number.
        """
        self._bit_widths.set(forward_bits, backward_bits)
        self.forward_bits = forward_bits or 32
        self.backward_bits = backward_bits or 32 if self.forward_bits != 32 else 32

    def reseed(self, seed: int) -> None:
        """Make the noise of the stochastic rounding a function of `seed` (any 64 bits) until the next call.

        Call it before each forward and backward pass, with a hash of (seed, step, rank, ...): a layer's noise is the
        same in each pass until then, and a resumed run needs no generator state.
        """
        self._bit_widths.seed.fill_(noise.signed64(seed))

    def first_nonfinite(self) -> str | None:
        """Name of the first layer whose input's range, or weight, was NaN or infinite; None while all is well.

        An input is observed in quantised training steps only, and what was seen once stays in the running range.
        Reads one number from the device; weights are looked at only when there is something to find.
        """
        ranges = [layer.running_zero_point + layer.running_range for layer in self._layers.values()]
        finite = torch.stack(ranges).isfinite().tolist()
        if all(finite):
            return None
        # A layer's broken weight shows first in the input of the layer after it.
        return next(
            name
            for (name, layer), input_finite in zip(self._layers.items(), finite, strict=True)
            if not input_finite or not bool(layer.weight.isfinite().all())
        )


def quantize_model(
    model: nn.Module,
    *,
    quantizer: str = "sbm",
    backend: str = "simulated",
    skip: Collection[str] | None = None,
    stochastic: bool = True,
    generator: torch.Generator | None = None,
) -> PrecisionState:
    """Quantise the convolutions and linear layers of `model`, in place.

    Modules change their class; they, their parameters and all names stay the same objects. Buffers of running ranges
    join the state dict. Under DDP use `broadcast_buffers=False`, or rank 0's ranges and noise overwrite the others'.

    Args:
        model: any module. Layers that are quantised already join the returned state.
        quantizer: name of the scheme.
        backend: how quantised products are computed: "simulated", in the model's own floating point.
        skip: names, or patterns such as "*.downsample.*", of layers to leave in full precision; by default the last
            linear layer.
        stochastic: round gradients stochastically, as training needs; rounding to nearest is for comparisons.
        generator: where the first seed of the noise is drawn from; torch's global generator by default.

    Raises:
        ValueError: an unknown quantizer or backend, a pattern that matches no layer, or no layer left to quantise.
    """
    scheme = find_quantizer(quantizer)
    check_backend(backend)
    candidates = {
        name: module
        for name, module in model.named_modules()
        if type(module) in QUANTIZED_CLASS or isinstance(module, QuantizedLayer)
    }
    chosen = _without_skipped(candidates, skip)
    if not chosen:
        raise ValueError("the model has no layer to quantise: no convolution or linear layer but those skipped")
    bit_widths = BitWidths(stochastic=stochastic).to(next(model.parameters()).device)
    layers = {name: _quantize(module, scheme, bit_widths, index) for index, (name, module) in enumerate(chosen.items())}
    state = PrecisionState(layers, bit_widths)
    state.reseed(int(torch.randint(2**63 - 1, (), generator=generator)))
    return state


def _without_skipped(candidates: dict[str, nn.Module], skip: Collection[str] | None) -> dict[str, nn.Module]:
    if skip is None:
        linear = [name for name, module in candidates.items() if isinstance(module, nn.Linear)]
        return {name: module for name, module in candidates.items() if name not in linear[-1:]}
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name in candidates):
            raise ValueError(f"skip: no convolution or linear layer is called {pattern!r}")
    return {
        name: module for name, module in candidates.items() if not any(fnmatchcase(name, pattern) for pattern in skip)
    }


def _quantize(module: nn.Module, quantizer: Quantizer, bit_widths: BitWidths, index: int) -> QuantizedLayer:
    if not isinstance(module, QuantizedLayer):
        # Not a new module in its place: hooks, tied modules and a layer that is the whole model keep working.
        module.__class__ = QUANTIZED_CLASS[type(module)]
    layer = cast(QuantizedLayer, module)
    layer.init_quantization(quantizer, bit_widths, index)
    return layer
