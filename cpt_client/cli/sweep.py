"""`cpt sweep` and `cpt compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import Csv, Json, SweepId, Url

app = typer.Typer(help="Many jobs out of one base spec.", no_args_is_help=True)


@app.command(epilog=exits.HELP)
def submit(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The base, a YAML or JSON file.", show_default=False)],
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POINTER=V,V,…",
            help="A field and its values, such as /training/seed=0,1,2; may be repeated, all combinations are run.",
        ),
    ] = None,
    overrides: Annotated[
        Path | None, typer.Option(help="YAML or JSON file with a list of changes to the base, for what is no grid.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A label; the base's name by default.")] = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Repeating a submission with its key makes no second sweep.")
    ] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Submit a job for every combination of the grid and every one of the overrides: all of them, or none."""
    from cpt_client.cli.output import print_json
    from cpt_client.client import Client

    base = _read(spec, dict, "a mapping of fields (model, dataset, precision, training, …)")
    patches = [] if overrides is None else _read(overrides, list, "a list of mappings, one for each change")
    axes = dict(_axis(option) for option in grid or [])
    with exits.reporting(), Client(url) as client:
        label = name or base.get("name")
        made = client.sweeps.create(base, grid=axes, overrides=patches, name=label, idempotency_key=key)
        if json:
            print_json(made)
        else:
            typer.echo(f"{made.id} has {len(made.members)} jobs; `cpt sweep show {made.id}` shows how they do")


@app.command("list", epilog=exits.HELP)
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    json: Json = False,
    url: Url = None,
) -> None:
    """List sweeps, newest first."""
    from cpt_client.cli.output import print_json
    from cpt_client.client import Client

    with exits.reporting(), Client(url) as client:
        for found in client.sweeps.list(limit=limit, page_size=min(limit, 100)):
            if json:
                print_json(found)
                continue
            from cpt_client.view.text import printable

            done = f"{100 * found.progress.fraction:.0f} %"
            typer.echo(f"{found.id}  {found.state:9}  {done:>5}  {len(found.members)} jobs  {printable(found.name)}")


@app.command(epilog=exits.HELP)
def show(sweep: SweepId, json: Json = False, csv: Csv = False, url: Url = None) -> None:
    """Show how a sweep does: its members, the best first, and means over seeds."""
    from cpt_client.cli.output import console, print_json
    from cpt_client.client import Client
    from cpt_client.view.outcomes import sweep_view

    with exits.reporting(), Client(url) as client:
        if csv:
            sys.stdout.write(client.sweeps.results_csv(sweep))
            return
        results = client.sweeps.results(sweep)
        if json:
            print_json(results)
        else:
            console().print(sweep_view(client.sweeps.get(sweep), results))


@app.command(epilog=exits.HELP)
def cancel(sweep: SweepId, json: Json = False, url: Url = None) -> None:
    """Ask to cancel all members that have not ended."""
    from cpt_client.cli.output import print_json
    from cpt_client.client import Client

    with exits.reporting(), Client(url) as client:
        asked = client.sweeps.cancel(sweep)
        if json:
            print_json(asked)
        else:
            typer.echo(f"{asked.id} is {asked.state if asked.is_final else 'being cancelled'}")


def compare(jobs: list[str], *, url: str | None, as_json: bool, as_csv: bool) -> None:
    """Print jobs side by side."""
    from cpt_client.cli.output import console, print_json
    from cpt_client.client import Client
    from cpt_client.view.outcomes import outcomes_view

    with exits.reporting(), Client(url) as client:
        if as_csv:
            sys.stdout.write(client.compare_csv(*jobs))
            return
        found = client.compare(*jobs)
        if as_json:
            print_json(found)
        else:
            console().print(outcomes_view(found))


def _read(path: Path, kind: type, what: str) -> Any:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        exits.fail(f"{path} cannot be read: {error.strerror}", "give the path of a YAML file", code=exits.USAGE)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        exits.fail(f"{path} is not valid YAML: {error}", code=exits.USAGE)
    if not isinstance(found, kind):
        exits.fail(f"{path} must hold {what}", code=exits.USAGE)
    return found


def _axis(option: str) -> tuple[str, list[Any]]:
    """A field and its values, read as YAML: numbers, words, `null`, or `{…}` and `[…]` for more."""
    import yaml

    pointer, equals, values = option.partition("=")
    try:
        found = yaml.safe_load(f"[{values}]")
    except yaml.YAMLError:
        found = None
    if not equals or not isinstance(found, list):
        hint = "write a JSON pointer and values: --grid /precision/min_bits=3,4 --grid /training/seed=0,1,2"
        exits.fail(f"--grid {option!r} is no field with values", hint, code=exits.USAGE)
    return pointer, found
