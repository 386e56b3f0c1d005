"""`cpt train`: one spec on this machine without any server, shown like a job; with one seed, or several in turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.console import Console

from cpt_client.cli import exits
from cpt_client.cli.jobs import read_spec
from cpt_client.cli.output import console, print_json
from cpt_client.cli.parts import require
from cpt_client.view.local import LocalRun
from cpt_client.view.presenter import presenter
from cpt_client.view.seeds import seeds_view
from cpt_client.view.status import Status
from cpt_client.view.summary import summary
from cpt_core.carbon import WORLD_AVERAGE
from cpt_core.events import AnyEvent, Finished
from cpt_core.seeds import Report, SeedRun
from cpt_core.spec import JobSpec, problems

EXIT_CODES = {"succeeded": exits.OK, "preempted": exits.INTERRUPTED}
"""By the outcome of a run; any other is a failure."""


def train(
    path: Path,
    storage: Path,
    data_root: Path,
    events: Path | None,
    resume: Path | None,
    *,
    grid: float | None,
    seeds: str | None,
    as_json: bool,
) -> None:
    """Train the spec in the file and show it; ends the command with an exit code that tells how it went.

    With several seeds it trains once with each. The first run that does not succeed is the last one.
    """
    require("train", "torch", "fsspec", "safetensors")
    from cpt_core.checkpoint import CheckpointError
    from cpt_core.train import local

    spec = read_spec(path)
    specs = [spec] if seeds is None else [_with_seed(spec, seed) for seed in _read_seeds(seeds)]
    if len(specs) > 1:
        _check_options(events, resume)
    factor = WORLD_AVERAGE if grid is None else grid
    start = partial(local.train, storage=storage, data_root=data_root, resume=resume, grid_gco2e_per_kwh=factor)
    out = console(stderr=as_json)
    runs, code, failure = list[SeedRun](), exits.OK, ""
    try:
        for index, one in enumerate(specs, start=1):
            if len(specs) > 1:
                out.print(f"seed {one.training.seed}, {index} of {len(specs)}")
            runs.append(_train(one, start, events, out, storage))
            code = EXIT_CODES.get(runs[-1].end.outcome, exits.FAILED)
            if code != exits.OK:
                break
    except KeyboardInterrupt:  # between two runs; within one it ends that
        code = exits.INTERRUPTED
    except (CheckpointError, OSError) as error:
        code, failure = exits.USAGE, str(error)
    report = Report.of(spec.name, runs, not_started=[one.training.seed for one in specs[len(runs) :]])
    if as_json:
        print_json(report)
    elif len(specs) > 1:
        out.print(seeds_view(report))
    _tell_how_to_go_on(path, storage, report, seeded=seeds is not None)
    if failure:
        exits.fail(failure, code=code)
    raise typer.Exit(code)


def _read_seeds(given: str) -> list[int]:
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() for word in words):
        exits.fail(f"--seeds {given}: not a list of numbers", "separate them by commas: 0,1,2", code=exits.USAGE)
    seeds = [int(word) for word in words]
    if len(set(seeds)) < len(seeds):
        exits.fail(f"--seeds {given}: a seed stands there twice", "the same seed trains the same", code=exits.USAGE)
    return seeds


def _with_seed(spec: JobSpec, seed: int) -> JobSpec:
    document = spec.model_dump()
    document["training"]["seed"] = seed
    try:
        return JobSpec.model_validate(document)
    except ValidationError as error:
        exits.fail(f"--seeds: {seed}: {problems(error)[0]['message']}", code=exits.USAGE)


def _check_options(events: Path | None, resume: Path | None) -> None:
    if resume is not None:
        exits.fail(
            "--resume continues one run, --seeds names several",
            "continue with the seed of the checkpoint, then train with the others",
            code=exits.USAGE,
        )
    if events is not None and "{seed}" not in events.name:
        exits.fail(
            f"--events {events}: each seed needs a file of its own",
            "put {seed} into the file's name: --events 'events-{seed}.jsonl'",
            code=exits.USAGE,
        )


def _train(spec: JobSpec, start: Callable[..., int], events: Path | None, out: Console, storage: Path) -> SeedRun:
    if events is not None:
        events = events.with_name(events.name.replace("{seed}", str(spec.training.seed)))
    run, ends = LocalRun(spec), list[Finished]()
    status = Status(run.job)
    with presenter(status, out) as show:

        def take(event: AnyEvent) -> None:
            seen = run.take(event)
            status.apply(seen)
            status.update(run.job)
            show(seen)
            if isinstance(event, Finished):
                ends.append(event)

        start(spec, events=events, on_event=take)
    out.print(summary(run.job, str(storage.absolute())))
    checkpoint = None if run.job.checkpoint is None else run.job.checkpoint.path
    return SeedRun(seed=spec.training.seed, checkpoint=checkpoint, end=ends[0])


def _tell_how_to_go_on(path: Path, storage: Path, report: Report, *, seeded: bool) -> None:
    if report.runs and (last := report.runs[-1]).end.outcome == "preempted" and last.checkpoint is not None:
        seed = f" --seeds {last.seed}" if seeded else ""
        command = f"cpt train {path}{seed} --resume {storage / last.checkpoint}"
        typer.echo(f"`{command}` continues (same storage)", err=True)
    if report.runs and report.not_started:
        seeds = ",".join(map(str, report.not_started))
        typer.echo(f"`cpt train {path} --seeds {seeds}` trains what is left", err=True)
