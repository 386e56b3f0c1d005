"""A status on a console while things happen: a live panel on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cpt_client.models import Evaluation, Event
from cpt_client.view import text
from cpt_client.view.status import Status

LINE_EVERY = 10.0
"""Seconds between two lines about progress when the console is no terminal."""

Show = Callable[[Event | None], None]
"""To be called after each event that the status took in, and with None after any other change."""


@contextmanager
def presenter(status: Status, console: Console) -> Iterator[Show]:
    """Show the status on the console for as long as the block lasts."""
    if console.is_interactive:
        with Live(status, console=console, refresh_per_second=4, vertical_overflow="visible"):
            yield lambda event: _keep(event, console.print)
    else:
        yield _Lines(status, console)


def _keep(event: Event | None, say: Callable[[Text], None]) -> None:
    if event is not None and (line := notable(event)) is not None:
        say(line)


class _Lines:
    def __init__(self, status: Status, console: Console) -> None:
        self._status, self._console = status, console
        self._next = 0.0
        self(None)

    def __call__(self, event: Event | None) -> None:
        _keep(event, self._say)
        if time.monotonic() >= self._next:
            self._say(Text(self._status.line()))
            self._next = time.monotonic() + LINE_EVERY

    def _say(self, line: Text) -> None:
        clock = f"{datetime.now():%H:%M:%S}  "  # noqa: DTZ005 - the reader's own
        self._console.print(Text(clock).append_text(line))


def notable(event: Event) -> Text | None:
    """What of an event stays on the screen: state changes, evaluations and warnings, but not single steps."""
    fields = event.fields
    match event.type:
        case "state":
            line = text.state(str(fields.get("state", "")))
            why = fields.get("message") or fields.get("reason")
            return line.append_text(text.user(f": {why.splitlines()[0]}", "not bold")) if why else line
        case "evaluation":
            evaluation = Evaluation.model_validate(fields)
            named = "accuracy " if evaluation.accuracy is not None else ""
            of = ", averaged weights" if evaluation.averaged else ""
            at = f"at {text.bits(evaluation.bits)}{of}, step {evaluation.step:,}"
            return Text(f"{named}{text.quality(evaluation)} {at}")
        case "range_test":
            bounds = fields.get("bounds")
            found = "{min_bits} to {max_bits} bits".format(**bounds) if bounds else "no bit width learns"
            return Text(f"precision range test: {found}")
        case "log" if fields.get("level") in ("warning", "error"):
            style = "yellow" if fields["level"] == "warning" else "red"
            return text.user(f"{fields['level']}: {fields.get('message', '')}", style)
        case "cancel_requested":
            return Text("cancelling, as somebody asked", "red")
    return None
