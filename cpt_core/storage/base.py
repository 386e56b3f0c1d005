"""What a storage can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

CHUNK_BYTES = 1024 * 1024
"""What is read or copied at once."""


class StorageError(Exception):
    """The storage cannot be read or written. The message names it, the path and the reason."""


class FileMissingError(StorageError):
    """There is no such file."""


class Storage(Protocol):
    """One root. Paths are relative to it; every method raises StorageError for one that leads elsewhere."""

    url: str
    """The root."""

    def put(self, path: str, source: BinaryIO) -> None:
        """Write a file whole, or replace it; readers see all of it or what was there before.

        Raises:
            StorageError: it cannot be written; nothing of it stays behind.
        """

    def put_folder(self, path: str, files: Mapping[str, bytes], *, last: str) -> None:
        """Write a folder of files, or replace it. It is complete once it has the file `last`. One writer at a time.

        Raises:
            StorageError: it cannot be written.
        """

    def size(self, path: str) -> int:
        """Bytes of a file.

        Raises:
            FileMissingError: it is not there.
            StorageError: the storage refused.
        """

    def read(self, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """A file's content, or bytes `start` up to, without, `stop` of it.

        Raises:
            FileMissingError: it is not there.
            StorageError: the storage refused.
        """

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all it holds; what is gone already is no error.

        Raises:
            StorageError: the storage refused.
        """

    def clear(self, path: str) -> None:
        """Delete what writers that were killed have left half written in a folder and below. Nobody writes there now.

        Raises:
            StorageError: the storage refused.
        """

    def sign(self, path: str, *, seconds: int, filename: str) -> str | None:
        """A URL that anybody may read the file at for so long; null where the storage has none to give.

        Raises:
            StorageError: the storage refused.
        """


def chunks(storage: Storage, path: str, start: int, stop: int) -> Iterator[bytes]:
    """Bytes `start` up to, without, `stop` of a file, in pieces.

    Raises:
        FileMissingError: it is not there.
        StorageError: the storage refused, or the file is shorter.
    """
    while start < stop:
        piece = storage.read(path, start, min(start + CHUNK_BYTES, stop))
        if not piece:
            raise StorageError(f"{path} in {storage.url} ends at byte {start}, before byte {stop}")
        yield piece
        start += len(piece)


def relative(path: str) -> PurePosixPath:
    """The path, if it is one below a root.

    Raises:
        StorageError: it is none.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\x00" in path:
        raise StorageError(f"{path!r} is no path below the storage root.")
    return parts
