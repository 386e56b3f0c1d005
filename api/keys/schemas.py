"""What clients see of API keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.jobs.schemas import Resource
from api.projects.schemas import Label, ProjectId


class Scope(StrEnum):
    """What a key may do. Each includes those before it."""

    READ = "read"
    """See the project's jobs and what they made."""
    SUBMIT = "submit"
    """Make jobs, and change them."""
    ADMIN = "admin"
    """Make and revoke the project's keys; read its audit log."""
    OPERATOR = "operator"
    """The same for all projects; make projects and set their limits."""

    def includes(self, other: Scope) -> bool:
        """Whether a key with this scope may do what needs the other."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


KeyId = Annotated[str, Field(pattern=r"^key_[0-9a-f]{16}$", description="Id of a key.")]


class KeyView(Resource):
    """An API key, without its secret."""

    id: str
    """Identifier, `key_…`."""
    object: Literal["api_key"] = "api_key"
    """Kind of this resource."""
    prefix: str
    """How the key begins; what it is looked up by."""
    name: str
    """Label for people."""
    project: str
    """Project it belongs to."""
    scope: Scope
    """What it may do."""
    requests_per_minute: int | None
    """Requests a minute it may make; null: as many as its project."""
    created_at: AwareDatetime
    """When it was made."""
    expires_at: AwareDatetime | None
    """When it ends; null: never."""
    revoked_at: AwareDatetime | None
    """When it was revoked."""
    last_used_at: AwareDatetime | None
    """When it was last used, up to a minute late."""


class CreatedKey(KeyView):
    """A new API key. Its secret is in this answer and nowhere else."""

    key: str
    """The key itself, to be sent as bearer token. It is shown once and cannot be shown again."""


class NewKey(BaseModel):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"name": "nightly", "scope": "submit", "requests_per_minute": 120}]},
    )

    name: Label
    """Label for people, such as who or what uses it."""
    scope: Scope = Scope.SUBMIT
    """What it may do; at most what the key may do that makes it."""
    project: ProjectId | None = None
    """Project it belongs to; null: that of the key that makes it. Only operators may name another."""
    requests_per_minute: Annotated[int, Field(strict=True, ge=1, le=10**6)] | None = None
    """Requests a minute it may make; null: as many as its project."""
    expires_at: AwareDatetime | None = None
    """When it ends; null: never."""
