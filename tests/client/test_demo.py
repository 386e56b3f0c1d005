"""Real training under `cpt up`, `cpt demo` and `cpt train`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from cpt_client import Client
from tests.client.conftest import SPEC, wait_for
from tests.client.embedded import Up

SHORT = SPEC | {
    "name": "short",
    "training": {"steps": 12, "batch_size": 64},
    "evaluation": {"batch_size": 360},
    "resources": {"devices": 2},
}


def write(path: Path, spec: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def test_the_demo_trains_shows_its_result_and_stops_what_it_started(tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.yaml", SHORT)
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "cpt_client", "demo", spec],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = " ".join(done.stdout.split())
    assert "short succeeded after" in told
    assert re.search(r"accuracy \d+\.\d % at 8 bits \(360 test samples\)", told)
    assert re.search(r"\d+\.\d % less than static 8-bit", told)
    assert re.search(r"\d+\.\d % less than fp32", told)
    checkpoint = re.search(r"checkpoint (\S+) \(step 12,", told)
    assert checkpoint is not None
    assert Path(checkpoint[1]).is_dir()
    assert "cpt submit SPEC.yaml --watch" in told
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]


def test_a_demo_without_success_does_not_exit_0_and_stops_what_it_started(tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.yaml", SHORT | {"dataset": {"name": "idx", "path": "not-there"}})
    done = subprocess.run(
        [sys.executable, "-m", "cpt_client", "demo", spec],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2
    assert "/dataset/path" in done.stderr
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]


def test_a_job_that_runs_when_the_service_stops_continues_at_the_next_start(tmp_path: Path) -> None:
    length = {"training": {"steps": 40, "batch_size": 32}, "checkpoint": {"every_steps": 1000}}
    first = Up(tmp_path / "home")
    with Client(first.url) as client:
        job_id = client.submit(SPEC | length).id
        wait_for(lambda: client.get(job_id).progress.step >= 5, "it trains", seconds=120)
    assert first.end(signal.SIGINT) == (0, [])
    second = Up(tmp_path / "home")
    with Client(second.url) as client:
        for _event in client.stream(job_id):
            pass
        job = client.get(job_id)
        assert (job.state, job.attempt) == ("succeeded", 2)
        assert [event.fields["step"] for event in client.metrics(job_id)] == list(range(40))
        resumed = [event.fields["resume_step"] for event in client.events(job_id) if event.type == "started"]
    assert resumed[0] == 0
    assert resumed[1] >= 5
    assert second.end(signal.SIGTERM) == (0, [])


def test_nothing_of_a_running_job_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    up = Up(tmp_path / "home")
    with Client(up.url) as client:
        job_id = client.submit(SHORT | {"training": {"steps": 5000, "batch_size": 64}}).id
        wait_for(lambda: client.get(job_id).progress.step >= 1, "it trains", seconds=120)
    assert len(up.tree()) >= 7  # supervisor, broker, api, worker, launcher and two ranks
    _code, left = up.end(signal.SIGKILL)
    assert left == []


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cpt_client", "train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def test_a_spec_is_trained_without_a_server_and_its_events_are_kept(tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.yaml", SHORT)
    done = train(spec, "--events", "events.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["type"] == "step"] == list(range(12))
    assert "short succeeded after" in done.stdout
    checkpoint = tmp_path / "cpt-storage" / events[-1]["result"]["checkpoint"]
    assert str(checkpoint) in done.stdout.replace("\n", "")


@pytest.mark.parametrize(("arguments", "says"), [(["--resume", "nowhere"], "nowhere"), ([], "colour")])
def test_what_cannot_be_trained_exits_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.yaml", SHORT if arguments else SHORT | {"colour": "blue"})
    done = train(spec, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
