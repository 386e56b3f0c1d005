"""The asynchronous client: the synchronous one is made from it, so what is tested here is what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cpt_client import AsyncClient, Client
from tests.client.conftest import SPEC, Agent, Api, BadNetwork, run_to_success, started, submit, succeeded
from tests.core.test_archives import zipped


def test_a_lost_reply_to_a_submission_does_not_make_a_second_job(
    client: Client, bad_network: Callable[..., BadNetwork]
) -> None:
    network = bad_network(0, 10, None)

    async def go() -> str:
        async with AsyncClient(network.url) as unlucky:
            return (await unlucky.submit(SPEC | {"resources": {"queue": "async-lost"}})).id

    made = asyncio.run(go())
    assert [job.id for job in client.list(queue="async-lost")] == [made]


def test_jobs_are_listed_over_pages_up_to_a_limit(client: Client, api: Api) -> None:
    ids = [submit(client, "async-pages").id for _ in range(5)]

    async def go(limit: int | None) -> list[str]:
        async with AsyncClient(api.url) as many:
            return [job.id async for job in many.list(queue="async-pages", page_size=2, limit=limit)]

    assert asyncio.run(go(None)) == ids[::-1]
    assert asyncio.run(go(3)) == ids[:1:-1]


def test_a_cut_stream_goes_on_without_a_gap_or_a_repeat(
    client: Client, api: Api, bad_network: Callable[..., BadNetwork]
) -> None:
    job = run_to_success(client, api, "async-cut")
    network = bad_network(0, 2000, 1500, 100)

    async def go() -> list[int]:
        async with AsyncClient(network.url) as unlucky:
            return [event.id async for event in unlucky.stream(job.id)]

    assert asyncio.run(go()) == [event.id for event in client.stream(job.id)]
    assert network.connections >= 4


def test_many_jobs_are_waited_for_at_once(client: Client, api: Api) -> None:
    jobs = [submit(client, "async-many") for _ in range(3)]
    agents = [Agent(api, "async-many") for _ in jobs]

    async def go() -> list[str]:
        async with AsyncClient(api.url) as waiting:
            found = [await waiting.get(job.id) for job in jobs]
            ends = [asyncio.create_task(job.wait()) for job in found]
            for agent in agents:
                await asyncio.to_thread(agent.report, started(), succeeded("checkpoints/x"))
            return [(await end).state for end in ends]

    assert asyncio.run(go()) == ["succeeded"] * 3


def test_changes_of_the_project_come_as_jobs_that_know_their_client(client: Client, api: Api) -> None:
    async def go() -> tuple[str, str, str]:
        async with AsyncClient(api.url) as watching:
            made = ""
            async for job in watching.changes():
                if job is None:
                    made = (await watching.submit(SPEC | {"resources": {"queue": "async-changes"}})).id
                elif job.id == made:
                    return made, job.id, (await job.cancel()).state
        raise AssertionError("the stream ended")

    made, seen, state = asyncio.run(go())
    assert (seen, state) == (made, "cancelled")


def test_a_dataset_is_uploaded(client: Client, api: Api, tmp_path: Path) -> None:
    archive = tmp_path / "data.zip"
    archive.write_bytes(zipped({"a.txt": b"text" * 1000}))

    async def go() -> int:
        async with AsyncClient(api.url) as uploading:
            return (await uploading.upload_dataset("async-data", archive)).files

    assert asyncio.run(go()) == 1
    assert "async-data" in [dataset.name for dataset in client.datasets()]
