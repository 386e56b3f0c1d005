"""How soon a browser shows the page of a long job: what it is, and its curves.

A job of 250,000 steps on SQLite, in a Chromium that is installed. `python benchmarks/service/dashboard.py` prints JSON:
milliseconds from the navigation's start, the median of several, with an empty and with a filled cache.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile

from alone import Attempt, api
from metrics import store
from playwright.sync_api import BrowserContext, sync_playwright

TIMES = 7
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
SHOWN = """() => ({
    first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
    curves_ms: performance.getEntriesByName("first-draw")[0].startTime,
})"""


def opened(context: BrowserContext, url: str) -> dict[str, float]:
    """Milliseconds until something and until the curves were shown."""
    page = context.new_page()
    page.goto(url)
    while not page.evaluate("performance.getEntriesByName('first-draw').length"):  # the page's policy forbids eval
        page.wait_for_timeout(20)
    found: dict[str, float] = page.evaluate(SHOWN)
    page.close()
    return found


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: round(statistics.median(each[name] for each in found)) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=250_000)
    steps = parser.parse_args().steps
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory(prefix="cpt-bench-") as folder, api(f"sqlite:///{folder}/cpt.db") as server:
        attempt = Attempt(server)
        store(attempt, steps)
        url = f"{server.url}/jobs/{attempt.job}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            )
            empty, filled = [], []
            for _ in range(TIMES):
                with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
                    empty.append(opened(context, url))
                    filled.append(opened(context, url))
            browser.close()
    print(json.dumps({"steps": steps, "empty_cache": medians(empty), "filled_cache": medians(filled)}))


if __name__ == "__main__":
    main()
