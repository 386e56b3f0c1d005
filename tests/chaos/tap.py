"""What workers say to the API, overheard: to send it again, late, cut short, or as somebody else."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass

_APPEND = re.compile(rb"POST /v1/agent/jobs/(job_[0-9a-f]+)/attempts/(\d+)/records ")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_TOKEN = re.compile(rb"authorization: Bearer (\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Appended:
    """An append as it was sent."""

    job_id: str
    attempt: int
    token: str
    body: bytes

    @property
    def records(self) -> int:
        return len(json.loads(self.body)["records"])


class Tap:
    """Appends with records, in their order. Called by a proxy's threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[int, bytes] = {}
        self.appends: list[Appended] = []

    def __call__(self, connection: int, data: bytes) -> None:
        with self._lock:
            stream = self._streams.pop(connection, b"") + data
            while (end := stream.find(b"\r\n\r\n")) >= 0:
                head = stream[:end]
                length = _LENGTH.search(head)
                size = int(length[1]) if length else 0
                if len(stream) < end + 4 + size:
                    break
                self._keep(head, stream[end + 4 : end + 4 + size])
                stream = stream[end + 4 + size :]
            if stream:
                self._streams[connection] = stream

    def _keep(self, head: bytes, body: bytes) -> None:
        asked, token = _APPEND.match(head), _TOKEN.search(head)
        if asked and token and b'"type"' in body:
            self.appends.append(Appended(asked[1].decode(), int(asked[2]), token[1].decode(), body))
            del self.appends[:-500]

    def of(self, job_id: str) -> list[Appended]:
        """Those of a job."""
        with self._lock:
            return [item for item in self.appends if item.job_id == job_id]
