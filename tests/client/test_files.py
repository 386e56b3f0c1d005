"""Logs, checkpoints and datasets by the client and the `cpt` command, against a real API, over a bad network too."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from cpt_client import Client
from cpt_client.cli.app import app
from cpt_client.errors import CptError
from cpt_core.checkpoint.files import publish
from cpt_core.events import BestCheckpoint, Checkpoint
from cpt_core.spec import JobSpec
from cpt_core.storage import best_folder, checkpoint_folder
from tests.api.jobs import model
from tests.client.conftest import SPEC, Agent, Api, BadNetwork, started, submit, succeeded, wait_for
from tests.core.test_archives import zipped

Relay = Callable[..., BadNetwork]


class Run:
    """A job that an agent holds, with files."""

    def __init__(self, client: Client, api: Api, queue: str) -> None:
        self.api, self.id = api, submit(client, queue).id
        self.agent = Agent(api, queue)
        self.agent.report(started())
        self._printed = 0

    def print(self, content: bytes) -> None:
        assignment = self.agent.assignment
        url = f"{self.api.url}/v1/agent/jobs/{self.id}/attempts/1/logs/0"
        headers = {"Authorization": f"Bearer {assignment.token}", "Content-Type": "application/octet-stream"}
        reply = httpx.put(
            url, params={"offset": self._printed}, content=content, headers=headers, trust_env=False, timeout=30
        )
        self._printed = reply.json()["size"]

    def save(self, step: int, weights: bytes, *, best: bool = False) -> None:
        folder = best_folder(self.id) if best else checkpoint_folder(self.id, 1)
        spec = JobSpec.model_validate(SPEC)
        files = {"model.safetensors": weights}
        made = publish(str(self.api.storage), folder, step=step, world_size=1, spec=spec, files=files)
        fields = made.model_dump(exclude={"type"})
        self.agent.report(BestCheckpoint(**fields) if best else Checkpoint(**fields))

    def end(self) -> None:
        self.agent.report(succeeded("checkpoints/x"))


def cpt(api: Api, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--url", api.url])


@pytest.fixture
def run(client: Client, api: Api, request: pytest.FixtureRequest) -> Run:
    return Run(client, api, request.node.name.replace("_", "-")[:60])


def test_logs_are_printed_and_tailed_and_cannot_steer_the_terminal(run: Run, api: Api) -> None:
    run.print(b"one\ntwo\x1b[2J\nthree\n")
    assert cpt(api, "logs", run.id).stdout.splitlines()[0::2] == ["one", "three"]
    assert "\x1b" not in cpt(api, "logs", run.id).stdout
    assert cpt(api, "logs", run.id, "--tail", "1").stdout == "three\n"
    assert json.loads(cpt(api, "logs", run.id, "-n", "1", "--json").stdout)["line"] == "three"
    refused = cpt(api, "logs", run.id, "--rank", "5")
    assert (refused.exit_code, "rank" in refused.stderr) == (2, True)


def test_a_log_is_followed_over_a_bad_network_without_a_gap_or_a_repeat(run: Run, bad_network: Relay) -> None:
    lines = [f"line {number} {'x' * 60}" for number in range(500)]
    run.print("\n".join(lines).encode() + b"\n")
    run.end()
    relay = bad_network(3000, 3000, 20_000, 100, None)
    with Client(relay.url) as client:
        assert [line.line for line in client.logs(run.id, follow=True)] == lines
    assert relay.connections > 4


def test_checkpoints_are_listed_and_weights_downloaded(run: Run, api: Api, tmp_path: Path) -> None:
    run.save(4, model(4))
    run.save(3, model(3), best=True)
    listed = cpt(api, "checkpoints", run.id).stdout
    assert "regular" in listed
    assert "best" in listed
    for option, expected in (
        (["--output", str(tmp_path / "a")], model(4)),
        (["--best", "-o", str(tmp_path / "a")], model(3)),
    ):
        result = cpt(api, "download", run.id, *option)
        assert result.exit_code == 0, result.output
        assert (tmp_path / "a").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_download_goes_on_after_a_lost_connection(
    run: Run, client: Client, bad_network: Relay, tmp_path: Path
) -> None:
    weights = model(1, *(f"layer{number}" for number in range(2000)))
    run.save(4, weights)
    (item,) = client.checkpoints(run.id)
    relay = bad_network(60_000, 60_000, None)
    with Client(relay.url) as over_it:
        over_it.download_weights(run.id, item.id, tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == weights
    assert relay.connections == 3


def test_a_damaged_file_is_not_kept(run: Run, client: Client, api: Api, tmp_path: Path) -> None:
    run.save(4, model(4))
    (item,) = client.checkpoints(run.id)
    (path,) = api.storage.glob(f"checkpoints/{run.id}/1/*/model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CptError, match="damaged"):
        client.download_weights(run.id, item.id, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_uploaded_listed_and_deleted(api: Api, tmp_path: Path) -> None:
    archive = tmp_path / "words.zip"
    archive.write_bytes(zipped({"book.txt": b"in the beginning"}))
    assert "1 files" in cpt(api, "datasets", "upload", "words", archive).stdout
    assert json.loads(cpt(api, "datasets", "upload", "words", archive, "--json").stdout)["name"] == "words"
    assert "words" in cpt(api, "datasets", "list").stdout
    assert cpt(api, "datasets", "delete", "words").exit_code == 0
    assert "no datasets" in cpt(api, "datasets", "list").stdout
    missing = cpt(api, "datasets", "delete", "words")
    assert (missing.exit_code, "no dataset words" in missing.stderr) == (2, True)


def test_a_bad_archive_is_refused_with_its_reason(api: Api, tmp_path: Path) -> None:
    archive = tmp_path / "evil.zip"
    archive.write_bytes(zipped({"../evil": b"x"}))
    refused = cpt(api, "datasets", "upload", "evil", archive)
    assert (refused.exit_code, "leads out of the archive" in refused.stderr) == (2, True)
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"x")
    assert cpt(api, "datasets", "upload", "evil", picture).exit_code == 2
    assert cpt(api, "datasets", "upload", "evil", tmp_path / "nowhere.zip").exit_code == 2


def test_an_upload_that_is_cut_off_leaves_nothing(api: Api, client: Client) -> None:
    before = {path for path in api.storage.rglob("*") if path.is_file()}
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        head = "POST /v1/datasets?name=half HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/zip\r\n"
        connection.sendall(f"{head}Content-Length: 5000000\r\n\r\n".encode() + b"PK\x03\x04" + b"x" * 2_000_000)
        wait_for(lambda: _unnamed_files(api), "the upload to arrive")
    wait_for(lambda: not _unnamed_files(api), "the file without a name to be closed")
    assert "half" not in [dataset.name for dataset in client.datasets()]
    # Files of other tests may go meanwhile.
    assert {path for path in api.storage.rglob("*") if path.is_file()} <= before


def _unnamed_files(api: Api) -> list[str]:
    """Temporary files that the API has opened itself: its output is pytest's."""
    names = []
    for link in Path(f"/proc/{api.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            names += [str(link.readlink())] if int(link.name) > 2 else []
    return [name for name in names if name.startswith(tempfile.gettempdir()) and name.endswith("(deleted)")]
