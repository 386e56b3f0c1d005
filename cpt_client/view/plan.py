"""A training before it runs, on one screen."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpt_client.view import text
from cpt_client.view.chart import bits_chart
from cpt_core.forecast import Forecast
from cpt_core.plan import Plan
from cpt_core.schedules import Schedule
from cpt_core.spec import AutoPrecision, JobSpec

CHART_WIDTH = 80
COLUMNS_PER_CYCLE = 8
"""With fewer a cycle could not be made out, so only the first ones are drawn."""


def plan_view(spec: JobSpec, plan: Plan) -> RenderableType:
    """The schedule drawn, what will be trained, and what it will cost."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("length", f"{plan.steps:,} steps, {plan.epochs:,.4g} epochs, {plan.samples:,} samples")
    table.add_row("model", f"{plan.parameters:,} parameters, {plan.macs:,} MACs a sample")
    if plan.forecast is not None:
        _add_forecast(table, plan, plan.forecast)
    for bound, forecast in zip(("at least", "at most"), plan.forecast_between or (), strict=False):
        table.add_row(Text(bound, "bold"), "by the bounds that the precision range test will find")
        _add_forecast(table, plan, forecast)
    return Group(text.user(spec.name, "bold"), *_schedule(spec), table)


def _add_forecast(table: Table, plan: Plan, forecast: Forecast) -> None:
    full, static = "fp32", "fp32" if plan.max_bits == 32 else f"static {plan.max_bits}-bit"
    mean = f"{forecast.mean_forward_bits:.4g} forward, {forecast.mean_backward_bits:.4g} backward"
    table.add_row("mean bits", mean)
    table.add_row("cost", text.quantity(forecast.gbitops, "GBitOPs"))
    for name, total in {static: forecast.gbitops_static, full: forecast.gbitops_fp32}.items():
        saved = 1 - forecast.gbitops / total
        table.add_row("", f"{text.saving(saved, name)} ({text.quantity(total, 'GBitOPs')})")
    table.add_row("energy", f"{text.quantity(forecast.modelled_joules, 'J')} modelled")
    for name, total in {static: forecast.modelled_joules_static, full: forecast.modelled_joules_fp32}.items():
        saved = 1 - forecast.modelled_joules / total
        table.add_row("", f"{text.saving(saved, name)} ({text.quantity(total, 'J')})")


def _schedule(spec: JobSpec) -> list[Text]:
    precision, steps = spec.precision, spec.steps
    cycles = max(getattr(part, "cycles", 1) for part in (precision, precision.gradient_bits))
    if isinstance(precision, AutoPrecision):
        cycles = 1  # the test is to be seen whole, and what comes after it is not known
    shown = steps if cycles * COLUMNS_PER_CYCLE <= CHART_WIDTH else steps * CHART_WIDTH // (COLUMNS_PER_CYCLE * cycles)
    title = "forward (weights and activations)"
    if spec.type == "range_test":
        title += ", in the precision range test"
    elif isinstance(precision, AutoPrecision):
        title += ", first the precision range test, then cycles within the bounds it finds, here the widest"
    lines = _chart(title, precision.forward_schedule(steps), shown)
    lines += _chart("backward (errors)", precision.backward_schedule(steps), shown)
    ends = f"step 0 to {shown - 1:,}" + ("" if shown == steps else f" of {steps:,}; the other cycles are the same")
    return [*lines, Text(f"   {ends}", "dim")]


def _chart(title: str, schedule: Schedule, steps: int) -> list[Text]:
    bits = [schedule.bits(step) for step in range(steps)]
    if len(set(bits)) == 1:
        return [Text(f"{title}: {text.bits(bits[0])} in every step", "dim")]
    return [Text(f"{title}, bits", "dim"), *(Text(line, "cyan") for line in bits_chart(bits, CHART_WIDTH))]
