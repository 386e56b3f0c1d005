"""How ranks pass on that one of them failed."""

import threading

import pytest
import torch
import torch.distributed as dist

from cpt_core.events import Log
from cpt_core.launch import PEER_LOST
from cpt_core.train.failure import describe, tell
from cpt_core.train.ranks import Ranks
from cpt_core.train.recorder import ignore

LOST = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Connection reset by peer")


@pytest.fixture
def two():
    """Two ranks' ends of one store."""
    store = dist.HashStore()
    return [Ranks(rank, 2, torch.device("cpu"), store, 2) for rank in (0, 1)]


def test_the_failure_of_another_rank_is_told_by_rank_0_when_it_loses_that_rank(two):
    recorded, codes = [], []
    other = threading.Thread(target=lambda: codes.append(tell(MemoryError("no room"), ignore, two[1])))
    other.start()
    while two[0].reported_failure() is None:
        assert other.is_alive()
    assert tell(LOST, recorded.append, two[0]) == 1
    other.join(timeout=4)  # it was told so, and does not wait for its deadline
    assert codes == [1]
    assert [(event.type, event.reason) for event in recorded] == [("finished", "oom")]
    assert "no room" in recorded[0].message


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_lost_another_without_a_word_leaves_the_telling_to_the_launcher(two, rank):
    recorded = []
    assert tell(LOST, recorded.append, two[rank]) == PEER_LOST
    assert recorded == []


def test_so_does_one_that_finds_another_gone_when_they_are_to_meet():
    recorded = []
    refused = RuntimeError("Gloo connectFullMesh failed with [/gloo/transport/tcp/pair.cc:152] Connection refused")
    assert tell(refused, recorded.append, None) == PEER_LOST
    assert recorded == []


def test_an_event_that_cannot_be_recorded_does_not_hide_the_failure(capsys):
    def broken(_event):
        raise BrokenPipeError("nobody reads")

    assert tell(ValueError("a defect"), broken, None) == 1
    assert "could not be recorded: nobody reads" in capsys.readouterr().err


def test_running_out_of_memory_is_told_as_that():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    end = describe(caught.value)
    assert end.reason == "oom"
    assert "training.batch_size" in end.message


def test_an_exception_that_nobody_foresaw_is_told_by_type_and_message_with_its_traceback_in_the_log():
    recorded = []
    with pytest.raises(KeyError) as caught:
        {}["what is not there"]
    assert tell(caught.value, recorded.append, None) == 1
    log, end = recorded
    assert isinstance(log, Log)
    assert "Traceback" in log.message
    assert end.reason == "internal"
    assert "KeyError: 'what is not there'" in end.message
