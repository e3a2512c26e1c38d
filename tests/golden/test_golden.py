"""What every algorithm computes is what it computed when `golden.json` was recorded.

A change that means to compute something else says so and records anew:
`OMP_NUM_THREADS=1 python -m tests.golden.recorder tests/golden/golden.json`. Whether two commits agree to the last bit
shows `python tests/golden/compare.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.golden.recorder import record

from turngym.trainers.config import algorithm_names

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
PARTS = ["warm_start", "stage_one", *algorithm_names()]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return record(tmp_path_factory.mktemp("golden"), algorithm_names())


def test_no_algorithm_is_missing() -> None:
    assert sorted(GOLDEN) == sorted(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_the_numbers_are_those_that_were_recorded(recorded: dict[str, Any], part: str) -> None:
    """To 1e-4, since processors add up in different orders; the hash of the weights is for one machine alone."""
    numbers, golden = dict(recorded[part]), dict(GOLDEN[part])
    numbers.pop("weights", None), golden.pop("weights", None)
    assert numbers.keys() == golden.keys()
    for name, column in golden.items():
        assert numbers[name] == pytest.approx(column, rel=1e-4, abs=1e-6), name
