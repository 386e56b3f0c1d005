"""Weights & Biases: a folder of offline runs, which `wandb sync` sends to a server and `wandb leet` shows.

    FOLDER/wandb/offline-run-TIME-JOB/     the run, as wandb writes it
    FOLDER/cpt-export/JOB.json             the run's folder, and whether it is complete

wandb cannot go on with an offline run. So one that is not complete is written anew, in place of the one before.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpt_client.errors import MissingPartError
from cpt_client.exports.rows import Row
from cpt_client.exports.target import ExportError, Marks, locked, write_whole
from cpt_client.models import Job

if TYPE_CHECKING:
    import wandb


class Wandb:
    """A folder of offline runs. Nothing is sent anywhere."""

    def __init__(self, folder: str | Path, project: str = "cpt") -> None:
        self._folder, self._project = Path(folder), project

    def open(self, job: Job) -> _Run:
        """The job's run; see `Target.open`."""
        try:
            import wandb  # noqa: F401 - only to tell what is missing
        except ImportError as error:
            raise MissingPartError("wandb", extra="wandb") from error
        return _Run(self._folder, self._project, job)


class _Run:
    def __init__(self, folder: Path, project: str, job: Job) -> None:
        self._folder, self._project, self._job = folder, project, job
        self._note = folder / "cpt-export" / f"{job.id}.json"
        self._closing = locked(folder / "cpt-export" / f"{job.id}.lock")
        self._run: wandb.Run | None = None
        try:
            note = self._read()
            self.marks = Marks(**note.get("marks", {}))
            self.place = str(folder / "wandb" / note.get("folder", ""))
            if not (self.marks.is_complete and Path(self.place).is_dir()):
                self.marks = Marks()
                self._begin()
        except BaseException as error:
            self._closing.close()
            if isinstance(error, OSError):
                raise ExportError(f"{folder} cannot be written to: {error}; choose another folder") from error
            raise

    def _read(self) -> dict[str, Any]:
        try:
            note: dict[str, Any] = json.loads(self._note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ExportError(f"{self._note} is no file of an export: delete it, and export again") from error
        return note

    def _begin(self) -> None:
        import wandb

        for old in (self._folder / "wandb").glob(f"offline-run-*-{self._job.id}"):
            shutil.rmtree(old)
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        )
        self._run = wandb.init(
            mode="offline",
            dir=str(self._folder),
            project=self._project,
            id=self._job.id,
            name=self._job.name,
            config=self._job.spec,
            reinit="create_new",
            settings=settings,
        )
        self.place = str(Path(self._run.dir).parent)

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        run = self._open_run()
        for row in rows:
            run.log(dict(row.figures), step=row.step)
        self.marks = self.marks.after(rows)

    def finish(self, job: Job, result: Row | None) -> None:
        """The end."""
        run = self._open_run()
        run.summary.update({"state": job.state, "reason": job.reason, "message": job.message})
        if result is not None:
            run.summary.update(dict(result.figures))
        run.finish(exit_code=0 if job.state == "succeeded" else 1)
        self._run = None
        self.marks = Marks(self.marks.steps, self.marks.evaluations, is_complete=True)
        marks = {"steps": self.marks.steps, "evaluations": self.marks.evaluations, "is_complete": True}
        write_whole(self._note, json.dumps({"folder": Path(self.place).name, "marks": marks}))

    def _open_run(self) -> wandb.Run:
        if self._run is None:
            raise RuntimeError("the run is complete: nothing can be added")
        return self._run

    def close(self) -> None:
        """End a run that is not complete, and let go of the folder."""
        with contextlib.ExitStack() as last:
            last.callback(self._closing.close)
            if self._run is not None:
                self._run.finish(exit_code=0)
                self._run = None
