"""The next batch, made while the model trains on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """A function of the step that is worked out one step ahead, in a thread of its own."""

    def __init__(self, function: Callable[[int], T]) -> None:
        """Wrap `function`, which is called from one thread alone."""
        self._function, self._thread = function, ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._next: tuple[int, Future[T]] | None = None

    def __call__(self, step: int) -> T:
        """The value at `step`. Its error, if the function raised one, is raised here, at its own step."""
        if self._next is None or self._next[0] != step:
            self._next = (step, self._thread.submit(self._function, step))
        value = self._next[1].result()
        self._next = (step + 1, self._thread.submit(self._function, step + 1))
        return value
