"""Logs for people and for collectors."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from cpt_core.logs import about, configure


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def test_a_json_line_says_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    log = logging.getLogger("cpt.test")
    with about(job="job_1"), about(attempt=2):
        log.warning("lost %d", 3)
    log.info("after")
    lost, after = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert {key: lost[key] for key in ("level", "logger", "message", "job", "attempt")} == {
        "level": "warning",
        "logger": "cpt.test",
        "message": "lost 3",
        "job": "job_1",
        "attempt": 2,
    }
    assert "job" not in after


def test_a_traceback_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("cpt.test").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: no" in json.loads(line)["exception"]


def test_a_text_line_names_job_and_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text")
    with about(job="job_1", attempt=2):
        logging.getLogger("cpt.test").info("begun")
    assert capsys.readouterr().err.endswith("INFO cpt.test job=job_1 attempt=2 begun\n")
