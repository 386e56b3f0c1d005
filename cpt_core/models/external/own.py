"""One's own models: entry points of the group `cpt_service.models`, of packages that are installed on the worker.

The name of an entry point is the model's, with a slash. Its object is called as `factory(num_classes, **options)`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import nn

from cpt_core.models.external.errors import ModelError

GROUP = "cpt_service.models"


def names() -> list[str]:
    """Those that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP) if "/" in point.name})


def create(name: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    """What the entry point called `name` makes.

    Raises:
        ModelError: there is none or there are several, or it cannot be loaded, fails or makes something else.
    """
    point = _find(name)
    where = f"the entry point {name!r} ({point.value}, of {point.dist.name if point.dist else 'no package'})"
    try:
        factory = point.load()
    except Exception as error:  # it is anyone's code
        raise ModelError(
            f"{where} cannot be loaded ({type(error).__name__}: {error}): mend the package on the worker."
        ) from error
    try:
        model = factory(num_classes, **options)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"{where} failed ({type(error).__name__}: {error}): change model.options, which are {options}, or mend it."
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{where} made a {type(model).__name__}: it must return a torch.nn.Module.")
    return model


def _find(name: str) -> EntryPoint:
    points = entry_points(group=GROUP, name=name)
    if not points:
        there = ", ".join(names()) or "none"
        raise ModelError(
            f"There is no model called {name!r}: it is of no library (timm, torchvision, transformers), and of the "
            f"models that packages bring on this machine there are: {there}. Install its package on the worker."
        )
    if len(points) > 1:
        packages = ", ".join(sorted(point.dist.name for point in points if point.dist))
        raise ModelError(f"Several packages bring a model called {name!r} ({packages}): uninstall all but one.")
    return next(iter(points))
