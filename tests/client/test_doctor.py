"""`cpt doctor` against a real API, and what it finds out about the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cpt_client.embedded.stack import free_port
from cpt_client.machine import checks_here
from tests.client.conftest import Api


def doctor(*arguments: str, url: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CPT_")}
    command = [sys.executable, "-m", "cpt_client", "doctor", *arguments]
    return subprocess.run(
        command, env=kept | {"CPT_URL": url} | env, capture_output=True, text=True, timeout=120, check=False
    )


def by_name(told: str) -> dict[str, dict[str, Any]]:
    return {f"{check['where']} {check['name']}": check for check in json.loads(told)["checks"]}


def test_a_part_that_has_failed_exits_1_and_each_line_says_what_to_do(api: Api) -> None:
    done = doctor(url=api.url)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("ok ") and "database" in line for line in lines)
    broker = next(index for index, line in enumerate(lines) if line.startswith("failed") and "broker" in line)
    assert "→ start Redis or Valkey" in lines[broker + 1]


def test_as_json_it_has_the_server_and_this_machine(api: Api) -> None:
    done = doctor("--json", url=api.url)
    found = by_name(done.stdout)
    assert found["server database"]["status"] == "ok"
    assert found["server broker"]["status"] == "failed"
    assert found["here clock"]["status"] == "ok"
    assert {"here gpu", "here energy"} <= found.keys()
    assert json.loads(done.stdout)["status"] == "failed"


def test_no_server_exits_3_and_says_how_to_get_one() -> None:
    done = doctor("--json", url=f"http://127.0.0.1:{free_port(0)}")
    assert done.returncode == 3
    found = by_name(done.stdout)
    assert found["server api"]["status"] == "failed"
    assert "cpt up" in found["server api"]["remedy"]
    assert "here gpu" in found


def test_a_key_that_may_not_see_it_is_told_which_may(tmp_path: Path) -> None:
    api = Api(tmp_path, CPT_AUTH="keys")
    try:
        made = subprocess.run(
            [sys.executable, "-m", "api", "create-key", "reader", "--scope", "read"],
            env=api.env,
            capture_output=True,
            text=True,
            check=True,
        )
        done = doctor("--json", url=api.url, CPT_API_KEY=made.stdout.strip())
        without = doctor("--json", url=api.url)
    finally:
        api.close()
    assert (done.returncode, without.returncode) == (0, 1)
    refused = by_name(done.stdout)["server api"]
    assert "operator" in refused["message"]
    assert "create-key" in refused["remedy"]


def test_this_machine_alone_needs_no_server() -> None:
    done = doctor("--here", "--json")
    assert {check["where"] for check in json.loads(done.stdout)["checks"]} == {"here"}


def test_a_driver_that_does_not_answer_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "nvidia-smi"
    broken.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed: no communication with the driver'\nexit 9\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    gpu, _ = checks_here()
    assert gpu.status == "failed"
    assert "no communication with the driver" in gpu.message
    assert gpu.remedy is not None


def test_a_gpu_that_is_hidden_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering = tmp_path / "nvidia-smi"
    answering.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB'\n")
    answering.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    gpu, _ = checks_here()
    assert gpu.status == "warning"
    assert "NVIDIA H100" in gpu.message
    assert "unset CUDA_VISIBLE_DEVICES" in (gpu.remedy or "")


def test_looking_at_the_machine_loads_no_torch() -> None:
    code = "import sys; from cpt_client.machine import checks_here; checks_here(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
