"""transformers' causal language models and image classifiers, by model type."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageClassification, PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
)

from cpt_core.models.external.errors import ModelError
from cpt_core.models.sample import Sample

_TEXT = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
# The wrapper takes names of a hub.
_IMAGES = set(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES) - {"timm_wrapper"}

_OURS = {"vocab_size", "num_labels", "id2label", "label2id", "dtype", "use_cache", "return_dict", "model_type"}
"""Options that the dataset or the trainer settles."""


def names() -> list[str]:
    """Model types, such as gpt2 and vit."""
    return sorted(_TEXT | _IMAGES)


def create(architecture: str, num_classes: int, options: dict[str, Any], sample: Sample | None) -> nn.Module:
    """The model, which returns logits alone, made for the sample's size or length.

    Raises:
        ModelError: it takes another kind of data, or does not know an option.
    """
    for_text = architecture in _TEXT
    if sample is not None and sample.is_text != for_text:
        takes = "text" if for_text else "images"
        raise ModelError(f"transformers/{architecture} takes {takes}: use a dataset of {takes}, or another model.")
    known = AutoConfig.for_model(architecture)
    _check(architecture, known, options)
    if for_text:
        config = AutoConfig.for_model(architecture, **_of_text(known, num_classes) | options)
        _make_room(config, options, sample)
    else:
        size = {"image_size": sample.shape[-1]} if sample is not None and hasattr(known, "image_size") else {}
        config = AutoConfig.for_model(architecture, num_labels=num_classes, **size | options)
    config.use_cache = False
    auto = AutoModelForCausalLM if for_text else AutoModelForImageClassification
    model: nn.Module = auto.from_config(config)  # type: ignore[no-untyped-call]
    model.register_forward_hook(_logits_alone)
    return model


def _check(architecture: str, known: PretrainedConfig, options: dict[str, Any]) -> None:
    """Refuse options that the configuration does not have: transformers would take and ignore them."""
    has = (set(known.to_dict()) | set(known.attribute_map)) - _OURS
    for option in options:
        if option in _OURS:
            raise ModelError(f"model.options.{option} is settled by the dataset and the trainer: leave it out.")
        if option not in has:
            listed = ", ".join(sorted(name for name in has if not name.startswith("_")))
            raise ModelError(f"model.options.{option}: transformers/{architecture} has no such option, but {listed}.")


def _of_text(known: PretrainedConfig, num_classes: int) -> dict[str, Any]:
    """The vocabulary, in which no word means padding, begin or end; and no word sees those after it."""
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    return {"vocab_size": num_classes, **tokens, **({"is_decoder": True} if hasattr(known, "is_decoder") else {})}


def _make_room(config: PretrainedConfig, options: dict[str, Any], sample: Sample | None) -> None:
    """Have a position for each word of a stretch."""
    positions = getattr(config, "max_position_embeddings", None)
    if sample is None or positions is None or positions >= sample.shape[0]:
        return
    names = {"max_position_embeddings", config.attribute_map.get("max_position_embeddings")}
    if given := names & options.keys():
        raise ModelError(
            f"model.options.{given.pop()} is {positions}, but dataset.bptt is {sample.shape[0]}: raise the one or "
            "lower the other."
        )
    config.max_position_embeddings = sample.shape[0]


def _logits_alone(_model: nn.Module, _args: Any, output: Any) -> Any:
    return output.logits
