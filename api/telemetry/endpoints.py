"""HTTP for Prometheus."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from api.deps import ServicesDep
from api.problems import ApiError, documented
from api.telemetry.prometheus import CONTENT_TYPE

router = APIRouter(tags=["health"])


def scraper(request: Request, services: ServicesDep, authorization: Annotated[str | None, Header()] = None) -> None:
    """Let those pass who know `CPT_METRICS_TOKEN`; without that setting, only this machine.

    Raises:
        ApiError: neither.
    """
    expected = services.settings.metrics_token
    if expected is None:
        if request.client is not None and _is_loopback(request.client.host):
            return
        raise ApiError(403, "metrics_forbidden", "only this machine may read the metrics: set CPT_METRICS_TOKEN")
    scheme, _, token = (authorization or "").partition(" ")
    same = hmac.compare_digest(token.encode(), expected.get_secret_value().encode())
    if scheme.lower() != "bearer" or not same:
        headers = {"WWW-Authenticate": "Bearer"}
        raise ApiError(401, "invalid_token", "send 'Authorization: Bearer <CPT_METRICS_TOKEN>'", headers=headers)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(scraper)],
    responses={
        200: {"description": "Prometheus's text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(401, 403),
    },
)
def prometheus(services: ServicesDep) -> Response:
    """What this process does and the database holds, for Prometheus."""
    return Response(services.telemetry.exposition(), media_type=CONTENT_TYPE)
