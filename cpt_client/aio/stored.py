"""What a server stores beside its database: logs, checkpoints, artifacts and datasets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx

from cpt_client.aio import files
from cpt_client.aio.connection import AsyncConnection
from cpt_client.connection import UPLOAD_TIMEOUT, job_path, known
from cpt_client.errors import from_response, unreachable
from cpt_client.models import Artifact, Checkpoint, Dataset, LogLine, parse


class AsyncStored(AsyncConnection):
    """The part of a client that moves files."""

    def logs(
        self,
        job_id: str,
        *,
        rank: int = 0,
        attempt: int | None = None,
        tail: int | None = None,
        follow: bool = False,
        patience: float = 300.0,
    ) -> AsyncIterator[LogLine]:
        """What a rank printed, line by line. Waits between lines while it follows, and ends with the job.

        Args:
            job_id: the job.
            rank: the rank; -1: the launcher, which starts the ranks.
            attempt: the attempt to begin with; null: the last that printed something.
            tail: only so many lines before the end; null: all.
            follow: go on with what is printed, in later attempts too.
            patience: seconds without a connection after which it gives up.
        """
        params = known(rank=rank, attempt=attempt, tail=tail, follow=follow)
        return files.follow(self.http, job_path(job_id, "/logs"), params, patience=patience)

    def checkpoints(self, job_id: str) -> AsyncIterator[Checkpoint]:
        """The job's checkpoints that are kept, newest first."""
        return self.pages(Checkpoint, job_path(job_id, "/checkpoints"), {})

    def artifacts(self, job_id: str) -> AsyncIterator[Artifact]:
        """The job's files but for checkpoints, oldest first."""
        return self.pages(Artifact, job_path(job_id, "/artifacts"), {})

    async def download_weights(self, job_id: str, checkpoint_id: str, target: Path) -> str:
        """Write a checkpoint's weights to a safetensors file, verified, and return its SHA-256.

        Raises:
            OSError: the file cannot be written.
        """
        path = job_path(job_id, f"/checkpoints/{quote(checkpoint_id, safe='')}/weights")
        return await files.download(self.http, path, target, tries=self.tries)

    async def download_artifact(self, job_id: str, artifact_id: str, target: Path) -> str:
        """Write an artifact to a file, verified, and return its SHA-256.

        Raises:
            OSError: the file cannot be written.
        """
        path = job_path(job_id, f"/artifacts/{quote(artifact_id, safe='')}/content")
        return await files.download(self.http, path, target, tries=self.tries)

    async def upload_dataset(self, name: str, archive: Path) -> Dataset:
        """Upload a zip, tar or gzipped tar as a dataset. The same archive under the same name is the same dataset.

        Raises:
            OSError: the archive cannot be read.
        """
        with archive.open("rb") as file:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(archive.stat().st_size)}
            try:
                response = await self.http.post(
                    "/v1/datasets",
                    params={"name": name},
                    content=files.pieces(file),
                    headers=headers,
                    timeout=UPLOAD_TIMEOUT,
                )
            except httpx.TransportError as error:
                raise unreachable(self.base_url, error) from error
        if response.status_code >= 400:
            raise from_response(response)
        return parse(Dataset, response.content)

    def datasets(self) -> AsyncIterator[Dataset]:
        """The uploaded datasets, newest first."""
        return self.pages(Dataset, "/v1/datasets", {})

    async def delete_dataset(self, name: str) -> None:
        """Delete an uploaded dataset that no job needs any more."""
        await self.request("DELETE", f"/v1/datasets/{quote(name, safe='')}")
