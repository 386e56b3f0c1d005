"""The worker's metrics for Prometheus: what its attempts have done, and what waits for the API."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cpt_core.events import AnyEvent, StepDone
from worker.spool import Spool


class Telemetry(Collector):
    """The metrics of one worker. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._spools: set[Spool] = set()
        self._steps = Counter("cpt_worker_steps", "Steps trained", registry=self.registry)
        self._joules = Counter(
            "cpt_worker_energy_joules", "Measured energy of the steps, where there is a counter", registry=self.registry
        )
        self._modelled = Counter(
            "cpt_worker_modelled_joules", "Modelled energy of the steps: not measured", registry=self.registry
        )
        self.registry.register(self)

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus from a thread of its own.

        Raises:
            OSError: the port cannot be had.
        """
        start_http_server(port, host, self.registry)

    def began(self, spool: Spool) -> None:
        """An attempt begins."""
        self._spools.add(spool)

    def ended(self, spool: Spool) -> None:
        """An attempt is over."""
        self._spools.discard(spool)

    def saw(self, event: AnyEvent) -> None:
        """A training has reported."""
        if isinstance(event, StepDone):
            self._steps.inc()
            self._joules.inc(event.step_energy_joules or 0.0)
            self._modelled.inc(event.step_modelled_joules or 0.0)

    def collect(self) -> Iterator[Metric]:
        """What is true at the moment."""
        spools = list(self._spools)
        yield GaugeMetricFamily("cpt_worker_attempts", "Attempts that run", value=len(spools))
        yield GaugeMetricFamily(
            "cpt_worker_spool_records", "Records that the API has not stored yet", value=sum(s.waiting for s in spools)
        )
        yield GaugeMetricFamily("cpt_worker_spool_bytes", "The same in bytes", value=sum(s.size for s in spools))
