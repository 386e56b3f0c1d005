"""All that clients can ask of the API, read off the application itself, and how each is asked validly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import httpx2
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from api.dashboard.router import PAGES
from tests.api.factories import spec_document
from tests.core.test_archives import zipped

NEW_ROUTE = "tests/api/surface.py does not know {}: say there how it is asked, and the tests will hold it to the rules"

HOOK = "http://127.0.0.1:1/hook"
"""A URL of a webhook, where nothing listens."""

BODIES: dict[str, Any] = {
    "create_job": spec_document(),
    "validate_job": spec_document(),
    "plan_job": spec_document(),
    "create_key": {"name": "another"},
    "create_project": {"id": "new", "name": "New"},
    "change_project": {"limits": {"max_steps": 1000}},
    "retry_job": {"from": "start"},
    "clone_job": {"overrides": {"name": "again"}},
    "create_sweep": {"spec": spec_document(), "grid": {"/training/seed": [0, 1]}},
    "create_webhook": {"url": HOOK},
    "update_webhook": {"description": "changed"},
}
"""A valid body of each operation that has one, as JSON."""

QUERIES: dict[str, dict[str, str]] = {
    "compare_jobs": {"jobs": "{job_id}"},
    "create_dataset": {"name": "another"},
}
"""Query parameters that an operation cannot do without."""

FILE_NAMES = {"download_checkpoint_file": "model.safetensors"}
"""What `name` is in the paths where it is not a dataset's."""

UPLOADS = frozenset({"create_dataset"})
"""Operations whose body is an archive."""

ACTIONS_BEFORE: dict[str, tuple[str, ...]] = {
    "resume_job": ("pause",),
    "retry_job": ("cancel",),
    "archive_job": ("cancel",),
    "unarchive_job": ("cancel", "archive"),
    "delete_job": ("cancel",),
}
"""What brings a job that waits into a state that the operation changes."""

CHANGES_NOTHING = frozenset({"validate_job", "plan_job"})
"""Operations that are no GET and yet change nothing."""

OPERATORS_ALONE = frozenset({"create_project", "list_projects", "change_project", "get_doctor_report"})
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

        objects = objects | ({"name": FILE_NAMES[self.name]} if self.name in FILE_NAMES else {})

        def fill(found: re.Match[str]) -> str:
            assert found[1] in objects, NEW_ROUTE.format(f"the path parameter {found[1]} of {self.name}")
            return objects[found[1]]

        return re.sub(r"{(\w+)}", fill, self.path)

    @property
    def body(self) -> Any:
        """A valid body."""
        assert not self.has_body or self.name in BODIES, NEW_ROUTE.format(f"a body of {self.name}")
        return BODIES.get(self.name)

    def ask(
        self, client: TestClient, objects: dict[str, str], headers: dict[str, str] | None = None, **query: str
    ) -> httpx2.Response:
        """Ask it validly, about these objects.

        Only streams are asked to go on behind an event that never was: they refuse that after all else that they may
        refuse, and would never end otherwise.
        """
        sent = dict(headers or {})
        content: dict[str, Any] = {"json": self.body}
        if self.name in UPLOADS:
            content = {"content": zipped({"a.txt": b"text"})}
            sent["Content-Type"] = "application/zip"
        if self.path.endswith("/stream"):
            sent["Last-Event-ID"] = "never"
        params = {name: value.format(**objects) for name, value in QUERIES.get(self.name, {}).items()} | query
        return client.request(self.method, self.url(objects), params=params, headers=sent, **content)

    @property
    def is_change(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET" and self.name not in CHANGES_NOTHING


WITHOUT_KEY = frozenset(
    {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", "/metrics"}
) | {*PAGES, "/dashboard/{name:path}"}
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


def make_objects(client: TestClient, headers: dict[str, str], name: str, project: str) -> dict[str, str]:
    """One new object of each kind that clients can make, by the name of its path parameter."""

    def made(path: str, **request: Any) -> dict[str, Any]:
        answer = client.post(path, headers=headers | request.pop("headers", {}), **request)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    webhook = made("/v1/webhooks", json={"url": HOOK, "events": ["sweep.finished"], "description": name})["id"]
    archive = {"content": zipped({"b.txt": name.encode()}), "headers": {"Content-Type": "application/zip"}}
    return {
        "job_id": made("/v1/jobs", json=spec_document(name=name))["id"],
        "sweep_id": made("/v1/sweeps", json={**BODIES["create_sweep"], "name": name})["id"],
        "webhook_id": webhook,
        "delivery_id": made(f"/v1/webhooks/{webhook}/ping")["id"],
        "name": made("/v1/datasets", params={"name": name}, **archive)["name"],
        "key_id": made("/v1/keys", json={"name": name})["id"],
        "project_id": project,
    }
