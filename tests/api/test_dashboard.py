"""What the dashboard is made of is served without a key, under a strict policy; what it shows is the API's."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import api.dashboard
from api.dashboard import router
from tests.api.conftest import Keyed

STATIC = Path(api.dashboard.__file__).parent / "static"
PAGES = ("/", "/new", "/compare", "/sweeps", "/workers", "/jobs/job_" + "0" * 24, "/sweeps/sweep_" + "0" * 24)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_one_document_that_needs_no_key(keyed: Keyed, path: str) -> None:
    answer = keyed.client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.text == (STATIC / "index.html").read_text()


def test_pages_have_a_policy_that_lets_nothing_inline_run(client: TestClient) -> None:
    headers = client.get("/").headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_put_in_as_markup() -> None:
    for path in STATIC.rglob("*"):
        if path.suffix in (".js", ".css", ".html"):
            text = path.read_text()
            assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text), path
            assert not re.findall(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            ), path
            assert not re.findall(r"@import|url\(", text), path


def test_every_module_that_is_imported_is_there(client: TestClient) -> None:
    for path in STATIC.rglob("*.js"):
        for name in re.findall(r"(?:from|import\() ?\"(\.[^\"]+)\"", path.read_text()):
            target = (path.parent / name).resolve().relative_to(STATIC)
            assert client.get(f"/dashboard/{target.as_posix()}").headers["Content-Type"].startswith("text/javascript")


def test_plotly_comes_out_of_its_package_compressed(client: TestClient) -> None:
    answer = client.get("/dashboard/plotly.min.js", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "plotly.js v" in answer.text[:500]


def test_no_styles_of_plotly_are_missed_by_the_page() -> None:
    """Styles that it would put into the document the page's policy refuses; an element of the id keeps it from that."""
    script = (files("plotly") / "package_data" / "plotly.min.js").read_text()
    asked = re.findall(r'getElementById\("([0-9a-f]{64})"\)\)\{var \w+=document\.createElement\("style"\)', script)
    page = (STATIC / "index.html").read_text()
    assert asked
    missed = [style for style in asked if f'id="{style}"' not in page]
    assert missed == [], "put elements with these ids into index.html"


def test_a_file_that_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/dashboard/css/base.css")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/dashboard/css/base.css", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_without_gzip_files_come_as_they_are(client: TestClient) -> None:
    answer = client.get("/dashboard/css/base.css", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in answer.headers
    assert answer.content == (STATIC / "css" / "base.css").read_bytes()


@pytest.mark.parametrize(
    "name", ["nothing.js", "../router.py", "%2e%2e/router.py", "css", "css//base.css", "..\\router.py", ""]
)
def test_only_the_dashboards_own_files_are_sent(client: TestClient, name: str) -> None:
    answer = client.get(f"/dashboard/{name}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_names_of_no_file_are_not_kept_in_memory() -> None:
    assert router.asset("js/main.js") is router.asset("js/main.js")
    kept = router._read.cache_info().currsize
    assert [router.asset(f"js/none-{number}.js") for number in range(50)] == [None] * 50
    assert router._read.cache_info().currsize == kept
