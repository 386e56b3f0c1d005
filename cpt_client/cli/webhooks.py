"""`cpt webhooks`: have changes of jobs and sweeps told to a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import Json, Url

if TYPE_CHECKING:
    from cpt_client.webhooks import Delivery

app = typer.Typer(help="Have changes of jobs and sweeps told to a URL, signed.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The webhook's id, webhook_….", show_default=False)]


@app.command(epilog=exits.HELP)
def add(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="URL to POST events to.", show_default=False)],
    event: Annotated[
        list[str] | None, typer.Option(help="Only events of this type, such as job.failed; may be repeated.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="Only events of this job.")] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    json: Json = False,
    url: Url = None,
) -> None:
    """Have events sent to a URL. Prints the secret that signs them; it is not shown again."""
    from cpt_client.cli.output import print_json
    from cpt_client.client import Client

    with exits.reporting(), Client(url) as client:
        made = client.webhooks.create(target, events=event or None, job=job, description=description)
        if json:
            print_json(made)
        else:
            typer.echo(f"{made.id}\nsecret: {made.secret} (keep it: it is not shown again)")
            typer.echo(f"`cpt webhooks ping {made.id}` tries it")


@app.command("list", epilog=exits.HELP)
def list_(json: Json = False, url: Url = None) -> None:
    """List webhooks, newest first."""
    from cpt_client.cli.output import print_json
    from cpt_client.client import Client
    from cpt_client.view.text import printable

    with exits.reporting(), Client(url) as client:
        for hook in client.webhooks.list():
            if json:
                print_json(hook)
                continue
            what = ", ".join(hook.events) if hook.events else "all events"
            of = f" of {hook.job}" if hook.job else ""
            typer.echo(printable(f"{hook.id}  {'on ' if hook.enabled else 'off'}  {hook.url}  {what}{of}"))


@app.command(epilog=exits.HELP)
def remove(webhook: WebhookId, json: Json = False, url: Url = None) -> None:
    """Remove a webhook, with its deliveries."""
    from cpt_client.cli.output import say_deleted
    from cpt_client.client import Client

    with exits.reporting(), Client(url) as client:
        client.webhooks.delete(webhook)
    say_deleted(webhook, as_json=json)


@app.command("rotate-secret", epilog=exits.HELP)
def rotate_secret(webhook: WebhookId, json: Json = False, url: Url = None) -> None:
    """Give a webhook a new secret; for a day the old one signs as well."""
    from cpt_client.cli.output import print_json
    from cpt_client.client import Client

    with exits.reporting(), Client(url) as client:
        made = client.webhooks.rotate_secret(webhook)
        if json:
            print_json(made)
        else:
            typer.echo(f"secret: {made.secret} (keep it: it is not shown again)")


@app.command(epilog=exits.HELP)
def ping(webhook: WebhookId, json: Json = False, url: Url = None) -> None:
    """Send a test event; `deliveries` shows what came of it."""
    from cpt_client.client import Client

    with exits.reporting(), Client(url) as client:
        _print(client.webhooks.ping(webhook), as_json=json)


@app.command(epilog=exits.HELP)
def deliveries(
    webhook: WebhookId,
    state: Annotated[str | None, typer.Option(help="Only pending, succeeded or failed ones.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    json: Json = False,
    url: Url = None,
) -> None:
    """List what was sent or waits to be, newest first."""
    from cpt_client.client import Client

    with exits.reporting(), Client(url) as client:
        for delivery in client.webhooks.deliveries(webhook, state=state, limit=limit, page_size=min(limit, 100)):
            _print(delivery, as_json=json)


@app.command(epilog=exits.HELP)
def redeliver(
    webhook: WebhookId,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="The delivery's id.", show_default=False)],
    json: Json = False,
    url: Url = None,
) -> None:
    """Send a delivery again, with the same id."""
    from cpt_client.client import Client

    with exits.reporting(), Client(url) as client:
        _print(client.webhooks.redeliver(webhook, delivery), as_json=json)


def _print(delivery: Delivery, *, as_json: bool) -> None:
    from cpt_client.cli.output import print_json
    from cpt_client.view.text import printable

    if as_json:
        print_json(delivery)
        return
    why = f": {printable(delivery.error)}" if delivery.error else ""
    when = f"{delivery.created_at:%Y-%m-%d %H:%M:%S}"
    typer.echo(f"{delivery.id}  {when}  {delivery.type:14}  {delivery.state}, {delivery.attempts} attempts{why}")
