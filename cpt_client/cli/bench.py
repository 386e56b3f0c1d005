"""`cpt bench`: what a quantised training step costs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import console, print_json
from cpt_client.cli.parts import require
from cpt_core.process import settle_threads

if TYPE_CHECKING:
    from cpt_core.bench.machine import Machine
    from cpt_core.bench.measure import Benchmark, Timing

COLUMNS = (
    *("", "s a step", "of fp32", "IQR", "faster than naive"),
    *("saved MB", "of fp32's", "memory floor s", "times its floor"),
)
"""Heads of a table of timings."""


def bench(names: list[str], chosen: list[str], rounds: int, threads: int | None, device: str, *, as_json: bool) -> None:
    """Time the workloads `names` in the forms `chosen`, all of them by default, and print a table of each."""
    require("train", "torch")
    settle_threads()  # as in training
    import torch

    from cpt_core.bench import forms
    from cpt_core.bench.machine import measure_machine
    from cpt_core.bench.measure import measure
    from cpt_core.bench.workloads import WORKLOADS
    from cpt_core.train.memory import keep_freed_memory

    if device == "cuda" and not torch.cuda.is_available():
        exits.fail("torch finds no GPU here", "without --device the CPU is timed", code=exits.USAGE)
    for kind, wanted, known in (("workload", names, WORKLOADS), ("form", chosen, forms.available(device))):
        for name in wanted:
            if name not in known:
                exits.fail(f"there is no {kind} {name!r} here: use one of {', '.join(known)}", code=exits.USAGE)
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    machine = measure_machine(device=device)
    if not as_json:
        console().print(describe(machine))
    for name in names or WORKLOADS:
        wanted = chosen or forms.defaults(device)
        benchmark = measure(WORKLOADS[name], wanted, machine, rounds=rounds, device=device)
        if as_json:
            print_json(benchmark)
        else:
            console().print(_table(benchmark))


def describe(machine: Machine) -> str:
    """The machine and its peaks in a line."""
    threads = f"{machine.threads} thread{'s' * (machine.threads > 1)}"
    peaks = f"{machine.fp32_macs / 1e9:.0f} GMAC/s in fp32, {machine.bandwidth / 1e9:.1f} GB/s"
    return f"{machine.cpu} ({', '.join(machine.instructions)}), {threads}, torch {machine.torch}: {peaks}"


def arithmetic(benchmark: Benchmark) -> str:
    """The products of a step, and the time they take at least, in a line."""
    return f"{benchmark.macs / 1e9:.1f} GMAC a step, {benchmark.arithmetic_seconds:.3f} s at the fp32 peak"


def cells(timing: Timing) -> list[str]:
    """A row of the table."""
    return [
        timing.form,
        f"{timing.seconds:.3f}",
        f"{timing.ratio:.3f}",
        f"{timing.spread:.3f}",
        "" if timing.over_naive is None else f"{timing.over_naive:.2f}",
        f"{timing.saved_bytes / 1e6:,.0f}",
        f"{timing.saved_ratio:.2f}",
        f"{timing.memory_seconds:.3f}",
        f"{timing.times_floor:.1f}",
    ]


def _table(benchmark: Benchmark) -> Table:
    title = f"\n{benchmark.workload}: {arithmetic(benchmark)}"
    table = Table(title=title, title_justify="left", box=None, header_style="dim")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column else "left")
    for timing in benchmark.timings:
        table.add_row(*cells(timing))
    return table
