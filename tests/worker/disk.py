"""A full disk, without filling one."""

import contextlib
import resource
import signal


@contextlib.contextmanager
def files_no_larger_than(size):
    """The kernel takes the first part of a write and refuses the rest, as with a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
