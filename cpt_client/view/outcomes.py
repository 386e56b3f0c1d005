"""What came of several jobs, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpt_client.sweeps import Comparison, Outcome, Quality, Sweep, SweepResults
from cpt_client.view import text
from cpt_core.seeds import Spread, Summary

_FIGURES = ("QUALITY", "GBITOPS", "VS STATIC", "J, MODELLED", "J, MEASURED", "TIME")


def outcomes_view(comparison: Comparison) -> RenderableType:
    """A line for each job: where its spec differs, quality, cost, energy and time."""
    table = _table("JOB", "STATE", *(_short(pointer) for pointer in comparison.fields), *_FIGURES)
    for row in comparison.data:
        state = text.state(row.state)
        if row.state in ("running", "paused"):
            state.append(f" {100 * row.progress.fraction:.0f} %")
        table.add_row(text.user(row.job), state, *_values(row.fields, comparison.fields), *_figures(row))
    return table


def sweep_view(sweep: Sweep, results: SweepResults) -> RenderableType:
    """A sweep: how far it is, its members, the best first, and means over seeds where it has several."""
    counts = ", ".join(f"{number} {state}" for state, number in sweep.counts.items() if number)
    title = Text.assemble(text.user(sweep.name, "bold"), " ", text.state(sweep.state))
    title.append(f" {100 * sweep.progress.fraction:.0f} % ({counts})")
    parts: list[RenderableType] = [title, outcomes_view(results)]
    if any(len(configuration.jobs) > 1 for configuration in results.configurations):
        parts += [Text(), _means(results)]
        parts.append(Text("± is the sample standard deviation over the seeds that succeeded", "dim"))
    return Group(*parts)


def _means(results: SweepResults) -> Table:
    varying = [pointer for pointer in results.fields if pointer != "/training/seed"]
    table = _table(*(_short(pointer) for pointer in varying), "SEEDS", "QUALITY", "GBITOPS", "J, MODELLED")
    for configuration in results.configurations:
        summary = configuration.summary
        seeds = f"{summary.runs if summary else 0} of {len(configuration.jobs)}"
        table.add_row(*_values(configuration.fields, varying), seeds, *_summary(summary))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(text.user(heading), justify="right" if heading in _FIGURES else "left")
    return table


def _short(pointer: str) -> str:
    return pointer.removeprefix("/")


def _values(fields: dict[str, Any], pointers: Sequence[str]) -> list[Text]:
    found = (fields.get(pointer, "") for pointer in pointers)
    return [text.user(value if isinstance(value, str) else json.dumps(value)) for value in found]


def _figures(row: Outcome) -> list[str]:
    cost, energy = row.cost, row.energy
    measured = energy.energy_joules if energy else None
    return [
        _quality(row.quality) if row.quality else "",
        text.number(cost.gbitops) if cost else "",
        f"-{text.percent(cost.saved_vs_static)}" if cost and cost.saved_vs_static is not None else "",
        text.number(energy.modelled_joules) if energy else "",
        "" if measured is None else text.number(measured),
        "" if row.seconds is None else text.duration(row.seconds),
    ]


def _quality(quality: Quality) -> str:
    value = _named(quality.name, quality.value)
    return f"{value} at {text.bits(quality.bits)}" + ("" if quality.final else ", so far")


def _named(name: str, value: float) -> str:
    if name == "accuracy":
        return text.percent(value)
    return f"{name} {value:,.2f}" if name == "perplexity" else f"{name} {value:.4f}"


def _summary(summary: Summary | None) -> list[str]:
    if summary is None:
        return [""] * 3
    name = next((name for name in ("accuracy", "perplexity", "loss") if getattr(summary, name) is not None), None)
    return [
        "" if name is None else _spread(getattr(summary, name), percent=name == "accuracy"),
        _spread(summary.gbitops),
        _spread(summary.modelled_joules),
    ]


def _spread(spread: Spread | None, *, percent: bool = False) -> str:
    if spread is None:
        return ""
    write = text.percent if percent else text.number
    return write(spread.mean) + ("" if spread.deviation is None else f" ± {write(spread.deviation)}")
