"""How fast metrics are stored and a long history is read, and how many bytes they take. Beside it: MLflow.

A point is one value of one key, as MLflow counts them; a step has twelve. Both are on SQLite and get 1,000 records or
points a request. `python benchmarks/service/metrics.py [--steps N]` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass

import peers
from alone import Api, Attempt, api
from sqlalchemy import create_engine, text

from cpt_core.events import EnergySource, Started, StepDone, dump

BATCH = 1000
"""Records of one append, the most that the protocol allows."""
POINTS = 12
"""Values of a step, its number and time not counted."""
SAMPLE = 320
READS = 15


@dataclass(frozen=True)
class Figures:
    """What was measured on one database."""

    database: str
    steps: int
    points_per_second: float
    """Stored over HTTP, 1000 steps a request, one client."""
    sample_seconds: float
    """320 points of one key over the whole history, median."""
    sample_all_seconds: float
    """The same of all keys."""
    history_seconds: float
    """The whole history as NDJSON."""
    bytes_per_point: float
    """Table, indexes and blocks."""


def measure(database_url: str, steps: int) -> Figures:
    """Measure on a new database."""
    with api(database_url) as server:
        attempt = Attempt(server)
        stored = store(attempt, steps)
        path = f"/v1/jobs/{attempt.job}/metrics"
        return Figures(
            database=database_url.split(":")[0],
            steps=steps,
            points_per_second=steps * POINTS / stored,
            sample_seconds=_read(server, path, {"keys": "loss", "max_points": SAMPLE}),
            sample_all_seconds=_read(server, path, {"max_points": SAMPLE}),
            history_seconds=_history(server, path),
            bytes_per_point=_bytes(database_url) / (steps * POINTS),
        )


def store(attempt: Attempt, steps: int) -> float:
    """Seconds of all appends together; making the records does not count."""
    energy = EnergySource(source="rapl", scope="package-0")
    begun = Started(
        resume_step=0, steps=steps, world_size=1, device="cpu", parameters=78_000, macs=12_000_000, energy=energy
    )
    attempt.append([dump(begun).encode()])
    seconds = 0.0
    for start in range(0, steps, BATCH):
        records = [_record(index) for index in range(start, min(start + BATCH, steps))]
        began = time.perf_counter()
        attempt.append(records)
        seconds += time.perf_counter() - began
    return seconds


def _record(index: int) -> bytes:
    figures = {name: random.random() for name in ("loss", "accuracy", "lr", "step_gbitops", "step_energy_joules")}
    step = StepDone(
        step=index,
        epoch=index // 1000,
        forward_bits=3 + index % 6,
        backward_bits=8,
        samples_per_second=1000 * random.random(),
        gbitops=1.7 * index,
        modelled_joules=0.3 * index,
        energy_joules=0.9 * index,
        step_modelled_joules=None,
        **figures,
    )
    return dump(step).encode()


def _read(server: Api, path: str, params: dict[str, str | int]) -> float:
    seconds = []
    for _ in range(READS):
        began = time.perf_counter()
        server.http.get(path, params=params).raise_for_status()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _history(server: Api, path: str) -> float:
    began = time.perf_counter()
    server.http.get(path, headers={"Accept": "application/x-ndjson"}).raise_for_status()
    return time.perf_counter() - began


def _bytes(database_url: str) -> int:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            query = "SELECT pg_total_relation_size('metrics') + pg_total_relation_size('metric_blocks')"
        else:  # the rest of the file is a few pages
            query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        size = int(connection.execute(text(query)).scalar_one())
    engine.dispose()
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=250_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory(prefix="cpt-bench-") as folder:
        mine = measure(f"sqlite:///{folder}/cpt.db", steps)
    with peers.mlflow() as (url, database):
        theirs = peers.measure("mlflow", "mlflow_metrics.py", url, str(steps), str(SAMPLE))
        theirs["bytes_per_point"] = sum(file.stat().st_size for file in database.parent.glob("mlflow.db*")) / steps
    print(json.dumps({"steps": steps, "ours": asdict(mine), "mlflow": theirs}))


if __name__ == "__main__":
    main()
