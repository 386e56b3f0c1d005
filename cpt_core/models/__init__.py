"""The models that a job can train."""

from cpt_core.models import cifar_resnet as _cifar_resnet  # noqa: F401  # registers its models
from cpt_core.models.registry import create_model, list_models, register_model

__all__ = ["create_model", "list_models", "register_model"]
