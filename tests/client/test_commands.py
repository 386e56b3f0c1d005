"""What all commands have in common: JSON for scripts, completion, and every one of them named in the documentation."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from cpt_client import Client
from cpt_client.cli.app import app
from tests.client.conftest import Api, run_to_success, submit

WITHOUT_JSON = {"up", "demo", "worker", "api"}
"""Commands that hold the terminal: they tell what they do while they do it."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def job_id(api: Api) -> str:
    with Client(api.url) as client:
        return run_to_success(client, api, "commands").id


def cpt(api: Api, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--url", api.url])


def test_every_command_that_prints_can_print_json() -> None:
    lacking = [name for name, command in ALL.items() if "json" not in {option.name for option in command.params}]
    assert set(lacking) == WITHOUT_JSON


def test_every_command_tells_its_exit_codes() -> None:
    assert [name for name, command in ALL.items() if "Exit codes" not in (command.epilog or "")] == []


def test_every_command_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z][a-z -]*)`", page))
    groups = {name.split()[0] for name in ALL}
    assert {name for name in groups if not any(one.split()[0] == name for one in named)} == set()


def test_metrics_are_drawn_on_a_line_each(api: Api, job_id: str) -> None:
    told = cpt(api, "metrics", job_id).stdout
    lines = {line.split()[0]: line for line in told.splitlines()}
    assert "STEPS 0 TO 19" in lines["METRIC"]
    assert lines["loss"].split()[1:5] == ["2.3", "0.4", "0.4", "2.3"]
    assert "█" in lines["loss"]
    assert "no value" in lines["energy_joules"]


def test_metrics_as_json_and_csv_have_every_step_of_a_range(api: Api, job_id: str) -> None:
    asked = ["metrics", job_id, "--key", "loss", "--from-step", "5", "--to-step", "7"]
    steps = [json.loads(line) for line in cpt(api, *asked, "--json").stdout.splitlines()]
    rows = list(csv.DictReader(cpt(api, *asked, "--csv").stdout.splitlines()))
    assert [step["step"] for step in steps] == [int(row["step"]) for row in rows] == [5, 6, 7]
    assert [step["loss"] for step in steps] == [float(row["loss"]) for row in rows]
    assert "lr" not in rows[0]


def test_metrics_of_a_job_that_has_not_begun_say_so(api: Api, client: Client) -> None:
    assert "no steps yet" in cpt(api, "metrics", submit(client, "commands-waiting").id).stdout


def test_an_unknown_metric_exits_2_and_lists_the_known(api: Api, job_id: str) -> None:
    done = cpt(api, "metrics", job_id, "--key", "speed")
    assert done.exit_code == 2
    assert "samples_per_second" in done.stderr


def test_what_is_deleted_is_said_as_json(api: Api, client: Client) -> None:
    job = client.cancel(submit(client, "commands-delete").id)
    assert json.loads(cpt(api, "delete", job.id, "--yes", "--json").stdout) == {"id": job.id, "deleted": True}


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("bash", {"COMP_WORDS": "cpt show job_", "COMP_CWORD": "2"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "cpt show job_"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "cpt show job_", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_is_offered_the_ids_of_jobs(shell: str, variables: dict[str, str], api: Api, job_id: str) -> None:
    command = Path(sys.executable).with_name("cpt")
    env = os.environ | variables | {"_CPT_COMPLETE": f"complete_{shell}", "CPT_URL": api.url}
    done = subprocess.run([str(command)], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert job_id in done.stdout


def test_without_a_server_a_shell_is_offered_nothing_and_no_error() -> None:
    command = Path(sys.executable).with_name("cpt")
    variables = {"COMP_WORDS": "cpt show job_", "COMP_CWORD": "2", "_CPT_COMPLETE": "complete_bash"}
    env = os.environ | variables | {"CPT_URL": "http://127.0.0.1:1"}
    done = subprocess.run([str(command)], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr.strip()) == ("", "")
