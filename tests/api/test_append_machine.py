"""Append as a state machine: whatever workers, honest or not, send in whatever order, the log is what a plain model of
the promises says, on both databases."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from api.agent import service
from tests.api.agent import append
from tests.api.conftest import AGENT_TOKEN
from tests.api.factories import STEPS, checkpoint, ended, spec_document, started, step, succeeded


class Machine(RuleBasedStateMachine):
    """One job. `client` is set by the test."""

    client: TestClient

    @initialize()
    def submit(self) -> None:
        self.queue = f"q{secrets.token_hex(8)}"  # its own: jobs of earlier examples may wait for ever
        spec = spec_document(resources={"queue": self.queue})
        self.job_id = self.client.post("/v1/jobs", json=spec).json()["id"]
        self.state = "queued"
        self.attempts: list[dict[str, Any]] = []
        self.log: list[list[Any]] = []  # of each attempt: the records that are stored
        self.lengths: list[int] = []
        self.resume = 0  # of the last registered checkpoint
        self.starts: list[int] = []
        self.series: dict[int, int] = {}  # step -> attempt, of those that count
        self.strikes = 0
        self.cancelling = False

    # What the present attempt may truly say next

    def _next(self) -> list[Any]:
        """The records that an honest worker has ready: the rest of its training."""
        done = self.log[-1]
        if not done:
            return [started(self.resume)]
        at = self.starts[-1] + sum(record.type == "step" for record in done)
        return [step(index) for index in range(at, STEPS)]

    @precondition(lambda self: self.state == "queued")
    @rule()
    def claim(self) -> None:
        body = {"claim_id": f"{self.job_id[4:]}{len(self.attempts):08x}", "worker": "w", "queue": self.queue}
        body |= {"device": "cpu", "devices": 2}
        answer = self.client.post("/v1/agent/claim", json=body, headers={"Authorization": f"Bearer {AGENT_TOKEN}"})
        assert answer.status_code == 200, answer.text
        self.attempts.append(answer.json())
        resumed = answer.json()["resume"]
        assert (resumed["step"] if resumed else 0) == self.resume
        self.log.append([])
        self.starts.append(self.resume)
        self.state = "starting"

    def _active(self) -> bool:
        return self.state in ("starting", "running")

    def _store(self, records: list[Any], first: int | None = None) -> None:
        """The present attempt sends records that are right; all are stored."""
        answer = append(self.client, self.attempts[-1], first or len(self.log[-1]) + 1, records)
        assert answer.status_code == 200, answer.text
        expected = (first - 1 if first else len(self.log[-1])) + len(records)
        assert answer.json()["acked"] == max(expected, len(self.log[-1]))
        for record in records[max(0, len(self.log[-1]) - (first or len(self.log[-1]) + 1) + 1) :]:
            self._took(record)

    def _took(self, record: Any) -> None:
        self.log[-1].append(record)
        match record.type:
            case "started":
                self.state = "running"
                self.series = {at: by for at, by in self.series.items() if at < record.resume_step}
            case "step":
                self.series[record.step] = len(self.attempts)
            case "checkpoint":
                self.resume = record.step
                self.strikes = 0

    @precondition(_active)
    @rule(count=st.integers(1, 6))
    def train(self, count: int) -> None:
        self._store(self._next()[:count])

    @precondition(lambda self: self.state == "running" and len(self.log[-1]) > 1)
    @rule()
    def save(self) -> None:
        done = max((record.step + 1 for record in self.log[-1] if record.type == "step"), default=0)
        if done:
            self._store([checkpoint(done)])

    @precondition(lambda self: self._active() and self.log[-1])
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """An answer was lost: a part of the log again, and perhaps more."""
        first = data.draw(st.integers(1, len(self.log[-1])))
        more = [] if self.state == "starting" else self._next()[: data.draw(st.integers(0, 2))]
        self._store([*self.log[-1][first - 1 :], *more], first)

    @precondition(_active)
    @rule()
    def heartbeat(self) -> None:
        answer = append(self.client, self.attempts[-1], len(self.log[-1]) + 1, [])
        assert answer.json()["command"] == ("cancel" if self.cancelling else "continue")

    # Lies, and what comes too late

    @precondition(_active)
    @rule(ahead=st.integers(2, 50))
    def leave_a_gap(self, ahead: int) -> None:
        answer = append(self.client, self.attempts[-1], len(self.log[-1]) + ahead, [step(3)])
        assert (answer.status_code, answer.json()["acked"]) == (409, len(self.log[-1]))

    @precondition(lambda self: self.state == "running")
    @rule(future=st.integers(STEPS, 10_000_000))
    def tell_of_the_future(self, future: int) -> None:
        answer = append(self.client, self.attempts[-1], len(self.log[-1]) + 1, [step(future)])
        assert answer.status_code == 422, answer.text

    @precondition(lambda self: self.state == "running" and self.series)
    @rule()
    def go_back(self) -> None:
        mine = [record.step for record in self.log[-1] if record.type == "step"]
        if mine:
            answer = append(self.client, self.attempts[-1], len(self.log[-1]) + 1, [step(mine[-1])])
            assert answer.status_code == 422, answer.text

    @precondition(lambda self: self.attempts)
    @rule(token=st.text("abc-_", min_size=1, max_size=60))
    def forge(self, token: str) -> None:
        answer = append(self.client, self.attempts[-1], len(self.log[-1]) + 1, [step(3)], token=token)
        assert answer.status_code == 401, answer.text

    @precondition(lambda self: len(self.attempts) > 1 or (self.attempts and not self._active()))
    @rule(data=st.data())
    def speak_after_the_end(self, data: st.DataObject) -> None:
        ended_ones = self.attempts[:-1] if self._active() else self.attempts
        late = data.draw(st.sampled_from(range(len(ended_ones))))
        records = data.draw(st.sampled_from([[], [step(3)], [succeeded()], [checkpoint(9)]]))
        answer = append(self.client, self.attempts[late], len(self.log[late]) + 1, records)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")

    # Ends

    @precondition(_active)
    @rule()
    def fall_silent(self) -> None:
        database = self.client.app.state.services.database  # type: ignore[attr-defined]
        (pulse,) = [pulse for pulse in service.pulses(database) if pulse.job_id == self.job_id]
        assert service.expire(database, pulse)
        self._released()

    @precondition(_active)
    @rule()
    def crash(self) -> None:
        progressed = any(record.type == "checkpoint" for record in self.log[-1])
        answer = append(self.client, self.attempts[-1], len(self.log[-1]) + 1, [ended("failed", "rank_failed")])
        assert answer.status_code == 200, answer.text
        self.log[-1].append(ended("failed", "rank_failed"))
        self._released(progressed)

    def _released(self, progressed: bool | None = None) -> None:
        if progressed is None:
            progressed = any(record.type == "checkpoint" for record in self.log[-1])
        self.strikes = 0 if progressed else self.strikes + 1
        self.state = "cancelled" if self.cancelling else "failed" if self.strikes >= 3 else "queued"

    @precondition(lambda self: self.state == "running" and not self.cancelling)
    @rule()
    def succeed(self) -> None:
        self._store(self._next())
        self._store([succeeded()])
        self.state = "succeeded"

    @precondition(_active)
    @rule()
    def cancel(self) -> None:
        assert self.client.post(f"/v1/jobs/{self.job_id}/cancel").status_code == 200
        self.cancelling = True

    # What is always true

    @invariant()
    def the_api_shows_what_the_model_says(self) -> None:
        job = self.client.get(f"/v1/jobs/{self.job_id}").json()
        assert (job["state"], job["attempt"]) == (self.state, len(self.attempts))
        rows = self.client.get(f"/v1/jobs/{self.job_id}/metrics", params={"limit": 5000}).json()["data"]
        assert {row["step"]: row["attempt"] for row in rows} == self.series
        assert [row["step"] for row in rows] == sorted(self.series)


@pytest.fixture
def machine(client: TestClient) -> type[Machine]:
    class OnThis(Machine):
        pass

    OnThis.client = client
    return OnThis


def test_the_log_is_what_the_model_says(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
