"""A storage in an object store, by fsspec. An object appears whole, so a folder is complete with its last file."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import fsspec.core

from cpt_core.storage.base import CHUNK_BYTES, FileMissingError, StorageError, relative

_PART_BYTES = 64 * CHUNK_BYTES
"""Parts in which a large object is sent."""


class ObjectStorage:
    """A bucket, or a part of one."""

    def __init__(self, url: str) -> None:
        """Nothing is asked of the store yet.

        Raises:
            StorageError: no library for such a URL is installed.
        """
        self.url = url
        # What others write meanwhile must be seen: no listing is kept.
        options = {"use_listings_cache": False} if url.startswith("s3://") else {}
        try:
            self._files, root = fsspec.core.url_to_fs(url, **options)
        except (ImportError, ValueError) as error:
            raise StorageError(
                f"{url} cannot be used ({error}): for s3:// install the extra, pip install 'cpt-service[s3]'."
            ) from error
        self._root = root.rstrip("/")

    def put(self, path: str, source: BinaryIO) -> None:
        """Write an object; see `Storage.put`. Large ones go in parts, and appear when the last one has arrived."""
        with self._reporting(path, "written to"):
            target = self._files.open(self._full(path), "wb", _PART_BYTES)
            try:
                while piece := source.read(CHUNK_BYTES):
                    target.write(piece)
            except BaseException:
                target.discard()
                target.closed = True  # closing it would store what has come
                raise
            target.close()

    def put_folder(self, path: str, files: Mapping[str, bytes], *, last: str) -> None:
        """Write objects, `last` at the end; see `Storage.put_folder`."""
        self.delete(f"{path}/{last}")
        self.delete(path)
        with self._reporting(path, "written to"):
            for name in (*(name for name in files if name != last), last):
                self._files.pipe_file(f"{self._full(path)}/{name}", files[name])

    def size(self, path: str) -> int:
        """Bytes of an object."""
        with self._reporting(path, "read from"):
            return int(self._files.size(self._full(path)))

    def read(self, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """An object's content, or a part of it."""
        if stop is not None and stop <= start:
            return b""
        with self._reporting(path, "read from"):
            return bytes(self._files.cat_file(self._full(path), start=start or None, end=stop))

    def delete(self, path: str) -> None:
        """Delete an object, or all whose names begin with `path`/."""
        with self._reporting(path, "deleted from"):
            full = self._full(path)
            if self._files.exists(full):
                self._files.rm(full, recursive=True)

    def clear(self, path: str) -> None:
        """An object is there whole or not at all."""

    def sign(self, path: str, *, seconds: int, filename: str) -> str | None:
        """A URL of the store, which sends the object as an attachment of this name."""
        options = {"ResponseContentDisposition": f'attachment; filename="{filename}"'}
        sign = getattr(self._files, "sign", None)
        if sign is None or not inspect.signature(sign).parameters:
            return None
        with self._reporting(path, "signed by"), contextlib.suppress(NotImplementedError):
            return str(sign(self._full(path), expiration=seconds, **options))
        return None

    def _full(self, path: str) -> str:
        return f"{self._root}/{relative(path)}"

    @contextlib.contextmanager
    def _reporting(self, path: str, what: str) -> Iterator[None]:
        try:
            yield
        except (StorageError, NotImplementedError):
            raise
        except FileNotFoundError as error:
            raise FileMissingError(f"{path} is not in {self.url}") from error
        except Exception as error:  # each store's library has errors of its own
            raise StorageError(f"{path} cannot be {what} {self.url} ({_sentence(error)})") from error


def _sentence(error: Any) -> str:
    return str(error) or type(error).__name__
