"""The protocol as a state space: every interleaving of two workers' attempts, a lossy network, a reaper, deadlines, and
a user who cancels, pauses and resumes.

The decisions are the production code's own (`api.jobs.ledger`); this file only adds what surrounds them: the rows they
store, the workers that produce records, and a network that loses, repeats and reorders. `explore` visits every state
that a job of two steps with a checkpoint between them can reach, and reports the first broken promise with the way
to it. A retry is a job like any other but for the checkpoint it begins at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from api.agent import service as agent
from api.jobs import ledger as protocol
from api.jobs.ledger import IllegalTransitionError, Ledger, Refused
from cpt_core.events import AnyEvent, Checkpoint, EnergySource, Finished, Started, StepDone
from cpt_core.lifecycle import ACTIVE, FINAL, State

STEPS = 2
CHECKPOINT_AT = 1
MAX_ATTEMPTS = 2
IN_FLIGHT = 1

ENDS = {
    "succeeded": "completed",
    "failed": "rank_failed",
    "timed out": "timeout",
    "cancelled": "user",
    "paused": "user",
}
OUTCOMES = {"timed out": "failed"}
"""Where the kind of an end is not its outcome."""

Kind = tuple[str, int]
Message = tuple[int, int, tuple[Kind, ...]]
"""(attempt, number of the first record, records)."""


def _record(kind: Kind) -> AnyEvent:
    name, step = kind
    match name:
        case "started":
            return Started(
                resume_step=step,
                steps=STEPS,
                world_size=1,
                device="cpu",
                parameters=1,
                macs=1,
                energy=EnergySource(source=None, reason="none"),
            )
        case "step":
            return StepDone(
                step=step,
                epoch=0,
                forward_bits=8,
                backward_bits=8,
                loss=1.0,
                lr=0.1,
                samples_per_second=1.0,
                gbitops=1.0,
                modelled_joules=1.0,
            )
        case "checkpoint":
            return Checkpoint(step=step, path=f"step-{step}", sha256="0" * 64, size=1)
        case end:
            return Finished.model_validate({"outcome": OUTCOMES.get(end, end), "reason": ENDS[end], "message": ""})


RECORDS = {
    kind: _record(kind)
    for kind in [
        *((name, step) for name in ("started", "step", "checkpoint") for step in range(STEPS + 1)),
        *((name, 0) for name in ENDS),
    ]
}


def script(resume: int) -> tuple[Kind, ...]:
    """What an undisturbed attempt reports."""
    records: list[Kind] = [("started", resume)]
    for step in range(resume, STEPS):
        records.append(("step", step))
        if step + 1 == CHECKPOINT_AT:
            records.append(("checkpoint", step + 1))
    return (*records, ("succeeded", 0))


@dataclass(frozen=True)
class Worker:
    """One attempt's process: what it has reported so far, and what it knows to be stored."""

    resume: int
    spool: tuple[Kind, ...] = ()
    acked: int = 0
    alive: bool = True
    told: str = "continue"
    """The last command that reached it."""

    def saved(self) -> tuple[Kind, ...]:
        """The checkpoint that it makes when it is told to stop, unless it has just made one."""
        steps = [step for name, step in self.spool if name == "step"]
        return (("checkpoint", steps[-1] + 1),) if steps and self.spool[-1][0] == "step" else ()

    @property
    def ended(self) -> bool:
        return bool(self.spool) and self.spool[-1][0] in ENDS


@dataclass(frozen=True)
class World:
    """One state: the rows, the workers by attempt, the messages under way, the faults still allowed."""

    ledger: Ledger = field(default_factory=Ledger)
    log: tuple[tuple[int, Kind], ...] = ()
    checkpoint: int = 0
    cuts: tuple[int, ...] = ()
    """Of each attempt but the latest: steps that count."""
    workers: tuple[Worker, ...] = ()
    network: frozenset[Message] = frozenset()
    base: int = 0
    """Steps of the job's origin, if it is a retry."""
    wishes: tuple[str, ...] = ("cancel",)
    """What the user may still ask for, each once; a job that is paused, or being paused, can always be resumed."""
    may_fail: bool = True
    may_time_out: bool = False


ASK = {"cancel": lambda ledger: protocol.cancel(ledger), "pause": lambda ledger: protocol.pause(ledger)}
"""Looked up when they are called, so that a test can take a decision away."""


def successors(world: World) -> Iterator[tuple[str, World]]:
    """Everything that can happen next."""
    yield from _server(world)
    for index, worker in enumerate(world.workers):
        if worker.alive:
            yield from _worker(world, index, worker)
    for message in world.network:
        yield "lose", replace(world, network=world.network - {message})
        yield from _deliver(world, message)


def _server(world: World) -> Iterator[tuple[str, World]]:
    ledger = world.ledger
    if ledger.state is State.QUEUED and ledger.attempt < MAX_ATTEMPTS:
        # A worker that has lost its job is as harmful as can be when it trained on to the end and forgot what was
        # acknowledged, so that it sends all of it again.
        earlier = tuple(
            Worker(worker.resume, worker.spool if worker.ended else script(worker.resume)) for worker in world.workers
        )
        workers = (*earlier, Worker(world.checkpoint))
        yield "claim", replace(world, ledger=protocol.claim(ledger), workers=workers)
    if ledger.state in ACTIVE:
        yield "expire", replace(world, ledger=protocol.expire(ledger))
    if ledger.state is State.QUEUED and world.may_time_out:
        yield "wait too long", replace(world, ledger=protocol.time_out(ledger, ""))
    for wish in world.wishes:
        with suppress(IllegalTransitionError):
            left = tuple(other for other in world.wishes if other != wish)
            yield wish, replace(world, ledger=ASK[wish](ledger), wishes=left)
    if ledger.state is State.PAUSED or ledger.pause:
        with suppress(IllegalTransitionError):
            yield "resume", replace(world, ledger=protocol.resume(ledger))


def _worker(world: World, index: int, worker: Worker) -> Iterator[tuple[str, World]]:
    def become(changed: Worker, **others: object) -> World:
        workers = (*world.workers[:index], changed, *world.workers[index + 1 :])
        return replace(world, workers=workers, **others)  # type: ignore[arg-type]

    # A worker that is killed is one that does nothing more, so that needs no action of its own.
    if not worker.ended:
        if worker.told == "cancel":
            yield f"stop {index + 1}", become(replace(worker, spool=(*worker.spool, ("cancelled", 0))))
        elif worker.told == "pause":
            saved = worker.saved()
            yield f"save and stop {index + 1}", become(replace(worker, spool=(*worker.spool, *saved, ("paused", 0))))
        else:
            if world.may_time_out and worker.spool:
                timed_out = replace(worker, spool=(*worker.spool, *worker.saved(), ("timed out", 0)))
                yield f"run too long {index + 1}", become(timed_out, may_time_out=False)
            following = script(worker.resume)[len(worker.spool)]
            yield f"train {index + 1}", become(replace(worker, spool=(*worker.spool, following)))
            if world.may_fail:
                failed = replace(worker, spool=(*worker.spool, ("failed", 0)))
                yield f"fail {index + 1}", become(failed, may_fail=False)
    if len(world.network) < IN_FLIGHT and worker.acked < len(worker.spool):
        first = worker.acked + 1
        message = (index + 1, first, worker.spool[first - 1 :])
        yield f"send {index + 1}", replace(world, network=world.network | {message})
        # A worker that sends ahead without waiting for the answer: the server must refuse what would leave a hole.
        ahead = (index + 1, first + 1, worker.spool[first:])
        if ahead[2] and index + 1 == len(world.workers):
            yield f"send ahead {index + 1}", replace(world, network=world.network | {ahead})


def _deliver(world: World, message: Message) -> Iterator[tuple[str, World]]:
    """The message arrives; it may arrive again, and the answer may get lost."""
    attempt, first, kinds = message
    answer = protocol.append(world.ledger, attempt, first, [RECORDS[kind] for kind in kinds])
    if isinstance(answer, Refused):
        worker = world.workers[attempt - 1]
        if answer.code == "stale_attempt" and worker.alive:
            stopped = replace(worker, alive=False)
            yield "refuse", replace(world, workers=_with(world.workers, attempt, stopped))
        return
    stored = _stored(world, answer, kinds)
    yield "store, answer lost", stored
    worker = stored.workers[attempt - 1]
    told = replace(
        worker,
        acked=max(worker.acked, min(answer.ledger.acked, len(worker.spool))),
        told=_stronger(worker.told, agent.command(answer.ledger)),
    )
    yield "store", replace(stored, workers=_with(stored.workers, attempt, told))


def _stronger(before: str, now: str) -> str:
    """A worker that was told to stop stops; from a pause it can still be told to cancel."""
    return now if before == "continue" or now == "cancel" else before


def _with(workers: tuple[Worker, ...], attempt: int, worker: Worker) -> tuple[Worker, ...]:
    return (*workers[: attempt - 1], worker, *workers[attempt:])


def _stored(world: World, answer: protocol.Appended, kinds: tuple[Kind, ...]) -> World:
    """What `api.jobs.repository.log` does with the entries: rows of the job's attempt, newest checkpoint, cut."""
    names = {id(record): kind for kind, record in RECORDS.items()}
    log, checkpoint, cuts = list(world.log), world.checkpoint, list(world.cuts)
    for entry in answer.entries:
        kind = names.get(id(entry))
        if kind is None:  # a change of state, made by the server itself
            continue
        log.append((world.ledger.attempt, kind))
        if kind[0] == "checkpoint":
            checkpoint = kind[1]
        if kind[0] == "started":
            cuts += [STEPS] * (world.ledger.attempt - 1 - len(cuts))
            cuts = [min(cut, kind[1]) for cut in cuts]
    return replace(world, ledger=answer.ledger, log=tuple(log), checkpoint=checkpoint, cuts=tuple(cuts))


def canonical(world: World) -> list[int]:
    """Steps that count, in the order of the log."""
    cuts = (*world.cuts, *[STEPS] * MAX_ATTEMPTS)
    return [step for attempt, (name, step) in world.log if name == "step" and step < cuts[attempt - 1]]


def broken(before: World | None, world: World) -> str | None:
    """The first promise that does not hold in this state or on the way into it."""
    for number, worker in enumerate(world.workers, start=1):
        rows = tuple(kind for attempt, kind in world.log if attempt == number)
        if rows != worker.spool[: len(rows)]:
            return f"attempt {number} reported {worker.spool}, stored are {rows}"
    steps = canonical(world)
    if steps != list(range(world.base, world.base + len(steps))):
        return f"steps that count are {steps}"
    if world.checkpoint > world.base + len(steps):
        return f"checkpoint {world.checkpoint} is registered, but only {steps} are stored"
    if world.ledger.state is State.PAUSED and (world.ledger.cancel or world.ledger.pause):
        return "a job is paused although somebody asked for its end, or with the wish to pause left over"
    if before and (before.ledger.state, world.ledger.state) == (State.PAUSED, State.STARTING):
        return "a paused job was claimed"
    if before and before.ledger.cancel and world.ledger.state in (State.QUEUED, State.PAUSED):
        return "a job that somebody asked the end of waits again"
    asked = world.log[-1:] != (before.log[-1:] if before else ()) and world.log[-1][1][0] in ("paused", "cancelled")
    if before and asked and world.ledger.strikes > before.ledger.strikes:
        return "a wish cost a strike"
    if world.ledger.state is State.SUCCEEDED and steps != list(range(world.base, STEPS)):
        return f"succeeded with steps {steps}"
    if before and before.ledger.state in FINAL and (before.ledger, before.log) != (world.ledger, world.log):
        return "something changed after the end"
    return None


@dataclass
class Outcome:
    """What an exploration found."""

    states: int = 0
    transitions: int = 0
    violation: str | None = None
    trace: list[str] = field(default_factory=list)
    stuck: int = 0
    """States from which no end can be reached any more."""
    ends: set[State] = field(default_factory=set)


def explore(start: World | None = None) -> Outcome:
    """Visit every state that can be reached from `start`, by default a new job, breadth first."""
    start = start or World()
    parents: dict[World, tuple[World, str] | None] = {start: None}
    backward: dict[World, list[World]] = {}
    outcome = Outcome()
    queue = [start]
    for world in queue:
        for action, following in successors(world):
            outcome.transitions += 1
            backward.setdefault(following, []).append(world)
            if following in parents:
                continue
            parents[following] = (world, action)
            queue.append(following)
            outcome.violation = broken(world, following)
            if outcome.violation:
                outcome.trace = _trace(parents, following)
                return outcome
    outcome.states = len(parents)
    ends = [world for world in queue if world.ledger.state in FINAL]
    outcome.ends = {world.ledger.state for world in ends}
    # The bound on attempts is the model's, not the protocol's: a job waiting there is not stuck.
    live = set(ends) | {w for w in queue if w.ledger.state is State.QUEUED and w.ledger.attempt == MAX_ATTEMPTS}
    reached = list(live)
    for world in reached:
        for earlier in backward.get(world, ()):
            if earlier not in live:
                live.add(earlier)
                reached.append(earlier)
    outcome.stuck = len(parents) - len(live)
    return outcome


def _trace(parents: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    actions: list[str] = []
    step = parents[world]
    while step is not None:
        actions.append(step[1])
        step = parents[step[0]]
    return actions[::-1]
