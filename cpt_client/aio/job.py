"""A job that knows its server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from cpt_client import models
from cpt_client.metrics import FrameName

if TYPE_CHECKING:
    from cpt_client.aio.client import AsyncClient
    from cpt_client.plot import Picture


class AsyncJob(models.Job):
    """A job as a client answered it. Its fields stay as they are; `refresh` asks for newer ones."""

    _client: AsyncClient = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Remember whose job it is."""
        if context is not None:
            self._client = context

    async def refresh(self) -> AsyncJob:
        """The job as it is now."""
        return await self._client.get(self.id)

    async def wait(self, *, patience: float = 300.0) -> AsyncJob:
        """The job as it is once it has ended, however that is; `state` tells.

        Args:
            patience: seconds without a connection after which it gives up.
        """
        async for _ in self._client.stream(self.id, types=["state"], patience=patience):
            pass
        return await self.refresh()

    def stream(self, *, after: int | None = None) -> AsyncIterator[models.Event]:
        """Every event as it happens, until the last one; see `AsyncClient.stream`."""
        return self._client.stream(self.id, after=after)

    async def cancel(self) -> AsyncJob:
        """Ask to cancel it."""
        return await self._client.cancel(self.id)

    async def metrics(self, *keys: str, frame: FrameName | None = None) -> Any:
        """The steps so far as a table, a row each.

        Args:
            keys: metrics to read, such as `loss` and `forward_bits`; none: all.
            frame: `pandas` or `polars` for a DataFrame of that library, `columns` for `cpt_client.metrics.Metrics`;
                null: the first of them that is installed.

        Raises:
            MissingPartError: the library is not installed.
        """
        return (await self._client.metrics_table(self.id, keys)).frame(frame)

    async def plot(self, *keys: str, max_points: int = 1000) -> Picture:
        """Curves over steps, one below the other, as a matplotlib figure that a notebook shows.

        Args:
            keys: metrics to draw; none: loss, bits, and accuracy where there is one.
            max_points: points of a curve at most; spikes survive.

        Raises:
            MissingPartError: matplotlib is not installed.
        """
        from cpt_client.plot import KEYS, draw

        wanted: Sequence[str] = keys or KEYS
        return draw(self, await self._client.metrics_sample(self.id, wanted, max_points=max_points))
