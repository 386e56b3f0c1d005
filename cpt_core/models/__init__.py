"""The models that a job can train."""

# Importing them registers them.
from cpt_core.models import cifar_resnet, imagenet_resnet, lstm_lm, mobilenet_v2, transformer_lm
from cpt_core.models.build import build_model
from cpt_core.models.registry import create_model, list_models, register_model
from cpt_core.models.sample import sample_of

__all__ = [
    "build_model",
    "cifar_resnet",
    "create_model",
    "imagenet_resnet",
    "list_models",
    "lstm_lm",
    "mobilenet_v2",
    "register_model",
    "sample_of",
    "transformer_lm",
]
