"""Each part loads only what its own extra installs, and what answers quickly never loads torch."""

import subprocess
import sys

import pytest

SERVER = {"fastapi", "uvicorn", "sqlalchemy", "alembic", "psycopg"}
QUEUE = {"celery", "redis"}
TOOLS = {"mlflow", "tensorboard", "wandb", "pandas", "polars", "matplotlib"}
TRAINING = {"torch", "torchvision", "numpy", "sklearn", "safetensors", "fsspec", "s3fs", "botocore"}


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("api.app", TRAINING | {"worker", "cpt_client", "httpx"}),
        ("cpt_client.cli.app", SERVER | QUEUE | TRAINING | TOOLS),
        ("cpt_client.client", SERVER | QUEUE | TRAINING | TOOLS),
        ("cpt_client.exports", SERVER | QUEUE | TRAINING | TOOLS),
        ("cpt_client.machine", SERVER | QUEUE | TRAINING | TOOLS),
        ("cpt_core.spec", SERVER | QUEUE | TRAINING | {"httpx"}),
        ("worker.app", SERVER | {"torch", "torchvision", "sklearn", "api", "cpt_client"}),
    ],
)
def test_a_part_does_not_load(module: str, foreign: set[str]) -> None:
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert module.partition(".")[0] in loaded
    assert not foreign & set(loaded)


@pytest.mark.parametrize("module", ["api.app", "worker.app", "cpt_core.train", "cpt_client.client"])
def test_traces_cost_no_import_while_they_are_off(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    # redis loads the SDK's metrics wherever it finds them; that is not ours.
    unwanted = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "google.protobuf", "requests")
    assert not [name for name in loaded if name.startswith(unwanted)]
