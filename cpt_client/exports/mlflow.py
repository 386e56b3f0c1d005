"""MLflow: a run of a tracking server or a database for each job, in one experiment.

How far a run goes is in its tags, which are written after the figures. Figures that are written again, because an
export broke off in between, have the same step, time and value, of which MLflow's databases keep one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from cpt_client.errors import MissingPartError
from cpt_client.exports.rows import Row, flat
from cpt_client.exports.target import ExportError, Marks
from cpt_client.models import Job

if TYPE_CHECKING:
    from mlflow import MlflowClient

Item = TypeVar("Item")

STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
"""MLflow's names of ends."""

JOB, STEPS, EVALUATIONS, END = "cpt.job", "cpt.steps", "cpt.evaluations", "cpt.end"
"""Tags of a run."""

METRICS, PARAMS = 1000, 100
"""What MLflow takes in one request."""

LONGEST_PARAM = 6000
"""Characters of a parameter that MLflow takes."""


class MLflow:
    """An experiment at a tracking URI: `http://…` of a server, or a database such as `sqlite:///mlflow.db`."""

    def __init__(self, uri: str, experiment: str = "CPT") -> None:
        self._uri, self._experiment = uri, experiment
        self._client: MlflowClient | None = None
        self._experiment_id = ""

    def open(self, job: Job) -> _Run:
        """The job's run; see `Target.open`."""
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise MissingPartError("mlflow", extra="mlflow") from error
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it makes
        with _reporting(self._uri):
            if self._client is None:
                self._client = MlflowClient(tracking_uri=self._uri)
                found = self._client.get_experiment_by_name(self._experiment)
                self._experiment_id = (
                    self._client.create_experiment(self._experiment) if found is None else found.experiment_id
                )
            return _Run(self._client, self._experiment_id, job, self._uri)


@contextmanager
def _reporting(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into the one error of exports."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise ExportError(f"MLflow at {uri}: {error}") from error
    except ImportError as error:  # a database needs a driver
        raise ExportError(f"MLflow at {uri} needs what is not installed: {error}") from error


class _Run:
    def __init__(self, client: MlflowClient, experiment: str, job: Job, uri: str) -> None:
        self._client, self._uri = client, uri
        runs = client.search_runs([experiment], filter_string=f"tags.`{JOB}` = '{job.id}'", max_results=1)
        if runs:
            run = runs[0]
            tags = run.data.tags
            self.marks = Marks(int(tags.get(STEPS, 0)), int(tags.get(EVALUATIONS, -1)), END in tags)
            self._id = run.info.run_id
        else:
            self.marks = Marks()
            self._id = self._begin(client, experiment, job)
        self.place = f"run {self._id} at {uri}"

    @staticmethod
    def _begin(client: MlflowClient, experiment: str, job: Job) -> str:
        from mlflow.entities import Param

        start = _milliseconds(job.started_at or job.created_at)
        run = client.create_run(experiment, start_time=start, run_name=job.name, tags={JOB: job.id})
        params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in flat(job.spec).items()]
        for some in _parts(params, PARAMS):
            client.log_batch(run.info.run_id, params=some)
        return str(run.info.run_id)

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        from mlflow.entities import Metric, RunTag

        marks = self.marks.after(rows)
        metrics = [
            Metric(name, value, _milliseconds(row.time), row.step)
            for row in rows
            for name, value in row.figures.items()
        ]
        tags = [RunTag(STEPS, str(marks.steps)), RunTag(EVALUATIONS, str(marks.evaluations))]
        with _reporting(self._uri):
            for some in _parts(metrics, METRICS):
                self._client.log_batch(self._id, metrics=some)
            self._client.log_batch(self._id, tags=tags)
        self.marks = marks

    def finish(self, job: Job, result: Row | None) -> None:
        """The end."""
        if result is not None:
            self.write([result])
        at = _milliseconds(job.finished_at or job.created_at)
        with _reporting(self._uri):
            self._client.set_terminated(self._id, STATUS.get(job.state, "FINISHED"), end_time=at)
            self._client.set_tag(self._id, "cpt.message", (job.message or "")[:LONGEST_PARAM])
            self._client.set_tag(self._id, END, job.reason or job.state)
        self.marks = Marks(self.marks.steps, self.marks.evaluations, is_complete=True)

    def close(self) -> None:
        """Nothing is held."""


def _parts(items: list[Item], size: int) -> Iterator[list[Item]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
