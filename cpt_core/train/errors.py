"""The errors of training itself."""

from __future__ import annotations


class SpecError(Exception):
    """The spec is valid, but cannot be trained here. The message says what to change."""


class DivergedError(Exception):
    """Training produced NaN or infinity. The message names the step and, if it is known, the layer."""
