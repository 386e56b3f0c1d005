"""Models by name: a factory per name, registered with a decorator."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from cpt_core.models import external

Factory = Callable[..., nn.Module]

_FACTORIES: dict[str, Factory] = {}


def register_model(name: str) -> Callable[[Factory], Factory]:
    """Decorator: make the factory create the model called `name`. It takes `num_classes` and its own options.

    Raises:
        ValueError: the name is taken.
    """

    def register(factory: Factory) -> Factory:
        if name in _FACTORIES:
            raise ValueError(f"there is a model called {name!r} already")
        _FACTORIES[name] = factory
        return factory

    return register


def create_model(name: str, num_classes: int = 10, **options: Any) -> nn.Module:
    """The named model with fresh weights from torch's global generator.

    A name with a slash, such as "timm/resnet10t", is of a library or an entry point, see `cpt_core.models.external`.

    Raises:
        ValueError: there is no such model, or, from outside, it cannot be built so.
        TypeError: it does not know an option.
    """
    if "/" in name:
        return external.create(name, num_classes, options)
    if name not in _FACTORIES:
        raise ValueError(f"unknown model {name!r}: use one of {', '.join(list_models())}")
    return _FACTORIES[name](num_classes=num_classes, **options)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern such as "resnet*", numbers in numerical order.

    A pattern with a slash is for those from outside that are installed here, such as "timm/vit*" or "*/*".
    """
    if "/" in pattern:
        return sorted(external.names(pattern), key=_natural)
    return sorted((name for name in _FACTORIES if fnmatchcase(name, pattern)), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
