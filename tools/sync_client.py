"""Make the synchronous client from the asynchronous one: the same code without `await`.

python -m tools.sync_client
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE, TARGET = ROOT / "cpt_client" / "aio", ROOT / "cpt_client" / "sync"
BY_HAND = ("__init__.py", "waiting.py")

HEADER = "# Made from cpt_client/aio/{} by tools/sync_client.py: change it there, then `make generated`.\n"

WORDS = {
    "AsyncClient": "Client",
    "AsyncConnection": "Connection",
    "AsyncIterator": "Iterator",
    "AsyncJob": "Job",
    "AsyncStored": "Stored",
    "AsyncSweeps": "Sweeps",
    "AsyncWebhooks": "Webhooks",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aconnect_sse": "connect_sse",
    "aio": "sync",
    "aiter_bytes": "iter_bytes",
    "aiter_lines": "iter_lines",
    "aiter_sse": "iter_sse",
    "aread": "read",
}


def synchronous(source: str) -> str:
    """The source without `async` and `await`, with the synchronous names of things."""
    source = re.sub(r"\b(async|await) (?=\S)", "", source)
    return re.sub(rf"\b({'|'.join(WORDS)})\b", lambda found: WORDS[found[1]], source)


def made() -> dict[Path, str]:
    """The content of each file that is made, as formatted."""
    return {
        TARGET / path.name: _formatted(HEADER.format(path.name) + synchronous(path.read_text(encoding="utf-8")))
        for path in sorted(SOURCE.glob("*.py"))
        if path.name not in BY_HAND
    }


def _formatted(source: str) -> str:
    for command in (["check", "--fix", "--select", "I", "--quiet"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET / "made.py"), "-"]
        source = subprocess.run(ruff, input=source, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return source


def main() -> None:
    """Write them."""
    for path, content in made().items():
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
