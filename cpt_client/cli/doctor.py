"""What `cpt doctor` does: ask the server about its parts, look at this machine, and tell what to do."""

from __future__ import annotations

from datetime import UTC, datetime

import typer
from rich.table import Table
from rich.text import Text

from cpt_client.cli import exits
from cpt_client.cli.output import console, print_json
from cpt_client.client import Client
from cpt_client.errors import CptError
from cpt_client.machine import checks_here
from cpt_client.stack import Check, Report
from cpt_client.view import text

ORDER = {"ok": 0, "warning": 1, "failed": 2}
STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}

CLOCK_TOLERANCE = 2.0
"""Seconds by which this machine's clock may differ from the server's."""

PATIENCE = 60.0
"""Seconds for the server's answer: each of its parts that is away takes some to be given up."""


def doctor(*, url: str | None, here: bool, as_json: bool) -> None:
    """Print the checks; ends the command with an exit code that tells whether one has failed."""
    code, server = exits.OK, Report(status="ok", checks=[])
    if not here:
        try:
            with Client(url, tries=1, timeout=PATIENCE) as client:
                server = _ask(client)
        except CptError as error:
            if not error.is_server_side and error.status not in (401, 403, 404):
                exits.fail_by(error)
            code = exits.NO_SERVER if error.is_server_side else exits.OK
            server = Report(status="failed", checks=[_refusal(error)])
    checks = [*server.checks, *checks_here()]
    worst = max((check.status for check in checks), key=_badness)
    found = server.model_copy(update={"status": worst, "checks": checks})
    if as_json:
        print_json(found)
    else:
        console().print(_table(found))
    raise typer.Exit(code or (exits.FAILED if _badness(worst) > ORDER["warning"] else exits.OK))


def _badness(status: str) -> int:
    return ORDER.get(status, ORDER["failed"])  # what a newer server says that this client does not know


def _ask(client: Client) -> Report:
    """The server's report, with a check of this machine's clock."""
    began, report = datetime.now(UTC), client.doctor()
    if report.time is None:
        return report
    # Its clock was read at some time while this one waited.
    ahead = (report.time - datetime.now(UTC)).total_seconds()
    behind = (began - report.time).total_seconds()
    difference = max(ahead, behind, 0.0)
    said = f"differs from the server's by {difference:.0f} s" if difference > 1 else "agrees with the server's"
    check = Check(name="clock", where="here", status="ok", message=said)
    if difference > CLOCK_TOLERANCE:
        remedy = "let NTP (chrony, systemd-timesyncd) set the clocks of both machines"
        check = check.model_copy(update={"status": "warning", "remedy": remedy})
    return report.model_copy(update={"checks": [*report.checks, check]})


def _refusal(error: CptError) -> Check:
    """What a server that answers no report tells by that."""
    if error.status == 403:
        message = f"it answers, but tells more only to a key with scope operator ({error.detail})"
        remedy = "set CPT_API_KEY to such a key; where the database is, `cpt api create-key NAME` makes one"
        return Check(name="api", status="warning", message=message, remedy=remedy)
    if error.status == 404:
        message = "it answers, but is of a version that does not check itself"
        return Check(name="api", status="warning", message=message, remedy="upgrade the server")
    remedy = "look into the API's own log" if (error.status or 0) >= 500 else exits.hint(error)
    return Check(name="api", status="failed", message=error.detail, remedy=remedy)


def _table(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    for style in ("", "", "dim"):
        table.add_column(style=style, no_wrap=True)
    table.add_column(overflow="fold")
    for check in report.checks:
        what = text.user(check.message)
        if check.remedy:
            what.append("\n").append_text(Text.assemble("→ ", text.user(check.remedy), style="bold"))
        status = text.user(check.status, STYLES.get(check.status, "bold red"))
        table.add_row(status, text.user(check.name), text.user(check.where), what)
    return table
