"""What clients see of queues and workers."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from api.jobs.schemas import Resource


class QueueView(Resource):
    """A queue: one in which jobs of the project are, or from which a worker takes jobs."""

    object: Literal["queue"] = "queue"
    """Kind of this resource."""
    name: str
    """Its name, as in `resources.queue` of a spec."""
    queued: int
    """Jobs of the project that wait."""
    running: int
    """Jobs of the project that workers hold."""
    paused: int
    """Jobs of the project that are paused."""
    oldest_queued_at: AwareDatetime | None
    """When the longest wait of those that wait began; null if none waits."""
    workers: int
    """Workers online that take jobs from it. Without any its jobs wait for ever."""


class WorkerView(Resource):
    """A worker."""

    object: Literal["worker"] = "worker"
    """Kind of this resource."""
    name: str
    """Its name, unique among those that live."""
    online: bool
    """It has been heard of within the last 30 seconds. One that is silent for an hour is forgotten."""
    seen_at: AwareDatetime
    """When it was last heard of."""
    version: str
    """Version of its software."""
    device: Literal["cpu", "cuda"]
    """Kind of its devices."""
    slots: int
    """Jobs it runs at the same time."""
    devices: int
    """Devices of each slot; on a CPU the number of processes it accepts."""
    busy: int
    """Slots in use, by jobs of any project."""
    queues: list[str]
    """Queues it takes jobs from, the first preferred."""
    labels: list[str]
    """Its labels; it gets jobs that require none but these."""
    jobs: list[str]
    """Jobs of the project that it holds."""
