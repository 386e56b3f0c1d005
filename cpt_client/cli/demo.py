"""`cpt demo`: one job from nothing to its summary, in a service of its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from cpt_client.cli import exits
from cpt_client.cli.jobs import read_spec
from cpt_client.cli.parts import require_embedded
from cpt_client.cli.watch import follow
from cpt_client.client import Client
from cpt_client.embedded.child import Child
from cpt_client.embedded.home import Home
from cpt_client.embedded.services import Service
from cpt_core.spec import JobSpec

START_LIMIT = 120.0
"""Seconds in which the service must be ready."""

STOP_LIMIT = 90.0
"""Seconds in which the service must have ended when it is asked to."""


def demo(path: Path) -> None:
    """Start a service, train the spec, show it, stop the service; ends the command with the job's exit code."""
    require_embedded()
    spec = read_spec(path)
    home = Home(Path(tempfile.mkdtemp(prefix="cpt-demo-")))
    code = exits.FAILED
    try:
        code = _train(home, spec)
    except KeyboardInterrupt:
        code = exits.INTERRUPTED
    typer.echo(f"\nThe service has stopped. `cpt up --home {home.root}` brings it and its job back;")
    typer.echo(
        "`cpt up` starts one of your own, then `cpt submit SPEC.yaml --watch`; recipes/ holds specs to begin with."
    )
    raise typer.Exit(code)


def _train(home: Home, spec: JobSpec) -> int:
    typer.echo(f"starting the service in {home.root}")
    with _service(home) as url, exits.reporting(), Client(url) as client:
        typer.echo(f"it is at {url}; submitting {spec.name}")
        job = client.submit(spec)
        return follow(client, job, as_json=False, storage=str(home.storage))


@contextmanager
def _service(home: Home) -> Iterator[str]:
    """The address of an embedded service that ends with the block, and with this process, however that ends."""
    home.prepare()
    command = [sys.executable, "-m", "cpt_client", "up", "--home", str(home.root), "--port", "0"]
    child = Child(Service("up", command, dict(os.environ), grace=STOP_LIMIT), home.logs)
    child.start()
    try:
        deadline = time.monotonic() + START_LIMIT
        while not home.ready.exists():
            if child.exit_code() is not None or time.monotonic() > deadline:
                exits.fail("the service did not start:\n" + "\n".join(child.tail()), code=exits.FAILED)
            time.sleep(0.1)
        yield str(json.loads(home.ready.read_text(encoding="utf-8"))["url"])
    finally:
        child.end()
