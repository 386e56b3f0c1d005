"""A project sees and changes nothing of another. Held for every route there is, so also for the next one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import select

from api.artifacts.models import Artifact
from api.checkpoints.models import CheckpointRow
from api.jobs.models import Job
from cpt_core.events import now
from tests.api.conftest import Keyed
from tests.api.factories import spec_document
from tests.api.surface import CHANGES_NOTHING, OPERATORS_ALONE, make_objects, operations


@pytest.fixture
def theirs(keyed: Keyed) -> dict[str, str]:
    """One object of each kind in project alpha, by the name of its path parameter."""
    keyed.project("alpha")
    keyed.project("beta")
    owner = keyed.key("admin", "alpha")
    objects = make_objects(keyed.client, owner, "secret-plans", "alpha")
    with keyed.services.database.write() as session:
        job = session.scalars(select(Job).where(Job.id == objects["job_id"])).one()
        file = {"job": job.pk, "attempt": 1, "path": "x", "sha256": "ab" * 32, "size": 1, "created_at": now()}
        objects |= {"checkpoint_id": "ckpt_" + "1" * 24, "artifact_id": "art_" + "1" * 24}
        session.add(CheckpointRow(id=objects["checkpoint_id"], kind="regular", step=1, **file))
        session.add(
            Artifact(id=objects["artifact_id"], kind="log", name="secret-plans", media_type="text/plain", **file)
        )
    return objects


def state_of(keyed: Keyed, owner: dict[str, str]) -> dict[str, Any]:
    """All that project alpha has."""
    paths = ("/v1/jobs", "/v1/keys", "/v1/audit", "/v1/projects/alpha", "/v1/sweeps", "/v1/webhooks", "/v1/datasets")
    return {path: keyed.client.get(path, headers=owner).json() for path in paths}


def test_no_route_opens_without_a_key(keyed: Keyed, theirs: dict[str, str]) -> None:
    for operation in operations(keyed.client.app):
        answer = operation.ask(keyed.client, theirs)
        assert answer.status_code == 401, operation


def test_no_route_opens_with_the_workers_token(keyed: Keyed, theirs: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {keyed.services.settings.agent_token.get_secret_value()}"}
    for operation in operations(keyed.client.app):
        answer = operation.ask(keyed.client, theirs, headers)
        assert answer.status_code == 401, operation


def test_a_key_that_may_only_read_changes_nothing(keyed: Keyed, theirs: dict[str, str]) -> None:
    owner, reader = keyed.key("operator", "alpha"), keyed.key("read", "alpha")
    before = state_of(keyed, owner)
    for operation in operations(keyed.client.app):
        if operation.method == "GET" or operation.name in CHANGES_NOTHING:
            continue
        answer = operation.ask(keyed.client, theirs, reader)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), operation
    assert state_of(keyed, owner) == before


def test_no_route_shows_or_changes_anything_of_another_project(keyed: Keyed, theirs: dict[str, str]) -> None:
    owner, stranger = keyed.key("admin", "alpha"), keyed.key("admin", "beta")
    before = state_of(keyed, owner)
    for operation in operations(keyed.client.app):
        url = operation.url(theirs)
        for query in ({}, {"project": "alpha"}):
            answer = operation.ask(keyed.client, theirs, stranger, **query)
            said = (operation, query, answer.text)
            if operation.name in OPERATORS_ALONE:
                assert answer.status_code == 403, said
            elif "{" in operation.path:
                assert answer.status_code == 404, said
            for value in set(theirs.values()) - {"alpha"}:
                assert value not in answer.text.replace(url, "") or answer.status_code == 404, said
    assert state_of(keyed, owner) == before


def test_what_is_not_there_and_what_is_anothers_are_answered_alike(keyed: Keyed, theirs: dict[str, str]) -> None:
    stranger = keyed.key("admin", "beta")
    nothing = {
        kind: re.sub(r"_[0-9a-f]+$", lambda found: "_" + "0" * (len(found[0]) - 1), id_) for kind, id_ in theirs.items()
    }
    nothing |= {"name": "no-such", "project_id": "nowhere"}
    for operation in operations(keyed.client.app):
        if "{" not in operation.path or operation.name in OPERATORS_ALONE:
            continue
        answers = []
        for objects in (theirs, nothing):
            answer = operation.ask(keyed.client, objects, stranger)
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
