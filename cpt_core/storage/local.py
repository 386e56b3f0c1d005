"""A storage in a folder. What is written lies beside its place under another name, is flushed, and then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cpt_core.storage.base import CHUNK_BYTES, FileMissingError, StorageError, relative

_PARTIAL = ".partial"
_STALE_SECONDS = 24 * 3600.0


class LocalStorage:
    """A folder."""

    def __init__(self, root: str) -> None:
        """The folder need not exist yet."""
        self.url = root
        self._root = Path(root).absolute()

    def put(self, path: str, source: BinaryIO) -> None:
        """Write a file whole; see `Storage.put`."""
        with self._reporting(path, "written to"):
            final = self._full(path)
            final.parent.mkdir(parents=True, exist_ok=True)
            _clear_stale(final.parent)
            partial = final.with_name(f"{final.name}.{secrets.token_hex(6)}{_PARTIAL}")
            try:
                with partial.open("xb") as file:
                    shutil.copyfileobj(source, file, CHUNK_BYTES)
                    _flush(file)
                partial.replace(final)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            _sync(final.parent)

    def put_folder(self, path: str, files: Mapping[str, bytes], *, last: str) -> None:
        """Write a folder; see `Storage.put_folder`. Here the renaming makes it complete."""
        with self._reporting(path, "written to"):
            final = self._full(path)
            partial = final.with_name(final.name + _PARTIAL)
            for leftover in final.parent.glob("*" + _PARTIAL):  # of a run that was killed
                shutil.rmtree(leftover)
            partial.mkdir(parents=True)
            try:
                for name, content in files.items():
                    with (partial / name).open("wb") as file:
                        file.write(content)
                        _flush(file)
            except OSError:
                shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
                raise
            _sync(partial)
            (final / last).unlink(missing_ok=True)  # a crash in the next line leaves nothing that looks complete
            _remove(final)
            partial.rename(final)
            _sync(final.parent)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        with self._reporting(path, "read from"):
            return self._file(path).stat().st_size

    def read(self, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """A file's content, or a part of it."""
        with self._reporting(path, "read from"), self._file(path).open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else max(0, stop - start))

    def delete(self, path: str) -> None:
        """Delete a file or a folder."""
        with self._reporting(path, "deleted from"):
            _remove(self._full(path))

    def clear(self, path: str) -> None:
        """Delete what has no final name yet."""
        with self._reporting(path, "deleted from"):
            for leftover in list(self._full(path).rglob("*" + _PARTIAL)):
                _remove(leftover)

    def sign(self, path: str, *, seconds: int, filename: str) -> None:  # noqa: ARG002
        """A folder has no URLs."""
        return

    def _file(self, path: str) -> Path:
        full = self._full(path)
        if not full.is_file():
            raise FileNotFoundError(f"there is no {path}")
        return full

    def _full(self, path: str) -> Path:
        """Where a path leads, symbolic links followed, which must not be out of the root."""
        full = (self._root / relative(path)).resolve()
        if not full.is_relative_to(self._root.resolve()):
            raise StorageError(f"{path!r} is no path below the storage root: a link there leads out of it.")
        return full

    @contextlib.contextmanager
    def _reporting(self, path: str, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FileMissingError(f"{path} is not in {self.url}") from error
        except OSError as error:
            raise StorageError(f"{path} cannot be {what} {self.url} ({error})") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _clear_stale(folder: Path) -> None:
    """Remove what processes that were killed left half written; what is younger may still be under way."""
    for leftover in folder.glob("*" + _PARTIAL):
        with contextlib.suppress(FileNotFoundError):
            if leftover.is_file() and time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                leftover.unlink()


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
