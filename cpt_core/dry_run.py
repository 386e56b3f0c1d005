"""Running a model for its shapes alone."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

Seen = TypeVar("Seen")


def dry_run(model: nn.Module, look: Callable[[nn.Module], Seen]) -> Seen:
    """What `look` returns of a copy of the model, which it runs as it likes.

    The copy is on the meta device, which has shapes but no data, so that nothing is computed. A model that asks for
    values is given torch's fake tensors, on which libraries know not to ask; if it still does, and has values, the copy
    is on the CPU.

    Raises:
        RuntimeError: the model has no values, and cannot run without.
    """
    try:
        return look(copy.deepcopy(model).to("meta"))
    except RuntimeError as error:
        if not isinstance(error, NotImplementedError) and "meta" not in str(error):
            raise
    shapes = copy.deepcopy(model).to("meta")
    try:
        with _silent(FakeTensorMode.__module__), FakeTensorMode(allow_non_fake_inputs=True):
            return look(shapes)
    except RuntimeError:
        if any(parameter.is_meta for parameter in model.parameters()):
            raise
    return look(copy.deepcopy(model).cpu())


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """No word from a logger, which tells of errors that are raised as well."""
    logger = logging.getLogger(name)
    was = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = was
