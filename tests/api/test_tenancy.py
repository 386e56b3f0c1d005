"""A project sees and changes nothing of another. Held for every route there is, so also for the next one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Keyed
from tests.api.factories import spec_document
from tests.api.surface import CHANGES_NOTHING, OPERATORS_ALONE, operations


@pytest.fixture
def theirs(keyed: Keyed) -> dict[str, str]:
    """One object of each kind in project alpha, by the name of its path parameter."""
    keyed.project("alpha")
    keyed.project("beta")
    owner = keyed.key("admin", "alpha")
    job = keyed.client.post("/v1/jobs", json=spec_document(name="secret plans"), headers=owner)
    key = keyed.client.get("/v1/keys/self", headers=owner)
    return {"job_id": job.json()["id"], "key_id": key.json()["id"], "project_id": "alpha"}


def state_of(keyed: Keyed, owner: dict[str, str]) -> dict[str, Any]:
    """All that project alpha has."""
    paths = ("/v1/jobs", "/v1/keys", "/v1/audit", "/v1/projects/alpha")
    return {path: keyed.client.get(path, headers=owner).json() for path in paths}


def test_no_route_opens_without_a_key(keyed: Keyed, theirs: dict[str, str]) -> None:
    for operation in operations(keyed.client.app):
        answer = keyed.client.request(operation.method, operation.url(theirs), json=operation.body)
        assert answer.status_code == 401, operation


def test_no_route_opens_with_the_workers_token(keyed: Keyed, theirs: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {keyed.services.settings.agent_token.get_secret_value()}"}
    for operation in operations(keyed.client.app):
        answer = keyed.client.request(operation.method, operation.url(theirs), json=operation.body, headers=headers)
        assert answer.status_code == 401, operation


def test_a_key_that_may_only_read_changes_nothing(keyed: Keyed, theirs: dict[str, str]) -> None:
    owner, reader = keyed.key("operator", "alpha"), keyed.key("read", "alpha")
    before = state_of(keyed, owner)
    for operation in operations(keyed.client.app):
        if operation.method == "GET" or operation.name in CHANGES_NOTHING:
            continue
        answer = keyed.client.request(operation.method, operation.url(theirs), json=operation.body, headers=reader)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), operation
    assert state_of(keyed, owner) == before


def test_no_route_shows_or_changes_anything_of_another_project(keyed: Keyed, theirs: dict[str, str]) -> None:
    owner, stranger = keyed.key("admin", "alpha"), keyed.key("admin", "beta")
    before = state_of(keyed, owner)
    for operation in operations(keyed.client.app):
        url = operation.url(theirs)
        for query in ({}, {"project": "alpha"}):
            answer = keyed.client.request(operation.method, url, json=operation.body, params=query, headers=stranger)
            said = (operation, query, answer.text)
            if operation.name in OPERATORS_ALONE:
                assert answer.status_code == 403, said
            elif "{" in operation.path:
                assert answer.status_code == 404, said
            for value in (theirs["job_id"], theirs["key_id"], "secret plans"):
                assert value not in answer.text.replace(url, "") or answer.status_code == 404, said
    assert state_of(keyed, owner) == before


def test_what_is_not_there_and_what_is_anothers_are_answered_alike(keyed: Keyed, theirs: dict[str, str]) -> None:
    stranger = keyed.key("admin", "beta")
    nothing = {"job_id": "job_" + "0" * 24, "key_id": "key_" + "0" * 16, "project_id": "nowhere"}
    for operation in operations(keyed.client.app):
        if "{" not in operation.path or operation.name in OPERATORS_ALONE:
            continue
        answers = []
        for objects in (theirs, nothing):
            answer = keyed.client.request(
                operation.method, operation.url(objects), json=operation.body, headers=stranger
            )
            text = answer.text
            for parameter, value in objects.items():
                text = text.replace(value, parameter)
            answers.append((answer.status_code, text))
        assert answers[0] == answers[1], operation


def test_anothers_job_is_no_cursor_and_its_idempotency_key_is_free(keyed: Keyed, theirs: dict[str, str]) -> None:
    made = []
    for project in ("alpha", "beta"):
        headers = keyed.key("submit", project) | {"Idempotency-Key": "once"}
        made.append(keyed.client.post("/v1/jobs", json=spec_document(), headers=headers).json()["id"])
    assert made[0] != made[1]
    answer = keyed.client.get(f"/v1/jobs?cursor={theirs['job_id']}", headers=keyed.key("read", "beta"))
    assert answer.json()["errors"][0]["code"] == "invalid_cursor"


def test_an_operator_makes_projects_and_sets_their_limits(keyed: Keyed) -> None:
    operator = keyed.key("operator")
    body = {"id": "vision", "name": "Vision", "limits": {"max_open_jobs": 3, "max_steps": 500}}
    made = keyed.client.post("/v1/projects", json=body, headers=operator)
    assert (made.status_code, made.headers["Location"]) == (201, "/v1/projects/vision")
    changed = keyed.client.patch(
        "/v1/projects/vision", json={"limits": {"max_steps": None, "max_open_jobs": 5}}, headers=operator
    ).json()
    assert (changed["name"], changed["limits"]["max_steps"], changed["limits"]["max_open_jobs"]) == ("Vision", None, 5)
    again = keyed.client.post("/v1/projects", json=body, headers=operator)
    assert (again.status_code, again.json()["errors"][0]["pointer"]) == (409, "/id")
    listed = keyed.client.get("/v1/projects?limit=1", headers=operator).json()
    assert (listed["data"][0]["id"], listed["next_cursor"]) == ("default", "default")
    rest = keyed.client.get("/v1/projects?cursor=default", headers=operator).json()
    assert [project["id"] for project in rest["data"]] == ["vision"]


def test_a_member_sees_the_limits_of_its_own_project(keyed: Keyed) -> None:
    keyed.project("vision", max_open_jobs=3)
    answer = keyed.client.get("/v1/projects/vision", headers=keyed.key("read", "vision"))
    assert answer.json()["limits"]["max_open_jobs"] == 3
