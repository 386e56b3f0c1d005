"""What is known of a tensor beside its numbers, until they change: an attribute that goes with the tensor itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def note(x: Tensor, name: str, value: object) -> None:
    """Have `noted(x, name)` give `value` until `x` is changed in place, by torch's count of its changes."""
    if not x.is_inference():  # of which torch counts none
        setattr(x, name, (x._version, value))


def noted(x: Tensor, name: str) -> Any:
    """What was noted of `x`, as it is now; None where nothing was."""
    version, value = getattr(x, name, (None, None))
    return value if version is not None and version == x._version else None
