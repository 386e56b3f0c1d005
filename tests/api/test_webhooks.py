"""Changes of state told to URLs: what is told, signed how, sent again when, and listed."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import func, select
from standardwebhooks import Webhook as Signer
from standardwebhooks import WebhookVerificationError

from api.app import create_app
from api.db import Database
from api.settings import ApiSettings
from api.webhooks.models import Delivery
from api.webhooks.sender import CLAIM, KEPT, Sender
from api.webhooks.targets import Targets
from tests.api.agent import append
from tests.api.conftest import AGENT_TOKEN, Claim
from tests.api.factories import checkpoint, ended, run_to_the_end, spec_document, started, step
from tests.api.receiver import Received, Receiver

LOOPBACK = [ip_network("127.0.0.0/8")]


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC) + timedelta(minutes=5)

    def __call__(self) -> datetime:
        return self.time

    def sleep(self, **duration: float) -> None:
        self.time += timedelta(**duration)


@pytest.fixture
def settings(database_url: str) -> ApiSettings:
    return ApiSettings(
        database_url=SecretStr(database_url),
        broker_url=SecretStr("redis://127.0.0.1:1/0"),
        agent_token=SecretStr(AGENT_TOKEN),
        webhook_networks=LOOPBACK,
        auth="off",
    )


@pytest.fixture
def client(settings: ApiSettings) -> Iterator[TestClient]:
    """Never started, so it has no senders of its own: tests send when they want to."""
    client = TestClient(create_app(settings), base_url="http://127.0.0.1")
    yield client
    client.app.state.services.database.close()  # type: ignore[attr-defined]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender(client: TestClient, clock: Clock) -> Sender:
    return Sender(database_of(client), Targets(LOOPBACK), clock=clock)


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    opened: list[Receiver] = []

    def make(*answers: int, **options: Any) -> Receiver:
        opened.append(Receiver(*answers, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def database_of(client: TestClient) -> Database:
    found: Database = client.app.state.services.database  # type: ignore[attr-defined]
    return found


def hook(client: TestClient, url: str, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/webhooks", json={"url": url} | body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def submit(client: TestClient) -> str:
    answer = client.post("/v1/jobs", json=spec_document(name="digits"))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def deliveries(client: TestClient, made: dict[str, Any], **params: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/webhooks/{made['id']}/deliveries", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def told(received: list[Received]) -> list[str]:
    return [json.loads(request.body)["type"] for request in received]


# --- what is told


def test_every_change_of_a_jobs_state_is_told_in_order(
    client: TestClient, claim: Claim, sender: Sender, receiver: Callable[..., Receiver]
) -> None:
    target = receiver()
    hook(client, target.url)
    job = submit(client)
    first = claim("a")
    assert first
    append(client, first, 1, [started(), step(0), ended("failed", "rank_failed")])
    second = claim("b")
    assert second
    append(client, second, 1, run_to_the_end())
    sender.drain()
    assert told(target.requests) == ["job.queued", "job.running", "job.queued", "job.running", "job.succeeded"]
    event = json.loads(target.requests[2].body)
    assert event["data"] == {
        "object": "job",
        "id": job,
        "name": "digits",
        "state": "queued",
        "previous": "running",
        "reason": "rank_failed",
        "message": "said so",
        "attempt": 1,
        "sweep": None,
    }
    assert event["timestamp"].endswith("Z")


def test_a_webhook_is_told_only_what_it_wants(
    client: TestClient, sender: Sender, receiver: Callable[..., Receiver]
) -> None:
    target, other = receiver(), receiver()
    hook(client, target.url, events=["job.cancelled", "job.failed"])
    job = submit(client)
    hook(client, other.url, job=job)
    client.post(f"/v1/jobs/{submit(client)}/cancel")
    client.post(f"/v1/jobs/{job}/cancel")
    sender.drain()
    assert told(target.requests) == ["job.cancelled", "job.cancelled"]
    assert [json.loads(request.body)["data"]["id"] for request in other.requests] == [job]


def test_the_end_of_a_sweep_is_told_once_after_its_last_member(
    client: TestClient, claim: Claim, sender: Sender, receiver: Callable[..., Receiver]
) -> None:
    target = receiver()
    hook(client, target.url, events=["sweep.finished"])
    body = {"spec": spec_document(), "grid": {"/training/seed": [0, 1]}, "name": "seeds"}
    sweep = client.post("/v1/sweeps", json=body).json()
    for name in "ab":
        sender.drain()
        assert target.requests == []
        assignment = claim(name)
        assert assignment
        append(client, assignment, 1, run_to_the_end())
    sender.drain()
    [request] = target.requests
    data = json.loads(request.body)["data"]
    assert (data["object"], data["id"], data["name"], data["state"]) == ("sweep", sweep["id"], "seeds", "succeeded")
    assert data["counts"]["succeeded"] == 2


def test_what_is_rolled_back_is_not_told(client: TestClient, claim: Claim) -> None:
    made = hook(client, "http://127.0.0.1:9/")
    submit(client)
    assignment = claim("a")
    assert assignment
    bad = [started(), step(3), step(1)]  # refused as a whole, `started` too
    assert append(client, assignment, 1, bad).status_code == 422
    assert [row["type"] for row in deliveries(client, made)] == ["job.queued"]


# --- how it is signed


def test_deliveries_are_signed_as_standard_webhooks_say(client: TestClient, receiver: Callable[..., Receiver]) -> None:
    target = receiver()
    made = hook(client, target.url)
    submit(client)
    Sender(database_of(client), Targets(LOOPBACK)).drain()
    [request] = target.requests
    event = Signer(made["secret"]).verify(request.body, request.headers)
    assert event["id"] == request.headers["webhook-id"] == deliveries(client, made)[0]["id"]
    assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Signer(made["secret"]).verify(request.body.replace(b"queued", b"failed"), request.headers)
    with pytest.raises(WebhookVerificationError):
        Signer("whsec_" + "A" * 44).verify(request.body, request.headers)


def test_the_secret_is_shown_once_and_never_logged(
    client: TestClient, sender: Sender, receiver: Callable[..., Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = hook(client, receiver(500).url)
    assert made["secret"].startswith("whsec_")
    submit(client)
    sender.drain()
    url = f"/v1/webhooks/{made['id']}"
    shown = [client.get(url), client.get("/v1/webhooks"), client.get(url + "/deliveries"), client.patch(url, json={})]
    assert all("whsec_" not in answer.text and answer.status_code == 200 for answer in shown)
    assert "answered 500" in caplog.text
    assert "whsec_" not in caplog.text
    assert "/hook" not in caplog.text  # URLs may hold secrets too


def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(
    client: TestClient, sender: Sender, clock: Clock, receiver: Callable[..., Receiver]
) -> None:
    target = receiver()
    made = hook(client, target.url)
    rotated = client.post(f"/v1/webhooks/{made['id']}/rotate-secret").json()
    assert rotated["secret"] != made["secret"]
    submit(client)
    sender.drain()
    clock.sleep(days=1, seconds=10)
    submit(client)
    sender.drain()
    during, after = target.requests
    assert len(during.headers["webhook-signature"].split()) == 2
    for secret in (made["secret"], rotated["secret"]):
        Signer(secret).verify(during.body, during.headers)
    assert len(after.headers["webhook-signature"].split()) == 1


# --- how often it is sent


def test_a_failed_delivery_is_sent_again_later_and_later_until_it_is_taken(
    client: TestClient, sender: Sender, clock: Clock, receiver: Callable[..., Receiver]
) -> None:
    target = receiver(500, 503, 404)
    made = hook(client, target.url)
    submit(client)
    for failures, (least, most) in enumerate([(2.5, 5), (10, 20), (40, 80)], start=1):
        sender.drain()
        assert len(target.requests) == failures
        clock.sleep(seconds=least - 0.1)
        sender.drain()
        assert len(target.requests) == failures, "too early"
        clock.sleep(seconds=most - least + 0.2)
    [waiting] = deliveries(client, made)
    assert (waiting["state"], waiting["attempts"], waiting["response_status"]) == ("pending", 3, 404)
    assert "404" in waiting["error"]
    sender.drain()
    [taken] = deliveries(client, made)
    assert (taken["state"], taken["attempts"], taken["error"]) == ("succeeded", 4, None)
    assert len({request.headers["webhook-id"] for request in target.requests}) == 1
    assert len({request.headers["webhook-timestamp"] for request in target.requests}) == 4
    sender.drain()
    assert len(target.requests) == 4


def test_a_delivery_is_given_up_after_ten_attempts_and_can_be_sent_again_by_hand(
    client: TestClient, sender: Sender, clock: Clock, receiver: Callable[..., Receiver]
) -> None:
    target = receiver(*[500] * 11)
    made = hook(client, target.url)
    submit(client)
    begun = clock.time
    for _ in range(20):
        sender.drain()
        clock.sleep(hours=6)
    [given_up] = deliveries(client, made, state="failed")
    assert (given_up["attempts"], given_up["next_attempt_at"], len(target.requests)) == (10, None, 10)
    url = f"/v1/webhooks/{made['id']}/deliveries/{given_up['id']}/redeliver"
    assert client.post(url).json()["state"] == "pending"
    for _ in range(2):  # the first is answered 500: this counts anew
        sender.drain()
        clock.sleep(seconds=5)
    [taken] = deliveries(client, made)
    assert (taken["state"], taken["attempts"]) == ("succeeded", 12)
    assert {request.headers["webhook-id"] for request in target.requests} == {given_up["id"]}
    assert begun < clock.time


def test_a_sender_that_dies_before_it_records_leaves_the_delivery_to_be_sent_again(
    client: TestClient, sender: Sender, clock: Clock, receiver: Callable[..., Receiver]
) -> None:
    target = receiver()
    made = hook(client, target.url)
    submit(client)
    lost = sender.claim()
    assert lost
    outcome = sender.send(lost)  # and dies
    other = Sender(database_of(client), Targets(LOOPBACK), clock=clock)
    other.drain()
    assert len(target.requests) == 1, "nobody else sends while the claim lasts"
    clock.time += CLAIM
    other.drain()
    first, second = target.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    [before] = deliveries(client, made)
    sender.record(lost, outcome)  # it was only slow: what it knows is out of date
    assert deliveries(client, made) == [before]
    assert (before["state"], before["attempts"]) == ("succeeded", 2)


def test_a_delivery_has_one_sender_at_a_time_and_so_has_a_webhook(
    client: TestClient, sender: Sender, receiver: Callable[..., Receiver]
) -> None:
    for _ in range(2):
        hook(client, receiver().url)
    submit(client)
    submit(client)
    claimed = [sender.claim() for _ in range(3)]
    assert claimed[2] is None
    assert claimed[0]
    assert claimed[1]
    assert claimed[0].webhook != claimed[1].webhook


def test_a_receiver_that_says_gone_is_left_alone(
    client: TestClient, sender: Sender, receiver: Callable[..., Receiver]
) -> None:
    target = receiver(410)
    made = hook(client, target.url)
    submit(client)
    sender.drain()
    assert deliveries(client, made)[0]["state"] == "failed"
    assert client.get(f"/v1/webhooks/{made['id']}").json()["enabled"] is False
    submit(client)
    sender.drain()
    assert len(target.requests) == len(deliveries(client, made)) == 1
    assert client.post(f"/v1/webhooks/{made['id']}/ping").json()["code"] == "webhook_disabled"


def test_a_running_server_sends_by_itself(settings: ApiSettings, receiver: Callable[..., Receiver]) -> None:
    target = receiver()
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as served:
        made = hook(served, target.url)
        ping = served.post(f"/v1/webhooks/{made['id']}/ping")
        assert (ping.status_code, ping.json()["type"]) == (202, "ping")
        deadline = datetime.now(UTC) + timedelta(seconds=60)
        while deliveries(served, made)[0]["state"] == "pending":
            assert datetime.now(UTC) < deadline
    assert told(target.requests) == ["ping"]


def test_old_deliveries_are_deleted(client: TestClient, sender: Sender, clock: Clock) -> None:
    made = hook(client, "http://127.0.0.1:9/", enabled=True)
    submit(client)
    client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": False})
    clock.time += KEPT - timedelta(hours=1)
    sender.drain()
    assert len(deliveries(client, made)) == 1
    clock.time += timedelta(hours=2)
    Sender(database_of(client), Targets(LOOPBACK), clock=clock).drain()
    assert deliveries(client, made) == []


# --- the resource


def test_a_webhook_is_shown_changed_listed_and_removed(client: TestClient) -> None:
    made = hook(client, "http://127.0.0.1:9/x", events=["ping"], description="mine")
    url = f"/v1/webhooks/{made['id']}"
    shown = client.get(url).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    changed = client.patch(url, json={"events": None, "enabled": False, "url": "http://127.0.0.2/y"}).json()
    assert changed == shown | {"events": None, "enabled": False, "url": "http://127.0.0.2/y"}
    assert client.get("/v1/webhooks").json()["data"] == [changed]
    submit(client)
    assert deliveries(client, made) == []
    assert client.delete(url).status_code == 204
    assert client.get(url).json()["code"] == "webhook_not_found"
    assert client.get("/v1/webhooks").json()["data"] == []


def test_deleting_a_webhook_deletes_its_deliveries(client: TestClient, sender: Sender) -> None:
    made = hook(client, "http://127.0.0.1:9/x")
    submit(client)
    claimed = sender.claim()
    assert claimed
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    sender.record(claimed, sender.send(claimed))
    assert sender.claim() is None


@pytest.mark.parametrize("answer", [204, 410, 500])
def test_a_webhook_deleted_while_it_is_being_told_leaves_nothing_behind_and_nobody_waiting(
    client: TestClient, sender: Sender, receiver: Callable[..., Receiver], answer: int
) -> None:
    other = receiver()
    going = receiver(answer, during=lambda: client.delete(f"/v1/webhooks/{made['id']}"))
    made, stays = hook(client, going.url), hook(client, other.url)
    submit(client)
    sender.drain()
    assert told(going.requests) == told(other.requests) == ["job.queued"]
    assert client.get(f"/v1/webhooks/{made['id']}").status_code == 404
    with database_of(client).read() as session:
        assert session.scalars(select(Delivery.state)).all() == ["succeeded"]
    submit(client)
    sender.drain()
    assert [row["state"] for row in deliveries(client, stays)] == ["succeeded"] * 2
    assert len(going.requests) == 1


def test_webhooks_may_go_while_senders_and_changes_of_jobs_are_busy_with_them(
    client: TestClient, clock: Clock, receiver: Callable[..., Receiver]
) -> None:
    target = receiver()
    stays = hook(client, target.url)
    over = threading.Event()

    def send() -> None:
        sender = Sender(database_of(client), Targets(LOOPBACK), clock=clock)
        while not over.wait(0.01):
            sender.drain()

    def come_and_go(_number: int) -> None:
        made = hook(client, target.url)
        submit(client)
        assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 204

    with ThreadPoolExecutor(5) as pool:
        senders = [pool.submit(send) for _ in range(2)]
        list(pool.map(come_and_go, range(12)))
        over.set()
        for done in senders:
            done.result(30)
    Sender(database_of(client), Targets(LOOPBACK), clock=clock).drain()
    assert [row["state"] for row in deliveries(client, stays)] == ["succeeded"] * 12
    with database_of(client).read() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 12


def test_deliveries_are_newest_first_paged_by_cursor_and_narrowed_by_state(
    client: TestClient, sender: Sender, receiver: Callable[..., Receiver]
) -> None:
    made = hook(client, receiver(500).url)
    for _ in range(3):
        submit(client)
    sender.drain()
    url = f"/v1/webhooks/{made['id']}/deliveries"
    page = client.get(url, params={"limit": 2}).json()
    rest = client.get(url, params={"cursor": page["next_cursor"]}).json()
    assert [row["state"] for row in page["data"] + rest["data"]] == ["succeeded", "succeeded", "pending"]
    assert len(deliveries(client, made, state="pending")) == 1


def test_unknown_webhooks_and_deliveries_are_404(client: TestClient) -> None:
    made = hook(client, "http://127.0.0.1:9/")
    unknown = "/v1/webhooks/webhook_" + "0" * 24
    answers = [
        client.get(unknown),
        client.patch(unknown, json={}),
        client.delete(unknown),
        client.post(unknown + "/ping"),
        client.post(unknown + "/rotate-secret"),
        client.get(unknown + "/deliveries"),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "webhook_not_found")] * 6
    answer = client.post(f"/v1/webhooks/{made['id']}/deliveries/delivery_{'0' * 24}/redeliver")
    assert (answer.status_code, answer.json()["code"]) == (404, "delivery_not_found")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": "ftp://example.com/"}, "/url"),
        ({"url": "https://user:password@127.0.0.1/"}, "/url"),
        ({"url": "https://127.0.0.1/#part"}, "/url"),
        ({"url": "https://"}, "/url"),
        ({"url": "http://127.0.0.1/", "events": ["job.exploded"]}, "/events/0"),
        ({"url": "http://127.0.0.1/", "events": []}, "/events"),
        ({"url": "http://127.0.0.1/", "colour": "red"}, "/colour"),
        ({"url": "http://127.0.0.1/", "job": "job_" + "0" * 24}, "/job"),
    ],
)
def test_a_bad_webhook_names_the_field(client: TestClient, body: dict[str, Any], pointer: str) -> None:
    answer = client.post("/v1/webhooks", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert client.get("/v1/webhooks").json()["data"] == []


def test_a_project_has_so_many_webhooks_at_most(client: TestClient) -> None:
    for _ in range(50):
        hook(client, "http://127.0.0.1:9/")
    refused = client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhooks")


def test_the_openapi_document_tells_what_is_sent(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    sent = document["webhooks"]["event"]["post"]
    assert sent["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/WebhookEvent")
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} == {item["name"] for item in sent["parameters"]}


def test_checkpoints_and_steps_are_not_told(client: TestClient, claim: Claim) -> None:
    made = hook(client, "http://127.0.0.1:9/")
    submit(client)
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, [started(), step(0), checkpoint(1)])
    assert [row["type"] for row in deliveries(client, made)] == ["job.running", "job.queued"]


def test_two_last_members_that_end_at_the_same_moment_tell_of_the_end_once(
    client: TestClient, claim: Claim, sender: Sender, receiver: Callable[..., Receiver]
) -> None:
    target = receiver()
    hook(client, target.url, events=["sweep.finished"])
    for turn in range(5):
        client.post("/v1/sweeps", json={"spec": spec_document(), "grid": {"/training/seed": [0, 1]}})
        assignments = [claim(name) for name in f"{2 * turn:x}{2 * turn + 1:x}"]
        gate = threading.Barrier(2)

        def train(assignment: dict[str, Any] | None, gate: threading.Barrier = gate) -> None:
            assert assignment
            gate.wait()
            append(client, assignment, 1, run_to_the_end())

        threads = [threading.Thread(target=train, args=(assignment,)) for assignment in assignments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sender.drain()
        assert len(target.requests) == turn + 1
