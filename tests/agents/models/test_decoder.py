"""Which rows are read in one forward pass."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.models.decoder import MAX_PASS_TOKENS, MAX_STRETCH, SLACK, similar_parts


@given(unread=st.dictionaries(st.integers(0, 200), st.integers(1, 20_000), min_size=1))
def test_rows_are_read_with_their_like(unread: dict[int, int]) -> None:
    parts = similar_parts(unread)
    assert sorted(slot for part in parts for slot in part) == sorted(unread)
    for part in parts:
        counts = [unread[slot] for slot in part]
        assert max(counts) <= MAX_STRETCH * min(counts) + SLACK
        assert len(part) == 1 or len(part) * max(counts) <= MAX_PASS_TOKENS


def test_a_single_token_each_is_one_pass() -> None:
    assert similar_parts(dict.fromkeys([5, 3, 4], 1)) == [[5, 3, 4]]
