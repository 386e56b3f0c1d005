"""Following a job over a network that fails: nothing is missed, nothing comes twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from cpt_client import Client, CptError
from cpt_client.embedded.stack import free_port
from cpt_client.models import Event
from tests.client.conftest import (
    Agent,
    Api,
    BadNetwork,
    run_to_success,
    started,
    submit,
    succeeded,
    wait_for,
)


def stored(client: Client, job_id: str) -> list[Event]:
    rows = [*client.events(job_id), *client.metrics(job_id)]
    return sorted(rows, key=lambda event: event.id)


def test_a_finished_job_streams_its_whole_log_and_ends(client: Client, api: Api) -> None:
    job = run_to_success(client, api, "finished")
    seen = list(client.stream(job.id))
    assert [event.model_dump() for event in seen] == [event.model_dump() for event in stored(client, job.id)]
    assert seen[-1].type == "state"
    assert seen[-1].fields["state"] == "succeeded"


def test_a_stream_begins_behind_the_given_event(client: Client, api: Api) -> None:
    job = run_to_success(client, api, "after")
    every = [event.id for event in client.stream(job.id)]
    assert [event.id for event in client.stream(job.id, after=every[7])] == every[8:]


@pytest.mark.parametrize("seed", range(3))
def test_connections_cut_anywhere_lose_and_repeat_nothing(
    seed: int, client: Client, api: Api, bad_network: Callable[..., BadNetwork]
) -> None:
    job = run_to_success(client, api, f"cut-{seed}")
    chance = random.Random(seed)
    network = bad_network(0, *(chance.randint(500, 3000) for _ in range(4)), 100)
    lost: list[CptError] = []
    with Client(network.url) as unlucky:
        seen = [event.id for event in unlucky.stream(job.id, on_disconnect=lost.append)]
    assert seen == [event.id for event in stored(client, job.id)]
    assert network.connections >= 4
    assert {error.code for error in lost} == {"unreachable"}


def test_a_stream_survives_the_death_of_the_api(client: Client, api: Api) -> None:
    job = submit(client, "death")
    agent = Agent(api, "death")
    agent.report(started())
    agent.train(0, 10)
    seen: list[Event] = []
    follower = threading.Thread(target=lambda: seen.extend(client.stream(job.id)), daemon=True)
    follower.start()
    wait_for(lambda: len(seen) >= 12, "the first steps arrive")
    api.kill()
    api.start()
    agent.train(10, 20)
    agent.report(succeeded("checkpoints/x"))
    follower.join(timeout=60)
    assert not follower.is_alive()
    assert [event.id for event in seen] == [event.id for event in stored(client, job.id)]


def test_a_stream_gives_up_when_nobody_answers_for_too_long() -> None:
    with Client(f"http://127.0.0.1:{free_port(0)}") as client, pytest.raises(CptError) as caught:
        list(client.stream("job_" + "0" * 24, patience=0.3))
    assert caught.value.code == "unreachable"


def test_an_unknown_job_is_refused_not_retried(client: Client) -> None:
    with pytest.raises(CptError) as caught:
        list(client.stream("job_" + "0" * 24))
    assert caught.value.status == 404
