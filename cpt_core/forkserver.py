"""The fork server: it has imported torch and the trainer, and forks a launcher for each run, which forks the ranks.

Importing them takes seconds, a fork milliseconds, and what was imported is in memory once. Started by a worker as
`python -m cpt_core.forkserver FD PARENT`, with one end of a socket pair of type SOCK_SEQPACKET: each message is a JSON
object and has one answer.

    {"launch": {run_file, nproc, run_id, log_dir, folder, environment}} and a file for the output -> {"pid": N}
    {"reap": N} -> {"exit_code": N}, once the launcher has ended; until then it stays a zombie, so its id is its own

All die with the server, and the server with the thread of the process that started it.

`multiprocessing.forkserver` does not fit: it imports the main module again in each child, reaps children before anybody
has looked for what they left behind, and its children do not show the mark of their run.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from cpt_core import launch, tracing
from cpt_core.process import MARK, die_with_parent, exit_code_of, settle_threads, show_mark, show_name

LARGEST_MESSAGE = 2**17
_HUGE_PAGE = 2**21
_MADV_COLLAPSE = 25


def main() -> int:
    """Serve until the other end is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    _prepare()
    pages = _large_pages()
    while True:
        while not select.select([control], [], [], 0)[0] and (page := next(pages, None)) is not None:
            _join(page)  # some milliseconds, for which a request has to wait
        message, files, _, _ = socket.recv_fds(control, LARGEST_MESSAGE, 1)
        if not message:
            return 0
        request = json.loads(message)
        if "reap" in request:
            _, status = os.waitpid(request["reap"], 0)
            answer = {"exit_code": os.waitstatus_to_exitcode(status)}
        else:
            server = os.getpid()
            answer = {"pid": _fork(lambda: _launch(request["launch"], server, control, files[0]))}  # noqa: B023
        for file in files:
            os.close(file)
        control.send(json.dumps(answer).encode())


def _prepare() -> None:
    settle_threads()
    importlib.import_module("cpt_core.train.attempt")
    # Loaded by the first use of torch.optim or the meta device, the count of products, safetensors, and torchrun.
    for name in ("torch._dynamo", "cpt_core.products", "numpy.ctypeslib", "torch.distributed.launcher.api"):
        importlib.import_module(name)
    if tracing.wanted():
        tracing.prepare()

    gc.collect()
    gc.freeze()  # a collection in a child would copy every page it looks at


def _large_pages() -> Iterator[int]:
    """Where this process's own memory could be in pages of 2 MiB."""
    for mapping in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        place, access, _offset, _device, _inode, *name = mapping.split(maxsplit=5)
        if access.startswith("rw") and name in ([], ["[heap]"]):
            begin, end = (int(address, 16) for address in place.split("-"))
            yield from range(-(-begin // _HUGE_PAGE) * _HUGE_PAGE, end - _HUGE_PAGE + 1, _HUGE_PAGE)


def _join(page: int) -> None:
    """Make one page of many small ones, where Linux can do that (since 6.1) and has room; else all stays as it is.

    A fork copies an entry for each page, and the child's end drops it again: both take a third of the time then. What
    a child writes to is copied in small pages as before.
    """
    ctypes.CDLL(None).madvise(ctypes.c_void_p(page), ctypes.c_size_t(_HUGE_PAGE), _MADV_COLLAPSE)


def _fork(run: Callable[[], int]) -> int:
    """The process id of a child that ends with what `run` returns."""
    pid = os.fork()
    return pid or _end_with(run)


def _end_with(run: Callable[[], int]) -> NoReturn:
    """Whatever happens, a child never goes on as its parent."""
    code = 1
    try:
        code = exit_code_of(run)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _launch(request: dict[str, Any], server: int, control: socket.socket, output: int) -> int:
    """What the launcher does."""
    os.setsid()
    die_with_parent(server)
    control.close()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(request["folder"])
    show_mark(request["environment"][MARK])
    os.environ.clear()
    os.environ.update(request["environment"])
    show_name("cpt-launcher")
    return launch.launch(
        Path(request["run_file"]),
        nproc=request["nproc"],
        run_id=request["run_id"],
        log_dir=Path(request["log_dir"]),
        start=_fork_rank,
    )


def _fork_rank(run_file: Path, output: BinaryIO) -> int:
    return _fork(lambda: launch.be_rank(run_file, output))


if __name__ == "__main__":
    sys.exit(main())
