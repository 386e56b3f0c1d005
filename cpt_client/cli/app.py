"""The commands of `cpt` and their options. What they do is imported when they run, so that `--help` stays quick."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from cpt_client.cli import exits, sweep, webhooks

app = typer.Typer(
    name="cpt",
    help="Cyclic Precision Training as a service: submit quantised training jobs and watch them.",
    epilog=exits.HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

datasets_app = typer.Typer(name="datasets", help="Uploaded datasets.", no_args_is_help=True)

Url = Annotated[
    str | None, typer.Option(envvar="CPT_URL", help="Address of the server; http://127.0.0.1:8000 by default.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, job_….", show_default=False)]
Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="Job spec, a YAML or JSON file.", show_default=False)]
Home = Annotated[Path, typer.Option(envvar="CPT_HOME", help="Folder of everything the stack keeps.", file_okay=False)]
DataRoot = Annotated[Path, typer.Option(envvar="CPT_DATA_ROOT", help="Folder of the datasets.", file_okay=False)]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Stay and watch the job.")]
Key = Annotated[
    str | None, typer.Option("--idempotency-key", help="Repeating a submission with its key makes no second job.")
]
DatasetName = Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name.", show_default=False)]
SERVICE, CLIENT, ALONE = "One machine", "Jobs on a server", "Parts"
app.add_typer(datasets_app, rich_help_panel=CLIENT)


class Origin(StrEnum):
    """Where a retry begins."""

    CHECKPOINT = "checkpoint"
    START = "start"


app.add_typer(sweep.app, name="sweep", rich_help_panel=CLIENT)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=CLIENT)


@app.command(rich_help_panel=SERVICE, epilog=exits.HELP)
def up(
    home: Home = Path(".cpt"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API on 127.0.0.1; 0: any free one.")] = 8000,
    data_root: Annotated[
        Path | None, typer.Option(envvar="CPT_DATA_ROOT", help="Folder of the datasets; HOME/data by default.")
    ] = None,
) -> None:
    """Run the whole service on this machine: database, broker, API and a worker.

    Ctrl-C ends all of it; jobs that run save a checkpoint and continue at the next `cpt up`. HOME/ready.json holds
    {url, pid} while it serves; the logs are in HOME/logs.
    """
    from cpt_client.cli import stack

    stack.up(home, port, data_root)


@app.command(rich_help_panel=SERVICE, epilog=exits.HELP)
def demo(
    spec: Annotated[Path, typer.Argument(metavar="[SPEC]", help="Job spec.")] = Path(
        "recipes/digits/resnet8-cpt-3-8.yaml"
    ),
) -> None:
    """Train one job from nothing: start the service in a new temporary folder, submit, watch, stop."""
    from cpt_client.cli import demo as implementation

    implementation.demo(spec)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def submit(
    spec: Spec,
    watch: Watch = False,
    key: Key = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Check a job spec and submit it."""
    from cpt_client.cli import jobs

    jobs.submit(spec, url=url, watch=watch, key=key, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def watch(job: JobId, json: Json = False, url: Url = None) -> None:
    """Watch a job until it ends; Ctrl-C leaves it running.

    With --json: its events, and the job itself as the last line.
    """
    from cpt_client.cli import watch as implementation

    implementation.watch(job, url=url, as_json=json)


@app.command("list", rich_help_panel=CLIENT, epilog=exits.HELP)
def list_(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only jobs of this queue.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="The archived jobs, instead of the others.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    json: Json = False,
    url: Url = None,
) -> None:
    """List jobs, newest first."""
    from cpt_client.cli import jobs

    jobs.list_jobs(url=url, states=state or [], queue=queue, archived=archived, limit=limit, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def show(job: JobId, json: Json = False, url: Url = None) -> None:
    """Show a job: state, figures, result and spec."""
    from cpt_client.cli import jobs

    jobs.show(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def cancel(job: JobId, json: Json = False, url: Url = None) -> None:
    """Ask to cancel a job. It keeps its last checkpoint."""
    from cpt_client.cli import actions

    actions.cancel(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def pause(job: JobId, json: Json = False, url: Url = None) -> None:
    """Let a job rest: it saves a checkpoint and frees its devices until it is resumed."""
    from cpt_client.cli import actions

    actions.pause(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def resume(job: JobId, json: Json = False, url: Url = None) -> None:
    """Let a paused job go on from its checkpoint."""
    from cpt_client.cli import actions

    actions.resume(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def retry(
    job: JobId,
    start: Annotated[
        Origin | None, typer.Option("--from", help="By default the last checkpoint, if there is one.")
    ] = None,
    watch: Watch = False,
    key: Key = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Try a failed or cancelled job again, as a new job."""
    from cpt_client.cli import actions

    actions.retry(job, start=start.value if start else None, url=url, watch=watch, key=key, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def clone(
    job: JobId,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, such as training.seed=1; may be repeated."),
    ] = None,
    watch: Watch = False,
    key: Key = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Submit a job's spec again, with changes, as a new job. A value is YAML; null takes the field away."""
    from cpt_client.cli import actions

    actions.clone(job, changes or [], url=url, watch=watch, key=key, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def archive(
    job: JobId,
    undo: Annotated[bool, typer.Option("--undo", help="Show it in lists again.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Hide a job that has ended from lists."""
    from cpt_client.cli import actions

    actions.archive(job, undo=undo, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def delete(
    job: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Delete a job that has ended, with its log and checkpoints, for good."""
    from cpt_client.cli import actions

    actions.delete(job, yes=yes, url=url)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def queues(json: Json = False, url: Url = None) -> None:
    """List queues: what waits in them, and who takes it."""
    from cpt_client.cli import fleet

    fleet.queues(url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def workers(json: Json = False, url: Url = None) -> None:
    """List workers: what they have, and what they do."""
    from cpt_client.cli import fleet

    fleet.workers(url=url, as_json=json)


keys = typer.Typer(help="API keys of a server: make, list, revoke. Needs CPT_API_KEY with scope admin.")
app.add_typer(keys, name="keys", rich_help_panel=CLIENT, no_args_is_help=True)


@keys.command("create", epilog=exits.HELP)
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


@keys.command("list", epilog=exits.HELP)
def list_keys(
    project: Annotated[str | None, typer.Option(help="Project; by default that of your own key.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """List a project's API keys, newest first, the revoked ones too."""
    from cpt_client.cli import keys as implementation

    implementation.list_keys(url=url, project=project, as_json=json)


@keys.command("revoke", epilog=exits.HELP)
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, key_….", show_default=False)],
    json: Json = False,
    url: Url = None,
) -> None:
    """End an API key for good."""
    from cpt_client.cli import keys as implementation

    implementation.revoke(key, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only the last lines.")] = None,
    rank: Annotated[int, typer.Option("--rank", "-r", min=-1, help="Whose output; -1: the launcher's.")] = 0,
    attempt: Annotated[int | None, typer.Option(min=1, help="Of this attempt; by default the last.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Print what a rank of a job printed."""
    from cpt_client.cli import files

    files.logs(job, url=url, rank=rank, attempt=attempt, tail=tail, follow=follow, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def checkpoints(job: JobId, json: Json = False, url: Url = None) -> None:
    """List a job's checkpoints that are kept, newest first."""
    from cpt_client.cli import files

    files.checkpoints(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def download(
    job: JobId,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", "-c", help="The checkpoint's id, ckpt_…; by default the newest.")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The checkpoint of the best evaluation.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; JOB.safetensors by default.", dir_okay=False)
    ] = None,
    url: Url = None,
) -> None:
    """Download the weights of a checkpoint as one safetensors file, verified."""
    from cpt_client.cli import files

    files.download(job, url=url, checkpoint=checkpoint, best=best, output=output)


@datasets_app.command("upload", epilog=exits.HELP)
def upload_dataset(
    name: DatasetName,
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="A .zip, .tar, .tar.gz or .tgz file.", dir_okay=False)
    ],
    json: Json = False,
    url: Url = None,
) -> None:
    """Upload an archive; specs name it by `dataset.upload`."""
    from cpt_client.cli import files

    files.upload_dataset(name, archive, url=url, as_json=json)


@datasets_app.command("list", epilog=exits.HELP)
def list_datasets(json: Json = False, url: Url = None) -> None:
    """List uploaded datasets, newest first."""
    from cpt_client.cli import files

    files.list_datasets(url=url, as_json=json)


@datasets_app.command("delete", epilog=exits.HELP)
def delete_dataset(name: DatasetName, url: Url = None) -> None:
    """Delete an uploaded dataset that no unfinished job needs."""
    from cpt_client.cli import files

    files.delete_dataset(name, url=url)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def compare(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB…", help="Ids of the jobs, job_….", show_default=False)],
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print a table with a header as CSV.")] = False,
    url: Url = None,
) -> None:
    """Show jobs side by side: quality, cost, energy, time, and where their specs differ."""
    sweep.compare(jobs, url=url, as_json=json, as_csv=csv)


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


@app.command(rich_help_panel=ALONE, epilog=exits.HELP)
def worker() -> None:
    """Run a worker. Its settings are CPT_… variables of the environment."""
    from cpt_client.cli import parts

    parts.worker()


@app.command(rich_help_panel=ALONE, epilog=exits.HELP, context_settings={"ignore_unknown_options": True})
def api(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[serve|migrate|create-key NAME]",
            help="Serve; update the database; or make an API key in it: [--scope SCOPE] [--project PROJECT].",
        ),
    ] = None,
) -> None:
    """Run the API, bring its database up to date, or make a key. Its settings are CPT_… variables.

    The first key of a new server is made here, where the database is: `cpt api create-key NAME` prints one with scope
    operator. With it, `cpt keys create` makes the others.
    """
    from cpt_client.cli import parts

    parts.api(command or ["serve"])
