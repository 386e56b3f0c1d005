"""Logs of a process: lines for people, or JSON objects for collectors, with what a line is about in fields."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

from cpt_core import tracing

Format = Literal["text", "json"]

TEXT = "%(asctime)s %(levelname)s %(name)s%(about)s %(message)s"

_about: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("about", default=MappingProxyType({}))


@contextlib.contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Lines logged inside, by this thread or task, carry these fields: `job`, `attempt`, `request`."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def configure(form: Format) -> None:
    """Log to standard error from INFO on, in this form."""
    handler = logging.StreamHandler()
    handler.addFilter(_annotate)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _annotate(record: logging.LogRecord) -> bool:
    fields = _about.get()
    record.about_fields = fields
    record.about = "".join(f" {name}={value}" for name, value in fields.items())
    return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then what it is about, the trace, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "about_fields", {}),
        }
        if (trace_id := tracing.trace_id()) is not None:
            entry["trace_id"] = trace_id
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)
