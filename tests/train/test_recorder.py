"""Events on their way out of rank 0."""

import os
import threading

from cpt_core.events import Log, dump, parse
from cpt_core.train.recorder import Recorder


def test_events_are_appended_one_a_line(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(dump(Log(message="from before")) + "\n")
    emit = Recorder(path)
    emit(Log(message="one"))
    emit(Log(message="two\nlines"))
    assert [parse(line).message for line in path.read_text().splitlines()] == ["from before", "one", "two\nlines"]


def test_a_full_fifo_holds_training_up_and_loses_nothing(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    emit = Recorder(path)
    count, written = 200, []

    def write():
        for number in range(count):
            emit(Log(message=f"{number} " + "x" * 8000))
            written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    os.set_blocking(reader, True)
    first = os.read(reader, 100)  # the writer is at work
    assert len(written) < count  # 64 KiB fit in a pipe
    rest = bytearray(first)
    while rest.count(b"\n") < count:
        rest += os.read(reader, 2**16)
    writer.join()
    assert [int(parse(line).message.split()[0]) for line in rest.splitlines()] == list(range(count))
