"""All that clients can ask of the API, read off the application itself, and how each is asked validly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from tests.api.factories import spec_document

NEW_ROUTE = "tests/api/surface.py does not know {}: say there how it is asked, and the tests will hold it to the rules"

BODIES: dict[str, Any] = {
    "create_job": spec_document(),
    "validate_job": spec_document(),
    "create_key": {"name": "another"},
    "create_project": {"id": "new", "name": "New"},
    "change_project": {"limits": {"max_steps": 1000}},
    "retry_job": {"from": "start"},
    "clone_job": {"overrides": {"name": "again"}},
}
"""A valid body of each operation that has one."""

ACTIONS_BEFORE: dict[str, tuple[str, ...]] = {
    "resume_job": ("pause",),
    "retry_job": ("cancel",),
    "archive_job": ("cancel",),
    "unarchive_job": ("cancel", "archive"),
    "delete_job": ("cancel",),
}
"""What brings a job that waits into a state that the operation changes."""

CHANGES_NOTHING = frozenset({"validate_job"})
"""Operations that are no GET and yet change nothing."""

OPERATORS_ALONE = frozenset({"create_project", "list_projects", "change_project"})
"""Operations that cross projects; everything else stays within that of the key."""


@dataclass(frozen=True)
class Operation:
    """One route for clients."""

    name: str
    method: str
    path: str
    has_body: bool

    def url(self, objects: dict[str, str]) -> str:
        """The path with these objects in it."""

        def fill(found: re.Match[str]) -> str:
            assert found[1] in objects, NEW_ROUTE.format(f"the path parameter {found[1]} of {self.name}")
            return objects[found[1]]

        return re.sub(r"{(\w+)}", fill, self.path)

    @property
    def body(self) -> Any:
        """A valid body."""
        assert not self.has_body or self.name in BODIES, NEW_ROUTE.format(f"a body of {self.name}")
        return BODIES.get(self.name)

    @property
    def is_change(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET" and self.name not in CHANGES_NOTHING


WITHOUT_KEY = frozenset(
    {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", "/metrics"}
)
"""Paths that are open to everybody: nothing in them is a project's."""


def operations(app: Any) -> list[Operation]:
    """All routes for clients; those for workers have tokens of their own, see test_protocol."""
    found = []
    for context in iter_route_contexts(cast(FastAPI, app).routes):
        path = str(context.path)
        if path.startswith("/v1/agent/") or path in WITHOUT_KEY:
            continue
        has_body = bool(getattr(context, "body_field", None))
        methods = sorted((context.methods or set()) - {"HEAD"})
        found += [Operation(str(context.name), method, path, has_body) for method in methods]
    return found
