"""What `cpt doctor` finds out: one check for each part of the service."""

from __future__ import annotations

from pydantic import AwareDatetime

from cpt_client.models import Resource


class Check(Resource):
    """One part, and whether it does its work."""

    name: str
    """The part."""
    status: str
    """`ok`, `warning` (it works, but not as it should) or `failed`."""
    message: str
    """What was found, in a sentence."""
    remedy: str | None = None
    """What to do about it; null where nothing has to be done."""
    where: str = "server"
    """Whose part: `server`, or `here`: this machine's."""


class Report(Resource):
    """All checks."""

    status: str
    """The worst of them."""
    time: AwareDatetime | None = None
    """The server's clock; null where none answered."""
    version: str | None = None
    """Version of the server's software; null where none answered."""
    checks: list[Check]
    """The checks."""
