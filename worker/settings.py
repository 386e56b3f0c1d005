"""Settings of a worker, from the environment (`CPT_…`) or files below /run/secrets."""

from __future__ import annotations

import os
import secrets
import socket
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from cpt_core import tracing
from cpt_core.carbon import WORLD_AVERAGE, GridFactor
from cpt_core.logs import Format
from cpt_core.settings import CommaSeparated, Settings, StorageUrl, with_password
from cpt_core.spec import Labels, Name

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


def _unique_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class WorkerSettings(Settings):
    """Everything an operator can set for a worker."""

    model_config = SettingsConfigDict(validate_default=True)

    api_url: str = "http://127.0.0.1:8000"
    """Where the API answers, without a path."""
    agent_token: SecretStr
    """Shared secret with which workers claim jobs, the same as the API's."""
    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis or Valkey, from which doorbells come."""
    broker_password: SecretStr | None = None
    """The password of `broker_url`, if it is not in it: any characters, and in a file of its own."""
    storage_url: StorageUrl = "cpt-storage"
    """Root of checkpoints, logs and uploaded datasets: a folder, or an fsspec URL; the same for API and workers."""
    data_root: Path = Path("cpt-data")
    """Folder below which datasets lie."""
    state_dir: Path = Path("cpt-worker")
    """Folder for what running attempts need: FIFOs, spools, logs; and for unpacked datasets. A local disk; several
    workers may share it."""

    queues: Annotated[list[Name], Field(min_length=1, max_length=100), NoDecode, CommaSeparated] = ["default"]
    """Queues to take jobs from, the first preferred; separated by commas."""
    labels: Annotated[Labels, NoDecode, CommaSeparated] = ()
    """What jobs may require of this worker, such as `a100,eu`; separated by commas."""
    slots: Annotated[int, Field(ge=1, le=64)] = 1
    """Jobs that run at the same time."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What trains; `auto`: GPUs where there are any."""
    devices_per_slot: Annotated[int, Field(ge=1, le=64)] | None = None
    """Devices of a slot; on a CPU the number of processes it accepts. Null: the visible GPUs split over the slots; on
    a CPU the number of cores, 2 at least."""
    warm: bool = True
    """Keep torch and the trainer loaded in a process of their own, from which training is forked: a job then starts in
    less than a second instead of several, for some 300 MB of memory. Linux only."""
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s@/]+$")] = Field(
        default_factory=_unique_name
    )
    """Name of this worker, unique among the live ones. Default: host, process id and a random part."""
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$", max_length=255)] | None = None
    """Address under which the workers of other machines reach this one, for jobs of several nodes. Null: that from
    which it reaches the API."""
    grid_gco2e_per_kwh: GridFactor = WORLD_AVERAGE
    """Grams of CO2-equivalent per kWh of the electricity here, by which energy is converted. Default: the world's
    average of 2024 (IEA, Electricity 2025: CO2 of the power stations)."""

    grace_seconds: Seconds = 10.0
    """Time from TERM to KILL: for the trainer to save a checkpoint when it is told to stop."""
    blind_seconds: Seconds | None = None
    """Time without an answer from the API after which an attempt is stopped; never as long as the lease. Null: two
    thirds of the lease."""
    append_interval: Annotated[float, Field(gt=0, le=10)] = 0.25
    """Seconds between two deliveries of an attempt's records."""
    spool_limit_bytes: Annotated[int, Field(ge=4096)] = 256 * 1024 * 1024
    """Records that may wait for the API, in bytes for each attempt; then training waits too."""
    log_limit_bytes: Annotated[int, Field(ge=1024 * 1024)] = 256 * 1024 * 1024
    """Output of a rank that may wait for the API; of more the middle is left out, and the log says so. What the API has
    is given back to the disk while the rank goes on printing."""
    cache_limit_bytes: Annotated[int, Field(ge=0)] = 50 * 1024**3
    """What `state_dir` may hold of unpacked datasets and of what was worked out from data once. The least recently used
    go first, and never what a running attempt uses, so those may pass it."""
    progress_seconds: Seconds = 300.0
    """Time without any progress after which training counts as hung; longer where steps are slow, see
    `progress_steps`."""
    progress_steps: Annotated[float, Field(ge=2, le=10_000)] = 20.0
    """Training counts as hung only after this many times the median time of a step."""
    startup_seconds: Seconds = 1800.0
    """The same before training begins, while processes start and data is read or fetched."""

    log_format: Format = "text"
    """Lines for people, or a JSON object a line."""
    metrics_host: str = "127.0.0.1"
    """Where Prometheus may read this worker's metrics; they are not protected."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the same. Null: they are not served."""

    @model_validator(mode="after")
    def _join_password(self) -> Self:
        self.broker_url = with_password(self.broker_url, self.broker_password)
        return self

    @field_validator("api_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("state_dir", "data_root")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()


def environment_of_training() -> dict[str, str]:
    """This process's environment without the worker's own settings, some of which are secret, and its own trace."""
    own = {f"CPT_{name.upper()}" for name in WorkerSettings.model_fields} | {tracing.VARIABLE}
    return {name: value for name, value in os.environ.items() if name not in own}


@cache
def settings() -> WorkerSettings:
    """The settings of this process, read once."""
    return WorkerSettings()
