"""A real checkpoint within seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cpt_core.events import AnyEvent, Evaluation
from cpt_core.run import Run
from cpt_core.spec import JobSpec
from cpt_core.train.ranks import join
from cpt_core.train.trainer import Trainer


def train_tiny(storage: Path, name: str, **parts: Any) -> tuple[Path, Evaluation]:
    """Two steps, of resnet8 on digits unless `parts` of the spec say otherwise, by one rank in this process.

    Datasets lie in `storage` too. Returns the checkpoint's folder and how good it is.
    """
    spec = JobSpec.model_validate(
        {
            "name": name,
            "model": {"name": "resnet8"},
            "dataset": {"name": "digits"},
            "precision": {"schedule": "cosine", "min_bits": 3, "max_bits": 8, "cycles": 1},
            "training": {"steps": 2, "batch_size": 32},
        }
        | parts
    )
    run = Run(
        spec=spec,
        events=storage / "unused",
        storage=str(storage),
        checkpoints=name,
        best=f"{name}-best",
        data_root=storage,
    )
    events: list[AnyEvent] = []
    ranks = join("cpu")
    try:
        Trainer(run, ranks, events.append, lambda: False).train()
    finally:
        ranks.leave()
    (evaluation,) = (event for event in events if isinstance(event, Evaluation))
    return storage / name / "step-00000002", evaluation
