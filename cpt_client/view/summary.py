"""A job that has ended, on a few lines."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpt_client.models import Job, Result
from cpt_client.view import text
from cpt_client.view.status import amount, measured, static_name


def summary(job: Job, storage: str | None = None) -> RenderableType:
    """How the job ended: quality, cost, energy and checkpoint, or the reason of the failure and what to do.

    `storage` is the root of the checkpoints, if it is known to whoever reads this.
    """
    title = Text.assemble(text.user(job.name, "bold"), " ", text.state(job.state))
    if job.started_at is not None and job.finished_at is not None:
        title.append(f" after {text.age(job.started_at, job.finished_at)}")
        title.append(f" in {job.attempt} attempts" if job.attempt > 1 else "")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if job.result is not None:
        _add_result(table, job, job.result)
    elif job.state != "succeeded":
        table.add_row("reason", text.user(job.reason or "unknown"))
        table.add_row("message", text.block(job.message or "none"))
        if job.progress.step:
            table.add_row("got to", f"step {job.progress.step:,} of {job.progress.steps:,}")
    if job.checkpoint is not None:
        size = "" if job.checkpoint.size is None else f", {text.size(job.checkpoint.size)}"
        where = text.user(f"{storage}/{job.checkpoint.path}" if storage else f"{job.checkpoint.path} in the storage")
        table.add_row("checkpoint", where.append(f" (step {job.checkpoint.step:,}{size})"))
    return Group(title, table)


def _add_result(table: Table, job: Job, result: Result) -> None:
    if result.bounds is not None:
        table.add_row("range test", f"from {result.bounds.min_bits} to {result.bounds.max_bits} bits")
    if result.loss is not None and result.bits is not None:
        _add_quality(table, job, result, result.loss, result.bits)
    table.add_row("cost", text.quantity(result.gbitops, "GBitOPs"))
    for name, total in ((static_name(job), result.gbitops_static), ("fp32", result.gbitops_fp32)):
        saved = text.saving(1 - result.gbitops / total if total else None, name)
        table.add_row("", f"{saved} ({text.quantity(total, 'GBitOPs')})")
    modelled = amount(result.modelled_joules, result.modelled_kwh, result.modelled_gco2e)
    grid = "" if result.grid_gco2e_per_kwh is None else f" (at {result.grid_gco2e_per_kwh:g} g CO2e a kWh)"
    table.add_row("energy", f"{modelled} modelled{grid}")
    table.add_row("", measured(job))
    table.add_row("speed", f"{result.samples_per_second:,.0f} samples/s (median)")
    if result.peak_memory is not None:
        table.add_row("memory", f"{text.size(result.peak_memory)} at most, each process")


def _add_quality(table: Table, job: Job, result: Result, loss: float, bits: int) -> None:
    samples = f" ({job.evaluation.samples:,} test samples)" if job.evaluation and job.evaluation.samples else ""
    at = f"at {text.bits(bits)}{', averaged weights' if result.averaged else ''}{samples}"
    if result.accuracy is not None:
        table.add_row("accuracy", f"{text.percent(result.accuracy)} {at}")
    if result.top5_accuracy is not None:
        table.add_row("", f"{text.percent(result.top5_accuracy)} among the first five")
    if result.perplexity is not None:
        table.add_row("perplexity", f"{result.perplexity:,.2f} {at}")
    table.add_row("loss", f"{loss:.4f} {at}")
    if result.best is not None and result.best.step != result.steps:
        table.add_row("best", f"{text.quality(result.best)} after step {result.best.step:,}")
