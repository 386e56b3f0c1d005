"""`cpt keys create`, `list` and `revoke`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import typer
from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import columns, print_json, print_list
from cpt_client.client import Client
from cpt_client.models import Key
from cpt_client.view import text


def create(
    name: str, *, url: str | None, scope: str, project: str | None, days: int | None, rate: int | None, as_json: bool
) -> None:
    """Make a key; the key itself is alone on stdout, so that a script can keep it."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    with exits.reporting(), Client(url) as client:
        made = client.create_key(name, scope=scope, project=project, expires_at=expires_at, requests_per_minute=rate)
        if as_json:
            print_json(made)
            return
        typer.echo(made.key)
        about = f"{made.id}: scope {made.scope} in project {text.printable(made.project)}"
        typer.echo(f"{about}; keep it now, it is not shown again", err=True)


def list_keys(*, url: str | None, project: str | None, as_json: bool) -> None:
    """Print the keys, newest first."""
    with exits.reporting(), Client(url) as client:
        keys = client.keys(project=project)
        print_list(keys, _table, nothing="no keys; `cpt keys create NAME` makes one", as_json=as_json)


def _table(keys: Sequence[Key]) -> Table:
    table = columns("ID", "NAME", "SCOPE", "STATE", "LAST USED", "AGE", wrapped=["NAME"])
    now = datetime.now(UTC)
    for key in keys:
        table.add_row(
            text.user(key.id),
            text.user(key.name),
            text.user(key.scope),
            _state(key, now),
            f"{text.age(key.last_used_at, now)} ago" if key.last_used_at else "never",
            text.age(key.created_at, now),
        )
    return table


def _state(key: Key, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    return "expired" if key.expires_at <= now else f"valid until {key.expires_at:%Y-%m-%d}"


def revoke(key_id: str, *, url: str | None, as_json: bool) -> None:
    """End a key."""
    with exits.reporting(), Client(url) as client:
        key = client.revoke_key(key_id)
        if as_json:
            print_json(key)
        else:
            typer.echo(f"{key.id} is revoked")
