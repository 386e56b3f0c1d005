"""A lease expires only by silence that was watched."""

from api.agent.repository import Pulse
from api.background import Lease

A0, A1, B0 = Pulse("a", 1, 0), Pulse("a", 1, 1), Pulse("b", 1, 0)


def watch(lease: Lease, pulses: list[Pulse], start: float, end: float) -> list[Pulse]:
    """Look every second; returns what the last look found silent."""
    found: list[Pulse] = []
    for clock in range(int(start), int(end) + 1):
        found = lease.silent(pulses, clock)
    return found


def test_an_attempt_expires_after_a_whole_lease_without_a_beat() -> None:
    lease = Lease(10, interval=1)
    assert watch(lease, [A0, B0], 0, 9) == []
    assert watch(lease, [A0, B0], 10, 10) == [A0, B0]


def test_each_beat_begins_a_new_lease() -> None:
    lease = Lease(10, interval=1)
    watch(lease, [A0, B0], 0, 8)
    assert watch(lease, [A1, B0], 9, 17) == [B0]
    assert watch(lease, [A1], 18, 19) == [A1]


def test_an_outage_of_our_own_expires_nobody() -> None:
    lease = Lease(10, interval=1)
    watch(lease, [A0], 0, 8)
    assert lease.silent([A0], 300) == [], "nobody looked for five minutes"
    assert watch(lease, [A0], 301, 309) == []
    assert watch(lease, [A0], 310, 310) == [A0]
