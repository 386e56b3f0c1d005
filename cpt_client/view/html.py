"""What a notebook shows of the client's objects. Everything that somebody named is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from cpt_client.view import text

if TYPE_CHECKING:
    from cpt_client.metrics import Metrics
    from cpt_client.models import Job
    from cpt_client.sweeps import Comparison

ENDS = 5
"""Rows of a long table that are shown at its beginning and at its end."""


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of text."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def facts(title: str, found: Mapping[str, str]) -> str:
    """A title, and names with their values below it."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in found.items())
    return f"<div><strong>{escape(title)}</strong><table><tbody>{rows}</tbody></table></div>"


def job(of: Job) -> str:
    """State, progress and figures of a job."""
    from cpt_client.view.status import cost_line, energy_line

    progress, latest, evaluation = of.progress, of.latest, of.evaluation
    found = {
        "id": of.id,
        "state": of.state if of.reason is None else f"{of.state} ({of.reason})",
        "progress": f"{progress.step:,} of {progress.steps:,} steps, {100 * progress.fraction:.0f} %",
    }
    if progress.eta_seconds is not None and not of.is_final:
        found["ETA"] = text.duration(progress.eta_seconds)
    if of.message:
        found["message"] = of.message
    if latest is not None:
        found["bits"] = f"{latest.forward_bits} forward, {latest.backward_bits} backward"
        found["loss"] = f"{latest.loss:.4f}"
    if evaluation is not None:
        found["quality"] = f"{text.quality(evaluation)} at {text.bits(evaluation.bits)} (step {evaluation.step:,})"
    if of.cost is not None:
        found["cost"] = cost_line(of)
    if of.energy is not None:
        found["energy"] = energy_line(of).plain
    return facts(of.name, found)


def comparison(of: Comparison) -> str:
    """Jobs side by side, with the fields in which they differ."""
    rows = [
        (
            one.job,
            one.name,
            one.state,
            *(_cell(one.fields.get(field)) for field in of.fields),
            "" if one.quality is None else f"{one.quality.name} {one.quality.value:.4g}",
            "" if one.cost is None else text.quantity(one.cost.gbitops, "GBitOPs"),
        )
        for one in of.data
    ]
    return table(("job", "name", "state", *of.fields, "quality", "cost"), rows)


def metrics(of: Metrics) -> str:
    """The first and the last steps of a table."""
    count = of.steps
    shown = range(count) if count <= 2 * ENDS else [*range(ENDS), *range(count - ENDS, count)]
    rows = [[_cell(of[name][index]) for name in of] for index in shown]
    return f"{table(tuple(of), rows)}<p>{count:,} steps</p>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
