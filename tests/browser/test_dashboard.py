"""What people do with the dashboard."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from api.artifacts.models import Artifact
from api.db import Database
from api.jobs.models import Job
from cpt_core.events import now
from tests.browser.conftest import HOSTILE, PHONE, STEPS, Tab, charts_are_drawn, holds, sync_api
from tests.e2e.stack import Stack, spec

expect = sync_api.expect
expect.set_options(timeout=60_000)


def test_a_job_is_submitted_through_the_form_and_watched_to_its_end(tab: Tab, stack: Stack) -> None:
    page = tab.open("/new")
    page.get_by_label("Start from a recipe").select_option("digits/resnet8-cpt-3-8")
    page.get_by_label("Name", exact=True).first.fill("from the form")
    page.get_by_label("Steps", exact=True).fill("60")
    page.get_by_label("Cycles", exact=True).fill("4")
    expect(page.locator(".plan-status")).to_contain_text("Valid")
    expect(page.locator(".facts").first).to_contain_text("60 steps")
    charts_are_drawn(page, ".chart.plan")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile("/jobs/job_"))
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    expect(page.locator(".page-head .state")).to_have_text("succeeded")
    charts_are_drawn(page, ".chart.job")
    expect(page.locator(".how-far-wide")).to_contain_text("60 of 60 steps")
    expect(page.locator(".timeline")).to_contain_text("Accuracy")
    expect(page.get_by_role("button", name="Download the weights at step 60")).to_be_visible()
    job = stack.job(page.url.rsplit("/", 1)[1])
    assert (job["spec"]["training"]["steps"], job["spec"]["precision"]["cycles"]) == (60, 4)


def test_a_wrong_field_is_shown_at_the_field_and_cannot_be_submitted(tab: Tab) -> None:
    page = tab.open("/new")
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    page.get_by_label("Min bits", exact=True).fill("9")
    expect(page.locator("#spec-precision-min_bits-fault")).to_contain_text("must not be above max_bits (8)")
    expect(page.get_by_label("Min bits", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    page.get_by_label("Min bits", exact=True).fill("4")
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    expect(page.locator("#spec-precision-min_bits-fault")).to_be_hidden()


def test_yaml_and_form_are_the_same_spec(tab: Tab) -> None:
    page = tab.open("/new")
    expect(page.locator(".plan-status")).to_contain_text("Valid")
    page.get_by_label("Schedule", exact=True).select_option("static")
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_label("Spec as YAML")
    assert "schedule: static" in text.input_value()
    text.fill(text.input_value().replace("schedule: static", "schedule: [static"))
    expect(page.locator(".plan-status")).to_contain_text("line ")
    text.fill(text.input_value().replace("schedule: [static", "schedule: RR\n  cycles: 2"))
    expect(page.locator(".plan-status")).to_contain_text("Valid")
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_label("Schedule", exact=True)).to_have_value("RR")
    expect(page.get_by_label("Cycles", exact=True)).to_have_value("2")


def test_a_job_is_followed_through_a_restart_of_the_api(tab: Tab, stack: Stack, long_job: str) -> None:
    page = tab.open(f"/jobs/{long_job}")
    charts_are_drawn(page, ".chart.job")
    page.evaluate("window.loadedOnce = true")
    stack.kill("api")
    expect(page.locator("#connection")).to_be_visible()
    before = stack_steps(page)
    stack.start_api()
    expect(page.locator("#connection")).to_be_hidden()
    step = "Number(document.querySelector('.how-far-wide').textContent.split(' of ')[0].replace(/,/g, ''))"
    holds(page, f"{step} > {before}")
    drawn = "() => document.querySelector('.chart.job').data.find(trace => trace.name === 'training loss').x"
    steps = page.evaluate(drawn)
    assert steps == sorted(set(steps)), "no step is missed or repeated"
    assert page.evaluate("window.loadedOnce"), "the page was never loaded anew"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator(".page-head .state")).to_have_text("cancelled")
    shown = page.locator(".page-head .actions button").all_text_contents()
    assert [name.lower() for name in shown] == stack.job(long_job)["actions"]


def stack_steps(page: Any) -> int:
    text = str(page.locator(".how-far-wide").text_content())
    return int(text.split(" of ")[0].replace(",", ""))


def test_the_table_of_jobs_is_live_and_is_filtered_searched_and_sorted(tab: Tab, stack: Stack, jobs: list[str]) -> None:
    page = tab.open("/")
    rows = page.locator(".jobs-table tbody tr")
    page.get_by_label("Search jobs").fill("static 8")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("digits, static 8")
    page.get_by_label("Search jobs").fill("brand new")
    expect(page.get_by_role("heading", name="No job matches")).to_be_visible()
    job_id = stack.submit(spec(steps=30, name="brand new"))
    expect(rows.first).to_contain_text("brand new")
    expect(rows.first.locator(".state")).to_have_text("succeeded")
    page.get_by_label("Search jobs").fill("digits,")
    page.get_by_role("button", name="Loss").click()
    losses = [float(text) for text in page.locator("td[data-label=Loss]").all_text_contents()]
    assert losses == sorted(losses)
    page.get_by_label("Search jobs").fill("")
    page.get_by_role("button", name="Failed").click()
    expect(page.locator(".jobs-table .state.succeeded")).to_have_count(0)
    stack.http.delete(f"/v1/jobs/{job_id}").raise_for_status()


def test_two_jobs_are_compared(tab: Tab, jobs: list[str]) -> None:
    page = tab.open("/")
    for name in ("digits, CPT 3-8", "digits, static 8"):
        page.get_by_label(f"Select {name} to compare", exact=True).check()
    page.get_by_role("button", name="Compare 2").click()
    page.wait_for_url(re.compile(r"/compare\?jobs="))
    charts_are_drawn(page, ".chart.scatter")
    charts_are_drawn(page, ".chart.curves")
    table = page.locator(".differences")
    expect(table).to_contain_text("precision.schedule")
    expect(table).to_contain_text("cosine")
    expect(table).to_contain_text("static")
    expect(table).not_to_contain_text("training.steps")


def test_a_sweeps_members_are_compared_with_their_means(tab: Tab, stack: Stack) -> None:
    request = {
        "name": "two seeds",
        "spec": spec(steps=6, devices=1, precision={"schedule": "static"}),
        "grid": {"/training/seed": [0, 1]},
    }
    stack.http.post("/v1/sweeps", json=request).raise_for_status()
    page = tab.open("/sweeps")
    page.get_by_role("link", name="two seeds").click()
    expect(page.locator(".page-head .state")).to_have_text("succeeded")
    expect(page.locator("main")).to_contain_text("±")
    charts_are_drawn(page, ".chart.scatter")


def test_what_somebody_named_is_shown_as_text_everywhere(tab: Tab, jobs: list[str]) -> None:
    for path in ("/", f"/jobs/{jobs[2]}", f"/compare?jobs={jobs[0]},{jobs[2]}", f"/new?clone={jobs[2]}"):
        page = tab.open(path)
        if path.startswith("/new"):
            expect(page.get_by_label("Name", exact=True).first).to_have_value(re.compile(r"^<img src=x"))
        else:
            expect(page.get_by_text(HOSTILE).first).to_be_visible()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img").count() == 0


def test_what_somebody_named_is_text_in_charts_too(tab: Tab, stack: Stack, jobs: list[str]) -> None:
    """Plotly reads some tags and entities in what it draws."""
    name = "<b>bold</b> &amp; <i>R&D</i>"
    job_id = stack.submit(spec(steps=4, name=name, devices=1))
    stack.wait_for_state(job_id, "succeeded")
    page = tab.open(f"/compare?jobs={jobs[0]},{job_id}")
    charts_are_drawn(page, ".chart.curves")
    expect(page.locator(".chart.scatter .textpoint text").filter(has_text="bold")).to_have_text(name)
    box = page.locator(".chart.scatter .points path").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".chart.scatter .hoverlayer")).to_contain_text(name)


def test_charts_zoom_smooth_and_turn_logarithmic(tab: Tab, jobs: list[str]) -> None:
    page = tab.open(f"/jobs/{jobs[0]}")
    charts_are_drawn(page, ".chart.job")
    kind = "document.querySelector('.chart.job')._fullLayout.yaxis.type"
    page.get_by_role("button", name="Log scale").click()
    holds(page, f"{kind} === 'log'")
    page.get_by_label("Smoothing").fill("0.9")
    holds(page, "document.querySelector('.chart.job').data.some(trace => trace.name === 'as it was')")
    box = page.locator(".chart.job .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 22, steps=4)
    page.mouse.up()
    holds(page, "document.querySelector('.chart.job')._fullLayout.xaxis.range[0] > 1")
    page.get_by_role("button", name="Reset zoom").click()
    holds(page, "document.querySelector('.chart.job')._fullLayout.xaxis.range[0] <= 0")


def test_curves_are_exported_as_picture_and_table(tab: Tab, jobs: list[str]) -> None:
    page = tab.open(f"/jobs/{jobs[0]}")
    charts_are_drawn(page, ".chart.job")
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("id,attempt,time,step,")
    assert len(lines) == 1 + STEPS


def test_the_curve_of_a_range_test_and_its_bounds_are_shown(tab: Tab, stack: Stack) -> None:
    precision = {"schedule": "auto", "min_bits": 6, "steps_per_bits": 16}
    job_id = stack.submit(spec(type="range_test", steps=200, devices=1, precision=precision))
    page = tab.open(f"/jobs/{job_id}")
    expect(page.locator(".page-head .state")).to_have_text(re.compile("succeeded|failed"))
    charts_are_drawn(page, ".chart.range")
    (found,) = stack.events(job_id, "range_test")
    drawn = page.evaluate("() => document.querySelector('.chart.range').data[0]")
    assert drawn["x"] == [point["bits"] for point in found["curve"]]
    assert drawn["y"] == [point["last"] for point in found["curve"]]
    says = f"between {found['bounds']['min_bits']} bits" if found["bounds"] else "there are no bounds"
    expect(page.get_by_role("region", name="Precision range test")).to_contain_text(says)


def test_a_picture_among_a_jobs_files_is_shown(tab: Tab, stack: Stack, jobs: list[str]) -> None:
    content = tab.page.screenshot()
    path = stack.storage / "pictures" / "landscape.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    database = Database(f"sqlite:///{stack.home}/cpt.db")
    with database.write() as session:
        job = session.scalars(select(Job).where(Job.id == jobs[0])).one()
        session.add(
            Artifact(
                id=f"art_{'0' * 24}",
                job=job.pk,
                attempt=1,
                kind="log",
                name="landscape.png",
                path="pictures/landscape.png",
                media_type="image/png",
                sha256=hashlib.sha256(content).hexdigest(),
                size=len(content),
                created_at=now(),
            )
        )
    page = tab.open(f"/jobs/{jobs[0]}")
    expect(page.get_by_alt_text("landscape.png")).to_be_visible()
    holds(page, "document.querySelector('img.picture').naturalWidth > 0")
    with database.write() as session:
        session.execute(delete(Artifact).where(Artifact.name == "landscape.png"))
    database.close()


def test_a_job_without_a_step_says_so_instead_of_empty_axes(tab: Tab, stack: Stack) -> None:
    job_id = stack.submit(spec(name="never begun", resources={"devices": 2, "device": "cpu", "queue": "nobody"}))
    page = tab.open(f"/jobs/{job_id}")
    expect(page.get_by_text("The curves begin with the first step.")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("It ended before its first step.")).to_be_visible()


def test_the_output_of_each_rank_is_shown(tab: Tab, jobs: list[str]) -> None:
    page = tab.open(f"/jobs/{jobs[0]}")
    expect(page.locator(".log")).not_to_have_text("")
    page.get_by_label("Whose output").select_option("-1")
    expect(page.locator(".log")).not_to_have_text("")


def test_a_long_jobs_first_picture_asks_for_a_sample_of_its_steps(tab: Tab, jobs: list[str]) -> None:
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    page = tab.open(f"/jobs/{jobs[0]}")
    charts_are_drawn(page, ".chart.job")
    metrics = [url for url in asked if "/metrics?" in url]
    assert metrics
    bounds = [re.search(r"[?&](?:max_points|limit)=(\d+)", url) for url in metrics]
    assert all(bound and int(bound[1]) <= 2000 for bound in bounds), metrics
    assert not any(url.endswith("/stream") for url in asked[: asked.index(metrics[-1])]), (
        "the stream begins behind them"
    )


def test_the_keyboard_alone_is_enough_to_compare(tab: Tab, jobs: list[str]) -> None:
    page = tab.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    ticked = 0
    for _ in range(120):
        page.keyboard.press("Tab")
        label = page.evaluate("document.activeElement.getAttribute('aria-label')") or ""
        if label.startswith("Select digits, "):
            page.keyboard.press("Space")
            ticked += 1
        if ticked == 2:
            break
    for _ in range(120):
        if page.evaluate("document.activeElement.id") == "compare":
            break
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/compare\?jobs="))
    expect(page.locator(".differences")).to_be_visible()


def test_the_reader_chooses_the_colours_and_they_stay(tab: Tab, jobs: list[str]) -> None:
    page = tab.open("/")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "light"
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("button", name="Colours").click()
    assert page.evaluate(theme) == "dark"
    page.reload()
    assert page.evaluate(theme) == "dark"


def test_an_address_without_a_page_and_a_job_that_is_not_there_say_so(tab: Tab) -> None:
    page = tab.open("/jobs/job_" + "0" * 24)
    expect(page.get_by_role("alert")).to_contain_text("there is no job job_000")


SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""


def test_nothing_jumps_while_a_page_is_drawn(new_tab: Callable[..., Tab], jobs: list[str]) -> None:
    """Cumulative layout shift; below 0.1 is called good."""
    for path, shown in (("/", ".jobs-table"), (f"/jobs/{jobs[0]}", ".files"), ("/workers", ".slots")):
        tab = new_tab()
        tab.page.add_init_script(SHIFTS)
        page = tab.open(path)
        page.wait_for_selector(shown)
        assert page.evaluate("window.shifted") < 0.1, path


def test_nothing_is_wider_than_a_phone(new_tab: Callable[..., Tab], jobs: list[str]) -> None:
    tab = new_tab(PHONE)
    for path in ("/", "/new", f"/jobs/{jobs[0]}", f"/compare?jobs={jobs[0]},{jobs[1]}", "/sweeps", "/workers"):
        page = tab.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
