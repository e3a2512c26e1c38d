"""What was spent is on record before it is spent, whole at any moment, and never guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deploy.ledger import Ledger

from turngym._errors import InputError


def test_attempts_add_up_at_their_own_prices(tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    ledger = Ledger(path)
    assert ledger.dollars == 0 and not path.exists()
    ledger.begin(price=0.5, seconds=90.0)
    assert Ledger(path).dollars == pytest.approx(45.0), "booked before it is spent"
    ledger.book(120.0)
    ledger.book(20.0, "timed out")
    ledger.begin(price=2.0, seconds=3.0)
    found = Ledger(path)
    assert found.dollars == pytest.approx(16.0)
    assert [(attempt.seconds, attempt.end) for attempt in found.attempts] == [(20.0, "timed out"), (3.0, "")]


def test_an_attempt_is_under_way_until_the_end_of_what_is_booked_for_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spent.json")
    ledger.begin(price=1.0, seconds=100.0)
    (attempt,) = ledger.attempts
    assert attempt.until is not None and 98.0 < (attempt.until - datetime.now(UTC)).total_seconds() <= 100.0
    ledger.book(20.0, "timed out")
    assert attempt.until is None


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{}x", "[1]", '[{"began": "x"}]',
        '[{"began": "x", "price": 1, "seconds": -1}]', '[{"began": "x", "price": 1, "seconds": NaN}]',
        '[{"began": "x", "price": 1, "seconds": "many"}]', '[{"began": "x", "price": 1, "seconds": 1}]',
        '[{"began": "2026-11-29T12:00:00", "price": 1, "seconds": 1}]',
    ],
)  # fmt: skip
def test_a_damaged_record_stops_all_spending(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))} does not say what was spent"):
        Ledger(path)
