"""Hooks of mkdocs: pages may link to files of the repository outside docs/, such as recipes; the site carries those."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
OUTSIDE = re.compile(r"\]\(\.\./([\w./-]+)(#[\w-]+)?\)")
"""A link out of docs/, whose pages lie side by side."""

FOLDER = "repository"
"""Where the site has these files."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each file that a page links to."""
    linked = {
        found[1]
        for page in files.documentation_pages()
        for found in OUTSIDE.finditer(Path(page.abs_src_path or "").read_text(encoding="utf-8"))
    }
    for path in sorted(linked):
        if (ROOT / path).is_file():  # a link to what is not there stays, and mkdocs says so
            content = (ROOT / path).read_bytes()
            files.append(File.generated(config, _place(path), content=content))
    return files


def on_page_markdown(markdown: str, *, files: Files, **_others: object) -> str:
    """Let the links lead to them."""

    def inside(found: re.Match[str]) -> str:
        place = _place(found[1])
        return f"]({place})" if files.get_file_from_path(place) else found[0]

    return OUTSIDE.sub(inside, markdown)


def _place(path: str) -> str:
    """Path in the site; text is shown by a browser rather than saved, and no page is made of it."""
    return f"{FOLDER}/{path}" if path.endswith((".html", ".json", ".svg", ".png")) else f"{FOLDER}/{path}.txt"
