"""Disks fill up, and checkpoints are damaged."""

from __future__ import annotations

import time
from pathlib import Path

from tests.chaos.rig import fill
from tests.chaos.run import Run
from tests.e2e.stack import until

FULL_SECONDS = 3.0


def disk_full_spool(run: Run) -> None:
    """Records wait in the FIFO: training waits and goes on."""
    _full(run, run.rig.home / "spool")
    run.succeeds(attempts=1)
    run.recovered()


def disk_full_storage(run: Run) -> None:
    """The next checkpoint fails, and with it the attempt, by name; the next one goes on from the last."""
    rig = run.rig
    run.reach(stay=True)
    saved = run.checkpoint()
    disk = rig.storage
    fill(disk)
    run.release()
    until(lambda: run.job()["attempt"] > 1 or run.job()["state"] == "queued", "the attempt to end", 60)
    (disk / "ballast").unlink()
    run.clock()
    job = run.succeeds()
    run.recovered()
    assert run.ends()[0] == "storage", run.ends()
    assert "No space left" in run.ends()[1], run.ends()
    assert run.resumed_at(job["attempt"]) >= saved


def disk_full_database(run: Run) -> None:
    _full(run, run.rig.home / "database")
    if run.rig.database == "postgresql" and not run.rig.database_runs:
        run.rig.start_database()  # it stops when its log cannot be written
    run.succeeds()
    run.recovered()


def disk_full_valkey(run: Run) -> None:
    _full(run, run.rig.home / "valkey")
    later = run.submit()
    run.succeeds(attempts=1)
    run.rig.wait_for_state(later, "succeeded")
    run.recovered()


def _full(run: Run, disk: Path) -> None:
    run.reach()
    fill(disk)
    run.release()
    time.sleep(FULL_SECONDS)
    (disk / "ballast").unlink()
    run.clock()


def checkpoint_torn(run: Run) -> None:
    _damaged(run, _tear)


def checkpoint_truncated(run: Run) -> None:
    _damaged(run, _truncate)


def checkpoint_flipped(run: Run) -> None:
    _damaged(run, _flip)


def _tear(folder: Path, run: Run) -> None:
    (folder / "optimizer.safetensors").unlink(missing_ok=True)


def _truncate(folder: Path, run: Run) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: run.random.randrange(1, file.stat().st_size)])


def _flip(folder: Path, run: Run) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    bit = run.random.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def _damaged(run: Run, damage: object) -> None:
    rig = run.rig
    at_moment = run.moment == "M4"
    if at_moment:
        job_id = run.reach()
    else:
        run.moment = "M3"
        rig.arm("M3", step=9)
        job_id = run.job_id = run.submit()
        rig.wait_held("M3")
        until(lambda: run.checkpoint() == 8, "the second checkpoint", 20)
    folder = rig.storage / "checkpoints" / job_id / "1" / ("step-00000008.partial" if at_moment else "step-00000008")
    name = rig.holder(job_id)
    run.clock()
    rig.kill_worker(name, tree=True)
    until(folder.is_dir, "the checkpoint to damage", 5)
    damage(folder, run)  # type: ignore[operator]
    run.release()
    rig.start_worker(name)
    job = run.succeeds()
    run.recovered()
    assert run.resumed_at(job["attempt"]) == 4, f"resumed at {run.resumed_at(job['attempt'])}"
    if not at_moment:
        log = rig.events(job_id, "log") + rig.events(job_id, "state")
        assert [e for e in log if "damaged" in (e.get("message") or "")], "nobody said so"
