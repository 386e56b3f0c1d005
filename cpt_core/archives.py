"""Archives that strangers made: zip, tar and gzipped tar, checked in full and unpacked.

What is refused: names that lead elsewhere or come twice, links, devices and everything else that is no file or folder,
encryption, damage, more files or bytes than allowed, and more than a hundred times what the archive itself takes.
Nothing of an archive is trusted: bytes are counted as they are read, whatever its headers say.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

MAX_FILES = 100_000
"""Files and folders of an archive."""
MAX_RATIO = 200
"""Bytes unpacked for each byte of the archive; not counted below `FREE_BYTES`."""
FREE_BYTES = 16 * 1024 * 1024
MAX_NAME = 500
"""Characters of a file's path."""

_PIECE = 1024 * 1024
_MAX_DIRECTORY = 256 * MAX_FILES  # bytes of a zip's directory
_HEADER_BYTES = 2048 * MAX_FILES  # what a tar may add to its files
_END, _LOCATOR, _END64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"

_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, struct.error,
    NotImplementedError, RuntimeError, UnicodeError, ValueError, OverflowError, IndexError,
)  # fmt: skip


class ArchiveError(Exception):
    """The archive is refused. `code` is stable, the message names the member and says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds."""

    files: int
    """Files, folders not counted."""
    bytes: int
    """Their size together."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    is_folder: bool
    open: Callable[[], IO[bytes]]


def inspect(file: BinaryIO, max_bytes: int) -> Contents:
    """Read a whole archive, `max_bytes` unpacked at most, and check all of it. Nothing is written.

    Raises:
        ArchiveError: it is refused.
        OSError: the file cannot be read.
    """
    return _walk(file, max_bytes, lambda _path, _is_folder: None)


def unpack(file: BinaryIO, folder: Path, max_bytes: int) -> Contents:
    """Unpack an archive into a new folder, with the same checks as `inspect`. On any error the folder is removed.

    Raises:
        ArchiveError: it is refused.
        OSError: the archive cannot be read, or the folder not be written.
    """
    folder.mkdir(mode=0o755)

    def create(path: PurePosixPath, is_folder: bool) -> BinaryIO | None:
        place = folder / path
        (place if is_folder else place.parent).mkdir(parents=True, exist_ok=True)
        return None if is_folder else place.open("xb")

    try:
        return _walk(file, max_bytes, create)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _walk(file: BinaryIO, max_bytes: int, create: Callable[[PurePosixPath, bool], BinaryIO | None]) -> Contents:
    """Read every member to its end; what `create` returns for a file is given its content, and closed."""
    size = file.seek(0, os.SEEK_END)
    budget = _Budget(size, max_bytes)
    kinds: dict[PurePosixPath, bool] = {}
    files = 0
    with _reporting_damage(), _members(file, _Budget(size, max_bytes + _HEADER_BYTES)) as members:
        for member in members:
            path = _checked(member.name)
            if path is None:  # the archive's own root
                continue
            _register(kinds, path, is_folder=member.is_folder)
            sink = create(path, member.is_folder)
            if member.is_folder:
                continue
            files += 1
            try:
                with member.open() as content:
                    while piece := content.read(_PIECE):
                        budget.take(len(piece), member.name)
                        if sink is not None:
                            sink.write(piece)
            finally:
                if sink is not None:
                    sink.close()
    if not files:
        raise ArchiveError("archive_empty", "the archive holds no file: pack the dataset's files into it")
    return Contents(files, budget.used)


class _Budget:
    """Bytes that may come out of an archive of `size` bytes."""

    def __init__(self, size: int, max_bytes: int) -> None:
        self.used = 0
        self._max, self._bomb = max_bytes, max(FREE_BYTES, MAX_RATIO * size)

    def take(self, count: int, name: str) -> None:
        """So many more have come out.

        Raises:
            ArchiveError: that is too many.
        """
        self.used += count
        if self.used > self._max:
            message = f"the archive unpacks to more than {self._max} bytes, the limit, at {_quote(name)}"
            raise ArchiveError("archive_too_large", message)
        if self.used > self._bomb:
            message = f"the archive unpacks to more than {MAX_RATIO} times its size, at {_quote(name)}: pack it anew"
            raise ArchiveError("archive_bomb", message)


def _quote(name: str) -> str:
    return repr(name[:100])


def _checked(name: str) -> PurePosixPath | None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or name[1:2] == ":" or not name.isprintable():
        message = f"{_quote(name)} leads out of the archive, or is no portable name: use relative names without '..'"
        raise ArchiveError("archive_unsafe_name", message)
    if len(name) > MAX_NAME or any(len(part.encode()) > 255 for part in path.parts):
        raise ArchiveError("archive_unsafe_name", f"{_quote(name)}… is too long: {MAX_NAME} characters at most")
    return path if path.parts else None


def _register(kinds: dict[PurePosixPath, bool], path: PurePosixPath, *, is_folder: bool) -> None:
    """Note a member; `kinds` says of each path that was seen whether it is a folder."""
    above = [parent for parent in path.parents if parent.parts]
    clash = next((parent for parent in above if kinds.get(parent) is False), None)
    if clash is None and path in kinds and not (is_folder and kinds[path]):
        clash = path
    if clash is not None:
        raise ArchiveError("archive_duplicate_name", f"{_quote(str(clash))} is in the archive twice: pack it once")
    kinds[path] = is_folder
    for parent in above:
        kinds[parent] = True
    if len(kinds) > MAX_FILES:
        message = f"the archive holds more than {MAX_FILES} files and folders: put such data below a server's data root"
        raise ArchiveError("archive_too_many_files", message)


@contextmanager
def _reporting_damage() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        message = f"the archive is truncated or damaged ({error or type(error).__name__}): pack and send it again"
        raise ArchiveError("archive_damaged", message) from error


@contextmanager
def _members(file: BinaryIO, budget: _Budget) -> Iterator[Iterator[_Member]]:
    """The members, one after the other; each must be read before the next. `budget` is a gzip's."""
    file.seek(0)
    magic = file.read(512)
    file.seek(0)
    if magic.startswith((b"PK\x03\x04", _END)):
        _check_directory(file)
        with zipfile.ZipFile(file) as opened:
            yield _zip_members(opened)
    elif magic.startswith(b"\x1f\x8b"):
        # Unpacked first: a tar is read by its own headers, and going back in a gzip means to begin again.
        with tempfile.TemporaryFile() as plain:
            with gzip.open(file) as packed:
                while piece := packed.read(_PIECE):
                    budget.take(len(piece), "its end")
                    plain.write(piece)
            yield _tar_members(plain)
    elif magic[257:262] == b"ustar":
        yield _tar_members(file)
    else:
        message = "this is no zip, tar or gzipped tar archive: pack the dataset's files with one of these"
        raise ArchiveError("archive_unknown_format", message)


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _special(info.filename)
        if info.flag_bits & 0x1:
            message = f"{_quote(info.filename)} is encrypted: pack it without a password"
            raise ArchiveError("archive_encrypted", message)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            message = f"{_quote(info.filename)} is packed by a method other than deflate: pack it with deflate"
            raise ArchiveError("archive_unknown_format", message)

        def read(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return opened.open(info)

        # `filename` ends at a null byte and has other separators; what was written is what is checked.
        yield _Member(info.orig_filename, info.is_dir(), read)


def _check_directory(file: BinaryIO) -> None:
    """Refuse a zip whose directory, which is read into memory as a whole, is too long for any that is allowed."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 22 - 65_535 - 20))
    end = file.read()
    at = end.rfind(_END)
    if at < 0 or len(end) < at + 22:
        raise zipfile.BadZipFile("it has no directory at its end")
    (length,) = struct.unpack_from("<L", end, at + 12)
    if at >= 20 and end[at - 20 : at - 16] == _LOCATOR:
        file.seek(struct.unpack_from("<Q", end, at - 12)[0])
        record = file.read(56)
        if not record.startswith(_END64):
            raise zipfile.BadZipFile("its directory is not where it says")
        (length,) = struct.unpack_from("<Q", record, 40)
    file.seek(0)
    if length > _MAX_DIRECTORY:
        message = f"the archive holds more than {MAX_FILES} files and folders: put such data below a server's data root"
        raise ArchiveError("archive_too_many_files", message)


def _tar_members(file: BinaryIO) -> Iterator[_Member]:
    limited: Any = _ShortReads(file)
    with tarfile.open(fileobj=limited, mode="r:") as opened:
        while (info := opened.next()) is not None:
            if not (info.isdir() or info.isreg()) or info.issparse():
                raise _special(info.name)

            def read(info: tarfile.TarInfo = info) -> IO[bytes]:
                return cast("IO[bytes]", opened.extractfile(info))

            yield _Member(info.name, info.isdir(), read)
            vars(opened)["members"] = []  # it would remember all of them
        file.seek(opened.offset)
        if file.read(512) != bytes(512):  # tarfile takes what it cannot read for the end
            raise tarfile.ReadError("it ends before its end mark")


class _ShortReads:
    """A file of which only a little can be read at once: tarfile reads some headers as long as they say they are."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """At most a piece.

        Raises:
            tarfile.ReadError: more was asked for.
        """
        if not 0 <= size <= _PIECE:
            raise tarfile.ReadError("it has a header that is too long")
        return self._file.read(size)


def _special(name: str) -> ArchiveError:
    message = f"{_quote(name)} is a link or no ordinary file: pack the files themselves"
    return ArchiveError("archive_special_file", message)
