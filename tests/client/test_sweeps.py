"""Sweeps and comparisons by the Python client and the `cpt` command, against a real API."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cpt_client import Client, CptError
from tests.client.conftest import SPEC, Agent, Api, BadNetwork, checkpoint, failed, started, succeeded
from tests.client.test_cli import cpt, lines


def base(queue: str) -> dict[str, Any]:
    return SPEC | {"resources": {"queue": queue}}


def train(api: Api, queue: str) -> None:
    """Train the next member of the queue to its end."""
    agent = Agent(api, queue)
    agent.report(started())
    agent.train(0, 20)
    agent.report(checkpoint("c/1"), succeeded("c/1"))


def test_a_sweep_from_submission_to_results(client: Client, api: Api) -> None:
    sweep = client.sweeps.create(base("whole"), grid={"/training/seed": [0, 1]}, name="seeds")
    assert (sweep.name, sweep.state, sweep.counts["queued"], len(sweep.members)) == ("seeds", "queued", 2, 2)
    assert {job.id for job in client.list(sweep=sweep.id)} == set(sweep.members)
    train(api, "whole")
    results = client.sweeps.results(sweep.id)
    assert results.fields == ["/training/seed"]
    assert [row.quality and row.quality.value for row in results.data] == [0.95, None]
    [configuration] = results.configurations
    assert configuration.summary is not None
    assert configuration.summary.runs == 1
    assert client.sweeps.cancel(sweep.id).state == "cancelled"
    assert client.sweeps.get(sweep.id).is_final
    assert next(client.sweeps.list(limit=1)).id == sweep.id
    rows = list(csv.DictReader(io.StringIO(client.sweeps.results_csv(sweep.id))))
    assert [row["state"] for row in rows] == ["succeeded", "cancelled"]


def test_a_lost_reply_does_not_make_a_second_sweep(client: Client, bad_network: Callable[..., BadNetwork]) -> None:
    network = bad_network(0, None)
    with Client(network.url) as unlucky:
        sweep = unlucky.sweeps.create(base("lost"), overrides=[{}, {"training": {"seed": 1}}])
    assert network.connections == 2
    assert len(list(client.list(queue="lost"))) == len(sweep.members) == 2


def test_a_refused_sweep_names_the_field(client: Client) -> None:
    with pytest.raises(CptError) as caught:
        client.sweeps.create(base("refused"), grid={"/precision/min_bits": [3, 9]})
    [error] = caught.value.errors
    assert error.pointer == "/grid/~1precision~1min_bits/1"
    assert "member 1" in error.message


def test_jobs_side_by_side(client: Client) -> None:
    jobs = [client.submit(base("side") | {"model": {"name": name}}) for name in ("resnet8", "resnet20")]
    found = client.compare(*(job.id for job in jobs))
    assert [row.fields["/model/name"] for row in found.data] == ["resnet8", "resnet20"]
    assert client.compare_csv(jobs[0].id).count("\r\n") == 2


def test_the_commands_of_a_sweep(api: Api, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(base("commands")))
    changes = tmp_path / "changes.yaml"
    changes.write_text(yaml.safe_dump([{}, {"precision": {"quantizer": "dorefa"}}]))
    grid = ["--grid", "/training/seed=0,1", "--overrides", str(changes)]
    [made] = lines(cpt("sweep", "submit", str(spec), *grid, "--json", url=api.url).stdout)
    assert (made["name"], len(made["members"])) == ("digits", 4)
    train(api, "commands")
    Agent(api, "commands").report(started(), failed())
    shown = cpt("sweep", "show", made["id"], url=api.url).stdout
    assert "digits running" in shown
    assert "1 succeeded, 1 failed" in shown
    assert "95.0 % at 8 bits" in shown
    assert "1 of 2" in shown
    table = list(csv.DictReader(io.StringIO(cpt("sweep", "show", made["id"], "--csv", url=api.url).stdout)))
    assert [row["/precision/quantizer"] for row in table].count("dorefa") == 2
    assert made["id"] in cpt("sweep", "list", url=api.url).stdout
    side = cpt("compare", *made["members"][:2], url=api.url).stdout
    assert "training/seed" in side
    assert "resnet8" not in side
    assert cpt("sweep", "cancel", made["id"], url=api.url).stdout.startswith(f"{made['id']} is failed")


@pytest.mark.parametrize("option", ["/training/seed", "/training/seed=[", "=1"])
def test_a_bad_grid_is_wrong_usage(api: Api, tmp_path: Path, option: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(base("bad")))
    done = cpt("sweep", "submit", str(spec), "--grid", option, url=api.url)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
