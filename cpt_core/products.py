"""The products with weights that a model makes on one sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cpt_core.dry_run import dry_run
from cpt_core.quant.convert import is_conv1d


class Product(NamedTuple):
    """The size of a product of a weight with an input."""

    macs: int
    """Multiply-accumulates."""
    weights: int
    """Elements of the weight."""
    inputs: int
    """Elements that go in."""
    outputs: int
    """Elements that come out."""


def count(model: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None = None) -> list[Product]:
    """The products of one evaluation of a copy of the model, see `cpt_core.cost.profile`."""
    if dtype is None:
        takes_tokens = len(input_shape) == 1 and any(isinstance(layer, nn.Embedding) for layer in model.modules())
        dtype = torch.long if takes_tokens else next(model.parameters()).dtype

    def run(copy: nn.Module) -> list[Product]:
        sample = torch.zeros((1, *input_shape), device=next(copy.parameters()).device, dtype=dtype)
        counter = _Counter(copy.eval())
        with torch.no_grad(), counter:
            copy(sample)
        return counter.products()

    return dry_run(model, run)


class _Counter(TorchFunctionMode):
    """Sees calls of layers, and uses of their weights past them: some attentions have layers only to hold weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._called = set[nn.Module]()
        self._in_calls = list[Product]()
        self._of_weights = list[tuple[nn.Module, Product]]()
        self._holder = {
            id(layer.weight): layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
        }
        for layer in model.modules():
            layer.register_forward_hook(self._take_call, with_kwargs=True)

    def products(self) -> list[Product]:
        """All that were made, each once."""
        return self._in_calls + [product for layer, product in self._of_weights if layer not in self._called]

    def _take_call(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._called.add(layer)
        if isinstance(layer, nn.MultiheadAttention):
            self._called.add(layer.out_proj)
        self._in_calls += _products(layer, [*args, *kwargs.values()], output)

    def __torch_function__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func in (F.linear, F.conv2d):
            x, weight = [*args, *(kwargs[name] for name in ("input", "weight") if name in kwargs)][:2]
            if layer := self._holder.get(id(weight)):
                self._of_weights.append((layer, _product(weight, x, output)))
        return output


def _product(weight: Tensor, x: Tensor, output: Tensor) -> Product:
    """That of a weight with the output channels first: one output element needs all its others."""
    return Product(output.numel() * weight[0].numel(), weight.numel(), x.numel(), output.numel())


def _products(layer: nn.Module, inputs: list[Any], output: Any) -> Iterator[Product]:
    """Those that one call of a layer makes; none of a layer of another kind."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        yield _product(layer.weight, inputs[0], output)
    elif is_conv1d(layer):
        yield _product(layer.get_parameter("weight").t(), inputs[0], output)
    elif isinstance(layer, nn.LSTM):
        time_steps = inputs[0].numel() // inputs[0].shape[-1]
        for name, weight in layer.named_parameters():
            if name.startswith("weight"):
                rows, columns = weight.shape
                yield Product(time_steps * weight.numel(), weight.numel(), time_steps * columns, time_steps * rows)
    elif isinstance(layer, nn.MultiheadAttention):
        query, key, value = inputs[:3]
        # The output projection has the shape of the query's.
        for x in (query, key, value, query):
            tokens, width = x.numel() // x.shape[-1], x.shape[-1]
            outputs = tokens * layer.embed_dim
            yield Product(outputs * width, layer.embed_dim * width, x.numel(), outputs)
