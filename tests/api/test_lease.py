"""A lease expires only by silence that was watched."""

import shutil
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import OperationalError

from api.agent import service
from api.agent.repository import Pulse
from api.background import Lease, Reaper
from api.db import Database
from api.jobs import service as jobs
from cpt_core.protocol import ClaimRequest
from tests.api.factories import spec

A0, A1, B0 = Pulse("a", 1, 0), Pulse("a", 1, 1), Pulse("b", 1, 0)


def watch(lease: Lease, pulses: list[Pulse], start: float, end: float) -> list[Pulse]:
    """Look every second; returns what the last look found silent."""
    found: list[Pulse] = []
    for clock in range(int(start), int(end) + 1):
        found = lease.silent(pulses, clock)
    return found


def test_an_attempt_expires_after_a_whole_lease_without_a_beat() -> None:
    lease = Lease(10, interval=1)
    assert watch(lease, [A0, B0], 0, 9) == []
    assert watch(lease, [A0, B0], 10, 10) == [A0, B0]


def test_each_beat_begins_a_new_lease() -> None:
    lease = Lease(10, interval=1)
    watch(lease, [A0, B0], 0, 8)
    assert watch(lease, [A1, B0], 9, 17) == [B0]
    assert watch(lease, [A1], 18, 19) == [A1]


def test_an_outage_of_our_own_expires_nobody() -> None:
    lease = Lease(10, interval=1)
    watch(lease, [A0], 0, 8)
    assert lease.silent([A0], 300) == [], "nobody looked for five minutes"
    assert watch(lease, [A0], 301, 309) == []
    assert watch(lease, [A0], 310, 310) == [A0]


def test_while_nobody_can_write_no_lease_expires_although_all_can_read(tmp_path: Path, migrated_file: Path) -> None:
    """SQLite's readers go on while another process holds the lock, and beats wait for it."""
    shutil.copy(migrated_file, tmp_path / "cpt.db")
    database = Database(f"sqlite:///{tmp_path}/cpt.db", patience=0.1)
    job, _ = jobs.create(database, "default", spec(), None)
    asked = ClaimRequest(claim_id="a" * 32, worker="w", queue="default", device="cpu", devices=1)
    assert service.claim(database, asked, 1.0) is not None
    lost: list[str] = []
    reaper = Reaper(database, 1.0, 0.1, lost.append)
    reaper.tick()
    other = sqlite3.connect(tmp_path / "cpt.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        with suppress(OperationalError):
            reaper.tick()
    other.execute("ROLLBACK")
    other.close()
    reaper.tick()
    assert lost == []
    until = time.monotonic() + 5
    while not lost and time.monotonic() < until:
        reaper.tick()
    assert lost == [job.id], "silence that can be watched counts"
    database.close()
