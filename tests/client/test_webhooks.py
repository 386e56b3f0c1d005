"""Webhooks by the Python client and the `cpt` command, and their receiver's side."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook as Signer

from cpt_client import Client, webhooks
from cpt_client.webhooks import SignatureError, verify
from tests.api.receiver import Receiver
from tests.client.conftest import Api, submit, wait_for
from tests.client.test_cli import cpt

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY = '{"id":"delivery_1","type":"ping","timestamp":"2030-01-01T00:00:00Z","data":{"object":"webhook","id":"w"}}'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


def signed(secret: str = SECRET, body: str = BODY, age: timedelta = timedelta()) -> dict[str, str]:
    at = datetime.now(UTC) - age
    return {
        "Webhook-Id": "delivery_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": Signer(secret).sign("delivery_1", at, body),
    }


def test_signatures_are_those_of_the_standard() -> None:
    """The example of the Standard Webhooks specification."""
    signer = Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, '{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("body", [BODY, BODY.encode()])
def test_what_is_signed_is_an_event(body: str | bytes) -> None:
    event = verify(body, signed(), SECRET)
    assert (event.id, event.type, event.data["id"]) == ("delivery_1", "ping", "w")


def test_one_of_several_secrets_is_enough() -> None:
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    assert verify(BODY, signed(), [other, SECRET]).type == "ping"


@pytest.mark.parametrize(
    ("body", "of"),
    [
        (BODY.replace("ping", "pong"), {}),
        (BODY, {"secret": "whsec_" + base64.b64encode(b"o" * 32).decode()}),
        (BODY, {"age": timedelta(minutes=6)}),
        (BODY, {"age": -timedelta(minutes=6)}),
        (b"\xff\xfe", {}),
        ("[]", {"body": "[]"}),
    ],
)
def test_what_is_signed_otherwise_is_refused(body: str | bytes, of: dict[str, Any]) -> None:
    with pytest.raises(SignatureError):
        verify(body, signed(**of), SECRET)


@pytest.mark.parametrize(
    "header",
    [
        {"Webhook-Signature": "nonsense"},
        {"Webhook-Signature": "v1,%%%"},
        {"Webhook-Signature": ""},
        {"Webhook-Timestamp": "soon"},
        {"Webhook-Id": "delivery_2"},
    ],
)
def test_headers_that_do_not_fit_are_refused(header: dict[str, str]) -> None:
    with pytest.raises(SignatureError):
        verify(BODY, signed() | header, SECRET)
    with pytest.raises(SignatureError):
        verify(BODY, {}, SECRET)


def test_a_webhook_from_registration_to_verified_event(client: Client, receiver: Receiver) -> None:
    hook = client.webhooks.create(receiver.url, events=["job.cancelled"])
    assert hook.secret is not None
    job = submit(client, "webhooks")
    client.cancel(job.id)
    wait_for(lambda: receiver.requests, "the event is delivered")
    [request] = receiver.requests
    event = webhooks.verify(request.body, request.headers, hook.secret)
    assert (event.type, event.data["id"]) == ("job.cancelled", job.id)
    wait_for(lambda: next(client.webhooks.deliveries(hook.id)).state == "succeeded", "it is recorded")
    assert client.webhooks.update(hook.id, enabled=False).enabled is False
    assert client.webhooks.get(hook.id).secret is None
    assert hook.id in [found.id for found in client.webhooks.list()]
    client.webhooks.delete(hook.id)
    assert hook.id not in [found.id for found in client.webhooks.list()]


def test_the_commands_of_a_webhook(api: Api, receiver: Receiver) -> None:
    made = cpt("webhooks", "add", receiver.url, "--event", "ping", url=api.url).stdout
    hook, secret = made.split()[0], re.search(r"whsec_\S+", made)
    assert secret
    pinged = cpt("webhooks", "ping", hook, url=api.url).stdout
    wait_for(lambda: receiver.requests, "the ping is delivered")
    request = receiver.requests[0]
    assert webhooks.verify(request.body, request.headers, secret[0]).id == pinged.split()[0]
    wait_for(lambda: "succeeded" in cpt("webhooks", "deliveries", hook, url=api.url).stdout, "it is recorded")
    assert f"{hook}  on   {receiver.url}  ping" in cpt("webhooks", "list", url=api.url).stdout
    assert "pending" in cpt("webhooks", "redeliver", hook, pinged.split()[0], url=api.url).stdout
    rotated = cpt("webhooks", "rotate-secret", hook, url=api.url).stdout
    assert "whsec_" in rotated
    assert secret[0] not in rotated
    assert cpt("webhooks", "remove", hook, url=api.url).returncode == 0
    refused = cpt("webhooks", "add", "https://10.0.0.1/", url=api.url)
    assert refused.returncode == 2
    assert "no public address" in refused.stderr
