"""Deletes what the audit log has kept for long enough."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from api.audit import repository
from api.db import Database
from cpt_core.events import now

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0
BATCH = 1000
"""Entries deleted in one transaction, so that others need not wait for long."""


class AuditSweeper:
    """Any number of processes may do it."""

    def __init__(self, database: Database, days: int, *, clock: Callable[[], datetime] = now) -> None:
        """`days`: how old an entry may become."""
        self._database, self._kept, self._clock = database, timedelta(days=days), clock

    def tick(self) -> None:
        """Delete what is too old."""
        before, deleted = self._clock() - self._kept, 0
        while True:
            with self._database.write() as session:
                count = repository.prune(session, before, BATCH)
            deleted += count
            if count < BATCH:
                break
        if deleted:
            logger.info("%d entries of the audit log were older than %d days, deleted", deleted, self._kept.days)
