"""What can be done with a job: `cpt cancel`, `pause`, `resume`, `retry`, `clone`, `archive` and `delete`."""

from __future__ import annotations

from typing import Any, Literal

import typer
import yaml

from cpt_client.cli import exits
from cpt_client.cli.jobs import told
from cpt_client.cli.output import print_json, say_deleted
from cpt_client.client import Client
from cpt_client.models import Job


def cancel(job_id: str, *, url: str | None, as_json: bool) -> None:
    """Ask to cancel a job."""
    with exits.reporting(), Client(url) as client:
        job = client.cancel(job_id)
    if job.is_final:
        _say(job, f"is {job.state}", as_json=as_json)
    else:
        _say(job, f"is being cancelled; `cpt watch {job.id}` shows when its processes are gone", as_json=as_json)


def pause(job_id: str, *, url: str | None, as_json: bool) -> None:
    """Ask to pause a job."""
    with exits.reporting(), Client(url) as client:
        job = client.pause(job_id)
    how = "saves a checkpoint and is then paused" if job.pause_requested else f"is {job.state}"
    _say(job, f"{how}; `cpt resume {job.id}` lets it go on", as_json=as_json)


def resume(job_id: str, *, url: str | None, as_json: bool) -> None:
    """Let a paused job go on."""
    with exits.reporting(), Client(url) as client:
        job = client.resume(job_id)
    _say(job, f"is {job.state} in queue {job.queue}", as_json=as_json)


def retry(
    job_id: str,
    *,
    start: Literal["checkpoint", "start"] | None,
    url: str | None,
    watch: bool,
    key: str | None,
    as_json: bool,
) -> None:
    """Try a job again, as a new one; with `watch`, stay until that ends."""
    with exits.reporting(), Client(url) as client:
        job = client.retry(job_id, start=start, idempotency_key=key)
        told(client, job, watch=watch, as_json=as_json)


def clone(job_id: str, changes: list[str], *, url: str | None, watch: bool, key: str | None, as_json: bool) -> None:
    """Submit a job's spec again, with changes; with `watch`, stay until the new job ends."""
    overrides = _overrides(changes)
    with exits.reporting(), Client(url) as client:
        job = client.clone(job_id, overrides, idempotency_key=key)
        told(client, job, watch=watch, as_json=as_json)


def _overrides(changes: list[str]) -> dict[str, Any]:
    """`training.seed=1` as {"training": {"seed": 1}}; ends the command with a message when it is nothing like that."""
    merged: dict[str, Any] = {}
    for change in changes:
        path, sign, text = change.partition("=")
        *parents, field = path.split(".")
        if not sign or not all([*parents, field]):
            exits.fail(f"{change!r} is no change of a field", "write --set training.seed=1", code=exits.USAGE)
        place = merged
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                exits.fail(f"{change!r} changes a part of what is replaced as a whole", code=exits.USAGE)
        try:
            place[field] = yaml.safe_load(text)
        except yaml.YAMLError:
            exits.fail(f"the value of {change!r} is not valid YAML", "put quotes around it", code=exits.USAGE)
    return merged


def archive(job_id: str, *, undo: bool, url: str | None, as_json: bool) -> None:
    """Hide a job from lists, or show it again."""
    with exits.reporting(), Client(url) as client:
        job = client.unarchive(job_id) if undo else client.archive(job_id)
    _say(job, "is in lists again" if undo else "is archived; `cpt list --archived` shows it", as_json=as_json)


def delete(job_id: str, *, yes: bool, url: str | None, as_json: bool) -> None:
    """Delete a job for good."""
    with exits.reporting(), Client(url) as client:
        if not yes:
            job = client.get(job_id)
            typer.confirm(f"Delete {job.id}, its log and its checkpoints, for good?", abort=True)
        client.delete(job_id)
    say_deleted(job_id, as_json=as_json)


def _say(job: Job, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        typer.echo(f"{job.id} {what}")
