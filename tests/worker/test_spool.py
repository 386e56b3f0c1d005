import errno

import pytest

from worker.spool import Spool, SpoolError

from .disk import files_no_larger_than

ALL = {"max_records": 10**6, "max_bytes": 10**9}


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool", limit_bytes=64 * 1024)
    yield spool
    spool.close()


def put(spool, *lines):
    return [spool.put(line) for line in lines]


def test_records_are_numbered_from_1_without_gaps(spool):
    assert put(spool, b"a", b"b", b"c") == [1, 2, 3]
    assert spool.last == 3


def test_records_come_out_in_order_and_stay_until_acknowledged(spool):
    put(spool, b"a", b"b", b"c")
    for _ in range(2):
        batch = spool.peek(**ALL)
        assert (batch.first_seq, batch.lines) == (1, (b"a", b"b", b"c"))


def test_acknowledged_records_are_dropped_and_the_rest_keep_their_numbers(spool):
    put(spool, b"a", b"b", b"c")
    spool.ack(2)
    batch = spool.peek(**ALL)
    assert (batch.first_seq, batch.lines) == (3, (b"c",))


def test_an_empty_spool_names_the_number_of_the_next_record(spool):
    put(spool, b"a")
    spool.ack(1)
    batch = spool.peek(**ALL)
    assert (batch.first_seq, batch.lines) == (2, ())
    assert put(spool, b"b") == [2]


def test_an_acknowledgement_may_be_repeated(spool):
    put(spool, b"a", b"b")
    spool.ack(1)
    spool.ack(1)
    assert spool.waiting == 1


@pytest.mark.parametrize("seq", [0, 3])
def test_an_acknowledgement_of_dropped_or_unknown_records_is_refused(spool, seq):
    put(spool, b"a", b"b")
    spool.ack(1)
    with pytest.raises(SpoolError):
        spool.ack(seq)


def test_a_batch_is_bounded_in_records_and_in_bytes(spool):
    put(spool, *[b"x" * 99] * 10)
    assert len(spool.peek(max_records=3, max_bytes=10**6).lines) == 3
    assert len(spool.peek(max_records=100, max_bytes=550).lines) == 5


def test_a_record_larger_than_a_batch_is_delivered_alone_and_acknowledged(spool):
    large = b"x" * 3_000_000
    put(spool, large, b"y")
    assert spool.peek(max_records=10, max_bytes=1000).lines == (large,)
    spool.ack(1)
    assert spool.peek(**ALL).lines == (b"y",)


def test_it_is_full_at_its_limit_until_enough_is_acknowledged(spool):
    while not spool.full:
        spool.put(b"x" * 1023)
    assert spool.last == 64
    spool.ack(1)
    assert not spool.full


def test_a_full_spool_still_takes_the_end_record(spool):
    while not spool.full:
        spool.put(b"x" * 1023)
    assert spool.put(b"end") == 65


def test_its_file_stays_small_although_something_always_waits(spool, tmp_path):
    spool.put(b"x" * 999)
    for _ in range(5000):
        seq = spool.put(b"x" * 999)
        spool.ack(seq - 1)
        assert spool.peek(**ALL).lines == (b"x" * 999,)
    assert (tmp_path / "spool").stat().st_size <= 256 * 1024


def test_records_survive_the_reclaiming_of_space_in_order(spool):
    expected = 1
    for number in range(1, 3001):
        spool.put(b"%d " % number + b"x" * 100)
        if number % 7 == 0:
            batch = spool.peek(max_records=5, max_bytes=10**6)
            assert [int(line.split()[0]) for line in batch.lines] == list(range(expected, expected + 5))
            expected += 5
            spool.ack(expected - 1)
    rest = spool.peek(**ALL)
    assert [int(line.split()[0]) for line in rest.lines] == list(range(expected, 3001))


def test_discarded_records_give_their_numbers_to_the_next(spool):
    put(spool, b"a", b"b", b"c")
    spool.ack(1)
    spool.discard()
    assert spool.waiting == 0
    assert put(spool, b"end") == [2]
    assert spool.peek(**ALL).lines == (b"end",)


def test_a_record_that_the_disk_did_not_take_may_be_put_again(tmp_path):
    full = Spool(tmp_path / "spool", limit_bytes=10**9)
    full.put(b"before")
    with pytest.raises(OSError) as error, files_no_larger_than(20):
        full.put(b"x" * 100)
    assert error.value.errno == errno.EFBIG
    assert full.put(b"after") == 2
    assert full.peek(**ALL).lines == (b"before", b"after")
    full.close()


def test_nothing_is_left_after_close(tmp_path):
    spool = Spool(tmp_path / "spool", limit_bytes=10**6)
    spool.put(b"a")
    spool.close()
    assert not any(tmp_path.iterdir())
