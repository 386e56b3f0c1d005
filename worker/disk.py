"""Gives parts of files back to the disk while they are being written."""

from __future__ import annotations

import ctypes
import errno
import os

_KEEP_SIZE, _PUNCH_HOLE = 0x1, 0x2  # linux/falloc.h


def free(file: int, start: int, stop: int) -> None:
    """Take the bytes from `start` to `stop` off the disk. They read as zeros from then on; all others stay.

    Raises:
        OSError: this system, or the file's, cannot do that; Linux can, on all its usual file systems.
    """
    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    except AttributeError:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)) from None
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    if fallocate(file, _KEEP_SIZE | _PUNCH_HOLE, start, stop - start) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
