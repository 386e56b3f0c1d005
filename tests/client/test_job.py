"""A job as an object: tables, pictures, and what a notebook shows of it."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import pandas
import polars
import pytest

from cpt_client import Client
from cpt_client.metrics import Metrics
from tests.client.conftest import SPEC, Agent, Api, run_to_success, started, submit, succeeded


@pytest.fixture(scope="module")
def job_id(api: Api) -> str:
    with Client(api.url) as client:
        return run_to_success(client, api, "object").id


def test_metrics_are_a_table_with_a_row_for_each_step(client: Client, job_id: str) -> None:
    table = client.get(job_id).metrics(frame="columns")
    assert isinstance(table, Metrics)
    assert table.steps == 20
    assert list(table["step"]) == list(range(20))
    assert list(table["forward_bits"]) == [3 + step % 6 for step in range(20)]
    assert list(table.rows())[3]["loss"] == pytest.approx(2.0)
    assert set(table["energy_joules"]) == {None}


def test_metrics_are_a_data_frame_of_either_library(client: Client, job_id: str) -> None:
    job = client.get(job_id)
    first, second = job.metrics("loss", "lr", frame="pandas"), job.metrics("loss", "lr", frame="polars")
    assert isinstance(first, pandas.DataFrame)
    assert isinstance(second, polars.DataFrame)
    assert {"step", "loss", "lr"} <= set(first.columns)
    assert first["loss"].tolist() == second["loss"].to_list() == [2.3 - 0.1 * step for step in range(20)]


def test_a_job_without_steps_has_an_empty_table(client: Client) -> None:
    table = submit(client, "no-steps").metrics("loss", frame="pandas")
    assert list(table.columns) == ["step", "loss"]
    assert len(table) == 0


@pytest.mark.parametrize(
    ("hidden", "call", "extra"),
    [("pandas", "metrics(frame='pandas')", "pandas"), ("matplotlib", "plot()", "plot")],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    hidden: str, call: str, extra: str, api: Api, job_id: str
) -> None:
    code = f"""
import sys
sys.modules[{hidden!r}] = None
import cpt_client
with cpt_client.Client({api.url!r}) as client:
    try:
        client.get({job_id!r}).{call}
    except cpt_client.MissingPartError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'cpt-service[{extra}]'" in done.stdout


def test_a_plot_has_the_curves_on_one_axis_of_steps(client: Client, job_id: str) -> None:
    backend = matplotlib.get_backend(auto_select=False)
    picture = client.get(job_id).plot()
    loss, accuracy, bits = picture.axes
    assert [axis.get_ylabel() for axis in picture.axes] == ["loss", "training accuracy", "bits"]
    assert [list(line.get_xdata()) for line in (loss.lines[0], accuracy.lines[0])] == [list(range(20))] * 2
    assert list(bits.lines[0].get_ydata()) == [3 + step % 6 for step in range(20)]
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert matplotlib.get_backend(auto_select=False) == backend  # a script's own choice stays


def test_a_notebook_shows_a_job_and_no_markup_of_its_name(client: Client) -> None:
    job = client.submit(SPEC | {"name": "<script>alert(1)</script>", "resources": {"queue": "html"}})
    shown = job._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script" not in shown
    assert job.id in shown
    assert "queued" in shown


def test_a_notebook_shows_figures_of_a_job_a_comparison_and_a_table(client: Client, job_id: str) -> None:
    job = client.get(job_id)
    assert "95.0 %" in job._repr_html_()
    assert "less than static 8-bit" in job._repr_html_()
    other = client.clone(job_id, {"training": {"seed": 7}, "name": "<b>bold</b>"})
    compared = client.compare(job_id, other.id)._repr_html_()
    assert "/training/seed" in compared
    assert "<b>bold" not in compared
    table = job.metrics("loss", frame="columns")._repr_html_()
    assert "<th>loss</th>" in table
    assert table.count("<tr>") == 1 + 10  # a heading, and five steps of either end


def test_waiting_for_a_job_answers_it_as_it_ended(client: Client, api: Api) -> None:
    job = submit(client, "wait")
    agent = Agent(api, "wait")
    agent.report(started(), succeeded("checkpoints/x"))
    assert job.wait().state == "succeeded"
    assert job.state == "queued"
