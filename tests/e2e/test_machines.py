"""Jobs of several nodes on several machines: one is powered off, one is cut off for a while and healed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests.e2e.machines import Lan, Machines
from tests.e2e.stack import Stack, spec, until

pytestmark = pytest.mark.timeout(600)

LEASE_SECONDS = 12.0


@contextmanager
def machines(home: Path, count: int) -> Iterator[Machines]:
    """So many machines with a worker each."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2, for network namespaces")
    with ExitStack() as opened:
        try:
            lan = Lan()
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        opened.callback(lan.close)
        stack = Machines(home, lan, LEASE_SECONDS)
        opened.callback(stack.close)
        stack.start_all()
        for _ in range(count):
            stack.start_on(lan.add())
        stack.wait_until_online(*lan.machines)
        yield stack


def gang(nodes: int, batch: int = 32) -> dict[str, Any]:
    return spec(
        training={"steps": 40, "batch_size": batch, "seed": 7},
        evaluation={"batch_size": 10 * batch} if nodes > 2 else {},
        resources={"devices": 1, "nodes": nodes, "device": "cpu"},
    )


def test_a_machine_of_two_is_powered_off(
    tmp_path: Path, assert_same_weights: Callable[[Stack, dict[str, Any]], None]
) -> None:
    with machines(tmp_path, 2) as stack:
        job_id = stack.submit(gang(2))
        stack.wait_for_step(job_id, 14)
        lost, left = stack.lan.machines[1], stack.lan.machines[0]
        stack.lan.power_off(lost)
        until(lambda: not _ranks(stack, left, job_id), "the other machine's ranks to be gone", 15)
        stack.start_on(lost)
        job = stack.wait_for_state(job_id, "succeeded", seconds=300)
        assert job["attempt"] >= 2
        assert_same_weights(stack, job)


def test_a_machine_of_three_is_cut_off_and_healed(tmp_path: Path) -> None:
    with machines(tmp_path, 3) as stack:
        unbroken = stack.wait_for_state(stack.submit(gang(3, 36)), "succeeded", seconds=300)
        job_id = stack.submit(gang(3, 36))
        stack.wait_for_step(job_id, 14)
        cut = stack.lan.machines[2]
        stack.lan.cut(cut)
        until(lambda: not any(_ranks(stack, each, job_id) for each in stack.lan.machines), "every rank to be gone", 60)
        stack.lan.heal(cut)
        job = stack.wait_for_state(job_id, "succeeded", seconds=300)
        assert job["attempt"] >= 2
        expected, found = (
            load_file(stack.storage / each["result"]["checkpoint"] / "model.safetensors") for each in (unbroken, job)
        )
        assert found.keys() == expected.keys()
        assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


def _ranks(stack: Machines, machine: str, job_id: str) -> list[int]:
    """Processes of the job's first attempt on the machine."""
    found = []
    for pid in stack.lan.processes(machine):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if f"CPT_ATTEMPT={job_id}-1".encode() in environment:
            found.append(pid)
    return found
