"""Models from outside, by SOURCE/ARCHITECTURE: those of libraries, and one's own by entry points.

A source is a module here with `create` and `names`. Weights are always fresh: nothing is downloaded, and no file is
read. Libraries are imported when a name asks for them, since each takes seconds and is an extra.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from cpt_core.models.external import own
from cpt_core.models.external.errors import ModelError
from cpt_core.models.sample import Sample

LIBRARIES = {
    "timm": "cpt_core.models.external.from_timm",
    "torchvision": "cpt_core.models.external.from_torchvision",
    "transformers": "cpt_core.models.external.from_transformers",
}

_OF_WEIGHTS = {"weights", "weights_backbone", "checkpoint_path", "cache_dir"}


def create(name: str, num_classes: int, options: dict[str, Any], sample: Sample | None = None) -> nn.Module:
    """The model called `name`, with fresh weights from torch's global generator.

    Args:
        name: SOURCE/ARCHITECTURE.
        num_classes: classes, or words of the vocabulary.
        options: keyword arguments of the architecture.
        sample: what the model will be given; models that are made for one size are made for that one.

    Raises:
        ModelError: there is no such model here, or it cannot be built so.
    """
    source, _, architecture = name.partition("/")
    if source not in LIBRARIES:
        return own.create(name, num_classes, options)
    library = _library(source)
    names = library.names()
    if architecture not in names:
        raise ModelError(f"{source} has no model called {architecture!r}{_hint(source, architecture, names)}.")
    for option in options:
        if option in _OF_WEIGHTS or "pretrained" in option or "backbone" in option:
            raise ModelError(f"model.options.{option}: models begin with fresh weights, so leave it out.")
    try:
        model: nn.Module = library.create(architecture, num_classes, options, sample)
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a library may raise anything about its options
        raise ModelError(
            f"{name} cannot be built ({type(error).__name__}: {error}): change model.options, which are {options}."
        ) from error
    return model


def names(pattern: str) -> Iterator[str]:
    """Names that match a shell pattern, of the libraries that are installed and of entry points."""
    for source in LIBRARIES:
        if not fnmatchcase(source, pattern.partition("/")[0]):
            continue
        try:
            library = _library(source)
        except ModelError:  # not installed
            continue
        yield from (name for name in (f"{source}/{each}" for each in library.names()) if fnmatchcase(name, pattern))
    yield from (name for name in own.names() if fnmatchcase(name, pattern))


def _library(source: str) -> ModuleType:
    try:
        return import_module(LIBRARIES[source])
    except ImportError as error:
        extra = "train" if source == "torchvision" else source
        raise ModelError(
            f"{source} cannot be imported ({error}): install it on the worker with pip install 'cpt-service[{extra}]'."
        ) from error


def _hint(source: str, architecture: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(architecture, names)
    there_are = f"list_models('{source}/*') lists what it has"
    return f": did you mean {', '.join(close)}? {there_are}" if close else f": {there_are}"
