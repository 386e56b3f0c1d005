import pytest

from cpt_core.checkpoint import CheckpointError
from cpt_core.events import Checkpoint
from worker.retention import Retention


class Storage:
    """Remembers what was to be deleted; fails while told to."""

    def __init__(self):
        self.deleted, self.broken = [], False

    def delete(self, paths):
        if self.broken:
            raise CheckpointError("no route to storage")
        self.deleted += paths


@pytest.fixture
def storage():
    return Storage()


def checkpoints(retention, *numbered):
    for seq, path in numbered:
        retention.written(seq, Checkpoint(step=seq, path=path, sha256="0" * 64, size=1))


def test_superseded_checkpoints_go_and_the_last_ones_stay(storage):
    retention = Retention(storage.delete, earlier=[], keep_last=2)
    checkpoints(retention, (1, "a"), (2, "b"), (3, "c"), (4, "d"))
    retention.acked(4)
    retention.close(wait=True)
    assert storage.deleted == ["a", "b"]


def test_a_checkpoint_that_is_not_acknowledged_supersedes_nothing(storage):
    retention = Retention(storage.delete, earlier=[], keep_last=1)
    checkpoints(retention, (1, "a"), (5, "b"))
    retention.acked(4)
    retention.close(wait=True)
    assert storage.deleted == []


def test_former_attempts_go_only_when_this_one_has_enough_of_its_own(storage):
    retention = Retention(storage.delete, earlier=["checkpoints/j/1", "checkpoints/j/2"], keep_last=2)
    checkpoints(retention, (1, "a"), (2, "b"))
    retention.acked(1)
    assert storage.deleted == []
    retention.acked(2)
    retention.close(wait=True)
    assert storage.deleted == ["checkpoints/j/1", "checkpoints/j/2"]


def test_a_checkpoint_written_again_at_the_same_place_is_not_deleted(storage):
    retention = Retention(storage.delete, earlier=[], keep_last=1)
    checkpoints(retention, (1, "a"), (2, "final"), (3, "final"))
    retention.acked(3)
    retention.close(wait=True)
    assert storage.deleted == ["a"]


def test_what_the_storage_refused_to_delete_is_tried_again(storage):
    retention = Retention(storage.delete, earlier=[], keep_last=1)
    checkpoints(retention, (1, "a"), (2, "b"), (3, "c"))
    storage.broken = True
    retention.acked(2)
    retention._thread.submit(lambda: None).result()
    storage.broken = False
    retention.acked(3)
    retention.close(wait=True)
    assert storage.deleted == ["a", "b"]
