"""Messages come a hundred times, again, in another order, cut short, or from somebody else."""

from __future__ import annotations

import json

import httpx

from tests.chaos.run import Run
from tests.chaos.tap import Appended
from tests.e2e.stack import until

MANY = 100


def doorbells(run: Run) -> None:
    run.reach()
    run.clock()
    run.rig.ring(MANY)
    run.release()
    run.succeeds(attempts=1)
    run.recovered()
    assert len(run.rig.events(run.job_id, "started")) == 1


def appends_repeated(run: Run) -> None:
    _again(run, lambda found: [found[-1]] * 10, (200, 409))


def appends_reordered(run: Run) -> None:
    def shuffled(found: list[Appended]) -> list[Appended]:
        return run.random.sample(found, len(found))

    _again(run, shuffled, (200, 409))


def appends_truncated(run: Run) -> None:
    """The body is cut, whether or not its length says so: refused as a whole."""

    def cut(found: list[Appended]) -> list[Appended]:
        whole = found[-1]
        size = run.random.randrange(1, len(whole.body) - 1)
        return [Appended(whole.job_id, whole.attempt, whole.token, whole.body[:size])] * 3

    _again(run, cut, (400, 422))


def appends_forged(run: Run) -> None:
    """Another attempt's number, another token, another job's, numbers from the future: all refused, nothing stored."""

    def forged(found: list[Appended]) -> list[Appended]:
        real = found[-1]
        body = json.loads(real.body)
        far = json.dumps(body | {"first_seq": body["first_seq"] + 10_000}).encode()
        return [
            Appended(real.job_id, real.attempt, "x" * 43, real.body),
            Appended(real.job_id, real.attempt + 1, real.token, real.body),
            Appended("job_" + "0" * 24, real.attempt, real.token, real.body),
            Appended(real.job_id, real.attempt, real.token, far),
        ]

    _again(run, forged, (401, 404, 409))


def _again(run: Run, made: object, statuses: tuple[int, ...]) -> None:
    rig = run.rig
    job_id = run.reach()
    run.clock()
    if run.moment in ("M1", "M2"):  # before there is anything to repeat: of the first records then
        run.release()
    found = until(lambda: rig.tap.of(job_id), "an append to be overheard", 60)
    for item in made(found):  # type: ignore[operator]
        answer = send(run, item)
        assert answer.status_code in statuses, (answer.status_code, answer.text)
    run.release()
    run.succeeds(attempts=1)
    run.recovered()
    for item in made(rig.tap.of(job_id)):  # type: ignore[operator]
        assert send(run, item).status_code != 200, "the log of a job that has ended took a record"
    assert len(rig.events(job_id, "started")) == 1


def send(run: Run, item: Appended) -> httpx.Response:
    """Send an append as a worker would."""
    return run.rig.http.post(
        f"/v1/agent/jobs/{item.job_id}/attempts/{item.attempt}/records",
        content=item.body,
        headers={"Authorization": f"Bearer {item.token}", "Content-Type": "application/json"},
    )
