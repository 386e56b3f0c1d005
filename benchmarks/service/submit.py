"""Jobs submitted one after the other, by one client, each committed before the answer. Beside it: Prefect's flow runs.

`python benchmarks/service/submit.py [--count N]` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import httpx
import ours
import peers


def create(url: str, count: int) -> dict[str, list[float]]:
    """Seconds of each submission and of each list of fifty jobs."""
    # No worker takes from this queue: what is measured is the acceptance.
    spec = ours.SPEC | {"resources": {"queue": "nobody"}}
    with httpx.Client(base_url=url, trust_env=False) as client:
        seconds = []
        for number in range(count + 10):
            began = time.perf_counter()
            client.post("/v1/jobs", json=spec).raise_for_status()
            if number >= 10:
                seconds.append(time.perf_counter() - began)
        listing = []
        for _ in range(20):
            began = time.perf_counter()
            client.get("/v1/jobs?limit=50").raise_for_status()
            listing.append(time.perf_counter() - began)
    return {"seconds": seconds, "list_seconds": listing}


def summary(found: dict[str, list[float]]) -> dict[str, float]:
    seconds = found["seconds"]
    return {
        "per_second": len(seconds) / sum(seconds),
        "p50_ms": 1000 * statistics.median(seconds),
        "p99_ms": 1000 * statistics.quantiles(seconds, n=100)[98],
        "lists_of_50_per_second": 1 / statistics.median(found["list_seconds"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    count = parser.parse_args().count
    with ours.stack() as url:
        mine = summary(create(url, count))
    with peers.prefect() as url:
        theirs = summary(peers.measure("prefect", "prefect_runs.py", url, str(count)))
    print(json.dumps({"count": count, "ours": mine, "prefect": theirs}))


if __name__ == "__main__":
    main()
