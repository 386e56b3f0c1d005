"""What clients see of logs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.jobs.schemas import Resource
from cpt_core.protocol import LAUNCHER

Rank = Annotated[int, Field(ge=LAUNCHER, le=9999)]


class LogLine(Resource):
    """A line of a log."""

    attempt: int
    """Attempt that printed it."""
    rank: int
    """Rank that printed it; -1: the launcher."""
    offset: int
    """Place of its first byte in the rank's output."""
    next_offset: int
    """Place of the next line: pass it as `offset`, with the `attempt`, to go on from there."""
    line: str
    """The line without its end, in UTF-8; what is none is replaced by U+FFFD."""
