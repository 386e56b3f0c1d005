"""Checkpoints: complete or not there, verified when read."""

import json
import subprocess
import sys

import fsspec
import pytest
import torch

from cpt_core.checkpoint import CheckpointError, describe, prune
from cpt_core.checkpoint.state import load, save

from .conftest import make_spec

MODEL = {"fc.weight": torch.randn(4, 3), "bn.mean": torch.zeros(3), "bn.count": torch.tensor(7)}
OPTIMIZER = {"fc.weight/momentum_buffer": torch.randn(4, 3)}
RANK_1 = {"bn.mean": torch.ones(3), "bn.count": torch.tensor(9)}


def write(storage, step=123, folder="jobs/a/1"):
    return save(str(storage), folder, step=step, spec=make_spec(), model=MODEL, optimizer=OPTIMIZER, ranks=[RANK_1])


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def storage(any_storage):
    """The root of a storage: a folder, or a part of a bucket on an S3 server."""
    return any_storage


def test_what_is_saved_is_loaded_and_each_rank_gets_its_own_buffers(storage):
    checkpoint = write(storage)
    assert checkpoint.path == "jobs/a/1/step-00000123"
    for rank, own in ((0, {}), (1, RANK_1)):
        state = load(storage, checkpoint, rank=rank)
        assert same(state.model, MODEL)
        assert same(state.optimizer, OPTIMIZER)
        assert same(state.buffers, own)
        assert (state.manifest.step, state.manifest.world_size) == (123, 2)
        assert state.manifest.spec == make_spec()


def test_a_checkpoint_can_be_described_from_its_folder_alone(storage):
    checkpoint = write(storage)
    described = describe(storage, checkpoint.path)
    assert described.model_dump(exclude={"time"}) == checkpoint.model_dump(exclude={"time"})


def test_a_checkpoint_holds_safetensors_and_a_json_manifest_and_nothing_else(tmp_path):
    folder = tmp_path / write(tmp_path).path
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["manifest.json", "model.safetensors", "optimizer.safetensors", "rank-0001.safetensors"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (
        sum(entry["size"] for entry in manifest["files"].values()) + (folder / "manifest.json").stat().st_size
        == describe(str(tmp_path), write(tmp_path).path).size
    )


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "rank-0001.safetensors"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1] + bytes([content[-1] ^ 1]), id="one bit"),
        pytest.param(lambda content: content[:-1], id="truncated"),
    ],
)
def test_a_damaged_file_is_refused_by_name_on_every_rank(tmp_path, name, damage):
    checkpoint = write(tmp_path)
    path = tmp_path / checkpoint.path / name
    path.write_bytes(damage(path.read_bytes()))
    for rank in (0, 1):
        with pytest.raises(CheckpointError, match=f"{name} is damaged"):
            load(str(tmp_path), checkpoint, rank=rank)


def test_a_missing_file_is_named(tmp_path):
    checkpoint = write(tmp_path)
    (tmp_path / checkpoint.path / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is not in"):
        load(str(tmp_path), checkpoint)


def test_a_folder_without_a_manifest_is_no_checkpoint(tmp_path):
    checkpoint = write(tmp_path)
    (tmp_path / checkpoint.path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"manifest\.json is not in .*incomplete"):
        load(str(tmp_path), checkpoint)


def test_another_checkpoint_in_the_place_of_the_registered_one_is_refused(tmp_path):
    checkpoint = write(tmp_path)
    save(str(tmp_path), "jobs/a/1", step=123, spec=make_spec(), model=MODEL, optimizer={}, ranks=[RANK_1])
    with pytest.raises(CheckpointError, match="not the one that was registered"):
        load(str(tmp_path), checkpoint)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param({"format": 2}, "format", id="newer format"),
        pytest.param({"files": {"../../etc/passwd": {"sha256": "0" * 64, "size": 1}}}, "files", id="path outside"),
        pytest.param({"step": -1}, "step", id="impossible step"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, change, where):
    checkpoint = write(tmp_path)
    path = tmp_path / checkpoint.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=rf"no manifest of format 1 \({where}"):
        describe(str(tmp_path), checkpoint.path)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "", "a/../../b"])
def test_a_path_outside_the_storage_is_refused(tmp_path, path):
    with pytest.raises(CheckpointError, match="no path below the storage root"):
        describe(str(tmp_path), path)


def test_a_storage_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match=r"step-00000123 cannot be written to .*file"):
        write(tmp_path / "file")


FILL_THE_STORAGE = """
import resource, sys
from tests.train.test_checkpoint import CheckpointError, write
write(sys.argv[1], step=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))  # bytes in a file: the next is cut in the middle
try:
    write(sys.argv[1], step=2)
except CheckpointError as error:
    print(error)
"""


def test_a_full_storage_leaves_the_older_checkpoint_and_no_remains(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_STORAGE, tmp_path], capture_output=True, text=True, check=True
    )
    assert "step-00000002 cannot be written" in done.stdout
    assert [path.name for path in (tmp_path / "jobs/a/1").iterdir()] == ["step-00000001"]
    load(str(tmp_path), describe(str(tmp_path), "jobs/a/1/step-00000001"))


def test_what_a_killed_run_left_half_written_is_cleared_by_the_next_checkpoint(tmp_path):
    remains = tmp_path / "jobs/a/1/step-00000099.partial"
    remains.mkdir(parents=True)
    (remains / "model.safetensors").write_bytes(b"half")
    write(tmp_path)
    assert not remains.exists()


def test_an_object_store_gets_the_manifest_last(tmp_path):
    checkpoint = write(f"memory://{tmp_path}")
    objects = fsspec.filesystem("memory").ls(f"{tmp_path}/{checkpoint.path}", detail=True)
    by_age = sorted(objects, key=lambda entry: entry["created"])
    assert len(by_age) == 4
    assert by_age[-1]["name"].endswith("/manifest.json")


def test_pruning_deletes_the_given_checkpoints_and_no_other(storage):
    old, kept = write(storage, step=1), write(storage, step=2)
    prune(storage, [old.path, "jobs/a/1/step-00000777"])
    with pytest.raises(CheckpointError, match="incomplete or gone"):
        describe(storage, old.path)
    load(storage, kept)
