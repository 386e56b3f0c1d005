"""The description in /openapi.json is complete: clients can be generated from it, and people can read it.

Left out are the routes for workers and for monitoring, which are no part of what clients are promised. Streams are not
asked what is generated from the description, as a project's never ends.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.app import create_app
from api.settings import ApiSettings
from tests.api.conftest import AGENT_TOKEN, serving
from tests.api.surface import ACTIONS_BEFORE, make_objects

EXAMPLES = 8
"""Requests of each kind that are made for an operation. Many more find nothing either: some take long for what they
are."""
LOOPBACK = ip_network("127.0.0.0/8")

Described = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description of the API."""
    return create_app(ApiSettings(agent_token=SecretStr(AGENT_TOKEN))).openapi()


def is_for_clients(path: str) -> bool:
    """Whether it is part of what clients are promised."""
    return path.startswith("/v1/") and not path.startswith("/v1/agent/")


def operations(document: dict[str, Any]) -> Iterator[Described]:
    """Path, method and description of what clients can ask."""
    for path, item in document["paths"].items():
        if is_for_clients(path):
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
            if status >= "400":
                problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                assert answer["content"] == problem, (operation["operationId"], status)


def test_every_refusal_that_passes_says_when_to_come_back(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for status in ("429", "503"):
            assert "Retry-After" in operation["responses"][status]["headers"], (operation["operationId"], status)


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


def test_every_json_body_has_an_example_that_the_server_takes(
    document: dict[str, Any], sqlite_url: str, data_root: Path
) -> None:
    with serving(sqlite_url, data_root, auth="off", webhook_networks=[LOOPBACK]) as client:
        objects = make_objects(client, {}, "before", "default")
        for path, method, operation in operations(document):
            if (content := operation.get("requestBody", {}).get("content", {}).get("application/json")) is None:
                continue
            schema = content["schema"].get("anyOf", [content["schema"]])[0]  # a body that may be left out may be null
            model = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            assert model.get("examples"), operation["operationId"]
            for action in ACTIONS_BEFORE.get(operation["operationId"], ()):
                client.post(f"/v1/jobs/{objects['job_id']}/{action}")
            for example in model["examples"]:
                answer = client.request(method, path.format(**objects), json=example)
                assert answer.is_success, (operation["operationId"], answer.text)


def test_every_example_is_valid_by_its_schema(document: dict[str, Any]) -> None:
    found = list(examples_in(document))
    assert len(found) > 8
    for schema, example in found:
        whole = {"$ref": "#/the/schema", "the": {"schema": schema}, "components": document["components"]}
        jsonschema_rs.validator_for(whole).validate(example)


def examples_in(part: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Schemas with their examples, wherever they are."""
    if isinstance(part, dict):
        for example in part.get("examples", ()):
            yield part, example
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from examples_in(inner)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_generated_requests_find_nothing(
    mode: GenerationMode, document: dict[str, Any], sqlite_url: str, data_root: Path
) -> None:
    """Requests made from the description, and others that break it, about objects that there are and that there are
    not: each answer has a status, media type, headers and a body as described, and what breaks it is refused.

    Not asked is whether all that fits the description is taken: rules between fields cannot be described there. Who may
    ask is left out of it; test_tenancy.py tells of that.
    """
    described = copy.deepcopy(document)
    for _, _, operation in operations(described):
        operation.pop("security")
    asked = 0
    with serving(sqlite_url, data_root, auth="off", webhook_networks=[LOOPBACK]) as client:
        objects: dict[str, str] = {}
        for result in schemathesis.openapi.from_dict(described).get_all_operations():
            asking = result.ok()
            if not is_for_clients(asking.path) or asking.path.endswith("/stream"):
                continue
            operation = document["paths"][asking.path][asking.method]
            if mode is GenerationMode.NEGATIVE and not operation.keys() & {"parameters", "requestBody"}:
                continue  # there is nothing to break
            if not objects or asking.method == "delete":
                objects = make_objects(client, {}, f"for-{asking.method}-{asked}", "default")

            @examples(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=asking.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal asked
                asked += 1
                path = case.meta.components.get(ParameterLocation.PATH)
                if asked % 3 and path and path.mode is GenerationMode.POSITIVE:
                    known = objects.keys() & case.path_parameters.keys()  # noqa: B023
                    case.path_parameters.update({name: objects[name] for name in known})  # noqa: B023
                request = case.as_transport_kwargs(base_url="http://127.0.0.1")
                request.pop("cookies", None)
                if (request.get("params") or {}).get("follow"):
                    return  # it would not end
                case.validate_response(client.request(**request), excluded_checks=[positive_data_acceptance])

            ask()
    assert asked > 40 * EXAMPLES
