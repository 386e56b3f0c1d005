"""Archives of strangers: what is good is unpacked as it was packed, what is hostile or damaged is refused by name."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cpt_core import archives
from cpt_core.archives import ArchiveError, inspect, unpack

LIMIT = 64 * 1024 * 1024
FILES = {"train/cat/1.png": b"meow" * 100, "train/dog/1.png": b"woof", "notes.txt": b""}


def zipped(files: dict[str, bytes] = FILES, **changes: object) -> bytes:
    """A zip; `changes` are set on each member's ZipInfo."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # the constructor would make it harmless
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in changes.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return target.getvalue()


def tarred(files: dict[str, bytes] = FILES, **changes: object) -> bytes:
    """A tar; `changes` are set on each member's TarInfo."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return target.getvalue()


def targz(files: dict[str, bytes] = FILES) -> bytes:
    return gzip.compress(tarred(files))


FORMATS = pytest.mark.parametrize("pack", [zipped, tarred, targz])


def refusal(content: bytes, limit: int = LIMIT) -> ArchiveError:
    with pytest.raises(ArchiveError) as caught:
        inspect(io.BytesIO(content), limit)
    return caught.value


@FORMATS
def test_what_was_packed_is_unpacked(pack: Callable[..., bytes], tmp_path: Path) -> None:
    contents = unpack(io.BytesIO(pack()), tmp_path / "out", LIMIT)
    assert (contents.files, contents.bytes) == (3, 404)
    found = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert found == FILES
    assert inspect(io.BytesIO(pack()), LIMIT) == contents


def test_members_for_folders_and_a_leading_dot_are_fine(tmp_path: Path) -> None:
    (tmp_path / "in" / "train").mkdir(parents=True)
    (tmp_path / "in" / "train" / "a.txt").write_text("a")
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        archive.add(tmp_path / "in", arcname=".")
    unpack(target, tmp_path / "out", LIMIT)
    assert (tmp_path / "out" / "train" / "a.txt").read_text() == "a"


@FORMATS
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/cron.d/evil", "..\\evil", "C:/evil", "a\nb", "x" * 600, "y" * 300]
)
def test_a_name_that_leads_out_or_fits_no_file_system_is_refused(pack: Callable[..., bytes], name: str) -> None:
    assert refusal(pack({"fine.txt": b"x", name: b"evil"})).code == "archive_unsafe_name"


def test_a_name_that_a_null_byte_hides_is_refused() -> None:
    packed = zipped({"fine.txt_../evil": b"x"}).replace(b"fine.txt_", b"fine.txt\x00")
    assert refusal(packed).code == "archive_unsafe_name"


@FORMATS
@pytest.mark.parametrize("names", [("a", "./a"), ("a", "a/b"), ("a/b", "a"), ("a//b", "a/b")])
def test_a_name_that_comes_twice_is_refused(pack: Callable[..., bytes], names: tuple[str, str]) -> None:
    assert refusal(pack(dict.fromkeys(names, b"x"))).code == "archive_duplicate_name"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes) -> None:
    assert refusal(tarred({"evil": b""}, type=kind, linkname="/etc/passwd")).code == "archive_special_file"


@pytest.mark.parametrize("kind", [0o120000, 0o020000, 0o060000, 0o010000, 0o140000])
def test_links_and_devices_in_a_zip_are_refused(kind: int) -> None:
    packed = zipped({"evil": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16, create_system=3)
    assert refusal(packed).code == "archive_special_file"


@pytest.mark.parametrize("pack", [zipped, targz])
def test_a_bomb_is_refused_before_it_is_unpacked(pack: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 1024 * 1024)
    bomb = pack({"zeros": bytes(8 * 1024 * 1024)})
    assert len(bomb) < 20_000
    assert refusal(bomb).code == "archive_bomb"


def test_a_zip_whose_members_share_their_bytes_is_refused() -> None:
    packed = zipped({f"{number:02d}": b"x" * 5000 for number in range(20)})
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        offsets = [info.header_offset for info in archive.infolist()]
    start = packed.rfind(b"PK\x01\x02", 0, packed.find(b"PK\x01\x02") + 4)
    changed = bytearray(packed)
    at = packed.find(b"PK\x01\x02")
    assert start == at
    for _ in offsets:  # every entry of the directory points to the first member
        struct.pack_into("<L", changed, at + 42, 0)
        at = packed.find(b"PK\x01\x02", at + 4)
    assert refusal(bytes(changed)).code == "archive_damaged"


@FORMATS
def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused(pack: Callable[..., bytes]) -> None:
    assert refusal(pack({"a": b"x" * 600, "b": b"x" * 600}), limit=1000).code == "archive_too_large"


@FORMATS
def test_too_many_files_are_refused(pack: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 10)
    assert refusal(pack({str(number): b"" for number in range(11)})).code == "archive_too_many_files"


def test_a_directory_that_would_fill_the_memory_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MAX_DIRECTORY", 500)
    assert refusal(zipped({str(number): b"" for number in range(100)})).code == "archive_too_many_files"


def test_a_tar_header_that_would_fill_the_memory_is_refused_unread() -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2 * 1024 * 1024
    packed = gzip.compress(info.tobuf() + bytes(info.size) + bytes(1024))
    assert refusal(packed).code == "archive_damaged"


def test_a_file_with_holes_is_refused() -> None:
    info = tarfile.TarInfo("sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    assert refusal(info.tobuf() + bytes(1024)).code in ("archive_special_file", "archive_damaged")


@FORMATS
def test_an_empty_archive_is_refused(pack: Callable[..., bytes]) -> None:
    assert refusal(pack({})).code in ("archive_empty", "archive_unknown_format")


@FORMATS
@pytest.mark.parametrize("part", [0.3, 0.5, 0.75])
def test_a_truncated_archive_is_refused(pack: Callable[..., bytes], part: float) -> None:
    packed = pack({str(number): bytes(range(256)) * 40 for number in range(3)})
    assert refusal(packed[: int(len(packed) * part)]).code == "archive_damaged"


def test_a_tar_cut_between_two_members_is_refused() -> None:
    packed = tarred({"a": b"x" * 512, "b": b"x" * 512})
    assert refusal(packed[:1024]).code == "archive_damaged"


@FORMATS
def test_a_flipped_bit_in_a_header_or_in_packed_data_is_refused(pack: Callable[..., bytes]) -> None:
    packed = bytearray(pack({"a.bin": bytes(range(256)) * 8, "b.bin": b"end"}))
    packed[60 if pack is zipped else 100] ^= 0x10
    assert refusal(bytes(packed)).code in ("archive_damaged", "archive_unsafe_name")


def test_an_encrypted_zip_is_refused() -> None:
    packed = bytearray(zipped({"a": b"x"}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.find(signature) + at] |= 1
    assert refusal(bytes(packed)).code == "archive_encrypted"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n", b"7z\xbc\xaf\x27\x1c", b"BZh9", b"\x00" * 1024])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    assert refusal(content).code == "archive_unknown_format"


def test_nothing_of_a_refused_archive_stays(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError):
        unpack(io.BytesIO(tarred({"good": b"x", "../evil": b"x"})), tmp_path / "out", LIMIT)
    assert list(tmp_path.iterdir()) == []
