"""The command `cpt`: its groups of commands, in the order of its help."""

from __future__ import annotations

import typer

from cpt_client.cli import exits, sweep, webhooks
from cpt_client.cli.commands import actions, alone, datasets, exports, files, fleet, health, jobs, keys, machine, parts
from cpt_client.cli.options import CLIENT

app = typer.Typer(
    name="cpt",
    help="Cyclic Precision Training as a service: submit quantised training jobs and watch them.",
    epilog=exits.HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

for group in (machine, jobs, actions, files, fleet, health, alone, parts):
    app.add_typer(group.app)
for name, named in (
    ("sweep", sweep),
    ("export", exports),
    ("datasets", datasets),
    ("keys", keys),
    ("webhooks", webhooks),
):
    app.add_typer(named.app, name=name, rich_help_panel=CLIENT)
