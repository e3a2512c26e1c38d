"""What was spent: counted once, in tokens and dollars, from any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from turngym._errors import InputError
from turngym.agents.api import BudgetReachedError, Ledger, Usage


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(prompt=5, completion=2)),
        ({"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}},
         Usage(prompt=5, completion=9, reasoning=7)),
        ({"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": None, "reasoning_tokens": 3},
         Usage(prompt=5, completion=9, reasoning=3)),
        ({"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": "many"}},
         Usage(prompt=5, completion=9)),
        ({"prompt_tokens": 5}, None),
        ({"prompt_tokens": True, "completion_tokens": 2}, None),
        ({"prompt_tokens": -5, "completion_tokens": 2}, None),
        (None, None),
        ([1], None),
    ],
)  # fmt: skip
def test_what_a_server_tells(told: Any, usage: Usage | None) -> None:
    assert Usage.of({"usage": told}) == usage
    assert Usage.of({}) is None


def test_threads_count_together() -> None:
    ledger = Ledger(price_in=2.0, price_out=8.0)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4_000):
            pool.submit(ledger.count, Usage(prompt=10, completion=3, reasoning=1))
            pool.submit(ledger.count_retry)
    assert (ledger.replies, ledger.retries, ledger.tokens, ledger.reasoning_tokens) == (4_000, 4_000, 52_000, 4_000)
    assert ledger.dollars == pytest.approx((40_000 * 2 + 12_000 * 8) / 1e6)
    assert ledger.describe() == ("Spent: 4,000 replies, 4,000 retries, 40,000 prompt tokens and 12,000 completion "
                                 "tokens (4,000 of thoughts), $0.1760.")  # fmt: skip


def test_without_prices_there_are_no_dollars() -> None:
    ledger = Ledger()
    ledger.count(Usage(prompt=1, completion=1))
    ledger.count(None)
    assert ledger.dollars is None and not ledger.bounded
    assert ledger.describe() == ("Spent: 2 replies, 0 retries, 1 prompt tokens and 1 completion tokens; of 1 the "
                                 "server did not tell the tokens.")  # fmt: skip


def test_bounds() -> None:
    tokens, dollars = Ledger(max_tokens=10), Ledger(price_in=1.0, price_out=0.0, max_dollars=0.00001)
    for ledger, sentence in [(tokens, "10 tokens are spent, and max_tokens is 10: play has stopped"),
                             (dollars, r"\$0.0000 are spent, and max_dollars is 1e-05")]:  # fmt: skip
        ledger.check()
        ledger.count(Usage(prompt=9, completion=0))
        ledger.check()
        ledger.count(Usage(prompt=1, completion=0))
        with pytest.raises(BudgetReachedError, match=sentence):
            ledger.check()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"price_in": 1.0}, "price_in and price_out belong together"),
        ({"max_dollars": 1.0}, "max_dollars needs prices"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"price_in": -1.0, "price_out": 1.0}, "price_in must be at least 0"),
        ({"price_in": 1.0, "price_out": 1.0, "max_dollars": 0.0}, "max_dollars must be above 0"),
    ],
)
def test_what_cannot_be_used_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Ledger(**wrong)
