"""The API's metrics for Prometheus: what this process does, and what the database holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from api.db import Database
from api.telemetry import repository
from cpt_core.events import StepDone, now
from cpt_core.lifecycle import State

CONTENT_TYPE = CONTENT_TYPE_LATEST

APPEND_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Telemetry:
    """The metrics of one application. `cpt_jobs`, `cpt_queue_…`, `cpt_attempts_lost_total` and those of running jobs
    are of the whole service, the same from every replica (take the max); the others are of this process (sum them).
    """

    def __init__(self, database: Database, listeners: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Service(database))
        self._registry.register(_Listeners(listeners))
        self.append_seconds = Histogram(
            "cpt_append_seconds",
            "Time to store what a worker reports, commit included",
            buckets=APPEND_BUCKETS,
            registry=self._registry,
        )

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _Listeners(Collector):
    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("cpt_stream_listeners", "Open streams of this process", value=self._count())


class _Service(Collector):
    """Reads the database when it is scraped."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        with self._database.read() as session:
            seen = repository.snapshot(session)
        jobs = GaugeMetricFamily("cpt_jobs", "Jobs by state", labels=["state"])
        for state in State:
            jobs.add_metric([state], seen.states.get(state, 0))
        yield jobs
        depth = GaugeMetricFamily("cpt_queue_depth", "Jobs that wait", labels=["queue"])
        age = GaugeMetricFamily("cpt_queue_age_seconds", "Age of the oldest job that waits", labels=["queue"])
        for queue, (count, since) in seen.queues.items():
            depth.add_metric([queue], count)
            age.add_metric([queue], max(0.0, (now() - since).total_seconds()))
        yield depth
        yield age
        yield CounterMetricFamily("cpt_attempts_lost", "Attempts ended since their worker fell silent", value=seen.lost)
        steps = [StepDone.model_validate_json(step) for step in seen.running]
        yield GaugeMetricFamily(
            "cpt_running_samples_per_second",
            "Training speed of all running jobs together, by their latest steps",
            value=sum(step.samples_per_second for step in steps),
        )
        yield GaugeMetricFamily(
            "cpt_running_energy_joules",
            "Measured energy of the attempts that run now, where there is a counter",
            value=sum(step.energy_joules or 0.0 for step in steps),
        )
        yield GaugeMetricFamily(
            "cpt_running_modelled_joules",
            "Modelled energy of the jobs that run now: not measured",
            value=sum(step.modelled_joules for step in steps),
        )
