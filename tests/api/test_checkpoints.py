"""Checkpoints: listed while they are kept, downloaded in full and in part, deleted when newer ones replace them."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import load

from api.checkpoints.models import CheckpointRow
from api.deps import Services
from api.files.service import FileSweeper
from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import ended
from tests.api.jobs import Attempt, model, stored


def services(client: TestClient) -> Services:
    found: Services = client.app.state.services  # type: ignore[attr-defined]
    return found


def sweep(client: TestClient) -> None:
    FileSweeper(services(client).database, services(client).storage).tick()


def steps(attempt: Attempt) -> list[tuple[str, int]]:
    return [(item["kind"], item["step"]) for item in attempt.get("checkpoints").json()["data"]]


@pytest.fixture
def attempt(client: TestClient, claim: Claim, storage_url: str) -> Attempt:
    return Attempt(client, claim, storage_url, checkpoint={"keep_last": 2, "keep_best": True})


class TestList:
    def test_the_last_ones_and_the_best_are_listed_newest_first(self, attempt: Attempt) -> None:
        attempt.save(4)
        attempt.save(5, best=True)
        for step in (8, 12):
            attempt.save(step)
        attempt.save(13, best=True)
        assert steps(attempt) == [("best", 13), ("regular", 12), ("regular", 8)]

    def test_superseded_ones_are_deleted_from_the_storage_and_the_kept_ones_not(self, attempt: Attempt) -> None:
        paths = [attempt.save(step).path for step in (4, 8, 12)]
        best = attempt.save(13, best=True).path
        sweep(attempt.client)
        there = [stored(attempt.storage_url, f"{path}/manifest.json") for path in (*paths, best)]
        assert there == [False, True, True, True]

    def test_all_of_one_append_are_registered(self, attempt: Attempt) -> None:
        attempt.report(*(attempt.save(step, report=False) for step in (4, 8)))
        assert steps(attempt) == [("regular", 8), ("regular", 4)]

    def test_earlier_attempts_lose_theirs_once_the_next_has_enough_of_its_own(
        self, attempt: Attempt, claim: Claim
    ) -> None:
        old = [attempt.save(step).path for step in (4, 8)]
        never_registered = attempt.save(10, report=False).path
        attempt.report(ended("preempted", "preempted"))
        second = Attempt(attempt.client, claim, attempt.storage_url, "b")
        second.save(12)
        sweep(attempt.client)
        assert steps(second) == [("regular", 12), ("regular", 8), ("regular", 4)]
        second.save(16)
        sweep(attempt.client)
        assert steps(second) == [("regular", 16), ("regular", 12)]
        assert not any(stored(attempt.storage_url, f"{path}/manifest.json") for path in (*old, never_registered))

    def test_the_list_comes_in_pages(self, attempt: Attempt) -> None:
        for step in (4, 8):
            attempt.save(step)
        first = attempt.get("checkpoints", params={"limit": 1}).json()
        second = attempt.get("checkpoints", params={"limit": 1, "cursor": first["next_cursor"]}).json()
        assert [page["data"][0]["step"] for page in (first, second)] == [8, 4]
        assert (first["has_more"], second["has_more"]) == (True, False)

    def test_one_in_a_folder_of_another_job_is_not_listed_and_so_neither_served_nor_deleted(
        self, attempt: Attempt
    ) -> None:
        foreign = attempt.save(4, report=False).model_copy(update={"path": "checkpoints/job_other/1/step-00000004"})
        outside = foreign.model_copy(update={"path": f"checkpoints/{attempt.job_id}/../../../etc"})
        attempt.report(foreign, outside)
        assert steps(attempt) == []

    def test_another_projects_job_has_none(self, attempt: Attempt) -> None:
        answer = attempt.client.get(f"/v1/jobs/job_{'0' * 24}/checkpoints")
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


class TestDownload:
    @pytest.fixture
    def storage_url(self, any_storage: str) -> str:
        return any_storage

    def fetch(self, attempt: Attempt, path: str, **headers: str) -> httpx.Response:
        """The answer, from the API or from where it redirects to."""
        answer = attempt.get(path, headers=headers, follow_redirects=False)
        if answer.status_code != 307:
            return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)
        assert attempt.storage_url.startswith("s3://")
        return httpx.get(answer.headers["location"], headers=headers, trust_env=False)

    def test_a_checkpoint_names_its_files_and_each_is_sent_as_it_is(self, attempt: Attempt) -> None:
        attempt.save(4)
        (item,) = attempt.get("checkpoints").json()["data"]
        detail = attempt.get(f"checkpoints/{item['id']}").json()
        names = [file["name"] for file in detail["files"]]
        assert names == ["model.safetensors", "optimizer.safetensors", "manifest.json"]
        for file in detail["files"]:
            content = self.fetch(attempt, f"checkpoints/{item['id']}/files/{file['name']}").content
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])

    def test_a_part_is_sent(self, attempt: Attempt) -> None:
        attempt.save(4)
        (item,) = attempt.get("checkpoints").json()["data"]
        path, whole = f"checkpoints/{item['id']}/weights", model(4)
        for asked, expected in (("bytes=8-15", whole[8:16]), ("bytes=-5", whole[-5:]), ("bytes=9-", whole[9:])):
            answer = self.fetch(attempt, path, Range=asked)
            assert (answer.status_code, answer.content) == (206, expected)

    def test_the_weights_are_one_safetensors_file(self, attempt: Attempt) -> None:
        attempt.save(4)
        (item,) = attempt.get("checkpoints").json()["data"]
        found = load(self.fetch(attempt, f"checkpoints/{item['id']}/weights").content)
        assert {name: float(tensor[0, 0]) for name, tensor in found.items()} == {"fc.weight": 4.0, "bn.mean": 4.0}

    def test_a_file_that_is_gone_from_the_storage_is_told_so(self, attempt: Attempt) -> None:
        path = attempt.save(4).path
        (item,) = attempt.get("checkpoints").json()["data"]
        services(attempt.client).storage.delete(path)
        answer = attempt.get(f"checkpoints/{item['id']}/weights")
        assert (answer.status_code, answer.json()["code"]) == (404, "file_missing")


def only(attempt: Attempt) -> str:
    (item,) = attempt.get("checkpoints").json()["data"]
    return f"checkpoints/{item['id']}"


def test_averaged_weights_are_exported_where_all_of_them_are_there(attempt: Attempt) -> None:
    attempt.save(4, averaged=model(9))
    assert attempt.get(f"{only(attempt)}/weights").content == model(9)


def test_averaged_parameters_without_their_statistics_are_not(attempt: Attempt) -> None:
    attempt.save(4, averaged=model(9, "fc.weight"))
    assert attempt.get(f"{only(attempt)}/weights").content == model(4)


def test_headers_say_what_a_client_can_go_on_with(attempt: Attempt) -> None:
    attempt.save(4)
    path, whole = f"{only(attempt)}/weights", model(4)
    full = attempt.get(path)
    etag = full.headers["etag"]
    assert etag == f'"{hashlib.sha256(whole).hexdigest()}"'
    assert full.headers["accept-ranges"] == "bytes"
    assert full.headers["content-length"] == str(len(whole))
    assert attempt.get(path, headers={"If-None-Match": f'"x", {etag}'}).status_code == 304
    part = {"Range": "bytes=1-3"}
    assert attempt.get(path, headers=part).headers["content-range"] == f"bytes 1-3/{len(whole)}"
    assert attempt.get(path, headers={**part, "If-Range": etag}).content == whole[1:4]
    assert attempt.get(path, headers={**part, "If-Range": '"older"'}).content == whole
    head = attempt.client.head(f"/v1/jobs/{attempt.job_id}/{path}")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)
    beyond = attempt.get(path, headers={"Range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    assert beyond.json()["errors"][0]["parameter"] == "Range"


@pytest.mark.parametrize("asked", ["bytes=3-1", "bytes=-", "lines=1-2", "bytes=0-1,4-5", f"bytes={'9' * 40}-"])
def test_a_range_that_is_none_is_answered_with_the_whole(attempt: Attempt, asked: str) -> None:
    attempt.save(4)
    assert attempt.get(f"{only(attempt)}/weights", headers={"Range": asked}).content == model(4)


@pytest.mark.parametrize("name", ["other.safetensors", "..%2f..%2fsecret", "%2e%2e", "model.bin"])
def test_only_files_of_the_manifest_have_names(attempt: Attempt, name: str) -> None:
    attempt.save(4)
    assert attempt.get(f"{only(attempt)}/files/{name}").status_code in (404, 422)


def test_a_manifest_that_was_replaced_is_refused(attempt: Attempt) -> None:
    path = attempt.save(4).path
    manifest = Path(attempt.storage_url, path, "manifest.json")
    manifest.write_text(manifest.read_text() + " ")
    answer = attempt.get(f"{only(attempt)}/weights")
    assert (answer.status_code, answer.json()["code"]) == (409, "checkpoint_damaged")


def test_an_object_store_can_be_hidden_behind_the_api(attempt: Attempt) -> None:
    services(attempt.client).settings.__dict__["storage_downloads"] = "proxy"
    attempt.save(4)
    answer = attempt.get(f"{only(attempt)}/weights", follow_redirects=False)
    assert (answer.status_code, answer.content) == (200, model(4))


class TestDeletion:
    """What deleting a job asks of this part: rows first, then files."""

    @pytest.fixture
    def storage_url(self, any_storage: str) -> str:
        return any_storage

    def test_all_files_of_a_deleted_job_go(self, attempt: Attempt) -> None:
        paths = [attempt.save(4).path, attempt.save(5, best=True).path]
        attempt.log(0, b"line\n")
        attempt.report(ended("failed", "diverged"))
        assert attempt.client.delete(f"/v1/jobs/{attempt.job_id}").status_code == 204
        assert all(stored(attempt.storage_url, f"{path}/manifest.json") for path in paths)
        sweep(attempt.client)
        assert not any(stored(attempt.storage_url, f"{path}/manifest.json") for path in paths)
        with services(attempt.client).database.read() as session:
            assert session.query(CheckpointRow).count() == 0

    def test_they_stay_as_long_as_a_retry_starts_from_them(self, attempt: Attempt, claim: Claim) -> None:
        client, path = attempt.client, attempt.save(4).path
        attempt.report(ended("failed", "diverged"))
        second = client.post(f"/v1/jobs/{attempt.job_id}/retry").json()["id"]
        client.post(f"/v1/jobs/{second}/cancel")
        third = client.post(f"/v1/jobs/{second}/retry").json()["id"]
        for job in (attempt.job_id, second):
            client.delete(f"/v1/jobs/{job}")
        sweep(client)
        assert stored(attempt.storage_url, f"{path}/manifest.json"), "the third starts from the first's"
        last = Attempt(client, claim, attempt.storage_url, "b")
        assert last.job_id == third
        assert last.assignment["resume"]["path"] == path
        last.save(5)
        sweep(client)
        assert not stored(attempt.storage_url, f"{path}/manifest.json"), "it has one of its own now"


def test_a_deletion_that_the_storage_refuses_is_tried_again(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("api.files.service.RETRY", timedelta(minutes=-1))
    path = attempt.save(4).path
    root = Path(attempt.storage_url)
    attempt.report(ended("failed", "diverged"))
    attempt.client.delete(f"/v1/jobs/{attempt.job_id}")
    (root / "checkpoints").rename(tmp_path / "away")
    (root / "checkpoints").symlink_to(tmp_path / "away")  # leads out of the root: refused
    sweep(attempt.client)
    assert (tmp_path / "away" / attempt.job_id).exists()
    (root / "checkpoints").unlink()
    (tmp_path / "away").rename(root / "checkpoints")
    sweep(attempt.client)
    assert not stored(attempt.storage_url, f"{path}/manifest.json")


def test_a_stale_attempt_registers_nothing(attempt: Attempt, claim: Claim) -> None:
    late = attempt.save(4, report=False)
    attempt.report(ended("preempted", "preempted"))
    second = Attempt(attempt.client, claim, attempt.storage_url, "b")
    assert append(attempt.client, attempt.assignment, 3, [late]).status_code == 409
    assert steps(second) == []


class TestDamage:
    """An attempt ends since its checkpoint is not what was registered: the next goes on from the one before it."""

    def attempts(self, client: TestClient, claim: Claim, storage_url: str, steps: tuple[int, ...]) -> Attempt:
        first = Attempt(client, claim, storage_url)
        for step in steps:
            first.save(step)
        first.report(ended("preempted", "preempted"))
        second = claim("b")
        assert second is not None
        assert second["resume"]["step"] == steps[-1]
        answer = append(client, second, 1, [ended("failed", "checkpoint_damaged", "model.safetensors is damaged")])
        assert answer.status_code == 200, answer.text
        return first

    def test_the_next_attempt_goes_on_from_the_checkpoint_before(
        self, client: TestClient, claim: Claim, storage_url: str
    ) -> None:
        first = self.attempts(client, claim, storage_url, (4, 8))
        job = client.get(f"/v1/jobs/{first.job_id}").json()
        assert (job["state"], job["reason"], job["checkpoint"]["step"]) == ("queued", "checkpoint_damaged", 4)
        assert "damaged" in job["message"]
        third = claim("c")
        assert third is not None
        assert third["resume"]["step"] == 4
        assert third["resume"]["path"].endswith("step-00000004")
        assert steps(first) == [("regular", 4)]

    def test_without_one_before_it_begins_anew(self, client: TestClient, claim: Claim, storage_url: str) -> None:
        self.attempts(client, claim, storage_url, (4,))
        third = claim("c")
        assert third is not None
        assert third["resume"] is None

    def test_a_retry_falls_back_among_the_files_of_the_job_it_tries_again(
        self, client: TestClient, claim: Claim, storage_url: str
    ) -> None:
        first = Attempt(client, claim, storage_url)
        for step in (4, 8):
            first.save(step)
        first.report(ended("cancelled", "user"))
        client.post(f"/v1/jobs/{first.job_id}/retry").raise_for_status()
        second = claim("b")
        assert second is not None
        assert second["resume"]["step"] == 8
        append(client, second, 1, [ended("failed", "checkpoint_damaged", "it is damaged")])
        third = claim("c")
        assert third is not None
        assert (third["resume"]["step"], first.job_id in third["resume"]["path"]) == (4, True)

    def test_damage_three_times_in_a_row_ends_the_job_like_any_failure(
        self, client: TestClient, claim: Claim, storage_url: str
    ) -> None:
        first = self.attempts(client, claim, storage_url, (4, 8, 12, 16))
        for letter in "cd":
            again = claim(letter)
            assert again is not None
            append(client, again, 1, [ended("failed", "checkpoint_damaged", "it is damaged")])
        assert client.get(f"/v1/jobs/{first.job_id}").json()["state"] == "failed"
