"""On a server that asks for keys the pages load, ask for one, and keep it in their tab alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest

from cpt_client.embedded.stack import free_port
from tests.browser.conftest import Tab, picture, sync_api
from tests.e2e.stack import Stack, spec, until

expect = sync_api.expect


@pytest.fixture(scope="module")
def keyed_url(stack: Stack) -> Iterator[str]:
    """A second API on the same database, which asks for keys."""
    port = free_port(0)
    process = stack.start("api-with-keys", [sys.executable, "-m", "api"], CPT_AUTH="keys", CPT_PORT=str(port))
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    until(ready, "the API with keys", 60)
    yield url
    process.terminate()
    process.wait()
    del stack.running["api-with-keys"]


@pytest.fixture(scope="module")
def key(stack: Stack, keyed_url: str) -> str:
    """An operator's key."""
    command = [sys.executable, "-m", "api", "create-key", "browser"]
    made = subprocess.run(command, env=stack.env, cwd=stack.home, capture_output=True, text=True, check=True)
    return next(word for word in made.stdout.split() if word.startswith("cpt_"))


def test_a_key_is_asked_for_and_opens_pages_and_streams(
    new_tab: Callable[..., Tab], stack: Stack, jobs: list[str], keyed_url: str, key: str
) -> None:
    tab = new_tab(url=keyed_url)
    page = tab.page
    page.goto(keyed_url)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("asks for an API key")
    picture(page, "key-1280-light")
    dialog.get_by_label("API key").fill("cpt_wrong")
    dialog.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("dialog").get_by_label("API key").fill(key)
    page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    expect(page.get_by_role("link", name="digits, CPT 3-8")).to_be_visible()
    live = stack.submit(spec(steps=10, name="seen with a key"))
    expect(page.get_by_role("link", name="seen with a key")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="digits, CPT 3-8")).to_be_visible()
    assert key not in page.evaluate("JSON.stringify(localStorage) + location.href + document.cookie")
    stack.wait_for_state(live, "succeeded")
