"""What grows is found, and what only moves is not."""

from __future__ import annotations

import pytest

from tests.chaos.soak import growth


@pytest.mark.parametrize(
    ("figure", "each", "grows"),
    [
        ("api.memory", 1.0, True),
        ("api.memory", 0.05, False),
        ("api.descriptors", 0.5, True),
        ("api.threads", 0.02, False),
        ("valkey.keys", 1.0, True),
    ],
)
def test_growth_is_found(figure: str, each: float, grows: bool) -> None:
    samples = [{figure: 100 + each * number + number % 3} for number in range(80)]
    assert growth(samples)[figure]["grows"] is grows
