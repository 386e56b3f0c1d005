"""The `cpt` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `cpt`."""
    from cpt_client.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 shows question marks, not a traceback.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app()
