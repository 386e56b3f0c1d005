"""What holds the processes of a training run together: each dies with its parent, and all carry the run's mark.

And how their threads wait.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

MARK = "CPT_ATTEMPT"
"""Environment variable with the name of the run; every process of it inherits the variable, wherever it went."""

RANK_NAME = "cpt-rank-"
"""What a rank is called, before its number."""

_PR_SET_PDEATHSIG = 1
_ROOM = "-" * 256

STACKS_SIGNAL = signal.SIGUSR1
"""What a rank answers with the stacks of its threads, on its error output."""


def settle_threads() -> None:
    """Set, unless the user has, how the threads of OpenMP wait for each other; before torch is loaded, which reads it.

    A thread that spins at a barrier holds up the one it waits for: on a busy machine steps took ten times longer. One
    that sleeps at once has to be woken at the next of the hundreds of loops of a step: a sixth of the time of ResNet-38
    on two cores. So they spin for some ten microseconds, then sleep. GNU's OpenMP alone reads the second setting.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def show_stacks_on_signal() -> None:
    """From now on STACKS_SIGNAL makes this process write the Python stacks of all its threads to stderr.

    It does so even while it hangs within a C function, and goes on afterwards.
    """
    faulthandler.register(STACKS_SIGNAL, all_threads=True)


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


def with_room_for_a_mark(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which to start a program that calls `show_mark` later on."""
    return {**environment, MARK: _ROOM}


def show_mark(mark: str) -> None:
    """Let other processes see `mark` in this process's environment, as if it had been started with it.

    They read the memory that the kernel filled when the program was started, which `os.environ` does not change. It is
    overwritten here, so children made by fork show the mark too. Call this once, before `MARK` is set in `os.environ`,
    in a program that was started `with_room_for_a_mark`.

    Raises:
        ValueError: there is no room for the mark.
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    address = libc.getenv(MARK.encode())
    room = len(_ROOM)
    shown = mark.encode() + b"\0_="  # what is left becomes another variable: an empty one would end the list
    if not address or ctypes.string_at(address) != _ROOM.encode() or len(shown) > room:
        raise ValueError(f"there is no room for the mark {mark} in the environment")
    ctypes.memmove(address, shown.ljust(room, b"-"), room)


def show_name(name: str) -> None:
    """What tools such as `top` call this process from now on, up to 15 characters; only Linux has such a name."""
    if sys.platform == "linux":
        Path("/proc/self/comm").write_text(name, encoding="ascii")


def exit_code_of(run: Callable[[], int]) -> int:
    """The exit code with which a program would end that does only `run`, and what it would print of an exception."""
    try:
        return run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1


def address_towards(host: str, port: int) -> str:
    """The address of this machine from which it would reach `host`. Nothing is sent.

    Raises:
        OSError: the host is unknown, or there is no way to it.
    """
    family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(place)
        return str(probe.getsockname()[0])


def cores() -> int:
    """CPU cores that this process may use; of a container its share, rounded up."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else min(count, -(-int(quota) // int(period)))
