"""Turns the blocks of logs whose attempts are over into files of the storage."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import tempfile
from datetime import timedelta

from api.artifacts.models import Artifact
from api.db import Database
from api.files import repository as files
from api.jobs import repository as jobs
from api.jobs.models import Job
from api.logs import repository
from api.logs.lines import left_out
from api.logs.models import Log, LogBlock
from cpt_core.events import now
from cpt_core.protocol import LAUNCHER
from cpt_core.storage import Storage, StorageError, log_file

logger = logging.getLogger(__name__)

REST = timedelta(seconds=10)
"""An attempt that lost its job may tell a little more."""
BATCH = 20


class LogArchiver:
    """Any number of processes may do it: the file is the same, and the first to tell the database wins."""

    def __init__(self, database: Database, storage: Storage, rest: timedelta = REST) -> None:
        """`rest`: how long nothing must have come."""
        self._database, self._storage, self._rest = database, storage, rest

    def tick(self) -> None:
        """Archive what is ready. What the storage refuses stays in the database, and is tried again."""
        with self._database.read() as session:
            found = repository.finished(session, before=now() - self._rest, limit=BATCH)
        for job, log in found:
            try:
                self._archive(job, log)
            except StorageError as error:
                logger.warning("logs stay in the database for now: %s", error)
                return

    def _archive(self, job: Job, log: Log) -> None:
        source = "launcher" if log.rank == LAUNCHER else f"rank-{log.rank}"
        path = log_file(job.id, log.attempt, source)
        with tempfile.TemporaryFile() as file:
            place = 0
            while blocks := self._blocks(log, place):
                for block in blocks:
                    if block.start > place:
                        file.write(b"\n" + left_out(block.start - place) + b"\n")
                    file.write(block.data)
                    place = block.stop
            size = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0, os.SEEK_SET)
            self._storage.put(path, file)
        artifact = Artifact(
            id=f"art_{secrets.token_hex(12)}",
            job=job.pk,
            attempt=log.attempt,
            kind="log",
            name=f"attempt-{log.attempt}/{source}.log",
            path=path,
            media_type="text/plain; charset=utf-8",
            sha256=digest,
            size=size,
            created_at=now(),
        )
        with self._database.write() as session:
            current = jobs.get(session, job.id, lock=True)
            if current is None:  # deleted meanwhile
                files.doom(session, [path])
                return
            same = repository.get(session, current, log.attempt, log.rank, lock=True)
            if same is not None and same.artifact is None and same.size == log.size:
                repository.archive(session, same, artifact)

    def _blocks(self, log: Log, start: int) -> list[LogBlock]:
        with self._database.read() as session:
            return repository.blocks(session, log, start=start, limit=64)
