"""What ranks print takes a bounded part of the disk, whatever they print and whether or not anybody takes it."""

import re

import pytest
from pydantic import SecretStr

from cpt_core.launch import output_file, tail
from cpt_core.protocol import ClaimRequest
from worker.agent import Agent
from worker.logs import LogSender
from worker.output import KEPT_BYTES, Output
from worker.timing import timing

from .conftest import spec
from .peer import AGENT_TOKEN, Peer
from .waiting import until

MIB = 1024 * 1024
LINES = [b"line %07d of what a rank prints\n" % number for number in range(20 * MIB // 34)]
WHOLE = b"".join(LINES)
NOTICE = re.compile(rb"\n\[(\d+) bytes are left out here: more was printed than could be sent\]\n")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rank-0.log"
    path.touch()
    return path


def on_disk(path):
    return path.stat().st_blocks * 512


def deliver(output, log=b""):
    """As an API that takes all; the answer is the log."""
    while piece := output.piece():
        assert output.offset == len(log)
        log += piece
        output.stored(len(log))
    return log


def assert_whole_but_for_the_middle(log, limit):
    (missing,) = NOTICE.findall(log)
    begin, _, end = NOTICE.split(log)
    assert WHOLE.startswith(begin)
    assert WHOLE.endswith(end)
    assert len(begin) + int(missing) + len(end) == len(WHOLE)
    assert limit / 2 <= len(end) <= limit


def test_output_that_the_api_has_is_given_back_but_for_its_end(path):
    output, log = Output(path, 4 * MIB), b""
    with path.open("wb") as rank:
        for start in range(0, len(WHOLE), MIB):
            rank.write(WHOLE[start : start + MIB])
            rank.flush()
            log = deliver(output, log)
            assert on_disk(path) <= 3 * MIB
    assert log == WHOLE
    assert path.stat().st_size == len(WHOLE)
    assert on_disk(path) >= KEPT_BYTES
    assert tail(path).encode() == WHOLE[-4000:].strip()


def test_of_output_that_nobody_takes_the_middle_is_left_out_and_the_log_says_how_much(path):
    output, log = Output(path, 4 * MIB), b""
    with path.open("wb") as rank:
        for start in range(0, len(WHOLE), MIB // 2):
            rank.write(WHOLE[start : start + MIB // 2])
            rank.flush()
            output.bound()
            assert on_disk(path) <= 5 * MIB
    log = deliver(output)
    assert_whole_but_for_the_middle(log, 4 * MIB)
    assert on_disk(path) <= 3 * MIB
    path.open("ab").write(b"and on\n")
    assert deliver(output, log) == log + b"and on\n"


def test_what_may_be_on_its_way_stays_as_it_is(path):
    path.write_bytes(WHOLE[: MIB // 8])
    output = Output(path, MIB)
    piece = output.piece()
    path.write_bytes(WHOLE)
    output.bound()
    assert on_disk(path) <= 2 * MIB
    assert output.piece().startswith(piece)


def test_a_rank_that_prints_on_while_the_api_is_away(tmp_path):
    peer = Peer()
    job = peer.submit(spec())
    agent = Agent(peer.url, SecretStr(AGENT_TOKEN))
    wanted = ClaimRequest(claim_id="0" * 32, worker="w", queue="default", device="cpu", devices=1)
    assignment = agent.claim(wanted).assignment
    agent.close()
    agent = Agent(peer.url, SecretStr(assignment.token))
    logs = LogSender(
        agent, assignment, tmp_path, tmp_path / "launcher.log", timing(3.0, interval=0.02), limit_bytes=4 * MIB
    )
    logs.start()
    rank = output_file(tmp_path, 0)
    with rank.open("wb") as file:
        file.write(WHOLE[:1000])
        file.flush()
        until(lambda: job.logs.get((1, 0)))
        peer.stop()
        file.write(WHOLE[1000:])
        file.flush()
        logs.bound()
        assert on_disk(rank) <= 5 * MIB
        peer.start()
    logs.finish()
    until(lambda: logs.done)
    assert_whole_but_for_the_middle(job.logs[1, 0], 4 * MIB)
    logs.close()
    agent.close()
    peer.stop()
