"""Commands that need no server: a training, or what leads to one, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import ALONE, DataRoot, Json, Spec

app = typer.Typer()


@app.command(rich_help_panel=ALONE, epilog=exits.HELP)
def train(
    spec: Spec,
    storage: Annotated[Path, typer.Option(help="Folder of the checkpoints.", file_okay=False)] = Path("cpt-storage"),
    data_root: DataRoot = Path("cpt-data"),
    events: Annotated[
        Path | None, typer.Option(help="File to append the events to, one JSON object a line.", dir_okay=False)
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoint to continue from, below the storage.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Train once with each of these seeds, in place of the spec's own."),
    ] = None,
    grid: Annotated[
        float | None,
        typer.Option(
            "--grid-gco2e-per-kwh",
            envvar="CPT_GRID_GCO2E_PER_KWH",
            min=0,
            max=2000,
            help="Grams of CO2-equivalent per kWh of electricity; by default the world's average.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON, and what happens on stderr.")
    ] = False,
) -> None:
    """Train a job spec right here, without a server. Ctrl-C saves a checkpoint and stops.

    With several seeds: one after the other, then each one's figures, their mean and sample standard deviation. Each
    needs its own file of events: put {seed} into the name. The first run that does not succeed is the last one.
    """
    from cpt_client.cli import train as implementation

    implementation.train(spec, storage, data_root, events, resume, grid=grid, seeds=seeds, as_json=json)


@app.command(rich_help_panel=ALONE, epilog=exits.HELP)
def plan(spec: Spec, data_root: DataRoot = Path("cpt-data"), json: Json = False) -> None:
    """Show what a job spec will train and what that will cost, before anything runs."""
    from cpt_client.cli import plan as implementation

    implementation.plan(spec, data_root, as_json=json)


@app.command(rich_help_panel=ALONE, epilog=exits.HELP)
def landscape(
    checkpoints: Annotated[
        list[Path], typer.Argument(metavar="CHECKPOINT…", help="Folders of checkpoints, step-….", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture, .png, .pdf or .svg; the data go beside it as .json.")
    ] = Path("landscape.png"),
    data_root: DataRoot = Path("cpt-data"),
    grid: Annotated[int, typer.Option(min=3, help="Points on either axis, an odd number.")] = 25,
    radius: Annotated[float, typer.Option(help="Half the width of the plane; 1 moves each filter by its norm.")] = 1.0,
    rho: Annotated[float, typer.Option(help="Distance at which the sharpness is taken, as a share of norms.")] = 0.25,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Test samples to evaluate on, chosen at random; all by default.")
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(help="Bits to evaluate at, 32: full precision; by default as the run evaluated, B_max."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the directions and of the choice of samples.")] = 0,
    json: Json = False,
) -> None:
    """Draw the loss around checkpoints, side by side on one scale, and tell how sharp each minimum is."""
    from cpt_client.cli import landscape as implementation

    implementation.landscape(
        checkpoints,
        output,
        data_root,
        points=grid,
        radius=radius,
        rho=rho,
        samples=samples,
        bits=bits,
        seed=seed,
        as_json=json,
    )


@app.command(rich_help_panel=ALONE, epilog=exits.HELP)
def bench(
    workloads: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKLOAD]…", help="What to time, such as resnet38; all by default.")
    ] = None,
    form: Annotated[
        list[str] | None, typer.Option(help="Beside fp32, only this form of the step; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns in which each form takes one step.")] = 9,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; by default torch's, one per core.")] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="What takes the steps.")] = "cpu",
    json: Json = False,
) -> None:
    """Time a training step on this machine: fp32, bf16, naive simulation, and ours; medians of paired rounds."""
    from cpt_client.cli import bench as implementation

    implementation.bench(workloads or [], form or [], rounds, threads, device, as_json=json)


@app.command("range-test", rich_help_panel=ALONE, epilog=exits.HELP)
def range_test(spec: Spec, data_root: DataRoot = Path("cpt-data"), json: Json = False) -> None:
    """Find the bounds to cycle between: a precision range test of the spec, and nothing else.

    Its options are those of precision.schedule: auto; with another schedule in the spec, their defaults.
    """
    from cpt_client.cli import range_test as implementation

    implementation.range_test(spec, data_root, as_json=json)
