"""The evidence of docs/service-benchmarks.md: measures the service beside what users know, and writes the page.

`make bench`. Each part is a command that prints JSON and installs its peer from PyPI at first use; what it printed is
kept in benchmarks/results-service/. `make bench AGAIN="submit"` measures that part anew.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from kept import ROOT, Kept, Record, code_block, fill

KEPT = ROOT / "benchmarks" / "results-service"
PAGE = ROOT / "docs" / "service-benchmarks.md"


@dataclass(frozen=True)
class Row:
    """One goal: what we measured, what the alternative did, and how they compare."""

    what: str
    ours: str
    theirs: str = ""
    ratio: str = ""
    goal: str = ""


def submit(out: Record) -> list[Row]:
    ours, prefect = out["ours"], out["prefect"]
    return [
        Row(
            "jobs submitted a second, committed",
            f"{ours['per_second']:.0f}",
            f"Prefect, flow runs: {prefect['per_second']:.0f}",
            times(ours["per_second"], prefect["per_second"]),
            "4 x",
        ),
        Row("submission, p99", f"{ours['p99_ms']:.1f} ms", f"{prefect['p99_ms']:.1f} ms", "", "25 ms"),
        Row(
            "lists of 50 a second",
            f"{ours['lists_of_50_per_second']:.0f}",
            f"Prefect: {prefect['lists_of_50_per_second']:.0f}",
            times(ours["lists_of_50_per_second"], prefect["lists_of_50_per_second"]),
        ),
    ]


def metrics(out: Record) -> list[Row]:
    ours, mlflow = out["ours"], out["mlflow"]
    return [
        Row(
            "points stored a second, 1,000 records a request",
            f"{ours['points_per_second']:,.0f}",
            f"MLflow: {mlflow['points_per_second']:,.0f}",
            times(ours["points_per_second"], mlflow["points_per_second"]),
            "10 x",
        ),
        Row(
            f"320 points of {out['steps']:,} steps",
            f"{1e3 * ours['sample_seconds']:.0f} ms",
            f"MLflow: {1e3 * mlflow['sample_seconds']:.0f} ms",
            times(mlflow["sample_seconds"], ours["sample_seconds"]),
            "20 x",
        ),
        Row(
            "bytes a point",
            f"{ours['bytes_per_point']:.0f}",
            f"MLflow: {mlflow['bytes_per_point']:.0f}",
            times(mlflow["bytes_per_point"], ours["bytes_per_point"]),
            "fewer",
        ),
    ]


def dispatch(out: Record) -> list[Row]:
    ours, ray = out["ours"], out["ray"]
    return [
        Row(
            "submit to the first event of a training of one step",
            f"{ours['first_event']:.2f} s",
            f"Ray, `true`, submit to end: {ray['end']:.2f} s",
            times(ray["end"], ours["first_event"]),
            "3 x",
        ),
        Row("the same, to its end", f"{ours['end']:.2f} s", "", times(ray["end"], ours["end"])),
        Row(
            f"{out['jobs']} of them through {out['slots']} slots",
            f"{ours['many']:.0f} s",
            f"Ray, `true`: {ray['many']:.0f} s",
            times(ray["many"], ours["many"]),
            "3 x",
        ),
    ]


def stream(out: Record) -> list[Row]:
    return [
        Row(
            f"commit to receipt, {out['listeners']} listeners, {out['events_per_second']:.0f} events/s",
            f"p50 {out['p50_ms']:.0f} ms, p99 {out['p99_ms']:.0f} ms",
            goal="20, 100 ms",
        ),
        Row("events received", f"{out['received']:,} of {out['expected']:,}", goal="all"),
    ]


def held(out: Record) -> list[Row]:
    received = f"{out['received']:,} of {out['expected']:,} events received, API {out['resident_mb']:.0f} MB"
    return [Row(f"{out['listeners']:,} listeners of one process", received, goal="1,000 held")]


def process(out: Record) -> list[Row]:
    return [
        Row("API process, resident", f"{out['resident_mib']:.0f} MiB", goal="150"),
        Row("API process, start to ready", f"{out['start_seconds']:.2f} s", goal="2 s"),
    ]


def times(more: float, fewer: float) -> str:
    return f"{more / fewer:.1f} x"


PARTS = {
    "submit": (("python", "benchmarks/service/submit.py"), submit),
    "metrics": (("python", "benchmarks/service/metrics.py"), metrics),
    "dispatch": (("python", "benchmarks/service/dispatch.py"), dispatch),
    "stream": (("python", "benchmarks/service/stream.py"), stream),
    "held": (("python", "benchmarks/service/stream.py", "--listeners", "1000", "--events", "50", "--rate", "2"), held),
    "process": (("python", "benchmarks/service/process.py"), process),
}


def table() -> str:
    """The page's table, and the command of each part, of what has been measured."""
    lines = ["| | ours | beside it | ratio | goal |", "|---|---:|---:|---:|---:|"]
    records = []
    for name, (command, rows) in PARTS.items():
        kept = Kept(command, KEPT / f"{name}.json")
        if not kept.here:
            lines.append(f"| {name}: not measured yet | | | | |")
            continue
        found = rows(kept.record["output"])
        lines += [f"| {row.what} | {row.ours} | {row.theirs} | {row.ratio} | {row.goal} |" for row in found]
        records.append(kept.record)
    return "\n".join([*lines, "", code_block(records)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", nargs="*", default=[], metavar="PART", help="measure these anew")
    again = parser.parse_args().again
    for name, (command, _) in PARTS.items():
        kept = Kept(command, KEPT / f"{name}.json")
        if name in again or not kept.here:
            kept.run()
        fill(PAGE, {"service": table()})
    print(table())


if __name__ == "__main__":
    main()
