"""Starts the ranks of one run on this machine: `python -m cpt_core.launch RUN.json --nproc N --id ID --log-dir DIR`.

torchrun's agent runs in this process. What is added to `torchrun` itself: no descendant survives the process that
asked for the run, SIGTERM lets the ranks finish on their own (step, checkpoint, exit 0) instead of being cut after
30 s, every rank's output is in a file of its own, and the rank that failed first is named. On Linux the agent forks the
ranks from this process, so that torch is loaded once. A single rank has nobody to meet, so it is started without the
agent, which halves the time to the first step.

Exit code 0: every rank ended well. 1: see `failure`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from cpt_core.events import Finished, dump
from cpt_core.process import address_towards, die_with_parent, exit_code_of, settle_threads
from cpt_core.run import Gang, Run
from cpt_core.uploads import UploadError, fetch

PEER_LOST = 3
"""Exit code of a rank that ends only because another one is gone."""

LAUNCHER_PID = "CPT_LAUNCHER_PID"
"""Environment variable that tells a rank the process it must not outlive."""

_JOIN_SECONDS = 1800  # the other nodes may have data to fetch first
_LAST_SECONDS = 2.0
_FAILURE = "failure.json"
_TAIL_BYTES = 4000


def command(run_file: Path, *, nproc: int, run_id: str, log_dir: Path) -> list[str]:
    """The command line that starts `nproc` ranks on `run_file` and dies with the calling process (and thread).

    Stop it with SIGTERM, once; SIGKILL ends it and all ranks at once.

    Args:
        run_file: JSON of a `cpt_core.run.Run`.
        nproc: ranks, one per device.
        run_id: name of the rendezvous; unique among the runs of this machine.
        log_dir: folder for the ranks' output, `rank-N.log`; made if missing.
    """
    options = ["--nproc", str(nproc), "--id", run_id, "--log-dir", str(log_dir), "--parent", str(os.getpid())]
    return [sys.executable, "-m", "cpt_core.launch", str(run_file), *options]


def failure(log_dir: Path) -> str | None:
    """What the rank that failed first died of, with the end of its output; None if no rank failed."""
    found = _failed(log_dir)
    if found is None:
        return None
    rank, code = found
    if code == -signal.SIGKILL:
        cause = "was killed (SIGKILL); the machine may have run out of memory"
    elif code < 0:
        cause = f"was ended by signal {signal.Signals(-code).name}"
    else:
        cause = f"ended with exit code {code}"
    end = tail(output_file(log_dir, rank))
    return f"Training process {rank} {cause}." + (f" The end of its output:\n{end}" if end else "")


def lost_a_peer(log_dir: Path) -> bool:
    """Whether the ranks here only ended because one elsewhere is gone."""
    found = _failed(log_dir)
    return found is not None and found[1] == PEER_LOST


def _failed(log_dir: Path) -> tuple[int, int] | None:
    """Rank and exit code of the rank that failed first."""
    try:
        found = json.loads((log_dir / _FAILURE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found["rank"], found["exit_code"]


def tail(path: Path) -> str:
    """The end of a log file; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def main() -> int:
    """Start the ranks and wait for their end."""
    parser = argparse.ArgumentParser(prog="python -m cpt_core.launch", description="Start the ranks of one run.")
    parser.add_argument("run_file", type=Path, help="JSON of a cpt_core.run.Run")
    parser.add_argument("--nproc", type=int, default=1, help="ranks, one per device")
    parser.add_argument("--id", default=f"local-{os.getpid()}", help="name of the rendezvous")
    parser.add_argument("--log-dir", type=Path, required=True, help="folder for the ranks' output")
    parser.add_argument("--parent", type=int, help="process to die with")
    options = parser.parse_args()
    if options.parent is not None:
        die_with_parent(options.parent)
    return launch(options.run_file, nproc=options.nproc, run_id=options.id, log_dir=options.log_dir, start=_spawn)


StartRank = Callable[[Path, BinaryIO], int]
"""Starts rank 0 of 1 on a run's file, in a session of its own, with its output in a file. Returns its process id."""


def launch(run_file: Path, *, nproc: int, run_id: str, log_dir: Path, start: StartRank) -> int:
    """Start the ranks, see `command`, and wait for their end. Returns the exit code of this process.

    Args:
        run_file: JSON of a `cpt_core.run.Run`.
        nproc: ranks, one per device.
        run_id: name of the rendezvous.
        log_dir: folder for the ranks' output.
        start: starts the rank if there is but one; torchrun starts several.
    """
    signal.signal(signal.SIGTERM, _pass_on)
    signal.signal(signal.SIGINT, _pass_on)
    log_dir.mkdir(parents=True, exist_ok=True)
    (log_dir / _FAILURE).unlink(missing_ok=True)
    os.environ[LAUNCHER_PID] = str(os.getpid())
    run = Run.model_validate_json(run_file.read_bytes())
    if not _fetch_upload(run):
        return 1
    if nproc == 1 and run.gang is None:
        failed = _run_alone(run_file, log_dir, start)
    else:
        failed = _run_under_torchrun(run_file, nproc, run_id, log_dir, run.gang)
    if failed is None:
        return 0
    rank, exit_code = failed
    (log_dir / _FAILURE).write_text(json.dumps({"rank": rank, "exit_code": exit_code}), encoding="utf-8")
    return 1


def _pass_on(_signum: int, _frame: FrameType | None) -> None:
    """SIGTERM the ranks, which then end on their own; before there are any, just end."""
    import psutil

    ranks = psutil.Process().children()
    if not ranks:
        sys.exit(1)
    for rank in ranks:
        rank.terminate()


def _fetch_upload(run: Run) -> bool:
    """Have the uploaded dataset that the run needs, if any, on this machine; False: its end is told."""
    if run.upload is None or run.cache is None:
        return True
    try:
        fetch(run.storage, run.upload, run.cache)
    except UploadError as error:
        finished = Finished(outcome="failed", reason=error.reason, message=str(error)[:8192])
        with run.events.open("a", encoding="utf-8") as events:
            events.write(dump(finished) + "\n")
        return False
    return True


def output_file(log_dir: Path, rank: int) -> Path:
    """Where the output of a rank goes, both streams in the order of their coming."""
    return log_dir / f"rank-{rank}.log"


def _spawn(run_file: Path, output: BinaryIO) -> int:
    # A session of its own, as in `be_rank`: Ctrl-C reaches the rank through us alone.
    command = [sys.executable, "-u", "-m", "cpt_core.train", str(run_file)]
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True).pid


def _run_alone(run_file: Path, log_dir: Path, start: StartRank) -> tuple[int, int] | None:
    """Run rank 0 of 1. Returns its number and exit code if it failed."""
    with output_file(log_dir, 0).open("wb") as output:
        _, status = os.waitpid(start(run_file, output), 0)
    code = os.waitstatus_to_exitcode(status)
    return (0, code) if code else None


def be_rank(run_file: Path, output: BinaryIO) -> int:
    """Train as the rank that the environment names, in a process that the launcher has forked. Returns its exit code.

    Args:
        run_file: JSON of a `cpt_core.run.Run`.
        output: where its output goes, both streams.
    """
    from cpt_core.train.__main__ import train

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the launcher's handlers are not the rank's
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    return exit_code_of(lambda: train(run_file))


def _be_rank_of_torchrun(run_file: Path, log_dir: Path, offset: int) -> None:
    """What torchrun's agent has a child do. `offset` is the rank of this node's first."""
    rank = offset + int(os.environ["LOCAL_RANK"])
    os.environ["RANK"] = str(rank)
    with output_file(log_dir, rank).open("wb") as output:
        code = be_rank(run_file, output)
    sys.stdout.flush()
    sys.stderr.flush()
    if code == PEER_LOST:
        # The agent names the first failed rank that it finds, and ends the others: that is to be the one that is gone.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(_LAST_SECONDS)
    if code:
        os._exit(code)  # an exception would be torch's to tell


def _run_under_torchrun(
    run_file: Path, nproc: int, run_id: str, log_dir: Path, gang: Gang | None
) -> tuple[int, int] | None:
    """Run `nproc` ranks, with those of other nodes. Returns number and exit code of the one that failed first, if any.

    torchrun numbers nodes by their addresses. Ours are numbered by the API, so that the first, which tells the events,
    has rank 0, and a run does not depend on who took part: each process is given its number.
    """
    settle_threads()
    # Imported here: the signal handlers are in place before the seconds that this takes.
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import LogsDest, LogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    offset = gang.node * nproc if gang else 0

    class NoRedirection(LogsSpecs):
        """The ranks see to their output themselves."""

        @property
        def root_log_dir(self) -> str:
            return str(log_dir)

        def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
            none = dict.fromkeys(envs, "")
            return LogsDest(stdouts=none, stderrs=none, error_files=dict.fromkeys(envs, os.devnull))

    address, interface = _meeting_place(gang)
    if sys.platform == "linux":
        for library in ("GLOO", "NCCL") if gang else ("GLOO",):  # else they ask for the host name's address
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)
    # The agent asks whether there are GPUs; asked in CUDA's usual way, no fork of this process could use them.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    config = LaunchConfig(
        min_nodes=gang.nodes if gang else 1,
        max_nodes=gang.nodes if gang else 1,
        nproc_per_node=nproc,
        run_id=run_id,
        rdzv_backend="c10d",
        rdzv_endpoint=gang.endpoint if gang else "localhost:0",  # a free port
        rdzv_configs={"is_host": gang.node == 0, "join_timeout": _JOIN_SECONDS} if gang else {},
        local_addr=address,
        max_restarts=0,
        start_method="fork" if sys.platform == "linux" else "spawn",
        logs_specs=NoRedirection(),
        signals_to_handle="SIGQUIT",  # SIGTERM and SIGINT are ours
    )
    try:
        elastic_launch(config, _be_rank_of_torchrun)(run_file, log_dir, offset)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return offset + first.local_rank, first.exitcode
    except (DistError, RendezvousError):
        if gang is None:
            raise
        traceback.print_exc()  # the node is gone that had the rendezvous
        return offset, PEER_LOST
    return None


def _meeting_place(gang: Gang | None) -> tuple[str, str]:
    """This machine's address towards the first node, and the network interface that has it."""
    if gang is None:
        return "localhost", "lo"
    import psutil

    host, _, port = gang.endpoint.rpartition(":")
    address = address_towards(host.strip("[]"), int(port))
    for interface, found in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in found):
            return address, interface
    return address, "lo"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch's destructors take half a second
