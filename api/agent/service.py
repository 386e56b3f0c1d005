"""What workers can do: claim a job, append to its log. And what happens to those that fall silent.

Each function is one transaction, in which `api.jobs.ledger` decides. docs/protocol.md tells the story.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Literal

from sqlalchemy.orm import Session

from api.agent import repository as claims
from api.agent.repository import Pulse
from api.datasets import service as datasets
from api.db import Database
from api.jobs import ledger as protocol
from api.jobs import repository
from api.jobs.ledger import Ledger, Refused
from api.jobs.models import Attempt, Job
from api.problems import ApiError, not_found
from api.projects.repository import limits_of
from cpt_core.events import Checkpoint, now
from cpt_core.model_limits import ModelLimits
from cpt_core.protocol import AppendReply, AppendRequest, Assignment, ClaimRequest
from cpt_core.spec import JobSpec

_REFUSAL_STATUS = {"stale_attempt": 409, "sequence_gap": 409, "invalid_record": 422}


def claim(database: Database, request: ClaimRequest, lease_seconds: float) -> Assignment | None:
    """The next job for a free slot, as a new attempt; None if nothing fits.

    A repeated claim gets its attempt again, with a new token, as long as nothing has been heard of it.
    """
    token = secrets.token_urlsafe(32)
    with database.write() as session:
        repeated = claims.by_claim(session, request.claim_id)
        if repeated:
            job, attempt = repeated
            if protocol.is_stale(repository.ledger(job, attempt), attempt.attempt) or attempt.beat:
                return None
            attempt.token_hash = _digest(token)
            return _assignment(session, job, token, lease_seconds)
        found = _choose(session, request)
        if found is None:
            return None
        before = repository.ledger(found, None)
        after = protocol.claim(before)
        attempt = Attempt(
            job=found.pk,
            attempt=after.attempt,
            worker=request.worker,
            claim_id=request.claim_id,
            token_hash=_digest(token),
            beat=0,
            claimed_at=now(),
        )
        repository.store(found, attempt, after)
        session.add(attempt)
        session.flush()
        repository.log(session, found, protocol.changes(before, after))
        return _assignment(session, found, token, lease_seconds)


def _choose(session: Session, request: ClaimRequest) -> Job | None:
    """The job to take, locked; no other claim is decided on from here to the end of the transaction."""
    if not claims.has_work(session, request.queue):
        return None  # most claims find nothing, and need not wait for each other
    claims.one_claim_at_a_time(session)
    taken, full = set[int](), set[str]()
    while (following := claims.next_queued(session, request, but=taken, but_projects=full)) is not None:
        limit = limits_of(session, following.project).max_running_devices
        if limit is not None and claims.running_devices(session, following.project) + following.devices > limit:
            full.add(following.project)  # its smaller jobs do not overtake this one for ever
        elif (job := claims.lock_queued(session, following.pk)) is not None:
            return job
        else:
            taken.add(following.pk)
    return None


def append(
    database: Database, job_id: str, number: int, token: str, request: AppendRequest
) -> tuple[AppendReply, bool]:
    """Store records of an attempt, in order, each once; none is a heartbeat. True: the log has grown.

    Raises:
        ApiError: an unknown job or token, or records that the protocol refuses.
    """
    with database.write() as session:
        job, attempt = holder(session, job_id, number, token, lock=True)
        before = repository.ledger(job, attempt)
        answer = protocol.append(before, number, request.first_seq, request.records)
        if isinstance(answer, Refused):
            raise ApiError(_REFUSAL_STATUS[answer.code], answer.code, answer.message, acked=attempt.acked)
        attempt.beat += 1
        if answer.entries:
            repository.store(job, attempt, answer.ledger)
            repository.log(session, job, answer.entries)
        return AppendReply(acked=attempt.acked, command=command(answer.ledger)), bool(answer.entries)


def holder(session: Session, job_id: str, number: int, token: str, *, lock: bool = False) -> tuple[Job, Attempt]:
    """A job and the attempt at it that a worker proves to have been given.

    Raises:
        ApiError: an unknown job or token.
    """
    job = repository.get(session, job_id, lock=lock)
    if job is None:
        raise not_found(job_id)
    attempt = repository.get_attempt(session, job, number)
    if attempt is None or not hmac.compare_digest(attempt.token_hash, _digest(token)):
        raise ApiError(401, "invalid_token", "this token does not hold that attempt")
    return job, attempt


def pulses(database: Database) -> list[Pulse]:
    """All live attempts."""
    with database.read() as session:
        return claims.pulses(session)


def expire(database: Database, pulse: Pulse) -> bool:
    """End an attempt that has not been heard of since this pulse; False if it has, or is over."""
    with database.write() as session:
        job = repository.get(session, pulse.job_id, lock=True)
        attempt = repository.get_attempt(session, job, pulse.attempt) if job else None
        if job is None or attempt is None or attempt.beat != pulse.beat:
            return False
        before = repository.ledger(job, attempt)
        if protocol.is_stale(before, pulse.attempt):
            return False
        after = protocol.expire(before)
        repository.store(job, attempt, after)
        repository.log(session, job, protocol.changes(before, after))
        return True


def _assignment(session: Session, job: Job, token: str, lease_seconds: float) -> Assignment:
    limits = limits_of(session, job.project)
    return Assignment(
        job_id=job.id,
        attempt=job.attempt,
        token=token,
        spec=JobSpec.model_validate_json(job.spec),
        model_limits=ModelLimits(max_parameters=limits.max_parameters, max_macs=limits.max_macs),
        resume=Checkpoint.model_validate_json(job.last_checkpoint) if job.last_checkpoint else None,
        upload=datasets.upload_of(session, job),
        lease_seconds=lease_seconds,
        running_seconds=claims.running_seconds(session, job),
    )


def command(ledger: Ledger) -> Literal["continue", "cancel", "pause"]:
    """What the holder of the attempt shall do."""
    return "cancel" if ledger.cancel else "pause" if ledger.pause else "continue"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
