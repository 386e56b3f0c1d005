"""Pieces of a rank's output as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LONGEST_LINE = 64 * 1024
"""Bytes after which a line is handed on without its end."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of an output."""

    start: int
    """Place of the first one."""
    data: bytes

    @property
    def stop(self) -> int:
        """The place behind the last one."""
        return self.start + len(self.data)


@dataclass(frozen=True, slots=True)
class Line:
    """A line, without its end."""

    start: int
    """Place of its first byte."""
    stop: int
    """Place of the next line."""
    text: bytes


def left_out(count: int) -> bytes:
    """The line in the place of bytes that are not kept."""
    return b"[%d bytes are left out here: of a long log the beginning and the end are kept]" % count


class Splitter:
    """Makes lines of pieces that come in order, and says where some are missing."""

    def __init__(self, start: int) -> None:
        """The first piece should begin at `start`."""
        self._held = Piece(start, b"")

    def feed(self, piece: Piece) -> Iterator[Line]:
        """The lines that a piece completes."""
        if piece.start > self._held.stop:
            missing = piece.start - self._held.stop
            yield from self.rest()
            yield Line(self._held.stop, piece.start, left_out(missing))
            self._held = Piece(piece.start, b"")
        data, start = self._held.data + piece.data, self._held.start
        at = 0
        while (end := data.find(b"\n", at)) >= 0 or len(data) - at > LONGEST_LINE:
            stop = end + 1 if end >= 0 else at + LONGEST_LINE
            yield Line(start + at, start + stop, data[at : end if end >= 0 else stop])
            at = stop
        self._held = Piece(start + at, data[at:])

    def rest(self) -> Iterator[Line]:
        """The last line, if it has no end."""
        if self._held.data:
            yield Line(self._held.start, self._held.stop, self._held.data)
            self._held = Piece(self._held.stop, b"")


def tail_start(backwards: Iterable[Piece], lines: int) -> int:
    """Where the last `lines` lines begin, one or more, in an output whose pieces come from its end on; 0 if it has
    fewer.
    """
    start, last = 0, True
    for piece in backwards:
        start, end = piece.start, len(piece.data)
        if last and piece.data.endswith(b"\n"):
            end -= 1
        last = False
        while (end := piece.data.rfind(b"\n", 0, end)) >= 0:
            lines -= 1
            if lines == 0:
                return piece.start + end + 1
    return start
