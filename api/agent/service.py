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
from api.jobs import gangs, repository
from api.jobs import ledger as protocol
from api.jobs.ledger import Ledger, Refused
from api.jobs.models import Attempt, Job, Node
from api.problems import ApiError, not_found
from api.projects.repository import limits_of
from cpt_core.events import Checkpoint, now
from cpt_core.model_limits import ModelLimits
from cpt_core.protocol import (
    AppendReply,
    AppendRequest,
    Assignment,
    ClaimRequest,
    NodeFailure,
    NodeReply,
    NodeReport,
)
from cpt_core.run import Gang
from cpt_core.spec import JobSpec

_REFUSAL_STATUS = {"stale_attempt": 409, "sequence_gap": 409, "invalid_record": 422}


def claim(database: Database, request: ClaimRequest, lease_seconds: float) -> Assignment | None:
    """The next job for a free slot, as a new attempt, or a node of one that has begun; None if nothing fits.

    A repeated claim gets its attempt again, with a new token, as long as nothing has been heard of it.
    """
    token = secrets.token_urlsafe(32)
    with database.write() as session:
        repeated = claims.by_claim(session, request.claim_id)
        if repeated:
            job, attempt, node = repeated
            holder = node or attempt
            if protocol.is_stale(repository.ledger(job, attempt), attempt.attempt) or holder.beat:
                return None
            holder.token_hash = _digest(token)
            return _assignment(session, job, attempt, node, token, lease_seconds)
        if not claims.has_work(session, request.queue):
            return None  # most claims find nothing, and need not wait for each other
        claims.one_claim_at_a_time(session)
        if (joined := _join(session, request, _digest(token))) is not None:
            job, attempt, node = joined
            return _assignment(session, job, attempt, node, token, lease_seconds)
        found = _choose(session, request)
        if found is None:
            return None
        job, nodes = found
        attempt = _begin(session, job, nodes, request, _digest(token))
        return _assignment(session, job, attempt, None, token, lease_seconds)


def _begin(session: Session, job: Job, nodes: int, request: ClaimRequest, token_hash: str) -> Attempt:
    """A new attempt, with a node reserved for each slot but the one that asked."""
    before = repository.ledger(job, None)
    after = protocol.claim(before)
    attempt = Attempt(
        job=job.pk,
        attempt=after.attempt,
        worker=request.worker,
        claim_id=request.claim_id,
        token_hash=token_hash,
        beat=0,
        claimed_at=now(),
        endpoint=request.endpoint if nodes > 1 else None,
    )
    repository.store(job, attempt, after)
    session.add(attempt)
    session.flush()
    session.add_all(
        Node(job=job.pk, attempt=after.attempt, node=number, device=request.device, beat=0)
        for number in range(1, nodes)
    )
    session.flush()
    repository.log(session, job, protocol.changes(before, after))
    return attempt


def _join(session: Session, request: ClaimRequest, token_hash: str) -> tuple[Job, Attempt, Node] | None:
    """A node that is reserved, taken by the slot; no other claim is decided on meanwhile."""
    node = claims.next_node(session, request)
    if node is None:
        return None
    job = session.get_one(Job, node.job, with_for_update=True, populate_existing=True)
    attempt = session.get_one(Attempt, (node.job, node.attempt))
    if protocol.is_stale(repository.ledger(job, attempt), node.attempt):
        return None  # released since it was found
    node.worker, node.claim_id, node.token_hash = request.worker, request.claim_id, token_hash
    return job, attempt, node


def _choose(session: Session, request: ClaimRequest) -> tuple[Job, int] | None:
    """The job to take, locked, and on how many nodes; no other claim is decided on until the transaction's end."""
    taken, full = set[int](), set[str]()
    while (following := claims.next_queued(session, request, but=taken, but_projects=full)) is not None:
        limit = limits_of(session, following.project).max_running_devices
        if limit is not None and claims.running_devices(session, following.project) + following.devices > limit:
            full.add(following.project)  # its smaller jobs do not overtake this one for ever
            continue
        job = claims.lock_queued(session, following.pk)
        decision = _room(session, job, request) if job is not None else gangs.Pass()
        if isinstance(decision, gangs.Wait):
            return None
        if job is not None and isinstance(decision, gangs.Reserve):
            return job, decision.nodes
        taken.add(following.pk)
    return None


def _room(session: Session, job: Job, request: ClaimRequest) -> gangs.Reserve | gangs.Wait | gangs.Pass:
    if job.nodes == 1:
        return gangs.Reserve(1)
    counts = JobSpec.model_validate_json(job.spec).node_counts
    return gangs.reserve(counts, claims.room(session, job, request))


def append(
    database: Database, job_id: str, number: int, token: str, request: AppendRequest
) -> tuple[AppendReply, bool]:
    """Store records of an attempt, in order, each once; none is a heartbeat. True: the log has grown.

    Raises:
        ApiError: an unknown job or token, or records that the protocol refuses.
    """
    with database.write() as session:
        job, attempt, node = holder(session, job_id, number, token, lock=True)
        if node is not None:
            raise ApiError(403, "not_the_first_node", "only the first node of an attempt writes its log")
        before = repository.ledger(job, attempt)
        answer = protocol.append(before, number, request.first_seq, request.records)
        if isinstance(answer, Refused):
            raise ApiError(_REFUSAL_STATUS[answer.code], answer.code, answer.message, acked=attempt.acked)
        attempt.beat += 1
        if answer.entries:
            repository.store(job, attempt, answer.ledger)
            repository.log(session, job, answer.entries)
        reply = AppendReply(acked=attempt.acked, command=command(answer.ledger), failure=_failure(session, attempt))
        return reply, bool(answer.entries)


def report(database: Database, job_id: str, number: int, token: str, said: NodeReport) -> NodeReply:
    """A node other than the first is there, or its processes have failed.

    Raises:
        ApiError: an unknown job or token, or the attempt no longer holds its job.
    """
    with database.write() as session:
        job, attempt, node = holder(session, job_id, number, token, lock=True)
        if node is None:
            raise ApiError(403, "first_node", "the first node of an attempt reports by its log")
        ledger = repository.ledger(job, attempt)
        if protocol.is_stale(ledger, number):
            raise ApiError(409, "stale_attempt", protocol.stale(number))
        node.beat += 1
        if said.failure is not None and node.failure is None:
            node.failure = said.failure.model_copy(update={"node": node.node}).model_dump_json()
        return NodeReply(command=command(ledger))


def _failure(session: Session, attempt: Attempt) -> NodeFailure | None:
    """What ended the processes of another node than the first."""
    if attempt.endpoint is None:
        return None
    failures = [node.failure for node in claims.nodes(session, attempt) if node.failure]
    return NodeFailure.model_validate_json(failures[0]) if failures else None


def holder(
    session: Session, job_id: str, number: int, token: str, *, lock: bool = False
) -> tuple[Job, Attempt, Node | None]:
    """A job and the attempt at it that a worker proves to have been given; and the node, if it is not the first.

    Raises:
        ApiError: an unknown job or token.
    """
    job = repository.get(session, job_id, lock=lock)
    if job is None:
        raise not_found(job_id)
    attempt = repository.get_attempt(session, job, number)
    if attempt is not None:
        digest = _digest(token)
        if hmac.compare_digest(attempt.token_hash, digest):
            return job, attempt, None
        for node in claims.nodes(session, attempt) if attempt.endpoint else ():
            if hmac.compare_digest(node.token_hash or "", digest):
                return job, attempt, node
    raise ApiError(401, "invalid_token", "this token does not hold that attempt")


def pulses(database: Database) -> list[Pulse]:
    """All live attempts. Fails, or waits, while nobody can write: then no beat could be stored that is missed here."""
    with database.write() as session:
        return claims.pulses(session)


def expire(database: Database, pulse: Pulse) -> bool:
    """End an attempt of which a node has not been heard of since this pulse; False if it has, or is over."""
    with database.write() as session:
        job = repository.get(session, pulse.job_id, lock=True)
        attempt = repository.get_attempt(session, job, pulse.attempt) if job else None
        if job is None or attempt is None:
            return False
        node = session.get(Node, (job.pk, pulse.attempt, pulse.node)) if pulse.node else None
        if (node or attempt).beat != pulse.beat:
            return False
        before = repository.ledger(job, attempt)
        if protocol.is_stale(before, pulse.attempt):
            return False
        after = gangs.silent(before, pulse.node, taken=node is None or node.worker is not None)
        repository.store(job, attempt, after)
        repository.log(session, job, protocol.changes(before, after))
        return True


def _assignment(
    session: Session, job: Job, attempt: Attempt, node: Node | None, token: str, lease_seconds: float
) -> Assignment:
    limits = limits_of(session, job.project)
    gang = None
    if attempt.endpoint is not None:
        nodes = 1 + len(claims.nodes(session, attempt))
        gang = Gang(node=node.node if node else 0, nodes=nodes, endpoint=attempt.endpoint)
    return Assignment(
        job_id=job.id,
        attempt=job.attempt,
        token=token,
        spec=JobSpec.model_validate_json(job.spec),
        model_limits=ModelLimits(max_parameters=limits.max_parameters, max_macs=limits.max_macs),
        resume=Checkpoint.model_validate_json(job.last_checkpoint) if job.last_checkpoint else None,
        upload=datasets.upload_of(session, job),
        gang=gang,
        lease_seconds=lease_seconds,
        running_seconds=claims.running_seconds(session, job),
    )


def command(ledger: Ledger) -> Literal["continue", "cancel", "pause"]:
    """What the holder of the attempt shall do."""
    return "cancel" if ledger.cancel else "pause" if ledger.pause else "continue"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
