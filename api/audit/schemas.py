"""What clients see of the audit log."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from api.jobs.schemas import Resource


class AuditView(Resource):
    """One change."""

    id: int
    """Position in the log: the cursor."""
    object: Literal["audit_entry"] = "audit_entry"
    """Kind of this resource."""
    time: AwareDatetime
    """When it was made."""
    project: str
    """Project of who made it."""
    actor: str
    """Name of the key that made it; `local` on a server without keys, `operator` at the server's command line."""
    key: str | None
    """Id of the key; null where none was used."""
    action: str
    """Operation, as `operationId` in /openapi.json."""
    target: str | None
    """Id of what was changed or made."""
    address: str | None
    """Network address that the request came from."""
    request_id: str | None
    """`X-Request-Id` of the request."""
