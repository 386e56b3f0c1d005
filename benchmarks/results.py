"""The evidence of docs/results.md: trains every row over its seeds and writes the tables. `make results DATA=folder`.

Each row is one command, which is printed and stands below its table. As many rows are trained at a time as there are
cores, one core each. What a row printed is kept in benchmarks/results/, and a row that is kept is not trained again,
so that it can be interrupted; delete the folder to start anew. The data are fashion-mnist/ and new-testament.txt, see
docs/recipes.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cpt_core.range_test import PrecisionGain, find_bounds
from cpt_core.spec import AutoPrecision

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
SEEDS, ONE_SEED = "0,1,2", "0"

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A recipe that is trained over seeds."""

    title: str
    recipe: str
    seeds: str = SEEDS

    def arguments(self) -> list[str]:
        return ["train", f"recipes/{self.recipe}.yaml", "--seeds", self.seeds]


@dataclass(frozen=True)
class RangeTest:
    """A recipe whose range test is taken, at the options of `precision.schedule: auto`."""

    recipe: str

    def arguments(self) -> list[str]:
        return ["range-test", f"recipes/{self.recipe}.yaml"]


@dataclass(frozen=True)
class Subject:
    """A model and its data: the range test, and the rows of a table. The first row is what others are compared with."""

    marker: str
    range_test: RangeTest
    rows: tuple[Row, ...]


SUBJECTS = (
    Subject(
        "fashion-mnist",
        RangeTest("fashion-mnist/resnet8-cpt-3-8"),
        (
            Row("static 8", "fashion-mnist/resnet8-static-8"),
            Row("CPT 3-8", "fashion-mnist/resnet8-cpt-3-8"),
            Row("CPT 4-5, by the range test", "fashion-mnist/resnet8-cpt-4-5"),
            Row("static 5, its upper bound", "fashion-mnist/resnet8-static-5", ONE_SEED),
            Row("fp32", "fashion-mnist/resnet8-fp32", ONE_SEED),
            Row("static 3, one below its lower bound", "fashion-mnist/resnet8-static-3", ONE_SEED),
        ),
    ),
    Subject(
        "transformer",
        RangeTest("king-james/transformer-cpt-3-8"),
        (
            Row("static 8", "king-james/transformer-static-8"),
            Row("CPT 3-8", "king-james/transformer-cpt-3-8"),
            Row("CPT 4-5, by the range test", "king-james/transformer-cpt-4-5"),
            Row("static 5, its upper bound", "king-james/transformer-static-5", ONE_SEED),
            Row("fp32", "king-james/transformer-fp32", ONE_SEED),
            Row("static 3, one below its lower bound", "king-james/transformer-static-3", ONE_SEED),
        ),
    ),
    Subject(
        "lstm",
        RangeTest("king-james/lstm-cpt-3-8"),
        (
            Row("static 8", "king-james/lstm-static-8"),
            Row("CPT 3-8", "king-james/lstm-cpt-3-8"),
            Row("static 3, by the range test", "king-james/lstm-static-3"),
            Row("fp32", "king-james/lstm-fp32", ONE_SEED),
            Row("static 2, one below", "king-james/lstm-static-2", ONE_SEED),
        ),
    ),
    Subject(
        "digits",
        RangeTest("digits/long-resnet8-cpt-3-8"),
        (
            Row("static 8", "digits/long-resnet8-static-8", ONE_SEED),
            Row("CPT 3-8", "digits/long-resnet8-cpt-3-8", ONE_SEED),
        ),
    ),
)


def kept_as(job: Row | RangeTest) -> Path:
    kind = "range-test" if isinstance(job, RangeTest) else "train"
    return KEPT / f"{job.recipe.replace('/', '-')}-{kind}.json"


def run(job: Row | RangeTest, data_root: Path, core: int) -> None:
    """Run a row on one core, and keep what it printed."""
    if kept_as(job).exists():
        return
    print("cpt", *job.arguments(), flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as storage:
        command = [sys.executable, "-m", "cpt_client", *job.arguments(), "--json", "--data-root", str(data_root)]
        if isinstance(job, Row):
            command += ["--storage", storage]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
        )
    record = {
        "command": "cpt " + " ".join(job.arguments()),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "minutes": round((time.monotonic() - began) / 60, 1),
        "output": json.loads(done.stdout),
    }
    KEPT.mkdir(exist_ok=True)
    kept_as(job).write_text(json.dumps(record, indent=1) + "\n")


def run_all(jobs: list[Row | RangeTest], data_root: Path) -> None:
    """Run the rows, as many at a time as there are cores."""
    cores: SimpleQueue[int] = SimpleQueue()
    for core in sorted(os.sched_getaffinity(0)):
        cores.put(core)

    def on_a_core(job: Row | RangeTest) -> None:
        core = cores.get()
        try:
            run(job, data_root, core)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(max_workers=cores.qsize()) as pool:
        list(pool.map(on_a_core, jobs))


def record_of(job: Row | RangeTest) -> Record:
    record: Record = json.loads(kept_as(job).read_text())
    return record


def table_of(subject: Subject) -> str:
    """The rows, the commands and the range test as Markdown."""
    records = {row: record_of(row) for row in subject.rows if kept_as(row).exists()}
    summaries = {row: record["output"]["summary"] for row, record in records.items()}
    if subject.rows[0] not in summaries:
        return "Not trained yet."
    base = summaries[subject.rows[0]]
    language = base["perplexity"] is not None
    quality, format_ = ("perplexity", "{:.2f}") if language else ("accuracy", "{:.2%}")
    lines = [
        f"| | {quality} | against static 8 | GBitOPs | against static 8 | modelled joules |",
        "|---|---|---|---|---|---|",
    ]
    for row, summary in summaries.items():
        figure, deviation = summary[quality]["mean"], summary[quality]["deviation"]
        difference = figure - mean_over(records[subject.rows[0]], quality, row.seeds)
        shown = f"{difference:+.2f}" if language else f"{100 * difference:+.2f} points"
        cost = summary["gbitops"]["mean"] / base["gbitops"]["mean"] - 1
        joules = summary["modelled_joules"]["mean"]
        same = row == subject.rows[0]
        spread = "" if deviation is None else f" ± {format_.format(deviation)}"
        lines.append(
            f"| {row.title} | {format_.format(figure)}{spread} | {'' if same else shown} "
            f"| {summary['gbitops']['mean']:,.0f} | {'' if same else f'{cost:+.1%}'} | {joules:,.1f} |"
        )
    lines += [f"| {row.title} | not trained yet | | | | |" for row in subject.rows if row not in records]
    commands = [
        f"{record['command']}  # {record['minutes']:.1f} min, {record['date']}"
        for record in [*records.values(), record_of(subject.range_test)]
    ]
    return "\n".join([*lines, "", curve_of(subject.range_test), "", "```", *commands, "```"])


def mean_over(record: Record, quality: str, seeds: str) -> float:
    """A row's quality over some of its seeds, so that seeds are compared with the same seeds."""
    return statistics.fmean(
        run["end"]["result"][quality] for run in record["output"]["runs"] if str(run["seed"]) in seeds.split(",")
    )


def curve_of(test: RangeTest) -> str:
    """The range test's curve and its bounds as Markdown."""
    outcome = record_of(test)["output"]
    points = [PrecisionGain.model_validate(point) for point in outcome["curve"]]
    defaults = AutoPrecision(schedule="auto")  # a curve once measured serves other thresholds too
    bounds = find_bounds(points, threshold=defaults.threshold, tolerance=defaults.tolerance)
    found = f"{bounds.min_bits} to {bounds.max_bits} bits" if bounds else "none"
    return "\n".join(
        [
            f"Range test, {outcome['steps_per_bits']} steps at each width; bounds: {found}.",
            "",
            "| bits | " + " | ".join(str(point.bits) for point in points) + " |",
            "|---" * (len(points) + 1) + "|",
            "| score | " + " | ".join(f"{point.last:.4f}" for point in points) + " |",
        ]
    )


def write_page() -> None:
    """Put the tables between the markers of the page."""
    text = PAGE.read_text()
    for subject in SUBJECTS:
        begin, end = f"<!-- {subject.marker} -->", f"<!-- /{subject.marker} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{table_of(subject)}\n\n{end}{after}"
    PAGE.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train every row of docs/results.md.")
    parser.add_argument(
        "--data-root", type=Path, help="folder of fashion-mnist/ and new-testament.txt; without: only the page"
    )
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.data_root:
        print(platform.platform(), os.cpu_count(), "cores", flush=True)
        rows = sorted((row for subject in SUBJECTS for row in subject.rows), key=lambda row: row.seeds == ONE_SEED)
        jobs = [*rows, *(subject.range_test for subject in SUBJECTS)]
        run_all(jobs, options.data_root.resolve())
    write_page()


if __name__ == "__main__":
    main()
