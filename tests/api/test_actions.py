"""What can be done with a job: pause, resume, retry, clone, archive, delete; from which states, and only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.background import Deadlines
from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import checkpoint, ended, run_to_the_end, spec_document, started, step

Job = dict[str, Any]


@pytest.fixture
def submit(client: TestClient) -> Callable[..., Job]:
    def do(**changes: Any) -> Job:
        answer = client.post("/v1/jobs", json=spec_document(**changes))
        assert answer.status_code == 201, answer.text
        return answer.json()

    return do


Submit = Callable[..., Job]


def act(client: TestClient, job: Job, action: str, body: Any = None, key: str | None = None) -> Any:
    """POST to the job's sub-resource of that name; DELETE for `delete`."""
    url = f"/v1/jobs/{job['id']}"
    if action == "delete":
        return client.delete(url)
    return client.post(f"{url}/{action}", json=body, headers={"Idempotency-Key": key} if key else {})


def get(client: TestClient, job: Job) -> Job:
    return client.get(f"/v1/jobs/{job['id']}").json()


def events(client: TestClient, job: Job) -> list[str]:
    page = client.get(f"/v1/jobs/{job['id']}/events", params={"limit": 5000}).json()
    return [event.get("state", event["type"]) for event in page["data"]]


# The states, and how a job gets there.


def queued(client: TestClient, claim: Claim, job: Job) -> None:
    pass


def starting(client: TestClient, claim: Claim, job: Job) -> None:
    assert claim()


def run(client: TestClient, claim: Claim, *records: Any) -> None:
    assignment = claim()
    assert assignment
    assert append(client, assignment, 1, [started(), *records]).status_code == 200


def running(client: TestClient, claim: Claim, job: Job) -> None:
    run(client, claim, step(0))


def pausing(client: TestClient, claim: Claim, job: Job) -> None:
    run(client, claim, step(0))
    act(client, job, "pause")


def cancelling(client: TestClient, claim: Claim, job: Job) -> None:
    run(client, claim, step(0))
    act(client, job, "cancel")


def paused(client: TestClient, claim: Claim, job: Job) -> None:
    act(client, job, "pause")


def succeeded(client: TestClient, claim: Claim, job: Job) -> None:
    run(client, claim, *run_to_the_end()[1:])


def failed(client: TestClient, claim: Claim, job: Job) -> None:
    run(client, claim, step(0), checkpoint(1), ended("failed", "diverged"))


def cancelled(client: TestClient, claim: Claim, job: Job) -> None:
    act(client, job, "cancel")


def archived(client: TestClient, claim: Claim, job: Job) -> None:
    succeeded(client, claim, job)
    act(client, job, "archive")


ALLOWED = {
    queued: {"pause", "cancel", "clone"},
    starting: {"pause", "cancel", "clone"},
    running: {"pause", "cancel", "clone"},
    pausing: {"resume", "cancel", "clone"},
    cancelling: {"clone"},
    paused: {"resume", "cancel", "clone"},
    succeeded: {"clone", "archive", "delete"},
    failed: {"retry", "clone", "archive", "delete"},
    cancelled: {"retry", "clone", "archive", "delete"},
    archived: {"clone", "unarchive", "delete"},
}
EVERYTHING = {"cancel", "pause", "resume", "retry", "clone", "archive", "unarchive", "delete"}


@pytest.mark.parametrize("moment", ALLOWED, ids=lambda moment: moment.__name__)
def test_a_job_lists_its_actions_and_all_others_are_refused_or_change_nothing(
    client: TestClient, claim: Claim, submit: Submit, moment: Callable[[TestClient, Claim, Job], None]
) -> None:
    job = submit()
    moment(client, claim, job)
    before = get(client, job)
    assert set(before["actions"]) == ALLOWED[moment]
    for action in sorted(EVERYTHING - ALLOWED[moment]):
        answer = act(client, job, action)
        assert answer.status_code in (200, 409), (action, answer.text)
        if answer.status_code == 409:
            assert answer.json()["code"] == "illegal_state"
            assert "the job" in answer.json()["detail"]
        assert get(client, job) == before, action
    for action in sorted(ALLOWED[moment] - {"delete", "unarchive"}):
        other = submit(name=action)
        moment(client, claim, other)
        answer = act(client, other, action)
        assert answer.is_success, (action, answer.text)
        assert (answer.json()["id"] != other["id"]) == (action in ("clone", "retry"))
        for waiting in (other, answer.json()):  # out of the next one's way
            act(client, waiting, "cancel")


def test_a_waiting_job_is_paused_at_once_and_no_worker_gets_it_until_it_is_resumed(
    client: TestClient, claim: Claim, submit: Submit
) -> None:
    job = submit()
    assert act(client, job, "pause").json()["state"] == "paused"
    assert act(client, job, "pause").json()["state"] == "paused"
    assert claim() is None
    assert act(client, job, "resume").json()["state"] == "queued"
    assert act(client, job, "resume").json()["state"] == "queued"
    assert claim()
    assert events(client, job) == ["queued", "paused", "queued", "starting"]


def test_a_running_job_is_told_to_pause_and_goes_on_from_its_checkpoint_without_a_strike(
    client: TestClient, claim: Claim, submit: Submit
) -> None:
    job = submit()
    for done in range(1, 6):  # more often than it may fail
        assignment = claim()
        assert assignment
        assert (assignment["resume"] or {}).get("step", 0) == done - 1
        append(client, assignment, 1, [started(done - 1), step(done - 1)])
        assert act(client, job, "pause").json()["pause_requested"] is True
        assert append(client, assignment, 3, []).json()["command"] == "pause"
        append(client, assignment, 3, [checkpoint(done), ended("paused", "user")])
        found = get(client, job)
        assert (found["state"], found["reason"], found["pause_requested"]) == ("paused", "user", False)
        act(client, job, "resume")
    assert events(client, job).count("pause_requested") == 5


def test_a_pause_under_way_can_be_taken_back_even_when_the_worker_has_been_told(
    client: TestClient, claim: Claim, submit: Submit
) -> None:
    job = submit()
    assignment = claim()
    assert assignment
    append(client, assignment, 1, [started()])
    act(client, job, "pause")
    assert append(client, assignment, 2, []).json()["command"] == "pause"
    assert act(client, job, "resume").json()["pause_requested"] is False
    append(client, assignment, 2, [step(0), checkpoint(1), ended("paused", "user")])
    assert get(client, job)["state"] == "queued"
    assert events(client, job)[-5:] == ["pause_requested", "resume_requested", "checkpoint", "finished", "queued"]


def test_a_retry_is_a_new_job_from_the_last_checkpoint_and_leaves_the_first_as_it_was(
    client: TestClient, claim: Claim, submit: Submit
) -> None:
    job = submit(name="first")
    failed(client, claim, job)
    before = get(client, job)
    answer = act(client, job, "retry")
    again = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{again['id']}"
    assert (again["retry_of"], again["state"], again["spec"]) == (job["id"], "queued", job["spec"])
    assert get(client, job) == before
    assignment = claim()
    assert assignment
    assert (assignment["job_id"], assignment["resume"]["step"]) == (again["id"], 1)
    append(client, assignment, 1, [started(1), step(1)])
    assert get(client, again)["progress"]["step"] == 2


def test_a_retry_can_be_asked_to_start_anew(client: TestClient, claim: Claim, submit: Submit) -> None:
    job = submit()
    failed(client, claim, job)
    assert act(client, job, "retry", {"from": "start"}).json()["checkpoint"] is None
    assignment = claim()
    assert assignment
    assert assignment["resume"] is None


def test_a_retry_from_a_checkpoint_needs_one(client: TestClient, submit: Submit) -> None:
    job = submit()
    act(client, job, "cancel")
    refused = act(client, job, "retry", {"from": "checkpoint"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_checkpoint")
    assert act(client, job, "retry").json()["checkpoint"] is None, "without a wish it starts anew"
    bad = act(client, job, "retry", {"from": "middle"})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/from")


@pytest.mark.parametrize(("action", "body"), [("retry", {"from": "start"}), ("clone", {"overrides": {"name": "b"}})])
def test_with_an_idempotency_key_one_job_is_made_of_many_requests(
    client: TestClient, submit: Submit, action: str, body: Any
) -> None:
    job, other = submit(), submit()
    for origin in (job, other):
        act(client, origin, "cancel")
    first = act(client, job, action, body, key="k")
    again = act(client, job, action, body, key="k")
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert act(client, job, action, body).json()["id"] != first.json()["id"]
    reused = act(client, other, action, body, key="k")
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


def test_a_clone_is_the_spec_merged_with_the_overrides(client: TestClient, submit: Submit) -> None:
    job = submit(name="a", resources={"queue": "q", "priority": 3})
    changes = {"name": "b", "training": {"seed": 7}, "resources": {"priority": None}, "precision": {"cycles": 4}}
    clone = act(client, job, "clone", {"overrides": changes}).json()
    assert (clone["clone_of"], clone["name"], clone["queue"], clone["priority"]) == (job["id"], "b", "q", 0)
    assert clone["spec"]["training"] == job["spec"]["training"] | {"seed": 7}
    assert clone["spec"]["precision"] == job["spec"]["precision"] | {"cycles": 4}
    assert act(client, job, "clone").json()["spec"] == job["spec"]


def test_a_bad_override_is_named_and_nothing_is_made(client: TestClient, submit: Submit) -> None:
    job = submit()
    for overrides, pointer in (
        ({"training": {"steps": 0}}, "/overrides/training/steps"),
        ({"colour": "red"}, "/overrides/colour"),
        ({"precision": {"min_bits": 9}}, "/overrides/precision/min_bits"),
        ({"model": None}, "/overrides/model"),
        ("red", "/overrides"),
    ):
        answer = act(client, job, "clone", {"overrides": overrides})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_an_archived_job_is_hidden_from_lists_until_it_is_unarchived(client: TestClient, submit: Submit) -> None:
    def listed(**params: Any) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=params).json()["data"]]

    job, other = submit(), submit()
    act(client, job, "cancel")
    since = act(client, job, "archive").json()["archived_at"]
    assert act(client, job, "archive").json()["archived_at"] == since
    assert (listed(), listed(archived=True)) == ([other["id"]], [job["id"]])
    assert get(client, job)["id"] == job["id"]
    assert act(client, job, "unarchive").json()["archived_at"] is None
    assert (listed(), listed(archived=True)) == ([other["id"], job["id"]], [])


def test_a_deleted_job_is_gone_with_its_log_and_deleting_it_again_is_no_error(
    client: TestClient, claim: Claim, submit: Submit
) -> None:
    job, other = submit(), submit()
    failed(client, claim, job)
    assert act(client, job, "delete").status_code == 204
    assert act(client, job, "delete").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert [row["id"] for row in client.get("/v1/jobs").json()["data"]] == [other["id"]]
    unknown = client.delete("/v1/jobs/job_" + "0" * 24)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "job_not_found")


def test_a_job_can_be_retried_before_it_is_deleted_and_runs_on(
    client: TestClient, claim: Claim, submit: Submit
) -> None:
    job = submit()
    failed(client, claim, job)
    again = act(client, job, "retry").json()
    act(client, job, "delete")
    assignment = claim()
    assert assignment
    assert (assignment["job_id"], assignment["resume"]["step"]) == (again["id"], 1)
    assert get(client, again)["retry_of"] == job["id"]


def test_a_job_that_waited_too_long_fails_with_a_sentence_and_can_be_retried(
    client: TestClient, claim: Claim, submit: Submit
) -> None:
    job, patient = submit(limits={"queue_timeout": 0.001}), submit(limits={"queue_timeout": 1000})
    changed: list[str] = []
    ticker = Deadlines(client.app.state.services.database, changed.append)  # type: ignore[attr-defined]
    ticker.tick()
    ticker.tick()
    found = get(client, job)
    assert (found["state"], found["reason"], changed) == ("failed", "timeout", [job["id"]])
    assert "limits.queue_timeout (0.001 s)" in found["message"]
    assert "retry" in found["actions"]
    assert get(client, patient)["state"] == "queued"


def test_only_waiting_counts_towards_the_queue_timeout(client: TestClient, claim: Claim, submit: Submit) -> None:
    job = submit(limits={"queue_timeout": 1000})
    deadlines = Deadlines(client.app.state.services.database, lambda _: None)  # type: ignore[attr-defined]
    first = get(client, job)["queued_at"]
    assert first is not None
    act(client, job, "pause")
    assert get(client, job)["queued_at"] is None
    act(client, job, "resume")
    assert get(client, job)["queued_at"] > first
    running(client, claim, job)
    assert get(client, job)["queued_at"] is None
    deadlines.tick()
    assert get(client, job)["state"] == "running"


def test_an_overdue_job_is_not_handed_out(client: TestClient, claim: Claim, submit: Submit) -> None:
    submit(limits={"queue_timeout": 0.001})
    assert claim() is None


def test_a_worker_is_told_how_long_earlier_attempts_have_trained(
    client: TestClient, claim: Claim, submit: Submit
) -> None:
    submit(limits={"max_runtime": 60})
    first = claim()
    assert first
    assert first["running_seconds"] == 0
    append(client, first, 1, [started(), step(0), checkpoint(1), ended("preempted", "preempted")])
    second = claim()
    assert second
    assert second["running_seconds"] >= 0
    append(client, second, 1, [started(1), ended("failed", "timeout")])
    (job,) = client.get("/v1/jobs").json()["data"]
    assert (job["state"], job["reason"], job["attempt"]) == ("failed", "timeout", 2), "another would only repeat it"
