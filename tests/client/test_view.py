"""What the live panel and the summary say, drawn on a recorded console."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cpt_client.models import Event, Job
from cpt_client.view import text
from cpt_client.view.local import LocalRun
from cpt_client.view.sparkline import LEVELS, Series, sparkline
from cpt_client.view.status import Status
from cpt_client.view.summary import summary
from cpt_core.spec import JobSpec
from tests.client.conftest import SPEC, checkpoint, evaluation, started, succeeded
from tests.client.conftest import step as reported_step

NOW = datetime.now(UTC)

RESULT = {
    "accuracy": 0.964,
    "loss": 0.12,
    "bits": 8,
    "steps": 480,
    "samples": 61_440,
    "gbitops": 400.0,
    "gbitops_static": 632.0,
    "gbitops_fp32": 8000.0,
    "modelled_joules": 20.0,
    "samples_per_second": 1200.0,
    "checkpoint": "checkpoints/job/1/480",
}


def job(**changes: Any) -> Job:
    """A job at step 312 of 480, with everything the API can say of it."""
    answer = {
        "id": "job_0123456789abcdef01234567",
        "name": "digits",
        "state": "running",
        "attempt": 1,
        "created_at": NOW - timedelta(seconds=80),
        "started_at": NOW - timedelta(seconds=75),
        "spec": {"precision": {"schedule": "cosine", "min_bits": 3, "max_bits": 8, "cycles": 8}},
        "progress": {"step": 312, "steps": 480, "epoch": 3, "fraction": 0.65, "eta_seconds": 32},
        "latest": {
            "forward_bits": 5,
            "backward_bits": 8,
            "loss": 0.4312,
            "accuracy": 0.875,
            "lr": 0.1,
            "samples_per_second": 1234.5,
        },
        "evaluation": {"step": 240, "bits": 8, "loss": 0.3, "accuracy": 0.911, "samples": 360},
        "cost": {
            "gbitops": 123.4,
            "gbitops_static": 195.0,
            "gbitops_fp32": 3526.0,
            "saved_vs_static": 0.367,
            "saved_vs_fp32": 0.965,
        },
        "energy": {
            "measured": {"joules": None, "source": None, "reason": "no RAPL counters"},
            "modelled": {"joules": 12.3, "source": "model"},
        },
        "checkpoint": {"step": 300, "path": "checkpoints/job/1/300", "size": 12_345_678},
    }
    return Job.model_validate(answer | changes)


def step(index: int, bits: int, loss: float) -> Event:
    row = {"id": index + 1, "type": "step", "step": index, "forward_bits": bits, "backward_bits": 8, "loss": loss}
    return Event.model_validate(row | {"accuracy": 0.5, "lr": 0.1, "samples_per_second": 900.0})


def drawn(item: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    console.print(item)
    return console.export_text()


def flat(item: RenderableType, width: int = 100) -> str:
    return " ".join(drawn(item, width).replace("│", " ").split())


def test_the_panel_says_what_runs_how_far_and_at_which_bits() -> None:
    panel = flat(Status(job()))
    for part in ("digits", "running", "312/480 steps", "65 %", "ETA 32 s", "5 forward, 8 backward", "0.4312"):
        assert part in panel


def test_the_panel_says_cost_saved_and_energy_with_its_source() -> None:
    panel = flat(Status(job()))
    assert "123.4 GBitOPs, 36.7 % less than static 8-bit, 96.5 % less than fp32" in panel
    assert "12.3 J modelled; no counter: no RAPL counters" in panel


def test_measured_energy_names_its_counter() -> None:
    energy = {
        "measured": {"joules": 5120.0, "source": "nvml", "scope": "GPU 0"},
        "modelled": {"joules": 12.3, "source": "model"},
    }
    assert "5,120 J measured (nvml, GPU 0)" in flat(Status(job(energy=energy)))


def test_energy_is_told_in_joules_kilowatt_hours_and_grams_of_co2e() -> None:
    energy = {
        "measured": {"joules": 7.2e6, "kwh": 2.0, "gco2e": 100.0, "source": "nvml", "scope": "GPU 0"},
        "modelled": {"joules": 3.6e6, "kwh": 1.0, "gco2e": 50.0, "source": "model"},
        "grid_gco2e_per_kwh": 50.0,
    }
    panel = flat(Status(job(energy=energy)))
    assert "3,600,000 J, 1 kWh, 50 g CO2e modelled" in panel
    assert "7,200,000 J, 2 kWh, 100 g CO2e measured (nvml, GPU 0)" in panel
    result = RESULT | {"modelled_kwh": 1.0, "modelled_gco2e": 50.0, "grid_gco2e_per_kwh": 50.0}
    told = flat(summary(job(state="succeeded", result=result, energy=energy, finished_at=NOW)))
    assert "20 J, 1 kWh, 50 g CO2e modelled (at 50 g CO2e a kWh)" in told


def test_accuracy_says_at_which_bits_it_was_taken() -> None:
    assert "87.5 % training, 91.1 % test at 8 bits (step 240)" in flat(Status(job()))


def test_a_streamed_step_is_newer_than_the_last_answer() -> None:
    status = Status(job())
    status.apply(step(319, bits=7, loss=0.25))
    panel = flat(status)
    assert "320/480 steps" in panel
    assert "7 forward, 8 backward" in panel
    assert "0.2500" in panel


def test_an_older_answer_does_not_turn_the_bar_back() -> None:
    status = Status(job())
    status.apply(step(319, bits=7, loss=0.25))
    status.update(job())
    assert "320/480" in status.line()


def test_steps_that_are_read_late_do_not_turn_the_bar_back_either() -> None:
    status = Status(job())
    status.apply(step(7, bits=3, loss=2.5))
    assert "312/480" in status.line()
    assert "loss 0.4312" in status.line()


def test_a_new_attempt_goes_back_to_where_it_resumes() -> None:
    status = Status(job())
    status.update(job(state="starting", attempt=2))
    resumed = {"id": 999, "type": "started", "attempt": 2, "resume_step": 300}
    status.apply(Event.model_validate(resumed))
    status.update(job(attempt=2, latest=None, progress={"step": 300, "steps": 480}))
    assert "300/480" in status.line()
    status.apply(step(300, bits=4, loss=0.5))
    assert "301/480" in status.line()


def test_a_lost_connection_is_mentioned_until_the_next_event() -> None:
    status = Status(job())
    status.notice = "connection lost, trying again"
    assert "connection lost" in flat(status)
    assert "connection lost" in status.line()
    status.apply(step(312, bits=5, loss=0.4))
    assert "connection lost" not in flat(status)


def test_the_panel_draws_loss_and_two_cycles_of_bits() -> None:
    status = Status(job(progress={"step": 0, "steps": 480}))
    for index in range(240):
        cycle = round(3 + 2.5 * (1 + math.cos(math.pi * (index % 60) / 60 + math.pi)))
        status.apply(step(index, bits=cycle, loss=2.0 - index / 240))
    lines = drawn(status).splitlines()
    bits = next(line for line in lines if " bits " in line)
    loss = next(line for line in lines if " loss " in line)
    assert "█▁" in bits  # a cycle ends high, the next begins low
    assert bits.count("█▁") == 1
    assert loss.index("█") < loss.index("▁")


def test_a_job_that_waits_long_says_what_it_may_be_waiting_for() -> None:
    waiting = {"started_at": None, "latest": None, "cost": None, "energy": None, "evaluation": None}
    fresh = job(state="queued", attempt=0, created_at=datetime.now(UTC), **waiting)
    long = job(state="queued", attempt=0, created_at=NOW - timedelta(minutes=1), **waiting)
    assert "waiting for a worker" not in flat(Status(fresh))
    assert "waiting for a worker of this queue; `cpt worker` starts one" in flat(Status(long))


@pytest.mark.parametrize("width", [30, 45, 80, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for item in (Status(job(name="x" * 100)), summary(job(state="succeeded", result=RESULT, finished_at=NOW))):
        assert max(len(line) for line in drawn(item, width).splitlines()) <= width


def test_the_summary_of_a_success_compares_cost_and_names_bits_and_checkpoint() -> None:
    told = flat(summary(job(state="succeeded", result=RESULT, finished_at=NOW)))
    for part in (
        "digits succeeded after 1 min 15 s",
        "96.4 % at 8 bits (360 test samples)",
        "36.7 % less than static 8-bit (632 GBitOPs)",
        "95.0 % less than fp32 (8,000 GBitOPs)",
        "20 J modelled",
        "no counter: no RAPL counters",
        "checkpoints/job/1/300 in the storage (step 300, 12.3 MB)",
    ):
        assert part in told


def test_the_summary_of_a_range_test_gives_the_bounds_and_no_quality() -> None:
    none = dict.fromkeys(("accuracy", "loss", "bits", "checkpoint"))
    result = RESULT | none | {"bounds": {"min_bits": 3, "max_bits": 6}}
    told = flat(summary(job(state="succeeded", result=result, evaluation=None, finished_at=NOW)))
    assert "range test from 3 to 6 bits" in told
    assert "accuracy" not in told
    assert "loss" not in told


def test_the_summary_of_a_failure_gives_reason_and_message() -> None:
    told = flat(summary(job(state="failed", reason="diverged", message="loss is NaN: lower the lr", finished_at=NOW)))
    assert "digits failed" in told
    assert "reason diverged message loss is NaN: lower the lr got to step 312 of 480" in told


@pytest.mark.parametrize(
    ("written", "shown"),
    [("[red]x[/red]", "[red]x[/red]"), ("a\x1b[2Jb", "a\N{REPLACEMENT CHARACTER}[2Jb"), (":bomb: [/]", ":bomb: [/]")],
)
def test_user_text_is_neither_markup_nor_control(written: str, shown: str) -> None:
    failed = job(name=written, queue=written, state="failed", reason=written, message=written, finished_at=NOW)
    console = Console(file=io.StringIO(), width=200, record=True, force_terminal=True)
    status = Status(failed)
    status.notice = written
    console.print(status)
    console.print(summary(failed))
    raw = console.export_text(styles=True)
    assert raw.count(shown) == 6
    assert "\x1b[2J" not in raw


def test_static_full_precision_is_named_so() -> None:
    fp32 = job(spec={"precision": {"schedule": "static", "bits": 32}}, cost=None)
    told = flat(summary(fp32.model_copy(update={"state": "succeeded", "result": _fp32_result()})))
    assert "as much as static fp32" in told
    assert "96.4 % at fp32" in told


def _fp32_result() -> Any:
    same = {"bits": 32, "gbitops": 8000.0, "gbitops_static": 8000.0}
    return job(result=RESULT | same).result


def test_a_run_without_a_server_is_told_like_a_job() -> None:
    spec = JobSpec.model_validate(SPEC)
    run = LocalRun(spec)
    status = Status(run.job)
    for event in (started(), *(reported_step(index) for index in range(20)), evaluation(), checkpoint("a/20")):
        status.apply(run.take(event))
        status.update(run.job)
    panel = flat(status)
    for part in ("running attempt 1", "20/20 steps", "4 forward, 8 backward", "95.0 % test at 8 bits (step 20)"):
        assert part in panel
    # 20 steps of 32 samples of 12.5 M MACs: static 8-bit 64 + 2 * 64 = 192 bit operations a MAC, fp32 3 * 1024
    assert "less than static 8-bit" in panel
    assert run.job.cost is not None
    assert run.job.cost.gbitops_static == pytest.approx(20 * 32 * 12.5e6 * 192 / 1e9)
    assert run.job.cost.gbitops_fp32 == pytest.approx(20 * 32 * 12.5e6 * 3072 / 1e9)
    assert run.job.energy is not None
    assert run.job.energy.modelled.kwh == pytest.approx(10 / 3.6e6)
    assert run.job.energy.measured.kwh is None
    run.take(succeeded("a/20"))
    told = flat(summary(run.job, "/storage"))
    assert "digits succeeded" in told
    assert "/storage/a/20 (step 20, 1.2 MB)" in told


def test_a_sparkline_spans_its_own_range() -> None:
    assert sparkline(range(8), 8) == LEVELS
    assert sparkline([5.0] * 4, 4) == LEVELS[4] * 4
    assert sparkline([], 10) == ""
    assert len(sparkline(range(1000), 40)) == 40


def test_a_long_series_keeps_its_shape_in_bounded_memory() -> None:
    series = Series(capacity=64)
    for index in range(10_000):
        series.append(float(index))
    assert len(series.values) < 64
    gaps = [b - a for a, b in zip(series.values, series.values[1:], strict=False)]
    assert min(gaps) == max(gaps) > 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (42.4, "42 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (270_000, "3 d 3 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


def test_a_language_model_shows_its_perplexity_in_place_of_accuracy() -> None:
    evaluation = {"step": 240, "bits": 8, "loss": 4.6, "perplexity": 99.48, "samples": 360}
    result = RESULT | {"accuracy": None, "loss": 4.6, "perplexity": 99.48}
    shown = job(state="succeeded", evaluation=evaluation, result=result, finished_at=NOW)
    assert "perplexity 99.48 test at 8 bits (step 240)" in flat(Status(shown))
    told = flat(summary(shown))
    assert "perplexity 99.48 at 8 bits (360 test samples)" in told
    assert "accuracy" not in told
