import time

import pytest
from pydantic import SecretStr

from cpt_core.events import Checkpoint, Finished, Log, dump
from cpt_core.protocol import ClaimRequest
from worker.agent import Agent
from worker.sender import Sender
from worker.spool import Spool
from worker.timing import timing

from .peer import AGENT_TOKEN, Peer
from .waiting import until

SPEC = {
    "model": {"name": "resnet8"},
    "dataset": {"name": "digits"},
    "precision": {"schedule": "static"},
    "training": {"steps": 10},
}
LEASE = 3.0


class Bench:
    """A claimed job, its spool, and a sender that delivers to a peer."""

    def __init__(self, folder, interval=0.02):
        self.peer = Peer(LEASE)
        self.job = self.peer.submit(SPEC)
        with_agent_token = Agent(self.peer.url, SecretStr(AGENT_TOKEN))
        granted = with_agent_token.claim(
            ClaimRequest(claim_id="0" * 32, worker="w", queue="default", device="cpu", devices=1)
        )
        self.assignment = granted.assignment
        with_agent_token.close()
        self.agent = Agent(self.peer.url, SecretStr(self.assignment.token))
        self.spool = Spool(folder / "spool", limit_bytes=10**6)
        self.contact = time.monotonic()
        self.sender = Sender(
            self.agent,
            self.assignment,
            self.spool,
            timing(LEASE, interval=interval),
            contact=self.contact,
        )

    def put(self, count, first=0):
        for number in range(first, first + count):
            self.spool.put(dump(Log(message=str(number))).encode())

    def end(self):
        self.spool.put(dump(Finished(outcome="failed", reason="diverged", message="NaN")).encode())
        self.sender.finish(self.spool.last)

    @property
    def stored(self):
        return [int(record["message"]) for record in self.job.of("log")]

    def close(self):
        self.sender.abandon()
        self.agent.close()
        self.spool.close()
        self.peer.stop()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_records_arrive_in_order_exactly_once_and_leave_the_spool(bench):
    bench.sender.start()
    bench.put(1200)
    bench.end()
    until(lambda: bench.sender.delivered)
    assert bench.stored == list(range(1200))
    assert bench.spool.waiting == 0
    assert bench.spool.acked == 1201


def test_lost_replies_store_nothing_twice(bench):
    bench.peer.lose_replies = 3
    bench.put(5)
    bench.sender.start()
    until(lambda: bench.spool.waiting == 0)
    bench.peer.lose_replies = 2
    bench.put(5, first=5)
    until(lambda: bench.spool.waiting == 0)
    assert bench.stored == list(range(10))


def test_an_end_whose_reply_was_lost_is_delivered_and_not_an_attempt_lost(bench):
    bench.sender.start()
    until(lambda: bench.sender.answered)
    bench.peer.lose_replies = 1
    bench.end()
    until(lambda: bench.sender.over)
    assert bench.sender.delivered
    assert bench.sender.lost is None


def test_an_api_that_has_lost_what_it_acknowledged_ends_the_attempt(bench):
    bench.put(10)
    bench.sender.start()
    until(lambda: bench.spool.waiting == 0)
    del bench.job.records[1][-4:]  # a backup was restored
    bench.put(1, first=10)
    until(lambda: bench.sender.lost)
    assert "do not fit together" in bench.sender.lost


def test_with_nothing_to_say_it_sends_heartbeats_and_no_more(bench):
    bench.sender.start()
    until(lambda: bench.sender.answered)
    before, began = bench.peer.appends, time.monotonic()
    until(lambda: bench.peer.appends >= before + 3)
    assert time.monotonic() - began >= 2 * LEASE / 6 * 0.9


def test_what_comes_after_a_silence_does_not_wait_for_the_interval(tmp_path):
    bench = Bench(tmp_path, interval=LEASE / 6)
    answers = []
    bench.sender._on_news = lambda: answers.append(time.monotonic())
    try:
        bench.sender.start()
        until(lambda: bench.sender.answered)
        for count in (1, 2):
            bench.put(1)
            bench.sender.hurry()
            until(lambda count=count: len(bench.stored) == count)
        until(lambda: len(answers) == 3)
    finally:
        bench.close()
    silence, paced = answers[1] - answers[0], answers[2] - answers[1]
    assert silence < LEASE / 6 / 2
    assert paced >= LEASE / 6 * 0.9


def test_an_api_without_its_database_proves_life_and_keeps_the_records_waiting(bench):
    bench.peer.without_database = True
    bench.put(3)
    bench.sender.start()
    until(lambda: bench.sender.contact > bench.contact)
    assert bench.spool.waiting == 3
    assert not bench.sender.answered
    bench.peer.without_database = False
    until(lambda: bench.stored == [0, 1, 2])


def test_contact_counts_from_the_sending_of_what_was_answered(bench):
    bench.sender.start()
    until(lambda: bench.sender.answered)
    bench.peer.stop()
    stopped = time.monotonic()
    bench.put(1)
    time_without = 0.5
    until(lambda: time.monotonic() > stopped + time_without)
    assert bench.sender.contact <= stopped
    bench.peer.start()
    until(lambda: bench.sender.contact > stopped + time_without)
    until(lambda: bench.stored == [0])


@pytest.mark.parametrize("command", ["cancel", "pause"])
def test_the_apis_command_is_passed_on(bench, command):
    bench.job.command = command
    bench.sender.start()
    until(lambda: bench.sender.command == command)


def test_an_attempt_that_lost_its_job_sends_nothing_more(bench):
    bench.sender.start()
    until(lambda: bench.sender.answered)
    bench.peer.take_away(bench.job)
    bench.put(1)
    until(lambda: bench.sender.lost)
    assert bench.sender.over
    assert bench.stored == []


def test_a_refused_record_is_not_sent_again_and_may_be_replaced(bench):
    bench.peer.refuse = "checkpoint"
    bench.put(2)
    bench.sender.start()
    until(lambda: bench.stored == [0, 1])
    bench.spool.put(dump(Checkpoint(step=1, path="p", sha256="0" * 64, size=1)).encode())
    until(lambda: bench.sender.refused)
    before = bench.peer.appends
    until(lambda: bench.peer.appends >= before + 2)  # heartbeats go on
    assert "no checkpoint, please" in bench.sender.refused

    bench.spool.discard()
    bench.sender.pardon()
    bench.end()
    until(lambda: bench.sender.delivered)
    assert [record["type"] for record in bench.job.records[1]] == ["log", "log", "finished"]
