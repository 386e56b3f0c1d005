"""The nesting of JSON, counted before anything parses it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.limits import json_depth

TEXT = st.text(st.sampled_from('ab"\\[]{}\u00e9'), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=30,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(JSON, st.booleans())
def test_nesting_is_counted_outside_of_strings(value: Any, ascii_only: bool) -> None:
    assert json_depth(json.dumps(value, ensure_ascii=ascii_only).encode(), 100) == depth(value)


@given(st.text(st.sampled_from('[]{}"\\a')))
def test_whatever_is_no_json_is_counted_without_an_error(text: str) -> None:
    assert 0 <= json_depth(text.encode(), 5) <= 6


def test_no_more_than_the_limit_is_counted() -> None:
    assert json_depth(b"[" * 1000 + b"]" * 1000, 32) == 33
    assert json_depth(b"[" * 1000, 32) == 33
