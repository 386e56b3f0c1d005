"""What a training does around its steps, timed in a real one: `python benchmarks/surroundings.py` prints JSON.

The trainer runs as `cpt train` runs it, with a stopwatch around its methods. The recipe is a published one on random
images, shortened; evaluations and checkpoints are then counted as often as the recipe has them due.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from cpt_core.process import settle_threads

settle_threads()  # as in training

import torch
from kept import ROOT
from trainings import shortened, write_images

from cpt_core.bench.machine import measure_machine
from cpt_core.data import Dataset, Split, TrainingBatches
from cpt_core.data.dataset import standardize
from cpt_core.run import Run
from cpt_core.spec import JobSpec, load
from cpt_core.train import ranks
from cpt_core.train.memory import keep_freed_memory
from cpt_core.train.recorder import Recorder
from cpt_core.train.trainer import Trainer

PARTS = ("grey images", "colour images", "logging", "evaluation", "checkpoint")
"""What surrounds a step. A recipe has images of one kind."""

WARM_UP = 1
"""Calls of each kind that do not count: what is made once is made in them."""


class Stopwatch:
    """Seconds of the calls of functions, by name, taken from outside of them."""

    def __init__(self) -> None:
        self.seconds = defaultdict[str, list[float]](list)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name].append(time.perf_counter() - began)

        return timed

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Time a method of an object, or of all objects of a class."""
        setattr(owner, method, self.around(name, getattr(owner, method)))


def surroundings(recipe: str, *, steps: int, train: int, test: int) -> dict[str, Any]:
    """Train `steps` steps with two evaluations and three checkpoints on the way, and say what each part cost."""
    published = load(ROOT / "recipes" / f"{recipe}.yaml")
    batch_size = published.training.batch_size
    watch = Stopwatch()
    due = {"evaluation": {"every_steps": steps // 2}, "checkpoint": {"every_steps": steps // 3}}
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), train=train, test=test)
        _train(shortened(recipe, steps, **due), Path(folder), watch)
    _load_colour_images(train, batch_size, steps, watch)
    seconds = {name: statistics.median(taken[WARM_UP:]) for name, taken in watch.seconds.items()}
    seconds["logging"] = sum(watch.seconds["logging"]) / steps  # several calls a step
    every = {"evaluation": published.evaluation.every_steps, "checkpoint": published.checkpoint.every_steps}
    return {
        "machine": measure_machine().model_dump(),
        "model": published.model.name,
        "batch_size": batch_size,
        "test_images": test,
        "step_seconds": seconds["step"] - seconds["grey images"] - seconds["logging"],
        "parts": {name: {"seconds": seconds[name], "every": every.get(name, 1)} for name in PARTS},
    }


def _train(spec: JobSpec, folder: Path, watch: Stopwatch) -> None:
    group = ranks.join("cpu")
    run = Run(
        spec=spec, events=folder / "events", storage=str(folder), checkpoints="all", best="best", data_root=folder
    )
    watch.watch(TrainingBatches, "__call__", "grey images")
    trainer = Trainer(run, group, watch.around("logging", Recorder(run.events)), lambda: False)
    watch.watch(trainer, "step", "step")
    watch.watch(trainer.account, "begin_step", "logging")
    watch.watch(trainer.account, "end_step", "logging")
    watch.watch(trainer, "evaluate", "evaluation")
    watch.watch(trainer, "save", "checkpoint")
    trainer.train()
    group.leave()


def _load_colour_images(count: int, batch_size: int, steps: int, watch: Stopwatch) -> None:
    """Batches of CIFAR's form; its files cannot be made up, since they are known by their digests."""
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.arange(count) % 10)
    dataset = Dataset("colour images", 10, split, split, standardize(images))
    batches = TrainingBatches(dataset, batch_size=batch_size, seed=0, augment="crop_flip")
    for step in range(steps):
        watch.around("colour images", batches.__call__)(step)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time what a training does around its steps.")
    parser.add_argument("--recipe", default="cifar10/resnet38-cpt-3-8", help="file below recipes/, of images")
    parser.add_argument("--steps", type=int, default=30, help="steps to train, at least 9")
    parser.add_argument("--train", type=int, default=60_000, help="training images")
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(ranks.threads_per_rank())
    measured = surroundings(options.recipe, steps=options.steps, train=options.train, test=options.test)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
