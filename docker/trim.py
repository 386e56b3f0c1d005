"""Take from an image's packages what a server never reads: python docker/trim.py SITE_PACKAGES.

Only files that no code path of the API opens: tests, sources of compiled modules, debugging symbols, what draws in
terminals, dialects of other databases, ways to other brokers, boto's descriptions of the services that are no storage,
and of Plotly all but its JavaScript.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = (".pyx", ".pxd", ".pxi", ".pyi", ".c", ".cpp", ".h", ".a")
UNUSED = (
    # The client's, which come with the package, and those of Celery's own command.
    *("cpt_client", "markdown_it", "prompt_toolkit", "pygments", "rich", "typer", "wcwidth"),
    # What only training needs.
    *("cpt_core/bench", "cpt_core/landscape", "cpt_core/models", "cpt_core/quant", "cpt_core/train", "worker"),
    # Protocol buffers of Google's own services; those of errors are used.
    *("google/api", "google/logging", "google/longrunning", "google/type"),
    *("sqlalchemy/dialects/mssql", "sqlalchemy/dialects/mysql", "sqlalchemy/dialects/oracle"),
    "botocore/cacert.pem",  # certifi's are taken
    "dateutil/zoneinfo",  # the system's are taken
    "pydantic/v1",
    "fastapi/.agents",
    "narwhals",
    "../../../share/jupyter",
)
KEPT = {
    # Of Plotly the dashboard has the script, and takes it out of the package.
    "plotly": {"__init__.py", "package_data"},
    "plotly/package_data": {"plotly.min.js"},
    "_plotly_utils": {"__init__.py", "importers.py"},
    # Doorbells go by Redis.
    "kombu/transport": {"__init__.py", "base.py", "native_delayed_delivery.py", "pyamqp.py", "redis.py", "virtual"},
    "botocore/data": {
        *("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json"),
        *("s3", "sts", "sso", "sso-oidc", "signin"),  # storage, and the ways to credentials for it
    },
}
"""Folders of which nothing else is used."""


def main() -> None:
    """Trim the folder that is the only argument, and say how much is left."""
    packages = Path(sys.argv[1])
    # SQLAlchemy's and Alembic's `testing` are imported by nobody but tests either.
    unwanted = [path for name in ("tests", "testing", "__pycache__") for path in packages.rglob(name)]
    unwanted += [packages / folder for folder in UNUSED]
    unwanted += [path for name in ("RECORD", "sboms") for path in packages.glob(f"*.dist-info/{name}")]
    unwanted += [
        path for folder, kept in KEPT.items() for path in (packages / folder).iterdir() if path.name not in kept
    ]
    for path in unwanted:
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    for path in packages.glob("*.dist-info/METADATA"):
        path.write_text(path.read_text().partition("\n\n")[0] + "\n")  # without the page for PyPI
    for path in packages.rglob("*"):
        if path.suffix in SOURCES and path.is_file():
            path.unlink()
        elif ".so" in path.name and path.is_file() and not path.is_symlink():
            # Symbols alone: what was patched to find its own libraries is left as it is.
            subprocess.run(["strip", "--strip-unneeded", str(path)], check=False)
    with (packages / "botocore/data/endpoints.json").open("rb") as whole, gzip.open(f"{whole.name}.gz", "wb") as packed:
        shutil.copyfileobj(whole, packed)  # botocore reads either
    Path(whole.name).unlink()
    size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    print(f"{packages}: {size / 1e6:.1f} MB")  # noqa: T201


if __name__ == "__main__":
    main()
