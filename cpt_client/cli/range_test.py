"""`cpt range-test`: the precision range test of a spec, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.jobs import read_spec
from cpt_client.cli.output import console, print_json
from cpt_client.cli.parts import require
from cpt_client.view import text
from cpt_core.events import AnyEvent, Finished, RangeTest
from cpt_core.spec import AutoPrecision, JobSpec, problems


def range_test(path: Path, data_root: Path, *, as_json: bool) -> None:
    """Run the test of the spec in the file, and print its curve and the bounds; without bounds the command fails."""
    require("train", "torch", "fsspec", "safetensors")
    from cpt_core.train import local

    try:
        spec = only_the_test(read_spec(path))
    except ValidationError as error:
        lines = [f"{item['pointer']}: {text.printable(item['message'])}" for item in problems(error)]
        exits.fail("\n".join(lines), code=exits.USAGE)
    outcome: RangeTest | None = None
    end: Finished | None = None

    def take(event: AnyEvent) -> None:
        nonlocal outcome, end
        match event:
            case RangeTest():
                outcome = event
            case Finished():
                end = event

    with tempfile.TemporaryDirectory(prefix="cpt-range-test-") as storage:
        code = local.train(spec, storage=Path(storage), data_root=data_root, on_event=take)
    if outcome is not None and as_json:
        print_json(outcome)
    elif outcome is not None:
        console().print(_curve(outcome))
        if outcome.bounds is not None:
            console().print(f"min_bits: {outcome.bounds.min_bits}\nmax_bits: {outcome.bounds.max_bits}")
    if code or outcome is None:
        exits.fail(end.message if end else "the test did not end", code=exits.FAILED)


def only_the_test(spec: JobSpec) -> JobSpec:
    """The spec as a job of type `range_test`.

    Raises:
        ValidationError: its training is too short for the test.
    """
    precision = spec.precision
    if not isinstance(precision, AutoPrecision):
        kept = precision.model_dump(include={"quantizer", "backend", "input_gradient", "sync_ranges"})
        precision = AutoPrecision(schedule="auto", gradient_bits=precision.max_gradient_bits, **kept)
    return JobSpec.model_validate(spec.model_dump() | {"type": "range_test", "precision": precision.model_dump()})


def _curve(outcome: RangeTest) -> Table:
    table = Table(box=None, header_style="dim")
    for name in ("bits", "score first", "last", "gain"):
        table.add_column(name, justify="right")
    for point in outcome.curve:
        table.add_row(str(point.bits), text.percent(point.first), text.percent(point.last), text.percent(point.gain))
    return table
