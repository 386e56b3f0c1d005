"""The matrix as data: which fault is tried at which moments, on both databases, how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DATABASES = ("sqlite", "postgresql")

MOMENTS = {
    "M0": "committed, not rung",
    "M1": "claimed, not spawned",
    "M2": "rendezvous",
    "M3": "mid-step",
    "M4": "checkpoint half written",
    "M5": "append committed, reply lost",
    "M6": "end committed, reply lost",
    "M7": "terminal",
    "idle": "no job runs",
    "resume": "the next attempt begins",
    "any": "whenever",
}


def moments(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"M{number}" for number in range(first, last + 1))


@dataclass(frozen=True, slots=True)
class Row:
    """A fault and what it must lead to."""

    fault: str
    """Name of the function in `faults` that does it and looks at what follows."""
    what: str
    """In words."""
    moments: tuple[str, ...]
    must: str
    """What must happen, beside the global criteria."""
    runs: int
    """How many the matrix asks for at each moment."""
    two_ranks: bool = False
    """It takes two ranks; the other faults are tried with two in every tenth run."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A fault at a moment on a database."""

    row: Row
    moment: str
    database: str

    @property
    def name(self) -> str:
        return f"{self.row.fault}/{self.moment}/{self.database}"

    @property
    def runs(self) -> int:
        """How many are asked for: each database has its half of a moment's."""
        return -(-self.row.runs // len(DATABASES))


_AGAIN = "new attempt within lease + 10 s from the last registered checkpoint; no descendant alive after 2 s"
_REASON = "reason names it, strike, resume"
_REDIS = "no running job disturbed; a queued one starts within sweep + 5 s of its return"
_TORN = "found by hash, previous one used, said so"
_ONE = "one attempt, rows unique, forgeries refused"
_DISK = "training waits or the attempt ends clearly; the previous checkpoint is intact; recovers"

ROWS = (
    Row("worker_killed", "worker killed (-9)", moments(1, 6), _AGAIN, 20),
    Row("tree_killed", "worker killed (-9) with its tree", moments(1, 6), _AGAIN, 20),
    Row("rank_killed", "a rank killed", moments(2, 4), _REASON, 20, two_ranks=True),
    Row("torchrun_killed", "torchrun killed", moments(2, 4), _REASON, 20, two_ranks=True),
    Row("out_of_memory", "out of memory in a rank (ulimit)", moments(2, 4), _REASON, 20),
    Row(
        "sigterm",
        "SIGTERM to the worker",
        moments(1, 4),
        "checkpoint, `preempted`, no strike, gone within the grace",
        20,
    ),
    Row(
        "sigstop",
        "worker stopped past the lease, then continued",
        moments(3, 5),
        "successor runs, late appends refused, old tree dies",
        20,
    ),
    Row("redis_killed", "Redis killed", moments(0, 6), _REDIS, 20),
    Row("redis_flushed", "Redis flushed", moments(0, 6), _REDIS, 20),
    Row("redis_away", "Redis away", moments(0, 6), _REDIS, 20),
    Row("redis_half_open", "half-open connections worker - Redis", ("idle", "M3"), "consuming again within 60 s", 10),
    Row("redis_black_hole", "worker - Redis in a black hole", ("idle", "M3"), "consuming again within 60 s", 10),
    Row("api_half_open", "half-open connections worker - API", moments(1, 6), "no effect", 20),
    Row("api_hole_short", "worker - API in a black hole, shorter than the blind limit", moments(1, 6), "no effect", 20),
    Row(
        "api_hole_long",
        "worker - API in a black hole, longer than the blind limit",
        moments(1, 6),
        "stop, resume, no gap",
        20,
    ),
    Row(
        "api_killed",
        "API killed",
        moments(0, 7),
        "the idempotent resubmit gives the same id; SSE resumes without gap",
        20,
    ),
    Row("database_killed", "database killed", moments(0, 6), "nothing accepted lost; nobody reaped because of it", 10),
    Row(
        "database_away",
        "database away",
        moments(0, 6),
        "503 with Retry-After; nothing accepted lost; nobody reaped because of it",
        10,
    ),
    Row("disk_full_spool", "disk full for the spool", moments(3, 5), _DISK, 10),
    Row("disk_full_storage", "disk full for checkpoints", moments(3, 5), _DISK, 10),
    Row("disk_full_database", "disk full for the database", moments(3, 5), _DISK, 10),
    Row("disk_full_valkey", "disk full for the append-only file", moments(3, 5), _DISK, 10),
    Row("checkpoint_torn", "checkpoint torn", ("M4", "resume"), _TORN, 20),
    Row("checkpoint_truncated", "checkpoint truncated", ("M4", "resume"), _TORN, 20),
    Row("checkpoint_flipped", "checkpoint with a bit flipped", ("M4", "resume"), _TORN, 20),
    Row("cancel", "cancel", moments(0, 7), "terminal within grace + 5 s, no process left", 50),
    Row("pause", "pause", moments(0, 7), "paused within grace + 5 s, no process left; a resume goes on", 50),
    Row(
        "poison",
        "a job that crashes at once, every time",
        moments(1, 3),
        "failed after exactly three attempts; others unaffected",
        10,
    ),
    Row(
        "hung",
        "a rank that hangs in a collective",
        moments(2, 3),
        "watchdog ends it, stacks of every rank in the log, strike",
        10,
        two_ranks=True,
    ),
    Row(
        "stopped_rank",
        "a rank stopped",
        moments(2, 3),
        "watchdog ends it, every rank in the log, strike",
        10,
        two_ranks=True,
    ),
    Row("clock_forward", "wall clock an hour ahead at once (libfaketime)", ("M3",), "nobody expires", 5),
    Row("clock_back", "wall clock an hour back at once (libfaketime)", ("M3",), "nobody expires", 5),
    Row("doorbells", "100 doorbells", moments(0, 6), _ONE, 50),
    Row("appends_repeated", "appends repeated", moments(1, 6), _ONE, 50),
    Row("appends_reordered", "appends sent again in another order", moments(1, 6), _ONE, 50),
    Row("appends_truncated", "appends cut short", moments(1, 6), _ONE, 50),
    Row("appends_forged", "appends of a forged attempt", moments(1, 6), _ONE, 50),
    Row("mix", "a random mix of faults, two workers, many jobs", ("any",), "the global criteria", 10),
)


def cells() -> Iterator[Cell]:
    """All cells, in the matrix's order."""
    for row in ROWS:
        for moment in row.moments:
            for database in DATABASES:
                yield Cell(row, moment, database)
