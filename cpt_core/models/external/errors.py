"""What can go wrong with a model from outside."""

from __future__ import annotations


class ModelError(ValueError):
    """There is no such model here, or it cannot be built or trained so. The message names the field and the remedy."""
