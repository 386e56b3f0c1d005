"""The evidence of docs/results.md: trains every row over its seeds and writes the tables. `make results DATA=folder`.

Each row is one command, which is printed and stands below its table. As many rows are trained at a time as there are
cores, one core each. What a row printed is kept in benchmarks/results/, and a row that is kept is not trained again,
so that it can be interrupted; delete the folder to start anew. The data are fashion-mnist/ and new-testament.txt, see
docs/recipes.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from kept import ROOT, Kept, Record, code_block, fill

from cpt_core.range_test import PrecisionGain, find_bounds
from cpt_core.spec import AutoPrecision

KEPT = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
SEEDS, ONE_SEED = "0,1,2", "0"


@dataclass(frozen=True)
class Row:
    """A recipe that is trained over seeds."""

    title: str
    recipe: str
    seeds: str = SEEDS

    @property
    def kept(self) -> Kept:
        command = ("cpt", "train", f"recipes/{self.recipe}.yaml", "--seeds", self.seeds)
        return Kept(command, KEPT / f"{self.recipe.replace('/', '-')}-train.json")


@dataclass(frozen=True)
class RangeTest:
    """A recipe whose range test is taken, at the options of `precision.schedule: auto`."""

    recipe: str

    @property
    def kept(self) -> Kept:
        command = ("cpt", "range-test", f"recipes/{self.recipe}.yaml")
        return Kept(command, KEPT / f"{self.recipe.replace('/', '-')}-range-test.json")


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
            Row("CPT 3-8, in integers", "fashion-mnist/resnet8-cpt-3-8-int8"),
            Row("CPT 3-8, in integers, fast", "fashion-mnist/resnet8-cpt-3-8-int8-fast"),
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


def run(job: Row | RangeTest, data_root: Path, core: int) -> None:
    """Run a row on one core, if it is not kept."""
    if job.kept.here:
        return
    with tempfile.TemporaryDirectory() as storage:
        options = ["--json", "--data-root", str(data_root)]
        if isinstance(job, Row):
            options += ["--storage", storage]
        job.kept.run(options, cores={core})


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


def table_of(subject: Subject) -> str:
    """The rows, the commands and the range test as Markdown."""
    records = {row: row.kept.record for row in subject.rows if row.kept.here}
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
    commands = code_block([*records.values(), subject.range_test.kept.record])
    return "\n".join([*lines, "", curve_of(subject.range_test), "", commands])


def mean_over(record: Record, quality: str, seeds: str) -> float:
    """A row's quality over some of its seeds, so that seeds are compared with the same seeds."""
    return statistics.fmean(
        run["end"]["result"][quality] for run in record["output"]["runs"] if str(run["seed"]) in seeds.split(",")
    )


def curve_of(test: RangeTest) -> str:
    """The range test's curve and its bounds as Markdown."""
    outcome = test.kept.record["output"]
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Train every row of docs/results.md.")
    parser.add_argument(
        "--data-root", type=Path, help="folder of fashion-mnist/ and new-testament.txt; without: only the page"
    )
    options = parser.parse_args()
    if options.data_root:
        print(platform.platform(), os.cpu_count(), "cores", flush=True)
        rows = sorted((row for subject in SUBJECTS for row in subject.rows), key=lambda row: row.seeds == ONE_SEED)
        jobs = [*rows, *(subject.range_test for subject in SUBJECTS)]
        run_all(jobs, options.data_root.resolve())
    fill(PAGE, {subject.marker: table_of(subject) for subject in SUBJECTS})


if __name__ == "__main__":
    main()
