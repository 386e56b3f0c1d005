"""A real browser on a real stack, one for all tests of a process. Pictures of the pages are left in tests/artifacts.

`make pictures` takes those of the documentation, from longer trainings: CPT_PICTURES names their folder.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.conftest import opened
from tests.e2e.stack import Stack, spec, until

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PATIENCE_MS = 60_000
PICTURES = os.environ.get("CPT_PICTURES")
STEPS = 240 if PICTURES else 45
"""Steps of the jobs that tests look at."""

HOSTILE = '<img src=x onerror="window.hacked=1">{{7*7}}\'"</script><b>bold</b>'
"""A name that is dangerous wherever it is not shown as text."""


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that is installed on this machine; nothing is downloaded."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    return CHROMIUM


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Any]:
    """One browser for the tests of this folder. Playwright keeps an event loop running in this thread for as long as
    it is open, in which no other test could run one of its own."""
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]  # as containers need it
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def stack(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests of this process."""
    home = tmp_path_factory.mktemp("stack")
    with opened(home, f"sqlite:///{home}/cpt.db") as stack:
        yield stack


@pytest.fixture(scope="session")
def jobs(stack: Stack) -> list[str]:
    """Three jobs that have succeeded: two whose schedules differ, and one with a hostile name."""
    evaluation = {"evaluation": {"every_steps": 15}}
    static = {"schedule": "static", "bits": 8}
    ids = [
        stack.submit(spec(steps=STEPS, name="digits, CPT 3-8", **evaluation)),
        stack.submit(spec(steps=STEPS, name="digits, static 8", precision=static, **evaluation)),
        stack.submit(spec(steps=4, name="digits, cut short" if PICTURES else HOSTILE, devices=1)),
    ]
    for job_id in ids:
        stack.wait_for_state(job_id, "succeeded")
    return ids


@pytest.fixture
def long_job(stack: Stack) -> Iterator[str]:
    """A job that runs until it is cancelled, which happens at the end whatever the test found."""
    job_id = stack.submit(spec(steps=100_000, checkpoint=50_000, name="a long one"))
    stack.wait_for_step(job_id, 2)
    yield job_id
    if "cancel" in stack.job(job_id)["actions"]:
        stack.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    stack.wait_for_state(job_id, "cancelled")


class Tab:
    """A tab that keeps what went wrong in it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.wrong: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def _heard(self, message: Any) -> None:
        # A request that fails is told by the page itself, and some tests make it fail.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def open(self, path: str) -> Any:
        """Go to a page and wait until it is drawn."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector("main h1, main .notice")
        return self.page


@pytest.fixture
def new_tab(browser: Any, stack: Stack) -> Iterator[Callable[..., Tab]]:
    """Opens tabs, each in a session of its own; at the end nothing may have gone wrong in them, such as a breach of
    the Content-Security-Policy."""
    tabs: list[tuple[Any, Tab]] = []

    def make(viewport: dict[str, int] = WIDE, *, theme: str = "light", url: str = stack.url) -> Tab:
        context = browser.new_context(viewport=viewport, color_scheme=theme, reduced_motion="reduce")
        tabs.append((context, Tab(context.new_page(), url)))
        return tabs[-1][1]

    yield make
    for context, _ in tabs:
        context.close()
    assert [wrong for _, tab in tabs for wrong in tab.wrong] == []


@pytest.fixture
def tab(new_tab: Callable[..., Tab]) -> Tab:
    """A tab as wide as a notebook's screen."""
    return new_tab()


def picture(page: Any, name: str) -> None:
    """Keep a picture of the whole page."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


def holds(page: Any, expression: str) -> None:
    """Wait until a JavaScript expression is true. Playwright's own way needs eval, which the pages' policy forbids."""
    until(lambda: page.evaluate(expression), expression, PATIENCE_MS / 1000)


def documented(page: Any, name: str, height: int) -> None:
    """Keep a picture for the documentation, in few colours: the page's top, so many pixels high."""
    page.set_viewport_size({"width": WIDE["width"], "height": height})
    taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    taken.quantize(256, dither=Image.Dither.NONE).save(Path(PICTURES or ARTIFACTS) / f"{name}.png", optimize=True)


def charts_are_drawn(page: Any, selector: str = ".chart") -> None:
    """Wait until the chart has curves."""
    page.wait_for_selector(f"{selector} .scatterlayer .trace path")
