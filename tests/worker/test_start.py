"""What keeps a worker from starting is said at once, and names the setting."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("storage", ["below-a-file", "missing-bucket"])
def test_a_worker_without_access_to_the_store_refuses_to_start(tmp_path, s3_server, storage):
    (tmp_path / "file").write_text("")
    url = f"{tmp_path}/file/storage" if storage == "below-a-file" else "s3://no-such-bucket/root"
    environment = os.environ | {
        "CPT_AGENT_TOKEN": "x" * 32,
        "CPT_STORAGE_URL": url,
        "CPT_STATE_DIR": str(tmp_path / "state"),
        "CPT_DEVICE": "cpu",
    }
    command = [sys.executable, "-m", "worker"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"CPT_STORAGE_URL: no access to {url}" in done.stderr
    assert not (tmp_path / "state").exists(), "nothing was begun"
