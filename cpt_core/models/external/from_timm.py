"""timm's models of images."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from cpt_core.models.sample import Sample


def names() -> list[str]:
    """All of timm's models, without the tags of their pretrained weights."""
    listed: list[str] = timm.list_models()
    return listed


def create(architecture: str, num_classes: int, options: dict[str, Any], sample: Sample | None) -> nn.Module:
    """The model; one that is made for one size is made for the sample's. Its classifiers stay in full precision."""
    published = timm.get_pretrained_cfg(architecture)
    if sample is not None and published is not None and published.fixed_input_size:
        options = {"img_size": sample.shape[-1], **options}
    model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=num_classes, **options)
    classifier = getattr(model, "default_cfg", {}).get("classifier") or ()
    classifiers = (classifier,) if isinstance(classifier, str) else classifier
    layers = dict(model.named_modules())
    # Not the last linear layer alone: some have several, and some a convolution.
    found = [name for name in classifiers if type(layers.get(name)) in (nn.Linear, nn.Conv2d)]
    if found:
        model.full_precision_layers = tuple(found)  # type: ignore[assignment]
    return model
