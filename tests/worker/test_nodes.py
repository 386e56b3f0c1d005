"""A worker's part in a job of several nodes, as far as it shows without the others."""

import socket

import pytest
from pydantic import ValidationError

from cpt_core.events import Finished
from cpt_core.lifecycle import Reason
from cpt_core.protocol import NodeFailure
from cpt_core.run import Gang
from cpt_core.spec import JobSpec
from worker.causes import Cause
from worker.ending import Facts, end_record
from worker.meeting import endpoint
from worker.settings import WorkerSettings

OOM = NodeFailure(node=1, reason=Reason.OOM, message="Training ran out of memory.")
PEERS_LOST = "Training process 0 ended with exit code 3."


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setenv("CPT_AGENT_TOKEN", "x" * 32)
    return WorkerSettings


def test_what_ended_another_node_is_the_end_of_the_attempt():
    end = end_record(Facts(causes=frozenset({Cause.NODE}), exit_code=1, failure=PEERS_LOST, node=OOM))
    assert (end.outcome, end.reason) == ("failed", Reason.OOM)
    assert end.message == "Node 1: Training ran out of memory."


def test_a_node_whose_worker_was_told_to_go_costs_no_strike():
    gone = NodeFailure(node=1, reason=Reason.PREEMPTED, message="The worker was told to go.")
    end = end_record(Facts(causes=frozenset({Cause.NODE}), exit_code=1, failure=PEERS_LOST, node=gone))
    assert (end.outcome, end.reason) == ("preempted", Reason.PREEMPTED)


def test_a_failure_that_reached_rank_0_is_told_in_its_own_words():
    said = Finished(outcome="failed", reason=Reason.DIVERGED, message="Training diverged.")
    assert end_record(Facts(causes=frozenset({Cause.NODE}), finished=said, exit_code=1, node=OOM)) == said


def test_nodes_meet_at_the_address_that_reaches_the_api_and_at_a_free_port(settings):
    found = Gang(node=0, nodes=2, endpoint=endpoint(settings(api_url="http://127.0.0.1:8000"))).endpoint
    host, port = found.split(":")
    assert host == "127.0.0.1"
    with socket.socket() as probe:
        probe.bind((host, int(port)))


@pytest.mark.parametrize(
    ("address", "shown"), [("10.0.0.7", "10.0.0.7:"), ("fd00::7", "[fd00::7]:"), ("gpu-1", "gpu-1:")]
)
def test_nodes_meet_at_the_address_that_is_set(settings, address, shown):
    assert endpoint(settings(address=address)).startswith(shown)


def test_a_worker_without_a_way_to_the_api_offers_no_meeting_place(settings):
    assert endpoint(settings(api_url="http://no-such-host.invalid:8000")) is None


@pytest.mark.parametrize(
    ("resources", "batch", "pointer"),
    [
        ({"nodes": 0}, 32, "nodes"),
        ({"nodes": 2, "min_nodes": 3}, 32, "/resources/min_nodes"),
        ({"nodes": 3}, 32, "/training/batch_size"),
        ({"nodes": 4, "min_nodes": 3}, 32, "/training/batch_size"),
        ({"nodes": 4, "devices": 2}, 12, "/training/batch_size"),
    ],
)
def test_nodes_that_cannot_share_a_batch_are_refused_by_field(resources, batch, pointer):
    with pytest.raises(ValidationError) as refused:
        spec(batch, **resources)
    (error,) = refused.value.errors()
    assert pointer in (error.get("ctx", {}).get("pointer"), *error["loc"])


def test_a_job_may_run_on_every_number_of_nodes_that_divides_its_batches():
    assert spec(32, nodes=8, min_nodes=2).node_counts == [2, 4, 8]
    assert spec(32, nodes=4).node_counts == [4]


def spec(batch, **resources):
    return JobSpec.model_validate(
        {
            "model": {"name": "resnet8"},
            "dataset": {"name": "digits"},
            "precision": {"schedule": "cosine", "cycles": 2},
            "training": {"steps": 20, "batch_size": batch},
            "evaluation": {"batch_size": batch},
            "resources": resources,
        }
    )
