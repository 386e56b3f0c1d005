"""Stops a process at a named moment, or takes a guard out. Python loads this file only if its folder is on the path.

Tests put the folder on PYTHONPATH of the processes that they start. Nothing of the product knows of it.

CHAOS_MOMENTS is a folder of plans: `M3.json` says what the first process that comes to M3 shall do.

    {"act": "hold" | "die" | "fail" | "oom", "job": id or null, "step": N, "rank": R, "always": false}

A process that holds writes `M3.held` and waits for `M3.go`. CHAOS_WITHOUT names guards that are taken out.
"""

import contextlib
import importlib.abc
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

if "faketime" in os.environ.get("LD_PRELOAD", ""):
    # libfaketime 0.9.10 reckons the monotonic deadlines of Python's sleep on its own clock, and refuses them.
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None


def _take_turns():
    """What keeps leases goes before what trains, or stacks side by side on few cores would end each other's."""
    module = sys.orig_argv[2] if sys.orig_argv[1:2] == ["-m"] else ""
    with contextlib.suppress(PermissionError):  # of others than root, who may only step back
        os.setpriority(os.PRIO_PROCESS, 0, -10 if module in ("api", "worker") else 5)


FOLDER = Path(os.environ.get("CHAOS_MOMENTS", "/nonexistent"))


def reach(moment, job=None, *, step=0, rank=0):
    """This process is at the moment."""
    plan_file = FOLDER / f"{moment}.json"
    try:
        plan = json.loads(plan_file.read_text())
    except (OSError, ValueError):
        if moment == "M0" and (FOLDER / "M0.taken").exists():  # no other bell rings meanwhile
            _hold(moment, tell=False)
        return
    if plan.get("job") not in (None, job) or step < plan.get("step", 0) or rank != plan.get("rank", 0):
        return
    if not plan.get("always"):
        try:
            plan_file.rename(FOLDER / f"{moment}.taken")
        except FileNotFoundError:  # another one was first
            return
    match plan["act"]:
        case "hold":
            _hold(moment)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fail":
            raise RuntimeError("failed on purpose")
        case "oom":
            _run_out_of_memory()


def _hold(moment, *, tell=True):
    if tell:
        held = FOLDER / f"{moment}.held"
        held.with_suffix(".new").write_text(str(os.getpid()))
        held.with_suffix(".new").rename(held)
    while not (FOLDER / f"{moment}.go").exists():
        time.sleep(0.01)


def _run_out_of_memory():
    import resource

    import torch

    resource.setrlimit(resource.RLIMIT_AS, (2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    torch.zeros(2**31)


def _rank():
    return int(os.environ.get("RANK", "0"))


def _own_job():
    return os.environ.get("CPT_ATTEMPT", "").rpartition("-")[0]


def _bells(module):
    ring = module.Bells.ring

    def held(self, queue):
        reach("M0")
        ring(self, queue)

    module.Bells.ring = held


def _attempt(module):
    start = module.Attempt._start

    def held(self):
        reach("M1", self._assignment.job_id)
        start(self)

    module.Attempt._start = held


def _ranks(module):
    join = module.join

    def held(wanted):
        reach("M2", _own_job(), rank=_rank())
        return join(wanted)

    module.join = held


def _trainer(module):
    gradients = module.Trainer._gradients

    def held(self, step):
        found = gradients(self, step)
        reach("M3", _own_job(), step=step, rank=_rank())
        return found

    module.Trainer._gradients = held


def _storage(module):
    put_folder = module.LocalStorage.put_folder

    def held(self, path, files, *, last):
        class Files(dict):
            def items(self):
                for name, content in super().items():
                    if name == last:
                        reach("M4", _own_job(), step=int(path.rpartition("-")[2]))
                    yield name, content

        put_folder(self, path, Files(files), last=last)

    module.LocalStorage.put_folder = held


def _append(module):
    append = module.append

    def held(database, job_id, number, token, request):
        answer = append(database, job_id, number, token, request)
        if request.records:
            ended = request.records[-1].type == "finished"
            steps = [record.step for record in request.records if record.type == "step"]
            if ended:
                reach("M6", job_id)
            elif steps:
                reach("M5", job_id, step=steps[-1])
        return answer

    module.append = held


def _without_fence(module):
    module.is_stale = lambda ledger, attempt: False


def _without_order(module):
    module.is_gap = lambda ledger, first_seq: False


def _without_deduplication(module):
    module.unseen = lambda ledger, first_seq, records: records


def _without_pdeathsig(module):
    module.die_with_parent = lambda parent: None


def _without_hash(module):
    def read(storage, checkpoint):
        manifest, _ = module._read_manifest(storage, checkpoint.path)
        return manifest, {name: module._read(storage, f"{checkpoint.path}/{name}") for name in manifest.files}

    module.read = read


PATCHES = {
    "api.broker": [_bells],
    "worker.attempt": [_attempt],
    "cpt_core.train.ranks": [_ranks],
    "cpt_core.train.trainer": [_trainer],
    "cpt_core.storage.local": [_storage],
    "api.agent.service": [_append],
}
GUARDS = {
    "fence": ("api.jobs.ledger", _without_fence),
    "order": ("api.jobs.ledger", _without_order),
    "deduplication": ("api.jobs.ledger", _without_deduplication),
    "pdeathsig": ("cpt_core.process", _without_pdeathsig),
    "hash": ("cpt_core.checkpoint.files", _without_hash),
}


class Finder(importlib.abc.MetaPathFinder):
    """Patches a module right after it has been loaded."""

    def __init__(self, patches):
        self.patches = patches
        self.busy = threading.local()

    def find_spec(self, name, path, target=None):
        if name not in self.patches or getattr(self.busy, "name", None) == name:
            return None
        self.busy.name = name
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.busy.name = None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            for patch in self.patches[name]:
                patch(module)

        spec.loader.exec_module = exec_module
        return spec


if "CHAOS_MOMENTS" in os.environ:
    _take_turns()
    import importlib.util

    for guard in filter(None, os.environ.get("CHAOS_WITHOUT", "").split(",")):
        where, without = GUARDS[guard]
        PATCHES.setdefault(where, []).append(without)
    sys.meta_path.insert(0, Finder(PATCHES))
