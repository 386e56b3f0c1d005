"""Logs: each byte once, tailed and followed while they grow, whole in the storage when the attempt is over."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from api.deps import Services
from api.logs.archive import LogArchiver
from api.logs.lines import LONGEST_LINE, Piece, Splitter, tail_start
from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import ended, run_to_the_end, spec_document
from tests.api.jobs import Attempt
from tests.worker.waiting import until


def services(client: TestClient) -> Services:
    found: Services = client.app.state.services  # type: ignore[attr-defined]
    return found


def archive(attempt: Attempt) -> None:
    found = services(attempt.client)
    LogArchiver(found.database, found.storage, rest=timedelta(seconds=-60)).tick()


@pytest.fixture
def attempt(client: TestClient, claim: Claim, storage_url: str) -> Attempt:
    return Attempt(client, claim, storage_url, resources={"devices": 2})


def text(attempt: Attempt, /, **params: Any) -> str:
    answer = attempt.get("logs", params=params)
    assert answer.status_code == 200, answer.text
    return answer.text


class TestAppending:
    def test_pieces_are_put_together_for_each_rank(self, attempt: Attempt) -> None:
        assert attempt.log(0, b"one\ntw").json() == {"size": 6}
        assert attempt.log(6, b"o\n").json() == {"size": 8}
        attempt.log(0, b"other\n", rank=1)
        attempt.log(0, b"launching\n", rank=-1)
        assert [text(attempt, rank=rank) for rank in (0, 1, -1)] == ["one\ntwo\n", "other\n", "launching\n"]

    def test_what_is_sent_again_is_stored_once(self, attempt: Attempt) -> None:
        attempt.log(0, b"one\n")
        assert attempt.log(0, b"one\n").json() == {"size": 4}
        assert attempt.log(2, b"e\ntwo\n").json() == {"size": 8}
        assert text(attempt) == "one\ntwo\n"

    def test_a_gap_is_refused_with_what_is_there(self, attempt: Attempt) -> None:
        attempt.log(0, b"one\n")
        answer = attempt.log(9, b"three\n")
        assert (answer.status_code, answer.json()["code"], answer.json()["size"]) == (409, "log_gap", 4)

    def test_brackets_are_no_json(self, attempt: Attempt) -> None:
        assert attempt.log(0, b"[" * 5000).status_code == 200

    def test_a_wrong_token_and_a_rank_that_the_job_has_not_are_refused(self, attempt: Attempt) -> None:
        assert attempt.log(0, b"x", token="another").status_code == 401
        answer = attempt.log(0, b"x", rank=2)
        assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "rank")

    def test_an_attempt_that_lost_its_job_may_tell_its_last_words(self, attempt: Attempt, claim: Claim) -> None:
        attempt.report(ended("preempted", "preempted"))
        Attempt(attempt.client, claim, attempt.storage_url, "b")
        assert attempt.log(0, b"late\n").status_code == 200
        assert text(attempt, attempt=1) == "late\n"


LINES = [f"line {number} {'x' * (number % 50)}" for number in range(4000)]
WHOLE = "\n".join(LINES) + "\n"


@pytest.fixture(params=["in blocks", "in its file"])
def long(request: pytest.FixtureRequest, attempt: Attempt) -> Attempt:
    """An attempt that has printed a lot; in a second run it is over, and its log a file."""
    content = WHOLE.encode()
    for offset in range(0, len(content), 50_000):
        attempt.log(offset, content[offset : offset + 50_000])
    if request.param == "in its file":
        attempt.report(*run_to_the_end()[1:])
        archive(attempt)
        assert attempt.get("artifacts").json()["data"]
    return attempt


class TestReading:
    def test_all_of_it(self, long: Attempt) -> None:
        assert text(long) == WHOLE

    @pytest.mark.parametrize("tail", [0, 1, 7, 3000, 5000])
    def test_the_last_lines(self, long: Attempt, tail: int) -> None:
        assert text(long, tail=tail).splitlines() == LINES[max(0, len(LINES) - tail) :]

    def test_from_a_byte_on_as_json_lines(self, long: Attempt) -> None:
        answer = long.get("logs", headers={"Accept": "application/x-ndjson"})
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [line["line"] for line in lines] == LINES
        at = lines[1234]["next_offset"]
        rest = long.get("logs", params={"attempt": 1, "offset": at}, headers={"Accept": "application/x-ndjson"})
        assert [json.loads(line) for line in rest.text.splitlines()] == lines[1235:]

    def test_a_job_that_has_printed_nothing_has_an_empty_log(self, attempt: Attempt) -> None:
        assert text(attempt) == ""

    def test_what_is_no_text_is_sent_as_it_is_and_replaced_in_json(self, attempt: Attempt) -> None:
        attempt.log(0, b"\xff\xfe\n")
        assert attempt.get("logs").content == b"\xff\xfe\n"
        assert attempt.get("logs", headers={"Accept": "application/x-ndjson"}).json()["line"] == "\ufffd\ufffd"

    @pytest.mark.parametrize(
        ("params", "name"), [({"rank": 2}, "rank"), ({"attempt": 2}, "attempt"), ({"tail": -1}, "tail")]
    )
    def test_what_there_is_not_is_refused_by_name(self, attempt: Attempt, params: dict[str, int], name: str) -> None:
        answer = attempt.get("logs", params=params)
        assert answer.status_code == 422
        assert name in answer.json()["errors"][0]["parameter"]


def test_of_a_log_that_is_too_long_the_beginning_and_the_end_are_kept_and_it_says_so(attempt: Attempt) -> None:
    services(attempt.client).settings.__dict__["max_log_bytes"] = 128 * 1024
    sent = "".join(f"line {number:06d} {'y' * 80}\n" for number in range(10_000)).encode()
    for offset in range(0, len(sent), 100_000):
        attempt.log(offset, sent[offset : offset + 100_000])
    live = text(attempt)
    attempt.report(*run_to_the_end()[1:])
    archive(attempt)
    assert text(attempt) == live
    begin, _, end = live.partition("[")
    notice, _, end = end.partition("]\n")
    assert notice.endswith("bytes are left out here: of a long log the beginning and the end are kept")
    missing = int(notice.split()[0])
    begin = begin.removesuffix("\n") if not sent.startswith(begin.encode()) else begin
    assert sent.startswith(begin.encode())
    assert sent.endswith(end.encode())
    assert 48 * 1024 < len(begin) < 96 * 1024
    assert 48 * 1024 < len(end) < 96 * 1024
    assert len(begin) + missing + len(end) == len(sent)
    assert text(attempt, tail=3).encode() == b"".join(sent.splitlines(keepends=True)[-3:])


def follow(client: TestClient, job_id: str) -> tuple[list[str], threading.Thread]:
    """Follow a job's log in a thread, which ends with the log."""
    found: list[str] = []

    def run() -> None:
        found.append(client.get(f"/v1/jobs/{job_id}/logs", params={"follow": True}).text)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return found, thread


class TestFollowing:
    def test_it_goes_on_until_the_job_ends_through_all_attempts(self, attempt: Attempt, claim: Claim) -> None:
        attempt.log(0, b"before\n")
        found, thread = follow(attempt.client, attempt.job_id)
        attempt.log(7, b"first\nunfinished")
        attempt.report(ended("preempted", "preempted"))
        second = Attempt(attempt.client, claim, attempt.storage_url, "b")
        second.log(0, b"second\n")
        second.report(*run_to_the_end()[1:])
        thread.join(30)
        assert found == ["before\nfirst\nunfinished\nsecond\n"]


class TestEndsThatNoWorkerTells:
    """A follower is woken for them: here it looks for itself once an hour."""

    @pytest.fixture(autouse=True)
    def _patient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.hub.POLL_SECONDS", 3600.0)
        monkeypatch.setattr("api.hub.RECONNECT_SECONDS", 3600.0)  # each attempt to reach Redis wakes everybody

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"lease_seconds": 3.0, "sweep_seconds": 0.1}

    def wait_for_follower(self, client: TestClient) -> None:
        until(lambda: services(client).hub._waiting)

    def test_of_an_attempt_whose_worker_fell_silent(self, attempt: Attempt) -> None:
        attempt.log(0, b"last words\n")
        attempt.client.post(f"/v1/jobs/{attempt.job_id}/cancel")
        found, thread = follow(attempt.client, attempt.job_id)
        self.wait_for_follower(attempt.client)
        append(attempt.client, attempt.assignment, 2, [])  # the lease begins anew
        thread.join(30)
        assert found == ["last words\n"]
        assert attempt.client.get(f"/v1/jobs/{attempt.job_id}").json()["state"] == "cancelled"

    def test_of_a_job_that_is_cancelled_while_it_waits(self, client: TestClient) -> None:
        job_id = client.post("/v1/jobs", json=spec_document()).json()["id"]
        found, thread = follow(client, job_id)
        self.wait_for_follower(client)
        client.post(f"/v1/jobs/{job_id}/cancel")
        thread.join(30)
        assert found == [""]

    def test_of_a_job_that_waits_for_too_long(self, client: TestClient) -> None:
        job_id = client.post("/v1/jobs", json=spec_document(limits={"queue_timeout": 1})).json()["id"]
        found, thread = follow(client, job_id)
        thread.join(30)
        assert found == [""]
        assert client.get(f"/v1/jobs/{job_id}").json()["reason"] == "timeout"


def test_one_attempt_is_read_alone(attempt: Attempt, claim: Claim) -> None:
    attempt.log(0, b"first\n")
    attempt.report(ended("preempted", "preempted"))
    second = Attempt(attempt.client, claim, attempt.storage_url, "b")
    second.log(0, b"second\n")
    assert [text(second, attempt=1), text(second, attempt=2), text(second)] == ["first\n", "second\n", "second\n"]


class TestArtifacts:
    @pytest.fixture
    def storage_url(self, any_storage: str) -> str:
        return any_storage

    def test_the_logs_of_an_attempt_that_is_over_are_files(self, attempt: Attempt) -> None:
        for rank, content in ((-1, b"launching\n"), (0, b"zero\n"), (1, b"Fatal Python error: Aborted")):
            attempt.log(0, content, rank=rank)
        archive(attempt)
        assert attempt.get("artifacts").json()["data"] == []
        attempt.report(*run_to_the_end()[1:])
        archive(attempt)
        items = {item["name"]: item for item in attempt.get("artifacts").json()["data"]}
        assert sorted(items) == ["attempt-1/launcher.log", "attempt-1/rank-0.log", "attempt-1/rank-1.log"]
        crash = items["attempt-1/rank-1.log"]
        assert content_of(attempt, f"artifacts/{crash['id']}/content") == b"Fatal Python error: Aborted"
        assert text(attempt, rank=1) == "Fatal Python error: Aborted\n"
        assert attempt.log(0, b"more", rank=1).json()["code"] == "log_closed"

    def test_one_that_there_is_not_is_told_so(self, attempt: Attempt) -> None:
        answer = attempt.get(f"artifacts/art_{'0' * 24}/content")
        assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")


def content_of(attempt: Attempt, path: str) -> bytes:
    answer = attempt.get(path, follow_redirects=False)
    if answer.status_code == 307:
        return httpx2.get(answer.headers["location"]).content
    return answer.content


def test_a_log_that_the_storage_does_not_take_stays_readable(attempt: Attempt) -> None:
    Path(attempt.storage_url).write_text("no folder")
    attempt.log(0, b"one\n")
    attempt.report(*run_to_the_end()[1:])
    archive(attempt)
    assert text(attempt) == "one\n"
    Path(attempt.storage_url).unlink()
    archive(attempt)
    assert attempt.get("artifacts").json()["data"][0]["name"] == "attempt-1/rank-0.log"


def split(*pieces: Piece, start: int = 0) -> list[bytes]:
    splitter = Splitter(start)

    def lines() -> Iterator[bytes]:
        for piece in pieces:
            yield from (line.text for line in splitter.feed(piece))
        yield from (line.text for line in splitter.rest())

    return list(lines())


def test_lines_are_put_together_from_pieces_and_cut_when_they_never_end() -> None:
    assert split(Piece(0, b"a"), Piece(1, b"b\n\nc")) == [b"ab", b"", b"c"]
    assert [len(line) for line in split(Piece(0, b"x" * (2 * LONGEST_LINE + 5)))] == [LONGEST_LINE, LONGEST_LINE, 5]


def test_the_tail_of_an_output_without_a_last_line_end_counts_it_as_a_line() -> None:
    assert tail_start([Piece(4, b"c\nd"), Piece(0, b"a\nb\n")], 1) == 6
    assert tail_start([Piece(4, b"c\nd"), Piece(0, b"a\nb\n")], 3) == 2
    assert tail_start([Piece(4, b"c\nd\n"), Piece(0, b"a\nb\n")], 9) == 0
