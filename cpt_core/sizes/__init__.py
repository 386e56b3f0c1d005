"""Sizes of published datasets and of the built-in models, from a spec alone: no files, no torch."""

from cpt_core.sizes.dataset import DatasetSize, published_size, steps_per_epoch
from cpt_core.sizes.model import ModelSize, model_size

__all__ = ["DatasetSize", "ModelSize", "model_size", "published_size", "steps_per_epoch"]
