"""One rank: `python -m cpt_core.train RUN.json`, started by torchrun, by `cpt_core.launch`, or alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cpt_core import tracing
from cpt_core.launch import LAUNCHER_PID
from cpt_core.process import RANK_NAME, die_with_parent, settle_threads, show_name, show_stacks_on_signal
from cpt_core.run import Run
from cpt_core.train.recorder import Emit, Recorder, ignore


def main() -> int:
    """Train the run in the file that is the only argument. The exit code is 0 if it succeeded or was asked to stop."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m cpt_core.train RUN.json")
    return train(Path(sys.argv[1]))


def train(run_file: Path) -> int:
    """Train the run in the file as the rank that the environment names. Returns the exit code of the process."""
    show_stacks_on_signal()
    run = Run.model_validate_json(run_file.read_bytes())
    if LAUNCHER_PID in os.environ:
        die_with_parent(int(os.environ[LAUNCHER_PID]))
    elif "RANK" in os.environ:  # under torchrun itself
        die_with_parent(os.getppid())
    rank = os.environ.get("RANK", "0")
    show_name(RANK_NAME + rank)
    alone_or_first = rank == "0"
    parent = os.environ.get(tracing.VARIABLE)
    if parent is not None and alone_or_first:
        tracing.start("cpt-training")
    try:
        with tracing.span("train", parent=parent):
            code = _train(run, Recorder(run.events) if alone_or_first else ignore)
            if code:
                tracing.note(error=f"exit code {code}")
            return code
    finally:
        tracing.stop()


def _train(run: Run, emit: Emit) -> int:
    settle_threads()
    # Imported here: importing torch takes seconds.
    import torch

    from cpt_core.train import memory
    from cpt_core.train.attempt import StopRequest, attempt
    from cpt_core.train.ranks import threads_per_rank

    memory.keep_freed_memory()
    torch.set_num_threads(run.threads or threads_per_rank())
    return attempt(run, emit, StopRequest())


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The destructors of a broken process group may wait for ranks that are gone, and torch's take half a second.
    os._exit(code)
