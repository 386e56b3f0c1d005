"""One run of one cell: a job that is brought to a moment, and what is known of it in the end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from tests.chaos import checks
from tests.chaos.matrix import Cell
from tests.chaos.rig import LEASE_SECONDS, Rig
from tests.e2e.stack import spec, until

STEPS, EVERY = 12, 4


def document(ranks: int = 1, **changes: Any) -> dict[str, Any]:
    """A job of a second or so, with checkpoints after steps 4, 8 and 12."""
    training = {"steps": STEPS, "batch_size": 8, "seed": 7}
    return spec(checkpoint=EVERY, devices=ranks, **{"training": training, **changes})


class Reference:
    """Undisturbed runs on a rig, by number of ranks: what disturbed ones must equal."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._found: dict[int, tuple[Path, list[dict[str, Any]]]] = {}

    def of(self, ranks: int) -> tuple[Path, list[dict[str, Any]]]:
        """Folder of the final checkpoint, and the series."""
        if ranks not in self._found:
            for _ in range(3):  # a busy machine may have disturbed it
                job_id = self._rig.submit(document(ranks))
                job = self._rig.wait_for_state(job_id, "succeeded")
                if job["attempt"] == 1:
                    break
            assert job["attempt"] == 1, "no run is undisturbed: this machine is too busy"
            self._found[ranks] = self._rig.storage / job["result"]["checkpoint"], self._rig.metrics(job_id)
        return self._found[ranks]


class Run:
    """A fault's function gets this, does what it is about, and leaves `job_id` where it must end."""

    def __init__(self, rig: Rig, reference: Reference, cell: Cell, seed: int) -> None:
        self.rig, self.cell, self.seed = rig, cell, seed
        self.random = random.Random(f"{cell.name}/{seed}")
        self.ranks = 2 if cell.row.two_ranks or seed % 10 == 9 else 1
        self.expected = reference.of(self.ranks)
        self.moment = cell.moment
        self.job_id = ""
        self.accepted: list[str] = []
        self.plain: list[str] = []
        """Jobs that must equal the undisturbed run."""
        self.recovery: float | None = None
        self._began: float | None = None
        self._stays = False
        self._submission: Thread | None = None
        self.key = f"{cell.name}/{seed}/{time.time_ns()}"
        self.answers: list[httpx.Response] = []
        self.mix = (100, 500)
        """Jobs and faults of a random mix."""

    # Before the fault

    def submit(self, **changes: Any) -> str:
        """Another job, like the undisturbed one unless changed."""
        job_id = self.rig.submit(document(self.ranks, **changes))
        self.accepted.append(job_id)
        if not changes:
            self.plain.append(job_id)
        return job_id

    def reach(self, act: str = "hold", rank: int = 0, *, stay: bool = False, **changes: Any) -> str:
        """Submit the job and have it come to the cell's moment; its id. Saved checkpoints are registered by then.

        `stay`: training waits too while an append is held at M5, until `release`.
        """
        rig, moment = self.rig, self.moment
        step = {"M3": self.random.choice((5, 6, 9)), "M4": 8, "M5": 4}.get(moment, 0)
        if moment not in ("M7", "idle", "any"):
            rig.arm(moment, act, step=step, rank=rank)
        if moment == "M0":
            self._submission = Thread(target=self._post, args=(changes,), daemon=True)
            self._submission.start()
            rig.wait_held("M0")
            self.job_id = until(lambda: self._newest(), "the job that is committed")
            self.accepted.append(self.job_id)
            self.plain += [] if changes else [self.job_id]
            return self.job_id
        # A job this short may say all its steps with its end, and then no append of steps alone comes.
        slowed = moment == "M5" and act == "hold" and not (rig.moments / "M3.json").exists()
        if slowed:
            rig.arm("M3", step=7)
        self.job_id = self.submit(**changes)
        if moment == "M7":
            rig.wait_for_state(self.job_id, "succeeded")
        elif act == "hold":
            rig.wait_held(moment)
            if slowed and not stay:
                rig.release("M3")
            self._stays = slowed and stay
            if moment in ("M3", "M4"):
                until(lambda: self.checkpoint() >= (8 if step >= 8 and moment == "M3" else 4), "the checkpoint", 20)
        return self.job_id

    def _post(self, changes: dict[str, Any]) -> None:
        try:
            self.answers.append(self.post(document(self.ranks, **changes)))
        except httpx.HTTPError:
            return

    def post(self, body: dict[str, Any]) -> httpx.Response:
        """Submit with this run's idempotency key."""
        with httpx.Client(base_url=self.rig.url, timeout=60) as client:
            return client.post("/v1/jobs", json=body, headers={"Idempotency-Key": self.key})

    def _newest(self) -> str | None:
        rows = self.rig.sql(f"SELECT id FROM jobs WHERE idempotency_key = '{self.key}'")
        return str(rows[0][0]) if rows else None

    # After it

    def release(self) -> None:
        """Let who holds at the moment go on."""
        if self.moment not in ("M7", "idle", "any"):
            self.rig.release(self.moment)
        if self._stays:
            self.rig.release("M3")

    def submitted(self) -> None:
        """The request that was held at M0 has its answer: only then can what releases it be taken away."""
        if self._submission is not None:
            self._submission.join(60)

    def clock(self) -> None:
        """The recovery's time begins."""
        self._began = time.monotonic()

    def recovered(self, within: float | None = None) -> float:
        """It is over; fails if it took longer."""
        assert self._began is not None
        self.recovery = time.monotonic() - self._began
        assert within is None or self.recovery <= within, f"took {self.recovery:.1f} s of {within:.1f} allowed"
        return self.recovery

    def checkpoint(self) -> int:
        """Step of the last registered checkpoint; 0 without."""
        found = self.rig.job(self.job_id)["checkpoint"]
        return int(found["step"]) if found else 0

    def job(self) -> dict[str, Any]:
        """The job."""
        return self.rig.job(self.job_id)

    def wait_attempt(self, number: int, seconds: float = LEASE_SECONDS + 40) -> dict[str, Any]:
        """The job once it has had so many attempts."""

        def begun() -> dict[str, Any] | None:
            try:
                job = self.job()
            except httpx.HTTPError:
                return None
            return job if job["attempt"] >= number else None

        return until(begun, f"attempt {number}", seconds)

    def succeeds(self, attempts: int | None = None) -> dict[str, Any]:
        """The job once it has succeeded; fails if that took another number of attempts."""
        job = self.rig.wait_for_state(self.job_id, "succeeded")
        assert attempts is None or job["attempt"] == attempts, f"{job['attempt']} attempts instead of {attempts}"
        return job

    def ends(self, attempt: int = 1) -> tuple[str, str]:
        """Reason and message with which an attempt ended, by the log."""
        states = [e for e in self.rig.events(self.job_id, "state") if e.get("previous") in ("starting", "running")]
        states = [e for e in states if e["attempt"] == attempt and e["state"] not in ("starting", "running")]
        return states[-1]["reason"], states[-1].get("message") or ""

    def resumed_at(self, attempt: int = 2) -> int:
        """The step from which an attempt went on."""
        return next(e["resume_step"] for e in self.rig.events(self.job_id, "started") if e["attempt"] == attempt)

    def forget(self) -> None:
        """Delete its jobs: their checkpoints would fill the small disk in time."""
        for job_id in self.accepted:
            self.rig.http.delete(f"/v1/jobs/{job_id}")

    # The global criteria

    def verify(self) -> list[str]:
        """Everything that is wrong, after everything has ended."""
        rig = self.rig
        answers = {job: rig.http.get(f"/v1/jobs/{job}") for job in self.accepted}
        states = {job: answer.json()["state"] for job, answer in answers.items() if answer.status_code != 404}
        problems = checks.unfinished(self.accepted, states)
        for job_id in states:
            log = [data | {"type": kind} for _, kind, data in rig.stream(job_id) if kind != "end"]
            problems += checks.stale(log) + checks.records(log)
        for job_id in self.plain:
            if states.get(job_id) == "succeeded":
                problems += self._compare(job_id)
        problems += self._settles(lambda: checks.orphans(p for job in self.accepted for p in rig.processes(job)))
        problems += self._settles(lambda: checks.leftovers(self._attempt_folders(), rig.storage))
        problems += [] if rig.settled() else ["a slot is held by an attempt that nobody waits for"]
        return problems

    def _compare(self, job_id: str) -> list[str]:
        folder, rows = self.expected
        mine = self.rig.metrics(job_id)
        final = self.rig.storage / self.rig.job(job_id)["result"]["checkpoint"]
        return checks.series(mine, STEPS) + checks.numbers(mine, rows) + checks.weights(final, folder)

    def _attempt_folders(self) -> list[Path]:
        return [folder for folder in (self.rig.home / "spool").glob("*/job_*") if folder.is_dir()]

    def _settles(self, check: Callable[[], list[str]], seconds: float = 15) -> list[str]:
        """What a check finds after all has had time to come to rest."""
        limit = time.monotonic() + seconds
        while (found := check()) and time.monotonic() < limit:
            time.sleep(0.1)
        return found
