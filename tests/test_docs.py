"""The documentation is built as a site, without a broken link, and needs no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOADS = re.compile(
    r"<(?:script|img|iframe|link rel=\"(?:stylesheet|preload|icon|preconnect)\")[^>]*(?:src|href)=\"https?:"
)
"""What a browser would fetch from elsewhere to show a page."""


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        str(config),
        "--site-dir",
        str(site),
    ]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, env=env, cwd=config.parent, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_of_docs_is_in_the_site(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} == pages | {"404"}


def test_the_site_shows_itself_without_a_network(site: Path) -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}
    assert not [name for name, content in pages.items() if LOADS.search(content)]
    assert 'href="quickstart.html"' in pages["index.html"]


def test_links_to_recipes_lead_to_the_recipes_themselves(site: Path) -> None:
    recipe = "recipes/digits/resnet8-cpt-3-8.yaml"
    assert f'href="repository/{recipe}.txt"' in (site / "gallery.html").read_text(encoding="utf-8")
    assert (site / "repository" / f"{recipe}.txt").read_bytes() == (ROOT / recipe).read_bytes()


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[gone](../recipes/none.yaml) [too](none.md)")
    config = "\n".join(line for line in (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:")[0].splitlines())
    (tmp_path / "mkdocs.yml").write_text(config)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "../recipes/none.yaml" in done.stderr
    assert "none.md" in done.stderr
