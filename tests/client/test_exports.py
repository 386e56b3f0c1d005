"""Jobs in other tools, each read back with the tool itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpt_client import Client, MissingPartError, exports
from cpt_client.exports import Exported, ExportError, MLflow, Target, TensorBoard, Wandb
from tests.client.conftest import (
    Agent,
    Api,
    evaluation,
    failed,
    run_to_success,
    started,
    step,
    submit,
    succeeded,
    wait_for,
)

Series = dict[str, list[tuple[int, float]]]
"""Points of each metric: step and value."""


def read_tensorboard(folder: Path, job_id: str) -> Series:
    (run,) = folder.glob(f"*{job_id}")
    found = EventAccumulator(str(run), size_guidance={"scalars": 0})
    found.Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def read_mlflow(uri: str, job_id: str) -> Series:
    client = MlflowClient(tracking_uri=uri)
    run = mlflow_run(uri, job_id)
    return {
        key: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }


def mlflow_run(uri: str, job_id: str) -> Any:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("CPT")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`cpt.job` = '{job_id}'")
    return run


def wandb_inspected(folder: Path, job_id: str, *options: str) -> str:
    """What wandb's own inspector prints of the only run of the job."""
    (run,) = folder.glob(f"wandb/offline-run-*-{job_id}")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def read_wandb(folder: Path, job_id: str) -> Series:
    series: Series = {}
    for record in map(json.loads, wandb_inspected(folder, job_id).splitlines()):
        row = record.get("history", {}).get("item", {})
        for key, value in row.items():
            if not key.startswith("_"):
                series.setdefault(key, []).append((row["_step"], value))
    return series


def expected(steps: int) -> Series:
    """Some of what a job has of which the steps up to `steps` have run."""
    done = [step(index) for index in range(steps)]
    found: Series = {
        "training/loss": [(one.step, pytest.approx(one.loss)) for one in done],
        "precision/forward_bits": [(one.step, one.forward_bits) for one in done],
        "cost/gbitops": [(one.step, pytest.approx(one.gbitops)) for one in done],
        "energy/modelled_joules": [(one.step, pytest.approx(one.modelled_joules)) for one in done],
    }
    if steps == 20:
        found["test/accuracy"] = [(20, pytest.approx(0.95))]
    return found


def assert_holds(series: Series, steps: int) -> None:
    """The series has each point once, and of what was not measured none."""
    wanted = expected(steps)
    assert {key: series.get(key) for key in wanted} == wanted
    assert "energy/measured_joules" not in series


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all: its tables take seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that is patient with agents that do not beat while a tool is loaded."""
    api = Api(tmp_path_factory.mktemp("api"), CPT_LEASE_SECONDS="600")
    yield api
    api.close()


Reader = Callable[[str], Series]


@pytest.fixture(params=["tensorboard", "mlflow", "wandb"])
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Callable[[], Target], Reader]:
    """A target, made anew for each export as another process would, and what reads a job in it."""
    if request.param == "tensorboard":
        return lambda: TensorBoard(tmp_path), lambda job: read_tensorboard(tmp_path, job)
    if request.param == "wandb":
        return lambda: Wandb(tmp_path), lambda job: read_wandb(tmp_path, job)
    uri = request.getfixturevalue("mlflow_uri")
    return lambda: MLflow(uri), lambda job: read_mlflow(uri, job)


def test_a_job_that_has_ended_is_there_once_however_often_it_is_exported(
    client: Client, api: Api, tool: tuple[Callable[[], Target], Reader]
) -> None:
    target, read = tool
    job = run_to_success(client, api, "export-ended")
    for _ in range(2):
        exported = exports.export(client, job.id, target())
        assert (exported.steps, exported.is_complete) == (20, True)
        assert_holds(read(job.id), 20)


def test_an_export_goes_on_where_the_last_one_stopped(
    client: Client, api: Api, tool: tuple[Callable[[], Target], Reader]
) -> None:
    target, read = tool
    job = submit(client, "export-part")
    agent = Agent(api, "export-part")
    agent.report(started())
    agent.train(0, 7)
    assert exports.export(client, job.id, target()).steps == 7
    assert_holds(read(job.id), 7)
    agent.train(7, 20)
    agent.report(evaluation(), succeeded("checkpoints/x"))
    assert exports.export(client, job.id, target()).is_complete
    assert_holds(read(job.id), 20)


def test_a_live_export_brings_what_happens_and_ends_with_the_job(
    client: Client, api: Api, tool: tuple[Callable[[], Target], Reader]
) -> None:
    target, read = tool
    job = submit(client, "export-live")
    seen: list[tuple[str, int]] = []
    agent: list[Agent] = []

    def go_on(exported: Exported) -> None:
        """The job does its next part once the last one was exported."""
        seen.append((exported.job.state, exported.steps))
        if exported.job.state == "queued" and not agent:
            agent.append(Agent(api, "export-live"))
            agent[0].report(started(), step(0), step(1), step(2))
        elif exported.steps == 3 and not exported.is_complete:
            agent[0].train(3, 20)
            agent[0].report(evaluation(), succeeded("checkpoints/x"))

    exported = exports.export(client, job.id, target(), follow=True, on_progress=go_on)
    assert (exported.job.state, exported.is_complete) == ("succeeded", True)
    assert ("running", 3) in seen
    assert_holds(read(job.id), 20)


def test_steps_that_a_later_attempt_runs_again_are_there_once(
    client: Client, api: Api, tool: tuple[Callable[[], Target], Reader]
) -> None:
    target, read = tool
    job = submit(client, "export-again")
    first = Agent(api, "export-again")
    first.report(started())
    first.train(0, 9)
    exports.export(client, job.id, target())
    client.pause(job.id)
    first.report(failed().model_copy(update={"outcome": "preempted", "reason": "preempted", "message": "paused"}))
    client.resume(job.id)
    second = Agent(api, "export-again")
    second.report(started())
    second.train(0, 20)
    second.report(evaluation(), succeeded("checkpoints/x"))
    exports.export(client, job.id, target())
    assert_holds(read(job.id), 20)


def test_a_whole_project_is_exported(client: Client, api: Api, tmp_path: Path) -> None:
    jobs = [run_to_success(client, api, "export-all") for _ in range(2)]
    exports.export_all(client, TensorBoard(tmp_path))
    for job in jobs:
        assert_holds(read_tensorboard(tmp_path, job.id), 20)
    assert len(list(tmp_path.iterdir())) == len(list(client.list()))


def test_what_a_killed_export_left_half_written_is_neither_lost_nor_doubled(
    client: Client, api: Api, tmp_path: Path
) -> None:
    job = submit(client, "export-killed")
    agent = Agent(api, "export-killed")
    agent.report(started())
    agent.train(0, 5)
    exports.export(client, job.id, TensorBoard(tmp_path))
    (events,) = tmp_path.glob("*/events.out.tfevents.cpt")
    with events.open("ab") as file:  # rows that were written, and torn, before their note was
        file.write(events.read_bytes()[-150:] + b"torn")
    agent.train(5, 20)
    agent.report(evaluation(), succeeded("checkpoints/x"))
    exports.export(client, job.id, TensorBoard(tmp_path))
    assert_holds(read_tensorboard(tmp_path, job.id), 20)


def test_mlflow_has_the_spec_the_end_and_the_times(client: Client, api: Api, mlflow_uri: str) -> None:
    job = submit(client, "export-failed")
    agent = Agent(api, "export-failed")
    agent.report(started())
    agent.report(step(0), failed())
    exports.export(client, job.id, MLflow(mlflow_uri))
    run = mlflow_run(mlflow_uri, job.id)
    assert (run.info.status, run.info.run_name) == ("FAILED", "digits")
    assert run.data.params["precision.schedule"] == "cosine"
    assert run.data.tags["cpt.end"] == "diverged"
    assert "lower optimizer.lr" in run.data.tags["cpt.message"]
    ended = client.get(job.id)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert run.info.start_time == pytest.approx(1000 * ended.started_at.timestamp(), abs=1)
    assert run.info.end_time == pytest.approx(1000 * ended.finished_at.timestamp(), abs=1)


def test_wandb_has_the_spec_and_the_end(client: Client, api: Api, tmp_path: Path) -> None:
    job = run_to_success(client, api, "export-wandb")
    exports.export(client, job.id, Wandb(tmp_path, project="mine"))
    shown = json.loads(wandb_inspected(tmp_path, job.id, "--summary"))
    assert (shown["exit_code"], shown["project"]) == (0, "mine")
    assert shown["config"]["precision"]["schedule"] == "cosine"
    assert shown["summary"]["result/accuracy"] == 0.95
    assert shown["summary"]["state"] == "succeeded"


def test_tensorboard_has_the_spec_as_text(client: Client, api: Api, tmp_path: Path) -> None:
    job = run_to_success(client, api, "export-text")
    exports.export(client, job.id, TensorBoard(tmp_path))
    (run,) = tmp_path.iterdir()
    found = EventAccumulator(str(run))
    found.Reload()
    (said,) = found.Tensors("spec")
    assert b"schedule: cosine" in said.tensor_proto.string_val[0]


def test_a_name_leads_to_no_other_folder(client: Client, tmp_path: Path) -> None:
    job = submit(client, "export-name", name="../../<up>")
    exports.export(client, job.id, TensorBoard(tmp_path / "runs"))
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == [f"up-{job.id}"]


def test_two_exports_of_a_job_to_one_folder_exclude_each_other(client: Client, tmp_path: Path) -> None:
    job = submit(client, "export-twice")
    holding = TensorBoard(tmp_path).open(job)
    with pytest.raises(ExportError, match="another export writes"):
        exports.export(client, job.id, TensorBoard(tmp_path))
    holding.close()
    exports.export(client, job.id, TensorBoard(tmp_path))


def test_a_place_that_cannot_be_used_is_named(client: Client, tmp_path: Path) -> None:
    job = submit(client, "export-nowhere")
    file = tmp_path / "file"
    file.touch()
    for target in (TensorBoard(file), Wandb(file)):
        with pytest.raises(ExportError, match=str(file)):
            exports.export(client, job.id, target)
    with pytest.raises(ExportError, match="nothing-like-that"):
        exports.export(client, job.id, MLflow("nothing-like-that://x"))


def test_a_tool_that_is_not_installed_is_named_with_its_extra(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(client, "export-missing")
    for module, target in (("mlflow", MLflow("sqlite://")), ("tensorboard", TensorBoard("x")), ("wandb", Wandb("x"))):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingPartError, match=rf"cpt-service\[{module}\]"):
            exports.export(client, job.id, target)


def cpt_export(api: Api, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cpt_client", "export", *arguments, "--url", api.url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_tells_what_is_where(client: Client, api: Api, tmp_path: Path) -> None:
    job = run_to_success(client, api, "export-command")
    done = cpt_export(api, "tensorboard", str(tmp_path), job.id, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["job"], told["steps"], told["is_complete"]) == (job.id, 20, True)
    assert Path(told["place"]).is_dir()
    assert_holds(read_tensorboard(tmp_path, job.id), 20)


@pytest.mark.parametrize("arguments", [[], ["--all", "job_1"], ["job_1", "job_2", "--follow"]])
def test_the_command_refuses_what_it_does_not_understand(arguments: list[str], api: Api, tmp_path: Path) -> None:
    assert cpt_export(api, "tensorboard", str(tmp_path), *arguments).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_a_live_export_of_a_project_and_the_next_one_goes_on(
    client: Client, api: Api, tmp_path: Path
) -> None:
    first = submit(client, "export-ctrl-c")
    command = [sys.executable, "-u", "-m", "cpt_client", "export", "tensorboard", str(tmp_path), "--all", "--follow"]
    following = subprocess.Popen(
        [*command, "--url", api.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: list(tmp_path.glob(f"*{first.id}/cpt-export.json")), "the first job is there")
    later = submit(client, "export-ctrl-c-later")
    agent = Agent(api, "export-ctrl-c-later")
    agent.report(started())
    agent.train(0, 4)
    note = wait_for(lambda: list(tmp_path.glob(f"*{later.id}/cpt-export.json")), "a later job is there")[0]
    wait_for(lambda: json.loads(note.read_text())["marks"]["steps"] == 4, "its steps are there")
    following.send_signal(signal.SIGINT)
    _, told = following.communicate(timeout=60)
    assert following.returncode == 130
    assert "goes on from here" in told
    agent.train(4, 20)
    agent.report(evaluation(), succeeded("checkpoints/x"))
    assert cpt_export(api, "tensorboard", str(tmp_path), "--all").returncode == 0
    assert_holds(read_tensorboard(tmp_path, later.id), 20)
