"""The model of a job."""

from __future__ import annotations

from torch import nn

from cpt_core.models import external
from cpt_core.models.external.errors import ModelError
from cpt_core.models.external.proof import prove
from cpt_core.models.registry import create_model
from cpt_core.models.sample import stretch_of
from cpt_core.spec import ExternalModel, JobSpec, TextDatasetSpec, TransformerLM
from cpt_core.train.errors import SpecError


def build_model(spec: JobSpec, outputs: int) -> nn.Module:
    """The model that a job trains, with fresh weights, for as many classes or words as the dataset has.

    Raises:
        SpecError: a model from outside is not here, cannot be built so, or does not take such data.
    """
    if isinstance(spec.model, ExternalModel):
        return _external(spec.model, spec, outputs)
    options = spec.model.model_dump(exclude={"name"})
    if isinstance(spec.model, TransformerLM) and isinstance(spec.dataset, TextDatasetSpec):
        options["max_length"] = spec.dataset.bptt
    return create_model(spec.model.name, num_classes=outputs, **options)


def _external(wanted: ExternalModel, spec: JobSpec, outputs: int) -> nn.Module:
    sample = stretch_of(spec)
    try:
        model = external.create(wanted.name, outputs, wanted.options, sample)
        prove(wanted.name, model, outputs, sample)
    except ModelError as error:
        raise SpecError(str(error)) from error
    return model
