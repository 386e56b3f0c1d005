# Made from cpt_client/aio/job.py by tools/sync_client.py: change it there, then `make generated`.
"""A job that knows its server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from cpt_client import models
from cpt_client.metrics import FrameName

if TYPE_CHECKING:
    from cpt_client.plot import Picture
    from cpt_client.sync.client import Client


class Job(models.Job):
    """A job as a client answered it. Its fields stay as they are; `refresh` asks for newer ones."""

    _client: Client = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Remember whose job it is."""
        if context is not None:
            self._client = context

    def refresh(self) -> Job:
        """The job as it is now."""
        return self._client.get(self.id)

    def wait(self, *, patience: float = 300.0) -> Job:
        """The job as it is once it has ended, however that is; `state` tells.

        Args:
            patience: seconds without a connection after which it gives up.
        """
        for _ in self._client.stream(self.id, types=["state"], patience=patience):
            pass
        return self.refresh()

    def stream(self, *, after: int | None = None) -> Iterator[models.Event]:
        """Every event as it happens, until the last one; see `Client.stream`."""
        return self._client.stream(self.id, after=after)

    def cancel(self) -> Job:
        """Ask to cancel it."""
        return self._client.cancel(self.id)

    def metrics(self, *keys: str, frame: FrameName | None = None) -> Any:
        """The steps so far as a table, a row each.

        Args:
            keys: metrics to read, such as `loss` and `forward_bits`; none: all.
            frame: `pandas` or `polars` for a DataFrame of that library, `columns` for `cpt_client.metrics.Metrics`;
                null: the first of them that is installed.

        Raises:
            MissingPartError: the library is not installed.
        """
        return (self._client.metrics_table(self.id, keys)).frame(frame)

    def plot(self, *keys: str, max_points: int = 1000) -> Picture:
        """Curves over steps, one below the other, as a matplotlib figure that a notebook shows.

        Args:
            keys: metrics to draw; none: loss, bits, and accuracy where there is one.
            max_points: points of a curve at most; spikes survive.

        Raises:
            MissingPartError: matplotlib is not installed.
        """
        from cpt_client.plot import KEYS, draw

        wanted: Sequence[str] = keys or KEYS
        return draw(self, self._client.metrics_sample(self.id, wanted, max_points=max_points))
