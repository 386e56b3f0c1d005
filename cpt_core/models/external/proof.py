"""A model from outside is tried before it is trained: it must return logits, and what DDP would wait for is settled."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cpt_core.dry_run import dry_run
from cpt_core.models.external.errors import ModelError
from cpt_core.models.sample import Sample
from cpt_core.quant.convert import quantizable_layers

_BATCH = 2  # batch norm refuses one


class _Seen(NamedTuple):
    bypassed: list[str]
    """Layers that were not called."""
    without_gradient: list[str]
    """Parameters that the output does not depend on, by all their names."""


def prove(name: str, model: nn.Module, num_classes: int, sample: Sample) -> None:
    """Try a forward and backward pass, and freeze the parameters that the output does not depend on.

    Layers that are not called, since the model reads their weights or does without, become its `bypassed_layers`.

    Args:
        name: what messages call the model.
        model: any module.
        num_classes: classes, or words of the vocabulary.
        sample: what it will be given at once in training.

    Raises:
        ModelError: it does not take such samples, does not return logits, or looks at the words to predict.
    """
    lengths = {sample.shape, (1,)} if sample.is_text else {sample.shape}  # cost is counted of one word
    try:
        for shape in sorted(lengths):
            seen = dry_run(model, partial(_try, num_classes=num_classes, sample=sample._replace(shape=shape)))
        looks_ahead = sample.is_text and _looks_ahead(model, num_classes, sample)
    except ModelError as error:
        raise ModelError(f"{name} {error}") from error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the model is anyone's code
        raise ModelError(
            f"{name} does not take the samples of this dataset, {_shape(sample.shape)} each "
            f"({type(error).__name__}: {error}): change model.options, or the dataset."
        ) from error
    if looks_ahead:
        raise ModelError(f"{name} sees the words that it is to predict: use a causal model.")
    model.bypassed_layers = tuple(seen.bypassed)  # type: ignore[assignment]
    parameters = dict(model.named_parameters(remove_duplicate=False))
    used = {id(parameters[each]) for each in parameters.keys() - set(seen.without_gradient)}
    for parameter in parameters.values():
        if id(parameter) not in used:
            parameter.requires_grad_(False)


def _try(copy: nn.Module, num_classes: int, sample: Sample) -> _Seen:
    called = set[nn.Module]()
    layers = quantizable_layers(copy)
    for layer in layers.values():
        layer.register_forward_hook(lambda layer, _args, _output: called.add(layer))
    device = next(copy.parameters()).device
    logits = _logits(copy.train()(torch.zeros((_BATCH, *sample.shape), dtype=sample.dtype, device=device)), sample)
    expected = (_BATCH, *(sample.shape if sample.is_text else ()), num_classes)
    if tuple(logits.shape) != expected:
        raise ModelError(
            f"returns {_shape(logits.shape)} for a batch of {_BATCH} samples, but must return logits, "
            f"{_shape(expected)}: change model.options."
        )
    logits.sum().backward()  # type: ignore[no-untyped-call]
    return _Seen(
        bypassed=[name for name, layer in layers.items() if layer not in called],
        without_gradient=[name for name, p in copy.named_parameters(remove_duplicate=False) if p.grad is None],
    )


def _logits(output: Any, sample: Sample) -> Tensor:
    if sample.is_text and isinstance(output, tuple) and len(output) == 2:
        output = output[0]  # beside the state to be given back
    if not isinstance(output, Tensor):
        raise ModelError(
            f"returns {type(output).__name__} in training, but must return a tensor of logits: change model.options "
            "(some models have an option such as aux_logits)."
        )
    return output


def _looks_ahead(model: nn.Module, num_classes: int, sample: Sample) -> bool:
    """Whether another last word changes what is predicted before it. False for a model without values."""
    if any(parameter.is_meta for parameter in model.parameters()):
        return False
    words = torch.arange(min(sample.shape[0], 8)) % num_classes
    other = torch.cat((words[:-1], (words[-1:] + 1) % num_classes))
    was_training = model.training
    with torch.no_grad():
        first, second = (_logits(model.eval()(each.unsqueeze(0)), sample)[0, :-1] for each in (words, other))
    model.train(was_training)
    return not torch.allclose(first, second, rtol=1e-4, atol=1e-6)


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
