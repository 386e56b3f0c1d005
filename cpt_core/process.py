"""A process's life tied to its parent's, so that nothing of a training run outlives whoever started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process with SIGKILL as soon as process `parent`, which started it, is gone.

    The signal follows the parent's *thread* that started this process: start it from one that lives long enough.
    Only Linux can do this; elsewhere nothing happens.

    Raises:
        OSError: the kernel refused.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    if os.getppid() != parent:  # it went before the kernel knew about the wish
        os.kill(os.getpid(), signal.SIGKILL)
