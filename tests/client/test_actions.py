"""What can be done with a job, from Python and from the command line."""

from __future__ import annotations

import json

import httpx
import pytest

from cpt_client import Client, CptError
from tests.client.conftest import Agent, Api, checkpoint, failed, started, submit
from tests.client.test_cli import cpt


def test_a_job_is_paused_and_resumed(api: Api, client: Client) -> None:
    job = submit(client, "pause")
    assert client.pause(job.id).state == "paused"
    assert client.get(job.id).actions == ["resume", "cancel", "clone"]
    assert client.resume(job.id).state == "queued"
    assert "cpt resume" in cpt("pause", job.id, url=api.url).stdout
    assert cpt("resume", job.id, url=api.url).stdout == f"{job.id} is queued in queue pause\n"


def test_pausing_a_running_job_says_that_it_saves_first(api: Api, client: Client) -> None:
    job = submit(client, "pause-running")
    Agent(api, "pause-running").report(started())
    assert f"{job.id} saves a checkpoint" in cpt("pause", job.id, url=api.url).stdout
    assert json.loads(cpt("pause", job.id, "--json", url=api.url).stdout)["pause_requested"] is True


def test_a_failed_job_is_retried_from_its_checkpoint_or_from_the_start(api: Api, client: Client) -> None:
    job = submit(client, "retry")
    Agent(api, "retry").report(started(), checkpoint(f"checkpoints/{job.id}/1/20"), failed())
    again = client.retry(job.id)
    assert (again.retry_of, again.checkpoint is not None) == (job.id, True)
    assert client.retry(job.id, start="start").checkpoint is None
    assert client.retry(job.id, idempotency_key="k").id == client.retry(job.id, idempotency_key="k").id
    done = cpt("retry", job.id, "--from", "checkpoint", "--json", url=api.url)
    assert json.loads(done.stdout)["retry_of"] == job.id


def test_what_a_state_does_not_allow_is_refused_in_a_sentence(api: Api, client: Client) -> None:
    job = submit(client, "refused")
    with pytest.raises(CptError) as caught:
        client.retry(job.id)
    assert (caught.value.status, caught.value.code) == (409, "illegal_state")
    done = cpt("delete", "--yes", job.id, url=api.url)
    assert done.returncode == 2
    assert "the job is queued" in done.stderr


def test_a_clone_has_the_changes_asked_for(api: Api, client: Client) -> None:
    job = submit(client, "clone")
    clone = client.clone(job.id, {"training": {"seed": 5}})
    assert clone.spec["training"] == job.spec["training"] | {"seed": 5}
    done = cpt("clone", job.id, "--set", "training.seed=6", "--set", "name=other", "--json", url=api.url)
    spec = json.loads(done.stdout)["spec"]
    assert (spec["training"]["seed"], spec["name"]) == (6, "other")


@pytest.mark.parametrize("change", ["training.seed", "=3", "training..seed=3", "name=[", "training.seed.x=1"])
def test_a_bad_change_is_named(api: Api, client: Client, change: str) -> None:
    job = submit(client, "bad-clone")
    done = cpt("clone", job.id, "--set", "training.seed=1", "--set", change, url=api.url)
    assert (done.returncode, done.stdout) == (2, "")
    assert repr(change) in done.stderr


def test_an_archived_job_is_listed_apart_and_a_deleted_one_nowhere(api: Api, client: Client) -> None:
    job = client.cancel(submit(client, "archive").id)
    assert "is archived" in cpt("archive", job.id, url=api.url).stdout
    assert list(client.list(queue="archive")) == []
    assert [found.id for found in client.list(queue="archive", archived=True)] == [job.id]
    assert job.id in cpt("list", "--archived", url=api.url).stdout
    cpt("archive", "--undo", job.id, url=api.url)
    assert [found.id for found in client.list(queue="archive")] == [job.id]
    assert cpt("delete", job.id, url=api.url).returncode == 1, "nobody answered whether to"
    assert cpt("delete", "--yes", job.id, url=api.url).stdout == f"{job.id} is deleted\n"
    with pytest.raises(CptError):
        client.get(job.id)
    client.delete(job.id)


def test_queues_and_workers_are_listed(api: Api, client: Client) -> None:
    submit(client, "fleet")
    said = {"worker": "[b]w[/b]", "version": "1", "queues": ["fleet"], "device": "cpu", "slots": 2, "devices": 4}
    headers = {"Authorization": f"Bearer {api.token}"}
    httpx.post(f"{api.url}/v1/agent/workers", json=said | {"labels": ["eu"]}, headers=headers, trust_env=False)
    (queue,) = [queue for queue in client.queues() if queue.name == "fleet"]
    assert (queue.queued, queue.workers) == (1, 1)
    (worker,) = client.workers()
    assert (worker.online, worker.labels) == (True, ["eu"])
    assert "fleet" in cpt("queues", url=api.url).stdout
    assert "[b]w[/b]" in cpt("workers", url=api.url).stdout
    assert json.loads(cpt("workers", "--json", url=api.url).stdout)["busy"] == 0
