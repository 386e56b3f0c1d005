"""Resuming with several ranks: three, from where on the order of summation matters, and what ranks must agree on."""

import multiprocessing
import os

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from cpt_core.checkpoint import describe
from cpt_core.run import Run
from cpt_core.train.attempt import StopRequest, attempt
from cpt_core.train.recorder import Recorder, ignore

from .conftest import make_spec


def be_a_rank(run_json, environment):
    os.environ.update(environment)
    torch.set_num_threads(1)
    run = Run.model_validate_json(run_json)
    os._exit(attempt(run, Recorder(run.events) if environment["RANK"] == "0" else ignore, StopRequest()))


@pytest.fixture
def train(here):
    """Trains with real ranks, forked from a process that has imported everything, around a store as torchrun's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cpt_core.train.attempt", "torch._dynamo"])

    def train(world_size, name, resume=None, **parts):
        small = {"training": {"steps": 6, "batch_size": 12}, "evaluation": {"batch_size": 12}}
        spec = make_spec(**(small | parts), resources={"devices": world_size})
        run = here.run(spec, name=name, resume=resume)
        store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        environment = {
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        ranks = [
            context.Process(target=be_a_rank, args=(run.model_dump_json(), environment | {"RANK": str(rank)}))
            for rank in range(world_size)
        ]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(timeout=120)
        assert [rank.exitcode for rank in ranks] == [0] * world_size
        return here.folder / "storage" / name

    return train


SHARED = {"precision": {"schedule": "cosine", "cycles": 2, "sync_ranges": True}}


def averaged(from_step):
    averaging = {"from_step": from_step, "every_steps": 2}
    return {"training": {"steps": 6, "batch_size": 12, "averaging": averaging}}


@pytest.mark.parametrize(
    ("world_size", "files", "parts"),
    [
        (3, 4, {}),
        (2, 4, averaged(from_step=2)),
        (2, 4, averaged(from_step=4)),
        (2, 3, SHARED),
    ],
    ids=["three ranks", "averaged weights", "averaged weights, from before", "shared ranges"],
)
def test_resuming_is_bit_exact(train, here, world_size, files, parts):
    unbroken = train(world_size, "unbroken", **parts)
    resumed = train(world_size, "resumed", describe(here.storage, "unbroken/step-00000003"), **parts)
    names = sorted(path.name for path in (unbroken / "step-00000006").glob("*.safetensors"))
    assert len(names) == files
    for name in names:
        left, right = (load_file(folder / "step-00000006" / name) for folder in (unbroken, resumed))
        assert left.keys() == right.keys()
        assert [key for key in left if not torch.equal(left[key], right[key])] == []


@pytest.mark.parametrize("shared", [True, False])
def test_with_shared_ranges_and_only_then_all_ranks_observe_the_same(train, shared):
    folder = train(2, "run", precision=SHARED["precision"] | {"sync_ranges": shared}) / "step-00000006"
    first, second = (load_file(folder / f"{name}.safetensors") for name in ("model", "rank-0001"))
    names = [name for name in second if "running_range" in name or "running_zero_point" in name]
    assert len(names) > 10
    # Inputs of layers behind a ReLU begin at 0 on every rank.
    assert all(torch.equal(first[name], second[name]) for name in names if "zero_point" not in name) == shared
