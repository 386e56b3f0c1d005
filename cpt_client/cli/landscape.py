"""`cpt landscape`: the loss around checkpoints, drawn side by side."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import console, print_json
from cpt_client.cli.parts import require
from cpt_client.view import text
from cpt_core.landscape import Landscape, LandscapeError, Surface

FORMATS = (".png", ".pdf", ".svg")
INSTALL = "pip install 'cpt-service[plot]'"


def landscape(
    checkpoints: list[Path],
    output: Path,
    data_root: Path,
    *,
    points: int,
    radius: float,
    rho: float,
    samples: int | None,
    bits: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure the landscape of the checkpoints, write the data and the picture, and print the sharpness of each."""
    require("train", "torch", "safetensors")
    from cpt_core.checkpoint import CheckpointError
    from cpt_core.data import DataError
    from cpt_core.landscape.measure import evaluations, measure

    drawable = importlib.util.find_spec("matplotlib") is not None
    if output.suffix not in FORMATS:
        exits.fail(f"the picture {output} must end in {', '.join(FORMATS)}", code=exits.USAGE)
    if not drawable:  # said first: measuring may take long
        typer.echo(f"no picture will be drawn, since matplotlib is not installed: {INSTALL}", err=True)
    data = output.with_suffix(".json")
    _use_all_cores()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("evaluating", total=evaluations(points) * len(checkpoints))
            measured = measure(
                checkpoints,
                data_root=data_root,
                points=points,
                radius=radius,
                rho=rho,
                samples=samples,
                bits=bits,
                seed=seed,
                on_point=lambda: progress.advance(task),
            )
        data.write_text(measured.model_dump_json() + "\n", encoding="utf-8")
        if drawable:
            from cpt_core.landscape.plot import draw

            draw(measured, output)
    except (LandscapeError, CheckpointError, DataError, OSError) as error:
        exits.fail(str(error), code=exits.USAGE)
    if as_json:
        print_json(measured)
    else:
        console().print(_table(measured))
        typer.echo(f"data: {data}")
        typer.echo(f"picture: {output}" if drawable else f"picture: none; {INSTALL}, then run this again")


def _use_all_cores() -> None:
    import torch

    from cpt_core.train.ranks import threads_per_rank

    torch.set_num_threads(threads_per_rank())


def _table(measured: Landscape) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("CHECKPOINT", "NAME", "BITS", "LOSS", "ACCURACY", "SHARPNESS"):
        table.add_column(heading)
    for surface in measured.surfaces:
        accuracy = "" if surface.accuracy is None else f"{surface.accuracy:.2%}"
        table.add_row(
            text.user(surface.checkpoint),
            text.user(surface.name),
            str(surface.bits),
            f"{surface.loss:.4g}",
            accuracy,
            _sharpness(surface),
        )
    return table


def _sharpness(surface: Surface) -> str:
    sharpness = surface.sharpness
    if sharpness.mean is None:
        return f"not finite at rho {sharpness.rho:g}"
    return f"{sharpness.mean:.4g} ± {sharpness.standard_error:.2g} at rho {sharpness.rho:g}"
