"""From commit to receipt: `python benchmarks/service/stream.py` prints JSON.

Listeners of one job, all in one process, beside an API process on SQLite and a reporter that appends one record at a
time. A record carries the moment before it was sent, so the time includes the append itself: an upper bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass

import psutil
from alone import Api, Attempt, api

from cpt_core.events import Log, dump

_STAMP = re.compile(rb'"message":"(\d+)"')


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    listeners: int
    events_per_second: float
    p50_ms: float
    p99_ms: float
    received: int
    expected: int
    resident_mb: float
    """Of the API process, while all listen."""


async def measure(server: Api, listeners: int, events: int, rate: float) -> Figures:
    """Let so many listen while so many events are reported at so many a second."""
    attempt = Attempt(server)
    port = int(server.url.rsplit(":", 1)[1])
    delays: list[float] = []
    listening = [asyncio.create_task(_listen(port, attempt.job, events, delays)) for _ in range(listeners)]
    while f"cpt_stream_listeners {float(listeners)}\n" not in server.http.get("/metrics").text:
        for refused in (task for task in listening if task.done()):
            refused.result()
        await asyncio.sleep(0.2)
    resident = psutil.Process(server.pid).memory_info().rss / 1e6
    took = await asyncio.to_thread(_report, attempt, events, rate)
    await asyncio.wait(listening, timeout=60)
    cuts = statistics.quantiles(delays, n=100)
    return Figures(
        listeners, round(events / took, 1), cuts[49] * 1e3, cuts[98] * 1e3, len(delays), listeners * events, resident
    )


def _report(attempt: Attempt, events: int, rate: float) -> float:
    """Report events at a rate as a worker does: one append after another, each with all that has come meanwhile."""
    began = time.monotonic()
    reported = 0
    while reported < events:
        time.sleep(max(0.0, began + reported / rate - time.monotonic()))
        due = min(events, int((time.monotonic() - began) * rate) + 1) - reported
        attempt.append([dump(Log(message=str(time.monotonic_ns()))).encode() for _ in range(due)])
        reported += due
    return time.monotonic() - began


async def _listen(port: int, job: str, events: int, delays: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v1/jobs/{job}/stream?types=log HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"a listener got {status.decode().strip()}")
    seen, rest = 0, b""
    while seen < events and (data := await reader.read(65536)):
        now = time.monotonic_ns()
        rest += data
        whole = rest.rfind(b"\n\n") + 2
        if whole > 1:
            stamps = _STAMP.findall(rest[:whole])
            delays += [(now - int(stamp)) / 1e9 for stamp in stamps]
            seen, rest = seen + len(stamps), rest[whole:]
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listeners", type=int, default=200)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, api(f"sqlite:///{folder}/cpt.db") as server:
        figures = asyncio.run(measure(server, options.listeners, options.events, options.rate))
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
