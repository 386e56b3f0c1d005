"""The description in /openapi.json is complete: clients can be generated from it, and people can read it.

Left out are the routes for workers and for monitoring, which are no part of what clients are promised. Streams are not
asked what is generated from the description, as a project's never ends. Answers are held to the statuses and media
types listed, not to their schemas.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings
from tests.api.conftest import AGENT_TOKEN, serving

Described = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description of the API."""
    return create_app(ApiSettings(agent_token=SecretStr(AGENT_TOKEN))).openapi()


def operations(document: dict[str, Any]) -> Iterator[Described]:
    """Path, method and description of what clients can ask."""
    for path, item in document["paths"].items():
        if path.startswith("/v1/") and not path.startswith("/v1/agent/"):
            for method, operation in item.items():
                yield path, method, operation


def errors(path: str, operation: dict[str, Any]) -> set[str]:
    """The errors that an operation cannot but have."""
    found = {"401", "403", "429", "503"}
    if "{" in path:
        found.add("404")
    if operation.get("parameters") or "requestBody" in operation:
        found.add("422")
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        found |= {"400", "413"}
    return found


def test_every_operation_lists_its_errors(document: dict[str, Any]) -> None:
    lacking = {
        operation["operationId"]: missing
        for path, _, operation in operations(document)
        if (missing := errors(path, operation) - operation["responses"].keys())
    }
    assert lacking == {}


def test_every_error_is_a_problem_document(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status >= "400" and answer.get("content"):
                assert "application/problem+json" in answer["content"], (operation["operationId"], status)


def test_every_operation_and_every_parameter_is_described(document: dict[str, Any]) -> None:
    bare = []
    for _, _, operation in operations(document):
        bare += [operation["operationId"]] if not operation.get("description") else []
        bare += [
            f"{operation['operationId']}: {parameter['name']}"
            for parameter in operation.get("parameters", [])
            if not parameter.get("description")
        ]
    assert bare == []


def test_every_field_is_described_unless_it_only_tells_which_variant_this_is(document: dict[str, Any]) -> None:
    frameworks = {"HTTPValidationError", "ValidationError"}  # of routes that are not for clients
    variants = {"name", "schedule", "type"}
    bare = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        if name not in frameworks
        for field, described in schema.get("properties", {}).items()
        if not described.get("description") and not (field in variants and {"const", "enum"} & described.keys())
    ]
    assert bare == []


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_answers_to_generated_requests_are_among_those_listed(
    document: dict[str, Any], tmp_path: Path, data_root: Path
) -> None:
    """Valid and invalid requests made from the description: no defect of the server, no unlisted status or type."""
    asked = 0
    with serving(f"sqlite:///{tmp_path / 'cpt.db'}", data_root, auth="off") as client:
        for found in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = found.ok()
            path = operation.path
            if not path.startswith("/v1/") or path.startswith("/v1/agent/") or path.endswith("/stream"):
                continue
            listed = document["paths"][path][operation.method]["responses"]

            @examples(
                max_examples=4,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def ask(case: Any) -> None:
                nonlocal asked
                request = case.as_transport_kwargs(base_url="http://127.0.0.1")
                request.pop("cookies", None)
                answer = client.request(**request)
                assert answer.status_code < 500, answer.text
                assert str(answer.status_code) in listed, (answer.status_code, answer.text)  # noqa: B023
                types = listed[str(answer.status_code)].get("content", {})  # noqa: B023
                if answer.content and types:
                    assert answer.headers["Content-Type"].split(";")[0] in types, case
                asked += 1

            ask()
    assert asked > 100
