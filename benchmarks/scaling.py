"""Two DDP ranks on two cores against one rank on one core: `python benchmarks/scaling.py` prints JSON.

Each round trains in turn: one rank on one core; two ranks on two cores, as many samples for each; and two trainings of
one rank at the same time, one on each core. The last tells what the cores' common memory and clock cost, which no
way of joining them can avoid. One thread a rank; samples a second are the median over a training's steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kept import ROOT
from trainings import shortened, write_images

from cpt_core.bench.machine import measure_machine

TEST_IMAGES = 128
"""Of the evaluation at the end, which every training has."""


def scaling(recipe: str, *, steps: int, rounds: int) -> dict[str, Any]:
    """Samples a second of each kind of training, a number for each round."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    share = shortened(recipe, steps).training.batch_size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder, train=2 * share * steps, test=TEST_IMAGES)
        for ranks in (1, 2):
            spec = shortened(recipe, steps, training={"batch_size": ranks * share}, resources={"devices": ranks})
            (folder / f"{ranks}.json").write_text(spec.model_dump_json())
        kinds = {"one": [(1, {first})], "two": [(2, {first, second})], "apart": [(1, {first}), (1, {second})]}
        measured = [{kind: _train(folder, trainings) for kind, trainings in kinds.items()} for _ in range(rounds)]
    return {
        "machine": measure_machine().model_dump(),
        "recipe": recipe,
        "batch_size": share,
        "steps": steps,
        "samples_per_second": {kind: [one_round[kind] for one_round in measured] for kind in kinds},
        "efficiency": statistics.median(one["two"] / (2 * one["one"]) for one in measured),
        "efficiency_apart": statistics.median(one["apart"] / (2 * one["one"]) for one in measured),
    }


def _train(folder: Path, trainings: Sequence[tuple[int, set[int]]]) -> float:
    """Samples a second, in sum, of trainings at the same time: ranks, and the cores they share."""
    started = [_start(folder, ranks, cores) for ranks, cores in trainings]
    return sum(_samples_per_second(process) for process in started)


def _start(folder: Path, ranks: int, cores: set[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "cpt_client", "train", f"{folder}/{ranks}.json", "--json"),
            *("--data-root", str(folder), "--storage", f"{folder}/storage-{min(cores)}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def _samples_per_second(process: subprocess.Popen[bytes]) -> float:
    output, _ = process.communicate()
    (run,) = json.loads(output)["runs"]
    if run["end"]["outcome"] != "succeeded":
        raise RuntimeError(run["end"]["message"])
    rate: float = run["end"]["result"]["samples_per_second"]
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description="Train with two ranks on two cores, and with one on one.")
    parser.add_argument("--recipe", default="cifar10/resnet38-static-8", help="file below recipes/, of images")
    parser.add_argument("--steps", type=int, default=7, help="of each training")
    parser.add_argument("--rounds", type=int, default=3, help="turns in which each kind of training is run")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two cores are needed, and this process has one")
    print(json.dumps(scaling(options.recipe, steps=options.steps, rounds=options.rounds)))


if __name__ == "__main__":
    main()
