"""A job as it runs: a panel that is right for the moment at which it is drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cpt_client.models import EnergyFigure, Event, Job
from cpt_client.view import text
from cpt_client.view.sparkline import Series, sparkline

WIDTH = 100
"""Columns of the panel on a wide terminal."""

LONG_QUEUED = 10.0
"""Seconds in the queue after which the panel says what a job may be waiting for."""


def static_bits(job: Job) -> int | None:
    """The schedule's highest bit width, with which static training is compared; null when the spec does not say."""
    precision: Mapping[str, Any] = job.spec.get("precision") or {}
    pieces = [piece.get("bits") for piece in precision.get("pieces", [])]
    bits = max(pieces) if pieces else precision.get("max_bits", precision.get("bits"))
    return bits if isinstance(bits, int) else None


def static_name(job: Job) -> str:
    """What the cost is compared with: "static 8-bit"."""
    bits = static_bits(job)
    return "static" if bits is None else "static fp32" if bits == 32 else f"static {bits}-bit"


def cycle_steps(job: Job) -> int | None:
    """Steps of one precision cycle; null for a static schedule, and for a range test alone."""
    if job.spec.get("type") == "range_test":
        return None
    cycles = (job.spec.get("precision") or {}).get("cycles")
    return max(1, job.progress.steps // cycles) if isinstance(cycles, int) and cycles > 0 else None


class Status:
    """What is known of a job: its last answer from the API, and the events seen since.

    Draws itself as a panel: state, progress, bits, loss, quality, cost and energy.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        """The job as last answered."""
        self.losses = Series()
        """Training loss of the steps seen."""
        self.bits: deque[int] = deque(maxlen=2 * (cycle_steps(job) or 128))
        """Forward bits of the last two cycles of the steps seen."""
        self.notice: str | None = None
        """A passing remark, such as a lost connection."""
        self._attempt = job.attempt
        self._done = job.progress.step
        self._step: Mapping[str, Any] = job.latest.model_dump() if job.latest else {}

    def apply(self, event: Event) -> None:
        """Take in an event of the stream; it may be older than the last answer of the API."""
        self.notice = None
        attempt = self._attempt if event.attempt is None else event.attempt
        if event.type == "started" and attempt >= self._attempt:
            self._attempt, self._done = attempt, int(event.fields["resume_step"])
        if event.type != "step":
            return
        fields = event.fields
        self.losses.append(float(fields["loss"]))
        self.bits.append(int(fields["forward_bits"]))
        if attempt >= self._attempt and fields["step"] >= self._done:
            self._attempt, self._done, self._step = attempt, int(fields["step"]) + 1, fields

    def update(self, job: Job) -> None:
        """Take in a newer answer of the API; it may be older than the last event."""
        self.job = job
        if job.attempt > self._attempt or job.progress.step > self._done:
            self._attempt, self._done = job.attempt, job.progress.step
            self._step = job.latest.model_dump() if job.latest else self._step

    def line(self) -> str:
        """The same on one line, for a log file."""
        parts = [text.printable(self.job.state), self._position()]
        if self._step:
            parts.append(f"bits {self._bits()}")
            parts.append(f"loss {self._step['loss']:.4f}")
            if self._step.get("accuracy") is not None:
                parts.append(f"accuracy {text.percent(self._step['accuracy'])}")
        cost = self.job.cost
        if cost is not None and cost.saved_vs_fp32 is not None:
            parts.append(text.saving(cost.saved_vs_static, static_name(self.job)))
        if (eta := self._eta()) is not None:
            parts.append(f"ETA {text.duration(eta)}")
        if self.notice is not None:
            parts.append(text.printable(self.notice))
        return "  ".join(parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WIDTH)
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        for label, value in self._rows(spark=max(10, width - 50)):
            rows.add_row(label, value)
        job = self.job
        title = Text.assemble(text.user(job.name, "bold"), "  ", text.user(job.id, "dim"))
        content = Group(self._headline(), self._bar(width - 4), rows)
        yield Panel(content, title=title, title_align="left", width=width, border_style=text.STYLES.get(job.state, ""))

    def _headline(self) -> Text:
        job = self.job
        line = Text.assemble(text.state(job.state))
        if job.cancel_requested and not job.is_final:
            line.append("  cancelling", "red")
        if job.attempt:
            line.append(f"  attempt {job.attempt}")
        if job.queue:
            line.append("  queue ").append_text(text.user(job.queue))
        end = job.finished_at or datetime.now(UTC)
        if job.started_at is not None:
            line.append(f"  {text.age(job.started_at, end)}")
        if self.notice is not None:
            line.append("  ").append_text(text.user(self.notice, "yellow"))
        elif job.state == "queued" and (end - job.created_at).total_seconds() > LONG_QUEUED:
            line.append("  waiting for a worker of this queue; `cpt worker` starts one", "yellow")
        return line

    def _bar(self, width: int) -> RenderableType:
        position = self._position()
        eta = self._eta()
        tail = f"  {position}" + ("" if eta is None else f"  ETA {text.duration(eta)}")
        bar = Table.grid()
        bar.add_column(width=max(10, width - len(tail)))
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(total=max(1, self.job.progress.steps), completed=self._done), tail)
        return bar

    def _position(self) -> str:
        steps = self.job.progress.steps
        return f"{self._done:,}/{steps:,} steps  {100 * self._done / max(1, steps):.0f} %"

    def _eta(self) -> float | None:
        return None if self.job.is_final else self.job.progress.eta_seconds

    def _bits(self) -> str:
        return f"{self._step['forward_bits']} forward, {self._step['backward_bits']} backward"

    def _rows(self, spark: int) -> list[tuple[str, RenderableType]]:
        rows: list[tuple[str, RenderableType]] = []
        if self._step:
            rows.append(("bits", _curve(self._bits(), self.bits, spark)))
            rows.append(("loss", _curve(f"{self._step['loss']:.4f}", self.losses.values, spark)))
        if quality := self._quality():
            rows.append(("quality", quality))
        job = self.job
        if job.cost is not None:
            rows.append(("cost", cost_line(job)))
        if job.energy is not None:
            rows.append(("energy", energy_line(job)))
        if self._step.get("samples_per_second") is not None:
            rows.append(("speed", f"{self._step['samples_per_second']:,.0f} samples/s, lr {self._step['lr']:.4g}"))
        if job.checkpoint is not None:
            rows.append(("checkpoint", f"step {job.checkpoint.step:,}"))
        return rows

    def _quality(self) -> str:
        parts = []
        if self._step.get("accuracy") is not None:
            parts.append(f"{text.percent(self._step['accuracy'])} training")
        evaluation = self.job.evaluation
        if evaluation is not None:
            of = "test of averaged weights" if evaluation.averaged else "test"
            parts.append(f"{text.quality(evaluation)} {of} at {text.bits(evaluation.bits)} (step {evaluation.step:,})")
        return ", ".join(parts)


def _curve(label: str, values: deque[int] | list[float], width: int) -> Text:
    return Text.assemble(f"{label:<22}  ", (sparkline(list(values), width), "cyan"))


def cost_line(job: Job) -> str:
    """GBitOPs so far and what they save."""
    cost = job.cost
    if cost is None:
        return "unknown"
    static, full = text.saving(cost.saved_vs_static, static_name(job)), text.saving(cost.saved_vs_fp32, "fp32")
    return f"{text.quantity(cost.gbitops, 'GBitOPs')}, {static}, {full}"


def energy_line(job: Job) -> Text:
    """Measured and modelled energy, each labelled."""
    energy = job.energy
    if energy is None:
        return Text("unknown")
    line = Text()
    if energy.modelled.joules is not None:
        line.append(f"{_amount(energy.modelled)} modelled; ")
    return line.append_text(measured(job))


def measured(job: Job) -> Text:
    """The measured energy with its source, or why there is none."""
    figure = job.energy.measured if job.energy is not None else None
    if figure is None or figure.joules is None:
        return text.user(f"no counter: {figure.reason if figure and figure.reason else 'the worker did not say why'}")
    scope = f", {figure.scope}" if figure.scope else ""
    return text.user(f"{_amount(figure)} measured ({figure.source}{scope})")


def amount(joules: float | None, kwh: float | None, gco2e: float | None) -> str:
    """An amount of energy in all the units in which it is known: "5,120 J, 0.001422 kWh, 0.6329 g CO2e"."""
    units = ((joules, "J"), (kwh, "kWh"), (gco2e, "g CO2e"))
    return ", ".join(text.quantity(value, unit) for value, unit in units if value is not None)


def _amount(figure: EnergyFigure) -> str:
    return amount(figure.joules, figure.kwh, figure.gco2e)
