import os
import select
import threading

import pytest

from cpt_core.events import Finished, Log, dump, parse
from worker.fifo import Fifo
from worker.recorder import Recorder
from worker.spool import Spool

from .disk import files_no_larger_than
from .waiting import until

DONE = Finished(outcome="failed", reason="diverged", message="NaN")


class Bench:
    """A FIFO, a recorder and a spool; `write` is rank 0."""

    def __init__(self, folder, limit_bytes=10**6):
        self.path = folder / "events"
        self.seen = []
        self.fifo = Fifo(self.path)
        self.spool = Spool(folder / "spool", limit_bytes=limit_bytes)
        self.recorder = Recorder(
            self.fifo,
            self.spool,
            on_event=self.seen.append,
        )

    def write(self, data):
        with self.path.open("wb", buffering=0) as fifo:
            fifo.write(data)

    def take(self):
        while self.recorder.take():
            pass
        return [parse(line) for line in self.spool.peek(max_records=10**6, max_bytes=10**9).lines]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def line(event):
    return dump(event).encode() + b"\n"


def test_events_become_records_in_order(bench):
    events = [Log(message=str(number)) for number in range(5)]
    bench.write(b"".join(map(line, events)))
    assert bench.take() == events
    assert bench.seen == events


def test_a_half_written_line_waits_for_its_other_half(bench):
    event = Log(message="whole")
    with bench.path.open("wb", buffering=0) as fifo:
        fifo.write(line(event)[:10])
        assert bench.take() == []
        fifo.write(line(event)[10:])
        assert bench.take() == [event]


def test_writers_may_come_and_go(bench):
    for message in ("first", "second"):
        bench.write(line(Log(message=message)))
    assert [event.message for event in bench.take()] == ["first", "second"]


def test_the_finished_event_is_held_back(bench):
    bench.write(line(Log(message="last")) + line(DONE))
    assert [event.type for event in bench.take()] == ["log"]
    assert bench.recorder.finished == DONE


def test_nothing_follows_the_finished_event(bench):
    bench.write(line(DONE) + line(Log(message="late")))
    assert bench.take() == []


@pytest.mark.parametrize("bad", [b"{}", b"", b"\xff\xfe", b'{"type":"step","loss":NaN}', b"Traceback"])
def test_a_line_that_is_no_event_is_told_in_the_log(bench, bad):
    bench.write(bad + b"\n" + line(Log(message="fine")))
    told, fine = bench.take()
    assert told.level == "error"
    assert "no event" in told.message
    assert fine.message == "fine"


def test_a_full_spool_makes_rank_0_wait_and_loses_nothing(tmp_path):
    bench = Bench(tmp_path, limit_bytes=64 * 1024)
    events = [Log(message=f"{number} {'x' * 1000}") for number in range(1000)]
    rank_0 = threading.Thread(target=bench.write, args=(b"".join(map(line, events)),))
    rank_0.start()
    until(lambda: bench.take() and bench.spool.full)
    assert not bench.recorder.reading
    until(lambda: bench.take() and _pipe_is_full(bench.path))
    assert rank_0.is_alive()
    assert bench.spool.last < 100

    got = []
    while len(got) < 1000:
        waiting = bench.take()
        got += waiting
        bench.spool.ack(bench.spool.acked + len(waiting))
    rank_0.join()
    assert [event.message for event in got] == [event.message for event in events]


def _pipe_is_full(path):
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        return not select.select([], [writer], [], 0)[1]
    finally:
        os.close(writer)


def test_a_record_that_the_disk_refuses_is_tried_again(bench):
    bench.write(line(Log(message="a")) + line(Log(message="b")))
    with files_no_larger_than(10):
        assert bench.take() == []
        assert bench.seen == []
        assert not bench.recorder.reading

    until(lambda: bench.recorder.reading)
    assert [event.message for event in bench.take()] == ["a", "b"]
