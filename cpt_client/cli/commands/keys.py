"""`cpt keys`."""

from __future__ import annotations

from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import Json, Url

app = typer.Typer(
    help="API keys of a server: make, list, revoke. Needs CPT_API_KEY with scope admin.", no_args_is_help=True
)


@app.command("create", epilog=exits.HELP)
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it.", show_default=False)],
    scope: Annotated[
        str, typer.Option(help="read, submit, admin or operator; each includes those before it.")
    ] = "submit",
    project: Annotated[str | None, typer.Option(help="Project it belongs to; by default that of your own key.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="Days until it ends; by default never.")] = None,
    rate: Annotated[
        int | None, typer.Option("--requests-per-minute", min=1, help="By default as many as its project.")
    ] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Make an API key and print it: it is shown this once."""
    from cpt_client.cli import keys as implementation

    implementation.create(name, url=url, scope=scope, project=project, days=days, rate=rate, as_json=json)


@app.command("list", epilog=exits.HELP)
def list_keys(
    project: Annotated[str | None, typer.Option(help="Project; by default that of your own key.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """List a project's API keys, newest first, the revoked ones too."""
    from cpt_client.cli import keys as implementation

    implementation.list_keys(url=url, project=project, as_json=json)


@app.command("revoke", epilog=exits.HELP)
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, key_….", show_default=False)],
    json: Json = False,
    url: Url = None,
) -> None:
    """End an API key for good."""
    from cpt_client.cli import keys as implementation

    implementation.revoke(key, url=url, as_json=json)
