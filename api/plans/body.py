"""A spec in a request's body, as JSON or YAML."""

from __future__ import annotations

import json
from typing import Annotated, Any

import yaml
from fastapi import Depends, Request
from pydantic import JsonValue, ValidationError

from api.problems import FieldProblem, invalid
from cpt_core.spec import JobSpec, problem

YAML = "application/yaml"

Submitted = tuple[JobSpec, dict[str, JsonValue]]

REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A job spec.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/JobSpec"}},
            YAML: {"schema": {"type": "string", "description": "The same as a file for `cpt submit` has it."}},
        },
    }
}
"""What the OpenAPI document says of the body."""


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: ten lines of them can stand for more than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not taken: write it out", mark)
        return super().compose_node(parent, index)


async def _body(request: Request) -> bytes:
    return await request.body()


def submitted(request: Request, body: Annotated[bytes, Depends(_body)]) -> Submitted:
    """The spec that a request brings, and the document it was read from.

    Raises:
        ApiError: it is no valid spec.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    document = _from_yaml(body) if kind == YAML else _from_json(body)
    if not isinstance(document, dict):
        raise invalid(_fault("the spec must be a mapping of fields: model, dataset, precision, training, …"))
    try:
        return JobSpec.model_validate(document), document
    except ValidationError as error:
        faults = [
            FieldProblem(**problem(item["loc"], item["type"], item["msg"], item.get("ctx", {})))
            for item in error.errors()
        ]
        raise invalid(*faults) from error


SubmittedDep = Annotated[Submitted, Depends(submitted)]


def _from_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise invalid(_fault(f"the body is not valid JSON: {error}", "json_invalid")) from error


def _from_yaml(body: bytes) -> Any:
    try:
        document = _PlainLoader(body).get_single_data()
        json.dumps(document, allow_nan=False)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise invalid(_fault(f"{where}{error.problem or 'this is not valid YAML'}", "yaml_invalid")) from error
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise invalid(_fault(f"the body is not valid YAML: {str(error)[:200]}", "yaml_invalid")) from error
    return document


def _fault(message: str, code: str = "invalid_document") -> FieldProblem:
    return FieldProblem(pointer="", code=code, message=message)
