"""What must hold after every run, whatever happened in it: pure functions over what was found. Empty: all is well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from cpt_core.lifecycle import FINAL

Entry = Mapping[str, Any]


def unfinished(accepted: Iterable[str], states: Mapping[str, str]) -> list[str]:
    """Accepted jobs that are not terminal, or not there."""
    return [f"{job} is {states.get(job, 'gone')}" for job in accepted if states.get(job) not in FINAL]


def series(rows: Sequence[Entry], steps: int) -> list[str]:
    """The canonical series has each step once, in order."""
    found = [row["step"] for row in rows]
    return [] if found == list(range(steps)) else [f"steps {found} instead of 0 to {steps - 1}, each once"]


def numbers(rows: Sequence[Entry], expected: Sequence[Entry]) -> list[str]:
    """Loss and bits of each step are those of an undisturbed run."""
    fields = ("step", "loss", "forward_bits", "backward_bits", "lr")
    pairs = zip(rows, expected, strict=False)
    return [f"step {row['step']} differs" for row, other in pairs if any(row[name] != other[name] for name in fields)]


def weights(found: Path, expected: Path) -> list[str]:
    """Two checkpoints have the same tensors, bit for bit."""
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (found, expected))
    if mine.keys() != theirs.keys():
        return ["the weights have other names"]
    return [f"{name} differs" for name in theirs if mine[name].tobytes() != theirs[name].tobytes()]


def stale(log: Sequence[Entry]) -> list[str]:
    """No attempt wrote after a later one had begun, and none after the end. `log`: entries with attempt and type."""
    latest, problems = 0, []
    for entry in log:
        attempt = entry.get("attempt", 0)
        if attempt and attempt < latest:
            problems.append(f"attempt {attempt} wrote a {entry['type']} after attempt {latest} had begun")
        latest = max(latest, attempt)
    return problems


def records(log: Sequence[Entry]) -> list[str]:
    """Each checkpoint comes after all steps before it, of its attempt or a former one; each of both once an attempt."""
    problems, seen = [], set[tuple[str, int, int]]()
    done: set[int] = set()
    for entry in log:
        if entry["type"] == "started":
            done = {step for step in done if step < entry["resume_step"]}
        if entry["type"] in ("step", "checkpoint"):
            key = entry["type"], entry["attempt"], entry["step"]
            if key in seen:
                problems.append(f"{entry['type']} {entry['step']} of attempt {entry['attempt']} is in the log twice")
            seen.add(key)
        if entry["type"] == "step":
            done.add(entry["step"])
        if entry["type"] == "checkpoint" and set(range(entry["step"])) - done:
            problems.append(f"the checkpoint of step {entry['step']} came before steps that it has")
    return problems


def leftovers(attempt_folders: Iterable[Path], storage: Path) -> list[str]:
    """Nothing temporary is left: no folder of an attempt on a worker, no partial file in the storage."""
    found = [f"{folder.name} is left on a worker" for folder in attempt_folders]
    return found + [f"{path.relative_to(storage)} is left in the storage" for path in storage.rglob("*.partial*")]


def orphans(processes: Iterable[Any]) -> list[str]:
    """No process of an attempt lives."""
    return [f"process {process.pid} of an attempt is alive" for process in processes]
