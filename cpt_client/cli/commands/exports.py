"""`cpt export`: jobs in other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.completion import complete_job
from cpt_client.cli.options import Json, Url

app = typer.Typer(
    help="Bring jobs to MLflow, TensorBoard or Weights & Biases, afterwards or live; repeating it adds what is new.",
    no_args_is_help=True,
)

Jobs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[JOB]…", help="Ids of the jobs, job_….", show_default=False, autocompletion=complete_job),
]
All = Annotated[bool, typer.Option("--all", help="All jobs of the project but the archived ones.")]
Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Bring what happens as it happens; with --all until Ctrl-C.")
]


@app.command(epilog=exits.HELP)
def mlflow(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Tracking URI: http://…, or sqlite:///mlflow.db.")],
    jobs: Jobs = None,
    everything: All = False,
    follow: Follow = False,
    experiment: Annotated[str, typer.Option(help="The experiment; made if it is not there.")] = "CPT",
    json: Json = False,
    url: Url = None,
) -> None:
    """Bring jobs to MLflow: a run for each."""
    from cpt_client.cli import export
    from cpt_client.exports import MLflow

    export.export(MLflow(uri, experiment), jobs or [], everything, follow, url=url, as_json=json)


@app.command(epilog=exits.HELP)
def tensorboard(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The log folder.", file_okay=False)],
    jobs: Jobs = None,
    everything: All = False,
    follow: Follow = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Bring jobs to TensorBoard: a folder of event files for each; `tensorboard --logdir FOLDER` shows them."""
    from cpt_client.cli import export
    from cpt_client.exports import TensorBoard

    export.export(TensorBoard(folder), jobs or [], everything, follow, url=url, as_json=json)


@app.command(epilog=exits.HELP)
def wandb(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the offline runs.", file_okay=False)],
    jobs: Jobs = None,
    everything: All = False,
    follow: Follow = False,
    project: Annotated[str, typer.Option(help="Project of Weights & Biases that the runs name.")] = "cpt",
    json: Json = False,
    url: Url = None,
) -> None:
    """Bring jobs to offline runs of Weights & Biases; `wandb sync` sends them, nothing else does."""
    from cpt_client.cli import export
    from cpt_client.exports import Wandb

    export.export(Wandb(folder, project), jobs or [], everything, follow, url=url, as_json=json)
