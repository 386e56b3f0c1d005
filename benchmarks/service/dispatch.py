"""From submitting a job to its first event, and a hundred jobs through two slots. Beside it: Ray jobs that run `true`.

Ours train one step on eight images each. `python benchmarks/service/dispatch.py [--single N] [--many N]` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import httpx
import ours
import peers
from httpx_sse import connect_sse

SLOTS = 2
ACTIVE = ["queued", "starting", "running"]


def one(client: httpx.Client) -> tuple[float, float]:
    """Seconds from submitting a job to its first event of the training, and to its end."""
    began = time.perf_counter()
    job = client.post("/v1/jobs", json=ours.SPEC).raise_for_status().json()["id"]
    first = None
    with connect_sse(client, "GET", f"/v1/jobs/{job}/stream") as source:
        for event in source.iter_sse():
            if event.event == "started":
                first = time.perf_counter() - began
            if event.event == "end":
                break
    assert first is not None, f"{job} has not been trained"
    return first, time.perf_counter() - began


def many(client: httpx.Client, count: int) -> float:
    """Seconds from the first of so many submissions to the end of the last job."""
    began = time.perf_counter()
    for _ in range(count):
        client.post("/v1/jobs", json=ours.SPEC).raise_for_status()
    while client.get("/v1/jobs", params={"state": ACTIVE, "limit": 1}).raise_for_status().json()["data"]:
        time.sleep(0.01)
    ended = client.get("/v1/jobs", params={"limit": count}).json()["data"]
    assert {job["state"] for job in ended} == {"succeeded"}
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--single", type=int, default=10)
    parser.add_argument("--many", type=int, default=100)
    options = parser.parse_args()
    with ours.stack(slots=str(SLOTS)) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        one(client)
        times = [one(client) for _ in range(options.single)]
        mine = {
            "first_event": statistics.median(first for first, _ in times),
            "end": statistics.median(end for _, end in times),
            "many": many(client, options.many),
        }
    with peers.ray(SLOTS) as url:
        theirs = peers.measure("ray", "ray_jobs.py", url, str(options.single), str(options.many))
        theirs = {"end": statistics.median(theirs["single"]), "many": theirs["many"]}
    print(json.dumps({"slots": SLOTS, "jobs": options.many, "ours": mine, "ray": theirs}))


if __name__ == "__main__":
    main()
