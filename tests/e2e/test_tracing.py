"""One trace joins a client's request, the doorbell, the claim, and the training, through real processes of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from cpt_core.protocol import Assignment
from tests.e2e.collector import Collector, Span, named
from tests.e2e.stack import TOKEN, Stack, attempt_processes, spec, until

TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}


class Story:
    """What happened, as the collector and the logs tell it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.spans: list[Span] = [item for item in told["spans"] if item["trace"] == TRACE]

    def all(self, name: str) -> list[Span]:
        return named(self.spans, name)

    def one(self, name: str) -> Span:
        (found,) = self.all(name)
        return found


@pytest.fixture(scope="module")
def story(shared_tmp: Path) -> Story:
    """A traced job that is paused and resumed, and one while the collector is away; once a test run."""
    home = shared_tmp / "traced"
    with FileLock(shared_tmp / "traced.lock"):
        if not (home / "story.json").exists():
            home.mkdir(exist_ok=True)
            told = _tell(home)
            (home / "story.json").write_text(json.dumps(told))
    return Story(json.loads((home / "story.json").read_text()))


def _tell(home: Path) -> dict[str, Any]:
    collector = Collector()
    stack = Stack(home, f"sqlite:///{home}/cpt.db")
    stack.env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "CPT_LOG_FORMAT": "json",
        "CPT_SWEEP_SECONDS": "30",  # so that the doorbell that is heard is the request's
        "NO_PROXY": "127.0.0.1",
    }
    try:
        stack.start_all()
        # The worker looks for work when it starts; the second bell is taken when the look after the first is over.
        stack.ring(2)
        log = home / "worker.log"
        until(lambda: log.read_text().count("succeeded in") == 2, "the worker to wait for a doorbell")
        long = spec(steps=100_000, checkpoint=50_000, devices=1)
        answer = stack.http.post("/v1/jobs", json=long, headers=TRACEPARENT)
        job_id = answer.raise_for_status().json()["id"]
        stack.wait_for_step(job_id, 1)
        stack.http.post(f"/v1/jobs/{job_id}/pause")
        done = stack.wait_for_state(job_id, "paused")["progress"]["step"]
        stack.http.post(f"/v1/jobs/{job_id}/resume")
        stack.wait_for_step(job_id, done + 1, attempt=2)
        stack.http.post(f"/v1/jobs/{job_id}/cancel")
        stack.wait_for_state(job_id, "cancelled")
        elsewhere = stack.http.post(
            "/v1/jobs", json=spec(resources={"queue": "elsewhere", "devices": 1}), headers=TRACEPARENT
        ).json()
        claim = stack.http.post(
            "/v1/agent/claim",
            json={"claim_id": "0" * 32, "worker": "old", "queue": "elsewhere", "device": "cpu", "devices": 1},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        collector.wait_for("attempt", 2, TRACE)
        collector.wait_for("claim", 3, TRACE)

        collector.close()
        dark = stack.http.post("/v1/jobs", json=spec(steps=10, devices=1), headers=TRACEPARENT).json()["id"]
        stack.wait_for_state(dark, "succeeded")
        until(lambda: not attempt_processes(dark), "its processes to be gone", 20)
        return {
            "spans": collector.spans,
            "job": job_id,
            "elsewhere": elsewhere["id"],
            "claim": {"body": claim.json(), "traceparent": claim.headers["traceparent"]},
            "logs": {name: (home / f"{name}.log").read_text().splitlines() for name in ("api", "worker")},
        }
    finally:
        stack.close()


def test_the_request_goes_on_with_the_clients_trace(story: Story) -> None:
    request = next(item for item in story.all("POST /v1/jobs"))
    assert (request["parent"], request["kind"], request["service"]) == (CLIENT, "server", "cpt-api")


def test_the_doorbell_and_its_hearing_belong_to_the_request(story: Story) -> None:
    request = story.all("POST /v1/jobs")[0]
    sent = story.all("send cpt.default")[0]
    heard = story.all("process cpt.doorbell")[0]
    assert (sent["parent"], sent["kind"], sent["service"]) == (request["id"], "producer", "cpt-api")
    assert (heard["parent"], heard["kind"], heard["service"]) == (sent["id"], "consumer", "cpt-worker")
    asked = [item for item in story.all("POST /v1/agent/claim") if item["parent"] == heard["id"]]
    assert asked


def test_the_claim_belongs_to_the_submission_and_is_linked_with_the_request_for_it(story: Story) -> None:
    request, claim = story.all("POST /v1/jobs")[0], story.all("claim")[0]
    assert claim["parent"] == request["id"]
    assert claim["attributes"]["cpt.job"] == story.told["job"]
    assert set(claim["links"]) <= {item["id"] for item in story.all("POST /v1/agent/claim")}
    assert claim["links"]


def test_every_attempt_goes_on_from_its_claim_down_to_the_training(story: Story) -> None:
    claims = [item for item in story.all("claim") if item["attributes"]["cpt.job"] == story.told["job"]]
    attempts, trains = story.all("attempt"), story.all("train")
    assert [item["attributes"]["cpt.attempt"] for item in claims] == [1, 2]
    assert [item["parent"] for item in attempts] == [item["id"] for item in claims]
    assert [item["parent"] for item in trains] == [item["id"] for item in attempts]
    assert [item["attributes"]["cpt.outcome"] for item in attempts] == ["paused", "cancelled"]
    assert {item["service"] for item in attempts} == {"cpt-worker"}
    assert {item["service"] for item in trains} == {"cpt-training"}


def test_the_phases_of_training_are_spans_and_its_steps_are_none(story: Story) -> None:
    train = story.all("train")[1]
    inside = {item["name"]: item for item in story.spans if item["parent"] == train["id"]}
    assert set(inside) == {"build", "training"}
    built = {item["name"] for item in story.spans if item["parent"] == inside["build"]["id"]}
    assert built == {"data", "load checkpoint"}
    trained = [item["name"] for item in story.spans if item["parent"] == inside["training"]["id"]]
    assert set(trained) == {"checkpoint"}
    assert train["start"] <= inside["build"]["start"] <= inside["training"]["start"] <= train["end"]


def test_transactions_of_a_request_are_its_spans(story: Story) -> None:
    request = story.all("POST /v1/jobs")[0]
    assert [item["attributes"] for item in story.all("write") if item["parent"] == request["id"]] == [
        {"cpt.database": "sqlite"}
    ]


def test_what_nobody_asked_for_leaves_no_trace(story: Story) -> None:
    names = {item["name"] for item in story.told["spans"] if not item["parent"]}
    assert names <= {f"{method} /v1/jobs{rest}" for method in ("GET", "POST") for rest in _OWN_REQUESTS}


_OWN_REQUESTS = ("", "/{job_id}", "/{job_id}/pause", "/{job_id}/resume", "/{job_id}/cancel", "/{job_id}/events")


def test_a_worker_of_the_version_before_can_read_the_assignment(story: Story) -> None:
    """It refuses fields that it does not know, so the trace is in a header."""
    claim = story.told["claim"]
    known = {"job_id", "attempt", "token", "spec", "model_limits", "resume", "upload", "lease_seconds"}
    # "gang" is left out for a job of one node.
    assert set(claim["body"]) == known | {"running_seconds"} == set(Assignment.model_fields) - {"gang"}
    (made,) = (item for item in story.all("claim") if item["attributes"]["cpt.job"] == story.told["elsewhere"])
    assert claim["traceparent"] == f"00-{TRACE}-{made['id']}-01"


def test_log_lines_name_the_trace(story: Story) -> None:
    lines = [json.loads(line) for line in story.told["logs"]["worker"] if line.startswith("{")]
    ended = [line["trace_id"] for line in lines if line.get("job") == story.told["job"] and "ended" in line["message"]]
    assert ended == [TRACE] * 2


PROGRAM = """
import sys
from cpt_core import tracing
tracing.start("test")
print(tracing.is_on(), "opentelemetry.sdk" in sys.modules)
"""


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_nothing_is_loaded_unless_the_environment_says_where_traces_go(variables: dict[str, str], on: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | variables
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert told.split() == [str(on), str(on)]
