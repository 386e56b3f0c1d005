"""`make soak`: the service under load for an hour, and whether anything grows: memory, descriptors, threads, keys."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis

from tests.chaos import page
from tests.chaos.kept import FOLDER
from tests.chaos.rig import Rig
from tests.chaos.run import document

KEPT = FOLDER / "soak.json"
ALLOWED = {"memory": (0.10, 8.0), "descriptors": (0.0, 6.0), "threads": (0.0, 6.0), "keys": (0.0, 4.0)}
"""Growth from the second quarter of the time to the last that is none: a share, and so much more (MB, pieces)."""

Sample = dict[str, float]
"""`process.figure` to number."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run it, keep what came of it; returns 0 if nothing grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args(argv)
    home = Path(tempfile.mkdtemp(prefix="cpt-soak-"))
    home.chmod(0o755)
    rig = Rig(home / "rig", options.database)
    try:
        rig.start_all()
        samples, jobs = _load(rig, options.minutes * 60)
    finally:
        rig.close()
        shutil.rmtree(home, ignore_errors=True)
    found = growth(samples)
    KEPT.write_text(
        json.dumps(
            {
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
                "minutes": options.minutes,
                "database": options.database,
                "jobs": jobs,
                "samples": len(samples),
                "figures": found,
            },
            indent=1,
        )
        + "\n"
    )
    page.write()
    for name, item in found.items():
        print(f"{name}: {item['before']:.1f} -> {item['after']:.1f}{'  GROWS' if item['grows'] else ''}")
    return int(any(item["grows"] for item in found.values()))


def growth(samples: Sequence[Sample]) -> dict[str, Any]:
    """Each figure's median in the second and in the last quarter of the samples, and whether that is growth."""
    quarter = len(samples) // 4
    found = {}
    for name in samples[-1]:
        before, after = (
            statistics.median(sample[name] for sample in part if name in sample)
            for part in (samples[quarter : 2 * quarter], samples[-quarter:])
        )
        share, more = ALLOWED[name.rpartition(".")[2]]
        found[name] = {
            "before": round(before, 1),
            "after": round(after, 1),
            "grows": after > before * (1 + share) + more,
        }
    return found


def _load(rig: Rig, seconds: float) -> tuple[list[Sample], int]:
    """Jobs one after the other, somebody who follows each, and a look every few seconds."""
    stop, jobs = threading.Event(), list[str]()

    def users() -> None:
        while not stop.is_set():
            with contextlib.suppress(httpx.HTTPError, AssertionError):
                jobs.append(rig.submit(document()))
                for _ in rig.stream(jobs[-1]):
                    if stop.is_set():
                        return
                rig.http.get(f"/v1/jobs/{jobs[-1]}/metrics").raise_for_status()

    threads = [threading.Thread(target=users, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    samples, end = list[Sample](), time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(min(5.0, seconds / 60))
        samples.append(_look(rig))
    stop.set()
    for thread in threads:
        thread.join(30)
    return samples, len(jobs)


def _look(rig: Rig) -> Sample:
    found: Sample = {}
    for name in ("api", "valkey", *rig.workers):
        processes = {name: psutil.Process(rig.running[name].pid)}
        if name in rig.workers:
            servers = [child for child in processes[name].children() if "cpt_core.forkserver" in child.cmdline()]
            processes |= {f"{name}'s fork server": server for server in servers}
        for called, process in processes.items():
            found[f"{called}.memory"] = process.memory_info().rss / 2**20
            found[f"{called}.descriptors"] = process.num_fds()
            found[f"{called}.threads"] = process.num_threads()
    with redis.Redis.from_url(rig.redis_url) as client:
        found["valkey.keys"] = client.dbsize()
    return found


if __name__ == "__main__":
    sys.exit(main())
