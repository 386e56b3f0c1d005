"""What waits: the only part that is not made from the asynchronous client (`cpt_client.aio.waiting`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

sleep = time.sleep


def run(function: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
    """Call a function."""
    return function(*args, **kwargs)
