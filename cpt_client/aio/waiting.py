"""What waits: the only part of which the synchronous client has its own (`cpt_client.sync.waiting`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

sleep = asyncio.sleep


async def run(function: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
    """Call a function that blocks, such as one that reads a file, without holding up the event loop."""
    return await asyncio.to_thread(function, *args, **kwargs)
