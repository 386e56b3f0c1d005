"""An attempt's records on their way to the API: a numbered log in a file, of which memory holds only a few.

The file buffers, it does not outlive the worker: after a crash the next attempt trains again from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

_COMPACT_BYTES = 1024 * 1024


class SpoolError(Exception):
    """The API asks for records that it has acknowledged before, which are gone."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records."""

    first_seq: int
    """Number of the first."""
    lines: tuple[bytes, ...]
    """The records, each one JSON object without a line end."""


class Spool:
    """Records are put at the end, read from the front, and dropped from the front once acknowledged. Thread-safe.

    Numbers (`seq`) begin at 1 and have no gaps.
    """

    def __init__(self, path: Path, *, limit_bytes: int) -> None:
        self._path = path
        self._limit = limit_bytes
        self._lock = Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._acked = 0
        self._last = 0
        self._head = 0  # offset of the first record that is not acknowledged
        self._end = 0  # offset behind the last record

    @property
    def acked(self) -> int:
        """Number of the last acknowledged record; 0: none."""
        with self._lock:
            return self._acked

    @property
    def last(self) -> int:
        """Number of the last record; 0: none."""
        with self._lock:
            return self._last

    @property
    def waiting(self) -> int:
        """Records that are not acknowledged."""
        with self._lock:
            return self._last - self._acked

    @property
    def size(self) -> int:
        """Bytes of the records that are not acknowledged."""
        with self._lock:
            return self._end - self._head

    @property
    def full(self) -> bool:
        """So much waits that training should wait too."""
        return self.size >= self._limit

    def put(self, line: bytes) -> int:
        """Append a record; the answer is its number. Never refuses for the limit, see `full`.

        Raises:
            OSError: it cannot be written, as when the disk is full; the spool is as before, so try again.
        """
        data = line + b"\n"
        with self._lock:
            self._write(data, self._end)
            self._end += len(data)
            self._last += 1
            return self._last

    def _write(self, data: bytes, offset: int) -> None:
        # A full disk may take the first part of the data: `_end` then still points before it.
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written

    def peek(self, *, max_records: int, max_bytes: int) -> Batch:
        """The first waiting records, at least one if any waits, otherwise within both bounds."""
        with self._lock:
            first, head, size = self._acked + 1, self._head, self._end - self._head
            lines = self._read(head, min(size, max_bytes)).split(b"\n")[:-1]
            if not lines and size:
                lines = [self._first_line(head)]
        return Batch(first, tuple(lines[:max_records]))

    def _read(self, offset: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := os.pread(self._fd, size, offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    def _first_line(self, offset: int) -> bytes:
        size = 64 * 1024
        while b"\n" not in (data := self._read(offset, min(size, self._end - offset))):
            size *= 2
        return data[: data.index(b"\n")]

    def ack(self, seq: int) -> None:
        """Drop the records up to `seq`; to repeat an acknowledgement is harmless.

        Raises:
            SpoolError: `seq` lies before what was acknowledged, or behind the last record.
        """
        with self._lock:
            if seq < self._acked:
                raise SpoolError(f"record {seq + 1} is asked for, but up to {self._acked} all were acknowledged before")
            if seq > self._last:
                raise SpoolError(f"record {seq} is acknowledged, but {self._last} is the last there is")
            while self._acked < seq:
                data = self._read(self._head, min(_COMPACT_BYTES, self._end - self._head))
                ends = data.split(b"\n", seq - self._acked)
                complete = len(ends) - 1
                if complete == 0:
                    self._head += len(self._first_line(self._head)) + 1
                    self._acked += 1
                    continue
                self._head += len(data) - len(ends[-1])
                self._acked += complete
            with contextlib.suppress(OSError):  # then the space is given back another time
                self._reclaim()

    def discard(self) -> None:
        """Forget the records that wait. The next one takes the number of the first of them."""
        with self._lock:
            self._head, self._last = self._end, self._acked
            self._reclaim()

    def _reclaim(self) -> None:
        """Give acknowledged records' space back once it is worth the copy: when they outweigh what waits."""
        waiting = self._end - self._head
        if self._head < min(_COMPACT_BYTES, self._limit) and waiting:
            return
        if waiting > self._head:
            return
        offset = 0
        while offset < waiting:
            part = self._read(self._head + offset, min(_COMPACT_BYTES, waiting - offset))
            # Overwrites only acknowledged records: the target ends at or before the source's first byte.
            self._write(part, offset)
            offset += len(part)
        os.ftruncate(self._fd, waiting)
        self._head, self._end = 0, waiting

    def close(self) -> None:
        """Delete the file and everything in it."""
        with self._lock:
            os.close(self._fd)
            self._fd = -1  # a late user gets an error, and not the file that has the number next
            self._path.unlink(missing_ok=True)
