"""Tables of the jobs aggregate: jobs and their labels, their attempts, and the log of events and metrics.

`metrics` holds the step events, in columns; `events` all others, as the JSON they came in. Both share one numbering
per job, `position`: the cursor of clients, assigned under the job's row lock, so it grows in the order of commits.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, ChangeStamp, UtcDateTime
from cpt_core.lifecycle import State

# SQLite numbers rows by itself only for INTEGER PRIMARY KEY.
BigKey = BigInteger().with_variant(Integer, "sqlite")


class Job(Base):
    """One training job."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("project", "idempotency_key", name="uq_jobs_idempotency"),
        CheckConstraint(f"state IN ({', '.join(repr(str(state)) for state in State)})", name="ck_jobs_state"),
        Index("ix_jobs_list", "project", "pk"),
        Index("ix_jobs_queue_deadline", "queue_deadline"),
        Index("ix_jobs_checkpoint_of", "checkpoint_of"),
        Index("ix_jobs_changed", "changed", "project"),
        Index("ix_jobs_sweep", "sweep", "pk"),
    )

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    project: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    spec: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str | None] = mapped_column(Text)
    request_digest: Mapped[str] = mapped_column(Text)
    sweep: Mapped[str | None] = mapped_column(Text)
    """The sweep it is a member of."""

    queue: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(Integer)
    device: Mapped[str] = mapped_column(Text)
    devices: Mapped[int] = mapped_column(Integer)
    """Of each node."""
    nodes: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    """Nodes that it wants; it may run on fewer, if its spec says so."""
    queue_timeout: Mapped[float | None]
    """Seconds of one wait in the queue; null: without end."""

    retry_of: Mapped[str | None] = mapped_column(Text)
    """The job that this one tries again; it may be deleted by now."""
    clone_of: Mapped[str | None] = mapped_column(Text)
    """The job whose spec this one's was made from; it may be deleted by now."""
    traceparent: Mapped[str | None] = mapped_column(Text)
    """The trace of the request that made it, as W3C Trace Context has it; every attempt goes on with it."""

    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
    cancel_requested: Mapped[bool]
    pause_requested: Mapped[bool]
    attempt: Mapped[int] = mapped_column(Integer)
    strikes: Mapped[int] = mapped_column(Integer)
    position: Mapped[int] = mapped_column(BigInteger)
    """Position of the last row of the log."""
    changed: Mapped[int] = mapped_column(
        BigInteger, default=ChangeStamp(), onupdate=ChangeStamp(), server_default=text("0")
    )
    """Stamp of the last change to this row."""

    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    queued_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its present wait in the queue began; null while it does not wait there."""
    queue_deadline: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When that wait will have been too long; null: never."""
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """First time that it ran."""
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Since when lists hide it; null: they show it."""

    # The newest of each kind of record, as JSON, so that a job is shown without touching its log.
    last_started: Mapped[str | None] = mapped_column(Text)
    last_step: Mapped[str | None] = mapped_column(Text)
    last_evaluation: Mapped[str | None] = mapped_column(Text)
    last_checkpoint: Mapped[str | None] = mapped_column(Text)
    result: Mapped[str | None] = mapped_column(Text)
    checkpoint_of: Mapped[str | None] = mapped_column(Text)
    """The job among whose files `last_checkpoint` lies, until this one has registered its own; null: this one. Those
    files stay as long as somebody starts from them."""


Index("ix_jobs_claim", Job.state, Job.queue, Job.project, Job.priority.desc(), Job.pk)


class JobLabel(Base):
    """A label that a job requires of its worker."""

    __tablename__ = "job_labels"

    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True)
    label: Mapped[str] = mapped_column(Text, primary_key=True)


class DeletedJob(Base):
    """What is left of a deleted job: that it was, and whether its files go too."""

    __tablename__ = "deleted_jobs"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    project: Mapped[str] = mapped_column(Text)
    deleted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    files_deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a worker said that the files are gone."""


class Attempt(Base):
    """One worker's hold on a job."""

    __tablename__ = "attempts"

    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    worker: Mapped[str] = mapped_column(Text)
    claim_id: Mapped[str] = mapped_column(Text, unique=True)
    token_hash: Mapped[str] = mapped_column(Text)
    acked: Mapped[int] = mapped_column(BigInteger)
    """Records stored."""
    beat: Mapped[int] = mapped_column(BigInteger)
    """Appends seen, empty ones too; the reaper watches it grow."""
    step: Mapped[int] = mapped_column(BigInteger)
    """Steps completed."""
    progressed: Mapped[bool]
    """A checkpoint was registered."""
    claimed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
    end_step: Mapped[int | None] = mapped_column(BigInteger)
    """Steps of this attempt that count: a later attempt went on from here. Null: all do."""
    endpoint: Mapped[str | None] = mapped_column(Text)
    """Where the nodes of the attempt meet; null: there is but one."""


class Node(Base):
    """A slot that trains a job with others: reserved when the attempt begins, taken when a worker asks for work.

    The first node's is the attempt's own row; it alone writes the log.
    """

    __tablename__ = "nodes"
    __table_args__ = (
        ForeignKeyConstraint(["job", "attempt"], ["attempts.job", "attempts.attempt"], ondelete="CASCADE"),
    )

    job: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    node: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """From 1."""
    device: Mapped[str] = mapped_column(Text)
    """Kind of the first node's devices, which all have."""
    worker: Mapped[str | None] = mapped_column(Text)
    """Null: nobody has taken it yet."""
    claim_id: Mapped[str | None] = mapped_column(Text, unique=True)
    token_hash: Mapped[str | None] = mapped_column(Text)
    beat: Mapped[int] = mapped_column(BigInteger)
    """Reports seen; the reaper watches it grow."""
    failure: Mapped[str | None] = mapped_column(Text)
    """What ended its processes, as JSON of `cpt_core.protocol.NodeFailure`."""


class Event(Base):
    """A record that is no step, or a change that the API made."""

    __tablename__ = "events"

    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(Text)
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    data: Mapped[str] = mapped_column(Text)


class Metric(Base):
    """A step of an attempt, `cpt_core.events.StepDone` in columns."""

    __tablename__ = "metrics"
    __table_args__ = (UniqueConstraint("job", "attempt", "step", name="uq_metrics_step"),)

    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    step: Mapped[int] = mapped_column(Integer)
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    epoch: Mapped[int] = mapped_column(Integer)
    forward_bits: Mapped[int] = mapped_column(Integer)
    backward_bits: Mapped[int] = mapped_column(Integer)
    loss: Mapped[float]
    accuracy: Mapped[float | None]
    lr: Mapped[float]
    samples_per_second: Mapped[float]
    gbitops: Mapped[float]
    modelled_joules: Mapped[float]
    energy_joules: Mapped[float | None]
    step_gbitops: Mapped[float | None]
    step_modelled_joules: Mapped[float | None]
    step_energy_joules: Mapped[float | None]
