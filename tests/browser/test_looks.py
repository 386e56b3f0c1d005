"""Every page, light and dark, wide and on a phone: kept as pictures, and looked over by axe-core."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import PHONE, PICTURES, WIDE, Tab, charts_are_drawn, documented, holds, picture

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

PAGES = {
    "jobs": ("/", ".jobs-table"),
    "new": ("/new", ".chart.plan"),
    "job": ("/jobs/{0}", ".chart.job"),
    "compare": ("/compare?jobs={0},{1}", ".chart.curves"),
    "sweeps": ("/sweeps", "main h1"),
    "workers": ("/workers", "main h1"),
}
DOCUMENTED = {"jobs-light": 420, "new-light": 900, "job-light": 1340, "compare-light": 1000, "job-dark": 700}
"""Pages whose pictures are part of the documentation, and how much of their height."""
SERIOUS = ("serious", "critical")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious_on(name: str, theme: str, new_tab: Callable[..., Tab], jobs: list[str]) -> None:
    path, shown = PAGES[name]
    tab = new_tab(WIDE, theme=theme)
    page = tab.open(path.format(*jobs))
    if shown.startswith(".chart"):
        charts_are_drawn(page, shown)
    else:
        page.wait_for_selector(shown)
    if PICTURES and (height := DOCUMENTED.get(f"{name}-{theme}")):
        documented(page, f"dashboard-{name}-{theme}", height)
        page.set_viewport_size(WIDE)
    found = axe.Axe().run(page).response["violations"]
    picture(page, f"{name}-{WIDE['width']}-{theme}")
    page.set_viewport_size(PHONE)
    holds(page, f"document.documentElement.scrollWidth <= {PHONE['width']}")
    picture(page, f"{name}-{PHONE['width']}-{theme}")
    assert [
        (violation["id"], node["html"], node.get("failureSummary"))
        for violation in found
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ] == []
