"""HTTP for admins: API keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.deps import Admin, Reader, ServicesDep
from api.jobs.schemas import Page
from api.keys import secret, service
from api.keys.models import ApiKey
from api.keys.schemas import CreatedKey, KeyId, KeyView, NewKey, Scope
from api.pages import page_of
from api.problems import ApiError, documented
from api.projects.schemas import ProjectId

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", status_code=201, responses=documented(400, 413, 422))
def create_key(wanted: NewKey, services: ServicesDep, caller: Admin, response: Response) -> CreatedKey:
    """Make a key. The answer is the only place where it is ever shown."""
    project = caller.choose(wanted.project)
    caller.require(wanted.scope)
    row, key = service.create(services.database, project, wanted)
    response.headers["Location"] = f"/v1/keys/{row.id}"
    return CreatedKey(**_view(row).model_dump(), key=key)


@router.get("", responses=documented(422))
def list_keys(
    services: ServicesDep,
    caller: Admin,
    limit: Annotated[int, Query(ge=1, le=100, description="Keys at most.")] = 20,
    cursor: Annotated[KeyId | None, Query(description="`next_cursor` of the page before.")] = None,
    project: Annotated[ProjectId | None, Query(description="Keys of this project; for operators.")] = None,
) -> Page[KeyView]:
    """The project's keys, newest first, the revoked and expired ones too."""
    found = service.page(services.database, caller.choose(project), cursor=cursor, limit=limit)
    return page_of(found, limit, _view)


@router.get("/self", responses=documented(404))
def get_own_key(services: ServicesDep, caller: Reader) -> KeyView:
    """The key that this request was made with."""
    if caller.key is None:
        raise ApiError(404, "key_not_found", "this server asks for no keys (CPT_AUTH=off)")
    return _view(service.get(services.database, caller.project, caller.key))


@router.delete("/{key_id}", responses=documented(404, 422))
def revoke_key(key_id: KeyId, services: ServicesDep, caller: Admin) -> KeyView:
    """End a key, at once here and within seconds in other processes of the API, and the streams opened with it.

    Idempotent.
    """
    key = service.revoke(services.database, None if caller.is_operator else caller.project, key_id)
    services.keys.forget()
    services.holders.tick()
    return _view(key)


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        prefix=secret.prefix(key.id),
        name=key.name,
        project=key.project,
        scope=Scope(key.scope),
        requests_per_minute=key.requests_per_minute,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )
