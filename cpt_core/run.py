"""What one training process group is told: a spec, and where its data, events and checkpoints are. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cpt_core.carbon import WORLD_AVERAGE, GridFactor
from cpt_core.events import Checkpoint
from cpt_core.model_limits import ModelLimits
from cpt_core.spec import JobSpec
from cpt_core.uploads import Upload

Endpoint = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$", max_length=300)]
"""`address:port`."""


class Gang(BaseModel):
    """The place of one node among those that train a run together."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    node: Annotated[int, Field(ge=0, le=63)]
    """Number of this node; node 0 has rank 0, and tells the run's events."""
    nodes: Annotated[int, Field(ge=1, le=64)]
    """How many there are."""
    endpoint: Endpoint
    """Address and port at which node 0 lets the others meet (torchrun's c10d rendezvous)."""


class Run(BaseModel):
    """One attempt at training a spec, as a JSON file that every rank reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    spec: JobSpec
    """What to train."""
    events: Path
    """File or FIFO to which rank 0 writes one event a line."""
    storage: str
    """Root of the storage: a folder, or an fsspec URL."""
    checkpoints: Annotated[str, Field(min_length=1, max_length=400)]
    """Folder, relative to the storage root, for this attempt's checkpoints."""
    best: Annotated[str, Field(min_length=1, max_length=400)]
    """Folder, relative to the storage root, for the checkpoint of the best evaluation, which outlives attempts."""
    data_root: Path
    """Folder below which datasets lie."""
    upload: Upload | None = None
    """The uploaded dataset that the spec names: fetched to below `cache` before training, and `data_root` is there."""
    cache: Path | None = None
    """Folder for what is worked out from datasets once, such as a vocabulary; null: worked out each time."""
    resume: Checkpoint | None = None
    """Checkpoint to continue from."""
    model_limits: ModelLimits = ModelLimits()
    """How large the model may be."""
    gang: Gang | None = None
    """This node's place, if several train the run."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of each rank on a CPU; null: the machine's cores divided by the ranks."""
    grid_gco2e_per_kwh: GridFactor = WORLD_AVERAGE
    """Grams of CO2-equivalent per kWh of the electricity here; by default the world's average."""
