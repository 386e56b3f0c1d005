"""Turns the layers of any module into quantised ones, in place, and holds what is set once per step."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import nn

from cpt_core.quant import noise
from cpt_core.quant.attention import QuantMultiheadAttention, use_slow_paths
from cpt_core.quant.bit_widths import FULL_PRECISION, BitWidths
from cpt_core.quant.compact import make_compact
from cpt_core.quant.integer import Backend, InputGradient
from cpt_core.quant.layers import QuantConv2d, QuantizedLayer, QuantLinear
from cpt_core.quant.lstm import QuantLSTM
from cpt_core.quant.registry import check_backend, find_quantizer

QUANTIZED_CLASS: dict[type[nn.Module], type[QuantizedLayer]] = {
    nn.Conv2d: QuantConv2d,
    nn.Linear: QuantLinear,
    nn.LSTM: QuantLSTM,
    nn.MultiheadAttention: QuantMultiheadAttention,
}
"""What each torch layer becomes. Subclasses are left alone: their forward pass may do more."""

CONV1D = ("transformers.pytorch_utils", "Conv1D")
"""Module and name of the one layer of a library's own that is quantised too, which GPT-2 has for linear ones."""

Widths = tuple[int, int]
"""Forward and backward bits."""


class PrecisionState:
    """The precision of a quantised model. Starts in full precision; change it between optimiser steps only."""

    def __init__(
        self, layers: dict[str, QuantizedLayer], bit_widths: BitWidths, fixed: dict[Widths, BitWidths]
    ) -> None:
        self._layers = layers
        self._bit_widths = bit_widths
        self._fixed = fixed
        self.forward_bits = 32
        """Bit width of weights and activations; 32 is full precision."""
        self.backward_bits = 32
        """Bit width of the errors; 32 is full precision."""

    @property
    def layers(self) -> list[str]:
        """Names of the quantised layers, in the model's order."""
        return list(self._layers)

    @property
    def backends(self) -> dict[Backend, list[str]]:
        """The names of the layers by what computes their products."""
        backends: dict[Backend, list[str]] = {}
        for name, layer in self._layers.items():
            backends.setdefault(layer.backend, []).append(name)
        return backends

    def set(self, forward_bits: int, backward_bits: int) -> None:
        """Set the bit widths of the steps to come.

        Args:
            forward_bits: of weights and activations, 2 to 16; 0 or 32 is full precision, and then nothing at all is
                quantised, gradients and layers of fixed widths included.
            backward_bits: of the errors, 2 to 16; 0 or 32 leaves them alone.

        Raises:
            ValueError: another number.
        """
        self._bit_widths.set(forward_bits, backward_bits)
        full_precision = forward_bits in FULL_PRECISION
        for widths, shared in self._fixed.items():
            shared.set(*(32, 32) if full_precision else widths)
        self.forward_bits = 32 if full_precision else forward_bits
        self.backward_bits = 32 if full_precision or backward_bits in FULL_PRECISION else backward_bits

    def mode(self) -> Hashable:
        """What changes with the widths but numbers: as long as it is equal, the model launches the same kernels."""
        shared = (self._bit_widths, *self._fixed.values())
        return tuple((widths.quantize_forward, widths.quantize_backward, widths.in_bytes) for widths in shared)

    def reseed(self, seed: int) -> None:
        """Make the noise of the stochastic rounding a function of `seed` (any 64 bits) until the next call.

        Call it before each forward and backward pass, with a hash of (seed, step, rank, ...): a layer's noise is the
        same in each pass until then, and a resumed run needs no generator state.
        """
        for shared in (self._bit_widths, *self._fixed.values()):
            shared.seed.fill_(noise.signed64(seed))

    def first_nonfinite(self) -> str | None:
        """Name of the first layer whose input's range, or weight, was NaN or infinite; None while all is well.

        An input is observed in quantised training steps only, and what was seen once stays in the running range.
        Reads one number per layer from the device, in one go; weights only when there is something to find.
        """
        finite = torch.stack([layer.observed().isfinite().all() for layer in self._layers.values()]).tolist()
        if all(finite):
            return None
        # A layer's broken weight shows first in the input of the layer after it.
        return next(
            name
            for (name, layer), input_finite in zip(self._layers.items(), finite, strict=True)
            if not input_finite or not all(bool(weight.isfinite().all()) for weight in layer.quantized_weights())
        )


def quantize_model(
    model: nn.Module,
    *,
    quantizer: str = "sbm",
    backend: str = "simulated",
    input_gradient: InputGradient = "exact",
    skip: Collection[str] | None = None,
    fixed: Mapping[str, Widths] | None = None,
    stochastic: bool = True,
    generator: torch.Generator | None = None,
) -> PrecisionState:
    """Quantise the Conv2d, Linear, LSTM, MultiheadAttention and transformers' Conv1D layers of `model`, in place.

    Modules change their class; they, their parameters and all names stay the same objects. Buffers of running ranges
    join the state dict. Embeddings and subclasses of these layers are left alone, and so are those named in the model's
    `bypassed_layers`, whose weights it reads past their forward pass; norms and activations are too, but that
    batch norms and ReLUs take fewer passes over memory and keep less, see `compact`. Under DDP switch off the broadcast
    of buffers in the forward pass, or rank 0's ranges and noise overwrite the others'.

    Args:
        model: any module. Layers that are quantised already join the returned state.
        quantizer: name of the scheme.
        backend: what quantised products are computed in: "simulated", the model's own floating point; "int8", integers
            in each layer that can, while both widths are 8 bits or less; "auto", integers where that is faster; "fp8",
            8-bit floats for the outputs of linear layers, attention's projections and 1x1 convolutions, see
            `integer.fp8_products`.
        input_gradient: "fast" has products of codes take the weight in 8-bit fixed point for the gradient of their
            input, which adds about 0.7 % of error to it, instead of in 16-bit.
        skip: names, or patterns such as "*.downsample", of layers to leave in full precision. By default what the model
            says in `full_precision_layers`, else the last linear layer, and the first layer where the scheme has it so.
        fixed: names or patterns of layers whose widths never change, with their forward and backward bits. By default
            what the model says in `fixed_precision_layers`, else none.
        stochastic: False rounds gradients to nearest, for comparisons only: it spoils training.
        generator: where the first seed of the noise is drawn from; torch's global generator by default.

    Raises:
        BackendError: an unknown backend, or one that this device or the quantizer does not have; a ValueError.
        ValueError: an unknown quantizer, a pattern that matches no layer, or no layer left to quantise.
    """
    scheme = find_quantizer(quantizer)
    device = next(model.parameters()).device
    check_backend(backend, quantizer, device)
    if quantizer != "sbm":
        backend = "simulated"  # of `auto`: the only one for the other schemes
    layers = quantizable_layers(model)
    if skip is None:
        skip = _default_skip(model, layers, first_layer=scheme.first_layer)
    if fixed is None:
        fixed = cast(Mapping[str, Widths], getattr(model, "fixed_precision_layers", {}))
    for pattern in (*skip, *fixed):
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise ValueError(f"no layer that can be quantised is called {pattern!r}")
    chosen = {name: layer for name, layer in layers.items() if not any(fnmatchcase(name, p) for p in skip)}
    if not chosen:
        raise ValueError("the model has no layer to quantise but those skipped")
    shared: dict[Widths | None, BitWidths] = {
        widths: BitWidths(stochastic=stochastic and scheme.stochastic_gradient).to(device)
        for widths in (None, *fixed.values())
    }
    quantized = {}
    for index, (name, module) in enumerate(chosen.items()):
        layer = _with_quantized_class(module)
        widths = next((fixed[pattern] for pattern in fixed if fnmatchcase(name, pattern)), None)
        layer.init_quantization(scheme, shared[widths], index, backend, input_gradient)
        quantized[name] = layer
    use_slow_paths(model)
    make_compact(model, shared[None], among_integers=any(layer.backend == "int8" for layer in quantized.values()))
    state = PrecisionState(quantized, shared[None], {widths: shared[widths] for widths in shared if widths})
    state.reseed(int(torch.randint(2**63 - 1, (), generator=generator)))
    return state


def quantizable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that `quantize_model` can quantise, or has quantised, by name and in the model's order."""
    bypassed = cast(Collection[str], getattr(model, "bypassed_layers", ()))
    return {
        name: module
        for name, module in model.named_modules()
        if (isinstance(module, QuantizedLayer) or _quantized_class(type(module)) is not None) and name not in bypassed
    }


def is_conv1d(module: nn.Module) -> bool:
    """Whether it is transformers' Conv1D, quantised or not; does not load transformers."""
    return any(_is_conv1d_class(kind) for kind in type(module).__mro__)


def _is_conv1d_class(kind: type) -> bool:
    return (kind.__module__, kind.__name__) == CONV1D


def _quantized_class(kind: type[nn.Module]) -> type[QuantizedLayer] | None:
    if _is_conv1d_class(kind):
        from cpt_core.quant.conv1d import QuantConv1D  # needs transformers, which is loaded then

        return QuantConv1D
    return QUANTIZED_CLASS.get(kind)


def _default_skip(model: nn.Module, layers: dict[str, nn.Module], *, first_layer: bool) -> list[str]:
    skip = getattr(model, "full_precision_layers", None)
    if skip is None:
        skip = [name for name, module in layers.items() if isinstance(module, nn.Linear)][-1:]
    return [*skip, *([] if first_layer else list(layers)[:1])]


def _with_quantized_class(module: nn.Module) -> QuantizedLayer:
    if not isinstance(module, QuantizedLayer):
        # Not a new module in its place: hooks, tied modules and a layer that is the whole model keep working.
        module.__class__ = cast(type[QuantizedLayer], _quantized_class(type(module)))
    return cast(QuantizedLayer, module)
