"""The same training over several seeds, on a few lines."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpt_client.view import text
from cpt_core.seeds import Report, SeedRun, Spread

Write = Callable[[float], str]

COLUMNS: dict[str, tuple[str, Write]] = {
    "accuracy": ("accuracy, %", lambda value: f"{100 * value:.2f}"),
    "perplexity": ("perplexity", lambda value: f"{value:,.2f}"),
    "loss": ("loss", lambda value: f"{value:.4f}"),
    "gbitops": ("GBitOPs", text.number),
    "modelled_joules": ("J, modelled", text.number),
}
"""Figures of a result: heading, and how a value is written."""


def seeds_view(report: Report) -> RenderableType:
    """A line for each seed, then mean and sample standard deviation of those that trained to their end."""
    seeds = len(report.runs) + len(report.not_started)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("seed")
    shown = [name for name in COLUMNS if report.summary is not None and getattr(report.summary, name) is not None]
    table.add_column("at")
    for name in shown:
        table.add_column(COLUMNS[name][0], justify="right")
    for run in report.runs:
        table.add_row(str(run.seed), *_figures(run, shown))
    for seed in report.not_started:
        table.add_row(str(seed), Text("not started", "dim"))
    lines: list[RenderableType] = [Text.assemble(text.user(report.name, "bold"), f" over {seeds} seeds"), table]
    if report.summary is not None:
        bits = report.summary.bits
        spreads = [_spread(getattr(report.summary, name), COLUMNS[name][1]) for name in shown]
        table.add_row(Text("mean", "bold"), text.bits(bits[0]) if len(bits) == 1 else "", *spreads)
        if report.summary.runs > 1:
            lines.append(Text(f"± is the sample standard deviation over {report.summary.runs} seeds", "dim"))
    return Group(*lines)


def _figures(run: SeedRun, shown: list[str]) -> list[str | Text]:
    result = run.end.result
    if result is None:
        return [text.user(f"{run.end.outcome}: {run.end.reason}", "red")]
    return [
        "" if result.bits is None else text.bits(result.bits),
        *(COLUMNS[name][1](getattr(result, name)) for name in shown),
    ]


def _spread(spread: Spread, write: Write) -> str:
    return write(spread.mean) + ("" if spread.deviation is None else f" ± {write(spread.deviation)}")
