"""What operators see of the service's parts."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from api.jobs.schemas import Resource

Status = Literal["ok", "warning", "failed"]
"""From best to worst."""


class CheckView(Resource):
    """One part of the service, and whether it does its work."""

    name: Literal["database", "broker", "workers", "storage", "clock"]
    """The part."""
    status: Status
    """`ok`; `warning`: it works, but not as it should; `failed`."""
    message: str
    """What was found, in a sentence."""
    remedy: str | None = None
    """What to do about it; null where nothing has to be done."""


class ReportView(Resource):
    """How the service does."""

    object: Literal["doctor.report"] = "doctor.report"
    """Kind of this resource."""
    status: Status
    """The worst of the checks'."""
    time: AwareDatetime
    """The clock of this API process, UTC."""
    version: str
    """Version of its software."""
    checks: list[CheckView]
    """The checks."""
