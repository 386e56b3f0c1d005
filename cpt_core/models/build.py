"""The model of a job."""

from __future__ import annotations

from torch import nn

from cpt_core.models.registry import create_model
from cpt_core.spec import FolderDataset, JobSpec, TextDatasetSpec, TransformerLM


def build_model(spec: JobSpec, outputs: int) -> nn.Module:
    """The model that a job trains, with fresh weights, for as many classes or words as the dataset has."""
    options = spec.model.model_dump(exclude={"name"})
    if isinstance(spec.model, TransformerLM) and isinstance(spec.dataset, TextDatasetSpec):
        options["max_length"] = spec.dataset.bptt
    return create_model(spec.model.name, num_classes=outputs, **options)


def sample_shape(spec: JobSpec) -> tuple[int, ...]:
    """Shape of a sample, by which cost is counted: an image, or one word of a text."""
    if isinstance(spec.dataset, TextDatasetSpec):
        return (1,)
    side = spec.dataset.size if isinstance(spec.dataset, FolderDataset) else 32
    return (3, side, side)
