"""A real worker process with a real broker and real training; the API is a peer that speaks its protocol.

Jobs that need nothing special run one after the other on one worker.
"""

import hashlib
import io
import os
import re
import signal
import time

import psutil
import pytest

from cpt_core.archives import inspect
from cpt_core.events import ADAPTER
from cpt_core.storage import open_storage
from tests.core.test_archives import zipped

from .conftest import Worker, processes, spec, trains
from .peer import AGENT_TOKEN, Peer
from .waiting import until


@pytest.fixture(scope="module")
def shared_peer():
    peer = Peer()
    yield peer
    peer.stop()


@pytest.fixture(scope="module")
def worker(shared_peer, broker, tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("worker"), shared_peer, broker, append_interval=0.05, grid_gco2e_per_kwh=50)
    until(lambda: " ready." in worker.log)
    yield worker
    worker.destroy()


@pytest.fixture
def submit(worker, shared_peer, ring):
    """Has the worker run a job; at the end of the test nothing of it may be left."""
    jobs = []

    def submit(lease=60.0, running_seconds=0.0, **parts):
        shared_peer.lease_seconds = lease
        jobs.append(shared_peer.submit(spec(**parts), running_seconds))
        ring()
        return jobs[-1]

    yield submit
    shared_peer.without_database, shared_peer.refuse = False, None
    for job in jobs:
        shared_peer.take_away(job)
        until(lambda job=job: not processes(job), 20)
    until(lambda: not any(worker.folder.glob("state/*/*-*")))


def rank(job):
    """The process of the only rank."""
    found = processes(job)
    return next((process for process in found if process.ppid() in {other.pid for other in found}), None)


@pytest.fixture(scope="module")
def trained(worker, shared_peer, ring):
    """A job that was trained to its end, through a hundred doorbells, lost replies and outages of API and database."""
    shared_peer.lease_seconds = 60.0
    job = shared_peer.submit(spec(steps=200, checkpoint=60))
    shared_peer.lose_replies = 1
    ring(times=100)
    until(lambda: job.of("started"))
    shared_peer.lose_replies = 2
    until(lambda: trains(job))
    shared_peer.without_database = True
    before = shared_peer.appends
    until(lambda: shared_peer.appends > before)
    shared_peer.without_database = False
    shared_peer.stop()
    shared_peer.start()
    until(lambda: job.end)
    until(lambda: not any(worker.folder.glob("state/*/*-*")))
    return job


def test_a_job_is_trained_to_its_end(trained):
    assert (trained.end["outcome"], trained.end["reason"]) == ("succeeded", "completed")
    assert processes(trained) == []


def test_every_record_arrives_once_and_in_order(trained):
    for record in trained.records[1]:
        ADAPTER.validate_python(record)
    assert trained.records[1][0]["type"] == "started"
    assert [record["step"] for record in trained.of("step")] == list(range(200))
    assert trained.records[1][-1] is trained.end


def test_energy_is_converted_by_the_grid_that_the_worker_is_set_to(trained):
    assert trained.of("started")[0]["grid_gco2e_per_kwh"] == trained.end["result"]["grid_gco2e_per_kwh"] == 50


def test_a_hundred_doorbells_and_a_lost_reply_to_the_claim_start_one_attempt(trained, shared_peer):
    assert trained.attempt == 1
    assert len([job for job in shared_peer.claims.values() if job is trained]) == 1


def test_a_checkpoint_is_in_the_storage_before_it_is_told_of(trained, worker):
    paths = [record["path"] for record in trained.of("checkpoint")]
    assert [record["step"] for record in trained.of("checkpoint")] == [60, 120, 180, 200]
    assert all((worker.folder / "storage" / path / "manifest.json").exists() for path in paths)


def test_a_cancelled_job_ends_cancelled_once_no_process_is_left(submit):
    job = submit()
    until(lambda: trains(job))
    job.command = "cancel"
    until(lambda: job.end, 20)
    assert (job.end["outcome"], job.end["reason"]) == ("cancelled", "user")
    assert processes(job) == []


def test_a_job_that_is_cancelled_while_its_processes_start_never_trains(start, peer):
    job = peer.submit(spec())
    start(peer, warm=False)  # forked processes train before anybody could cancel
    until(lambda: processes(job))
    job.command = "cancel"
    until(lambda: job.end, 20)
    assert job.end["outcome"] == "cancelled"
    assert trains(job) == []


def test_a_paused_job_saves_and_continues_where_it_was(submit, ring):
    job = submit()
    until(lambda: trains(job))
    job.command = "pause"
    until(lambda: job.end, 20)
    assert (job.end["outcome"], job.end["reason"]) == ("paused", "user")
    assert job.resume["step"] == job.of("step")[-1]["step"] + 1

    job.state = "queued"
    ring()
    until(lambda: job.attempt == 2 and trains(job))
    assert job.of("started")[0]["resume_step"] == job.resume["step"] == trains(job)[0]["step"]


def test_an_attempt_that_lost_its_job_dies_within_two_seconds(submit, shared_peer):
    job = submit(lease=6.0)
    until(lambda: processes(job))
    shared_peer.take_away(job)
    until(lambda: not processes(job), 2)
    assert job.end is None


def test_a_worker_that_was_stopped_past_its_lease_writes_nothing_more_and_its_tree_dies(submit, shared_peer, worker):
    job = submit(lease=3.0)
    until(lambda: trains(job))
    worker.signal(signal.SIGSTOP)
    until(lambda: psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED)
    shared_peer.take_away(job)
    before = len(job.records[1])
    time.sleep(3.0)  # the lease
    assert processes(job)
    worker.signal(signal.SIGCONT)
    until(lambda: not processes(job), 2)
    assert len(job.records[1]) == before


def test_training_stops_before_the_lease_ends_when_the_api_is_silent_and_says_so_later(submit, shared_peer):
    job = submit(lease=3.0)
    until(lambda: processes(job))
    shared_peer.stop()
    until(lambda: not processes(job), 3.0)
    assert job.end is None

    shared_peer.start()
    until(lambda: job.end)
    assert (job.end["outcome"], job.end["reason"]) == ("preempted", "preempted")


def test_a_killed_rank_fails_the_attempt_by_name(submit):
    job = submit()
    until(lambda: rank(job)).kill()
    until(lambda: job.end, 20)
    assert (job.end["outcome"], job.end["reason"]) == ("failed", "rank_failed")
    assert "process 0 was killed (SIGKILL)" in job.end["message"]
    assert "memory" in job.end["message"]


def test_training_does_not_see_the_workers_secrets(submit):
    job = submit()
    trainer = until(lambda: rank(job))
    for process in [trainer, *trainer.parents()[:2]]:  # the launcher, and what it was forked from
        assert AGENT_TOKEN not in process.environ().values()


def test_a_record_that_the_api_refuses_ends_the_attempt_in_the_apis_words(submit, shared_peer):
    shared_peer.refuse = "step"
    job = submit()
    until(lambda: job.end)
    assert (job.end["outcome"], job.end["reason"]) == ("failed", "internal")
    assert "no step, please" in job.end["message"]
    assert processes(job) == []


def test_work_is_found_without_any_doorbell_and_without_a_broker(start, peer):
    job = peer.submit(spec())
    worker = start(peer, broker_url="redis://127.0.0.1:1/0")
    until(lambda: processes(job))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert job.end["outcome"] == "preempted"


def test_a_broker_that_is_away_is_looked_for_every_second(start, peer):
    """Celery waits ever longer, up to half a minute, during which jobs would wait after the broker's return."""
    worker = start(peer, broker_url="redis://127.0.0.1:1/0")
    waits = until(
        lambda: found if len(found := re.findall(r"Trying again in ([\d.]+) second", worker.log)) > 3 else None
    )
    assert set(waits) == {"1.00"}


def test_what_killed_attempts_left_half_written_in_the_storage_is_gone_after_the_next(start, peer, tmp_path):
    job = peer.submit(spec(steps=2, checkpoint=2))
    job.attempt = 1  # it has had one
    left = tmp_path / "storage" / "checkpoints" / job.id / "1" / "step-00000009.partial"
    left.mkdir(parents=True)
    start(peer)
    until(lambda: job.end)
    assert job.end["outcome"] == "succeeded"
    assert list(left.parent.iterdir()) == []


def test_a_worker_that_is_told_to_go_hands_its_job_over_at_a_checkpoint(start, peer):
    job = peer.submit(spec())
    worker = start(peer)
    until(lambda: trains(job))
    waiting = peer.submit(spec())
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert (job.end["outcome"], job.end["reason"]) == ("preempted", "preempted")
    assert job.resume["step"] == job.of("step")[-1]["step"] + 1
    assert processes(job) == []
    assert waiting.state == "queued"
    assert not (worker.folder / "state" / worker.name).exists()


def test_a_worker_that_is_told_twice_waits_for_nobody(start, peer):
    job = peer.submit(spec())
    worker = start(peer, grace_seconds=600)
    until(lambda: rank(job)).suspend()  # it cannot end by itself
    worker.signal(signal.SIGTERM)
    until(lambda: "to be stopped: go" in worker.log)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert processes(job) == []
    assert job.end["outcome"] == "preempted"


def test_no_process_outlives_a_killed_worker_and_the_next_clears_up(start, peer):
    job = peer.submit(spec(devices=2))
    worker = start(peer)
    until(lambda: trains(job))
    assert len(processes(job)) >= 3
    worker.signal(signal.SIGKILL)
    until(lambda: not processes(job), 2)
    leftover = worker.folder / "state" / worker.name
    assert leftover.exists()

    start(peer)
    until(lambda: not leftover.exists())


def test_training_that_never_begins_is_ended(start, peer):
    job = peer.submit(spec())
    start(peer, startup_seconds=2, warm=False)  # else the time counts while the fork server loads torch
    until(lambda: rank(job)).suspend()
    until(lambda: job.end, 20)
    assert (job.end["outcome"], job.end["reason"]) == ("failed", "hung")
    assert any("is stopped" in record["message"] for record in job.of("log"))


def test_a_hung_rank_ends_the_attempt_with_the_stack_of_every_rank_in_the_log(submit):
    job = submit(devices=2, limits={"no_progress": 3})
    until(lambda: trains(job))
    (last,) = [process for process in processes(job) if process.name() == "cpt-rank-1"]
    last.suspend()
    until(lambda: job.end, 30)
    assert (job.end["outcome"], job.end["reason"]) == ("failed", "hung")
    assert "no progress for 3 seconds" in job.end["message"]
    first, second = (record for record in job.of("log") if record.get("rank") is not None)
    assert (first["rank"], second["rank"]) == (0, 1)
    assert "cpt_core/train/trainer.py" in first["message"], "where rank 0 waits for the other"
    assert f"process {last.pid} does not answer; it is stopped" in second["message"]


def test_training_that_runs_for_too_long_saves_a_checkpoint_and_fails(submit):
    job = submit(limits={"max_runtime": 1.0})
    until(lambda: job.end, 60)
    assert (job.end["outcome"], job.end["reason"]) == ("failed", "timeout")
    assert "limits.max_runtime (1 s)" in job.end["message"]
    assert job.resume["step"] == job.of("step")[-1]["step"] + 1


def test_a_job_whose_time_earlier_attempts_have_used_up_is_not_started(submit):
    job = submit(limits={"max_runtime": 60.0}, running_seconds=60.0)
    until(lambda: job.end, 20)
    assert (job.end["outcome"], job.end["reason"]) == ("failed", "timeout")
    assert job.of("started") == []


def test_the_worker_says_that_it_is_there_and_that_it_goes(start, peer, ring):
    worker = start(peer, labels="eu,a100", queues="fast,default", slots=2)
    until(lambda: peer.reports)
    first = peer.reports[0]
    assert (first["worker"], first["queues"], first["labels"]) == (worker.name, ["fast", "default"], ["a100", "eu"])
    assert (first["slots"], first["leaving"]) == (2, False)
    job = peer.submit(spec(resources={"queue": "fast"}, steps=1))
    ring(queue="fast")
    until(lambda: job.end)
    assert peer.claimants[0]["labels"] == ["a100", "eu"]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert peer.reports[-1]["leaving"]


def test_training_waits_while_the_spool_is_full_and_nothing_is_lost(start, peer):
    job = peer.submit(spec())
    limit = 8192
    worker = start(peer, spool_limit_bytes=limit)
    until(lambda: trains(job))
    peer.without_database = True
    (spool,) = worker.folder.glob("state/*/*-1/spool")
    until(lambda: spool.stat().st_size >= limit)
    process = rank(job)
    until(lambda: process.cpu_percent(interval=0.5) < 5)
    assert spool.stat().st_size < 2 * limit

    before = len(job.of("step"))
    peer.without_database = False
    until(lambda: len(job.of("step")) > before + 100)
    steps = [record["step"] for record in job.of("step")]
    assert steps == list(range(len(steps)))


ABORT = """
import faulthandler, os, sys
def register(*arguments, **more):  # what a rank does first
    print("on stdout")
    sys.stderr.write("on stderr, and the last words of rank " + os.environ["RANK"])
    faulthandler.disable()
    os.abort()
faulthandler.register = register
"""


def test_what_ranks_printed_is_stored_to_the_last_byte_before_their_end_is_told(start, peer, tmp_path, monkeypatch):
    """Ranks that die of a native abort, while the API loses answers."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "sitecustomize.py").write_text(ABORT)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/modules:{os.environ.get('PYTHONPATH', '')}")
    job = peer.submit(spec(devices=2))
    start(peer, devices_per_slot=2)
    until(lambda: job.attempt)
    peer.lose_replies = 2
    until(lambda: job.end, 60)
    assert job.end["reason"] == "rank_failed"
    first = job.end["message"].split()[2]
    assert f"the last words of rank {first}" in job.end["message"]
    expected = b"on stdout\non stderr, and the last words of rank %s" % first.encode()
    assert job.logs_at_the_end[1, int(first)] == expected


def test_an_uploaded_dataset_is_fetched_and_trained_on(start, peer, tmp_path):
    archive = zipped({"words/book.txt": b"the quick brown fox jumps over the lazy dog\n\n" * 200})
    open_storage(str(tmp_path / "storage")).put("datasets/ds", io.BytesIO(archive))
    contents = inspect(io.BytesIO(archive), 10**6)
    parts = {
        "model": {"name": "lstm_lm"},
        "dataset": {"name": "text", "upload": "book", "path": "words", "bptt": 5},
        "evaluation": {"batch_size": 2},
    }
    good, damaged = (peer.submit(spec(steps=2, **parts)) for _ in range(2))
    good.upload = {
        "name": "book",
        "path": "datasets/ds",
        "sha256": hashlib.sha256(archive).hexdigest(),
        "size": len(archive),
        "unpacked": contents.bytes,
    }
    damaged.upload = good.upload | {"sha256": "0" * 64}
    start(peer)
    until(lambda: good.end and damaged.end, 120)
    assert good.end["outcome"] == "succeeded", good.end["message"]
    assert (damaged.end["outcome"], damaged.end["reason"]) == ("failed", "data_error")
    assert "book is damaged" in damaged.end["message"]
