"""Deletes what no row refers to any more. Rows go first, so that nobody is sent to a file that is half gone."""

from __future__ import annotations

import logging
from datetime import timedelta

from api.db import Database
from api.files import repository
from cpt_core.storage import Storage, StorageError, checkpoints_of, logs_of

logger = logging.getLogger(__name__)

BATCH = 100
RETRY = timedelta(minutes=1)


class FileSweeper:
    """Carries deletions out. Any number of processes may: deleting what is gone is no error."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database, self._storage = database, storage

    def tick(self) -> None:
        """Delete what is due now. What the storage refuses is tried again later."""
        self._take_deleted_jobs()
        with self._database.read() as session:
            found = repository.due(session, limit=BATCH)
        for deletion in found:
            try:
                self._storage.delete(deletion.path)
            except StorageError as error:
                logger.warning("%s stays for now: %s", deletion.path, error)
                with self._database.write() as session:
                    repository.postpone(session, deletion, RETRY)
            else:
                with self._database.write() as session:
                    repository.done(session, deletion)

    def _take_deleted_jobs(self) -> None:
        """Put the checkpoints, logs and artifacts of deleted jobs on the list; a retry may need them for a while."""
        with self._database.read() as session:
            deleted = repository.deleted_jobs(session, limit=BATCH)
        for job_id in deleted:
            with self._database.write() as session:
                repository.doom(session, [checkpoints_of(job_id), logs_of(job_id)])
                repository.forget(session, job_id)
