"""What is done to the stack: a function for each fault, found by its name in the matrix."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos import fault_messages, fault_network, fault_processes, fault_storage, fault_wishes
from tests.chaos.run import Run

MODULES = (fault_processes, fault_network, fault_storage, fault_wishes, fault_messages)


def of(name: str) -> Callable[[Run], None]:
    """The function of a fault."""
    for module in MODULES:
        if (found := getattr(module, name, None)) is not None:
            function: Callable[[Run], None] = found
            return function
    raise ValueError(f"there is no fault {name}")
