"""Text for people: user text made safe for a terminal, and numbers with their units."""

from __future__ import annotations

from datetime import datetime, timedelta

from rich.text import Text

from cpt_client.models import Evaluation
from cpt_core.events import Best

STYLES = {
    "queued": "yellow",
    "starting": "cyan",
    "running": "bold cyan",
    "paused": "magenta",
    "succeeded": "bold green",
    "failed": "bold red",
    "cancelled": "red",
}
"""Colours of the states."""


def printable(text: str) -> str:
    """The text on one line, with every character that could steer a terminal replaced."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def user(text: str, style: str = "") -> Text:
    """Text that somebody else wrote: never read as markup, never steering the terminal."""
    return Text(printable(text), style=style)


def block(text: str) -> Text:
    """Text of several lines that somebody else wrote, such as the end of a log."""
    return Text("\n".join(printable(line) for line in text.splitlines()))


def state(name: str) -> Text:
    """A job's state in its colour."""
    return user(name, STYLES.get(name, ""))


def percent(fraction: float) -> str:
    """0.367 as "36.7 %"."""
    return f"{100 * fraction:.1f} %"


def quality(of: Evaluation | Best) -> str:
    """What a model is judged by: "91.2 %" of accuracy, or "perplexity 96.39"; else the loss."""
    if of.accuracy is not None:
        return percent(of.accuracy)
    return f"loss {of.loss:.4f}" if of.perplexity is None else f"perplexity {of.perplexity:,.2f}"


def saving(fraction: float | None, of: str) -> str:
    """A saved part in words: "36.7 % less than static 8-bit"."""
    if fraction is None:
        return f"not compared with {of}"
    if abs(fraction) < 0.0005:
        return f"as much as {of}"
    return f"{percent(abs(fraction))} {'less' if fraction > 0 else 'more'} than {of}"


def number(value: float) -> str:
    """A figure of any size with four digits or so: "12,345", "0.001234"."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def quantity(value: float, unit: str) -> str:
    """A figure with its unit: "12,345 GBitOPs"."""
    return f"{number(value)} {unit}"


def size(count: int) -> str:
    """Bytes in decimal units: "12.3 MB"."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds as "42 s", "3 min 20 s", "2 h 05 min" or "3 d 4 h"."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hours} h {minute:02d} min"
    if minutes:
        return f"{minutes} min {second:02d} s"
    return f"{second} s"


def age(since: datetime, now: datetime) -> str:
    """Time passed, never negative: clocks of two machines differ."""
    return duration(max(now - since, timedelta()).total_seconds())


def bits(width: int) -> str:
    """A bit width: "8 bits", or "fp32" for full precision."""
    return "fp32" if width == 32 else f"{width} bits"
