"""The evidence of docs/benchmarks.md: measures every table and writes the page. `make bench-core`.

Each table is of one command, which is printed and stands below it; it takes all cores, so nothing else should run.
What it printed is kept in benchmarks/results-core/, and what is kept is not measured again, so that it can be
interrupted; `make bench-core AGAIN="resnet38 scaling"` measures those tables anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from kept import ROOT, Kept, Record, code_block, fill

from cpt_client.cli.bench import COLUMNS, arithmetic, cells, describe
from cpt_core.bench import forms
from cpt_core.bench.machine import Machine
from cpt_core.bench.measure import Benchmark

INTEGER_PRODUCTS = ("integer products forward", "gradient of the input", "gradient of the weight")
"""Parts of a step in integers."""

KEPT = ROOT / "benchmarks" / "results-core"
PAGE = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Table:
    """A command, and how what it printed becomes a table."""

    name: str
    command: tuple[str, ...]
    show: Callable[[Record], str]
    form: str = forms.BASE
    """The form that it is about, without which there is nothing to measure."""

    @property
    def kept(self) -> Kept:
        return Kept(self.command, KEPT / f"{self.name}.json")


def steps(output: Record) -> str:
    """The forms of a workload."""
    benchmark = Benchmark.model_validate(output)
    return "\n".join(
        [
            f"{benchmark.workload}: {arithmetic(benchmark)}; medians of {benchmark.rounds} rounds.",
            "",
            *_markdown(COLUMNS, [cells(timing) for timing in benchmark.timings]),
        ]
    )


def surroundings(output: Record) -> str:
    """What each part around a step costs, as often as it is due."""
    parts, step = output["parts"], output["step_seconds"]
    shares = {name: part["seconds"] / part["every"] / step for name, part in parts.items()}
    titles = {
        "grey images": f"load and augment {output['batch_size']} grey images",
        "colour images": f"the same for {output['batch_size']} colour images",
        "logging": "logging: events, cost, energy",
        "evaluation": f"evaluation of {output['test_images']:,} images",
        "checkpoint": "checkpoint",
    }
    rows = [
        [title, f"{parts[name]['seconds']:.4f}", _every(parts[name]["every"]), f"{shares[name]:.2%}"]
        for name, title in titles.items()
    ]
    together = sum(share for name, share in shares.items() if name != "grey images")
    return "\n".join(
        [
            f"{output['model']}, batch {output['batch_size']}: a step, without what is below, takes {step:.3f} s.",
            "",
            *_markdown(("", "s", "due", "of a step"), rows),
            f"| together, with colour images | | | **{together:.2%}** |",
        ]
    )


def _every(count: int) -> str:
    return "each step" if count == 1 else f"every {count:,} steps"


def parts(output: Record) -> str:
    """What a step spends its time on."""
    step, ratio = output["step_seconds"], output["of_fp32"]
    rows = [
        [part, f"{seconds:.3f}", f"{seconds / step:.0%}"]
        for part, seconds in sorted(output["parts"].items(), key=lambda item: -item[1])
    ]
    lines = [
        f"{output['workload']}, {output['form']}: a step takes {step:.3f} s, {ratio:.2f} of fp32's.",
        "",
        *_markdown(("", "s", "of a step"), rows),
    ]
    if "integer_peak" in output:
        peak, macs = output["integer_peak"], output["integer_macs"]
        made = sum(output["parts"].get(part, 0.0) for part in INTEGER_PRODUCTS)
        least = ratio * (step - made + macs / peak) / step
        lines += [
            "",
            f"Its {macs / 1e9:.1f} GMAC of integers run at {macs / made / 1e9:.0f} GMAC/s, {macs / made / peak:.0%} of "
            f"the peak of {peak / 1e9:.0f}; at the peak the step would take {least:.2f} of fp32's.",
        ]
    return "\n".join(lines)


def scaling(output: Record) -> str:
    """Two ranks on two cores."""
    rates = output["samples_per_second"]
    titles = {"one": "one rank, one core", "two": "two ranks, two cores", "apart": "two trainings apart, a core each"}
    efficiencies = {"one": "", "two": f"**{output['efficiency']:.2f}**", "apart": f"{output['efficiency_apart']:.2f}"}
    rows = [
        [title, ", ".join(f"{rate:.1f}" for rate in rates[kind]), efficiencies[kind]] for kind, title in titles.items()
    ]
    return "\n".join(_markdown(("", "samples a second, by round", "of twice one rank, median"), rows))


def _markdown(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    rule = "|---" + "|---:" * (len(columns) - 1) + "|"
    return [f"| {' | '.join(columns)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]


def _steps(name: str, workload: str, rounds: int, *chosen: str) -> Table:
    """A workload in the forms that need not be asked for, or in those `chosen`, the last of which it is about."""
    options = [option for form in chosen for option in ("--form", form)]
    command = ("cpt", "bench", workload, *options, "--rounds", str(rounds), "--json")
    return Table(name, command, steps, (forms.BASE, *chosen)[-1])


def _parts(workload: str, form: str, short: str = "") -> Table:
    """Where a workload's step goes in a form, which the table's name calls `short`."""
    return Table(f"parts-{workload}-{short or form}", ("python", "benchmarks/parts.py", workload, form), parts, form)


COMPILED, FEW_BITS, FAST = "simulated, torch.compile", "int8, 3 bits forward", "int8, fast input gradients"
TABLES = (
    _steps("resnet38", "resnet38", 9),
    _steps("resnet74", "resnet74", 7),
    _steps("resnet18", "resnet18", 5),
    _steps("mobilenet_v2", "mobilenet_v2", 5),
    _steps("transformer_lm", "transformer_lm", 5),
    _steps("lstm_lm", "lstm_lm", 9),
    Table("surroundings", ("python", "benchmarks/surroundings.py"), surroundings),
    Table("scaling", ("python", "benchmarks/scaling.py"), scaling),
    *(_parts(workload, "int8") for workload in ("resnet38", "resnet18", "transformer_lm", "lstm_lm")),
    _parts("lstm_lm", "simulated"),
    *(_parts(workload, "simulated, PyTorch only", "pytorch") for workload in ("resnet38", "transformer_lm", "lstm_lm")),
    _steps("few-bits", "resnet38", 5, "int8", FEW_BITS),
    _steps("fast", "resnet38", 5, "int8", FAST),
    _steps("compiled-lstm_lm", "lstm_lm", 5, "simulated", COMPILED),
    _steps("compiled-resnet38", "resnet38", 5, "simulated", COMPILED),
)
"""All tables, in the order in which they are measured: those that take longest for least come last."""


def section(table: Table) -> str:
    """A table with its machine, command and date, as Markdown."""
    if not table.kept.here:
        return "Not measured yet."
    record = table.kept.record
    machine = describe(Machine.model_validate(record["output"]["machine"]))
    return "\n\n".join([table.show(record["output"]), f"{machine}.", code_block([record])])


def write_page() -> None:
    fill(PAGE, {table.name: section(table) for table in TABLES})


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure every table of docs/benchmarks.md.")
    parser.add_argument("--page", action="store_true", help="measure nothing, only write the page")
    parser.add_argument(
        "--again", nargs="*", default=[], metavar="TABLE", help="measure this table anew, although it is kept"
    )
    options = parser.parse_args()
    names = [table.name for table in TABLES]
    if unknown := set(options.again) - set(names):
        parser.error(f"there is no table {', '.join(sorted(unknown))}: use {', '.join(names)}")
    for table in TABLES:
        if options.page or (table.kept.here and table.name not in options.again):
            continue
        if table.form not in forms.available():
            print(f"{table.name}: skipped, this machine cannot take the form {table.form!r}", flush=True)
            continue
        table.kept.run()
        write_page()
    write_page()


if __name__ == "__main__":
    main()
