"""The size of a job's model, before there is one."""

from __future__ import annotations

import torch

from cpt_core import cost
from cpt_core.models.build import build_model
from cpt_core.models.sample import sample_of
from cpt_core.sizes import ModelSize
from cpt_core.spec import JobSpec
from cpt_core.train.errors import SpecError


def measure(spec: JobSpec, outputs: int) -> ModelSize:
    """The size of the model that a job trains, from its shapes, without memory for its values where that can be.

    Raises:
        SpecError: a model from outside is not here, cannot be built so, or does not take such data.
    """
    try:
        with torch.device("meta"):  # shapes are enough
            model = build_model(spec, outputs)
    except SpecError:  # for all but a few models, which ask for values while they are built
        model = build_model(spec, outputs)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelSize(parameters, cost.profile(model, *sample_of(spec)))
