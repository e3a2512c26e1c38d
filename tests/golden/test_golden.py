"""What every algorithm computes is what it computed when one of the files `golden*.json` was recorded.

A change that means to compute something else says so and records anew, on each kind of processor its file:
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

GOLDEN: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(Path(__file__).parent.glob("golden*.json"))
}
"""Recordings by the names of their files, one for each kind of processor: they round differently, and where a sampled
token hangs on that, all that follows is another run."""
PARTS = ["warm_start", "stage_one", *algorithm_names()]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return record(tmp_path_factory.mktemp("golden"), algorithm_names())


def test_no_algorithm_is_missing() -> None:
    assert GOLDEN
    assert all(sorted(golden) == sorted(PARTS) for golden in GOLDEN.values())


@pytest.mark.parametrize("part", PARTS)
def test_the_numbers_are_those_that_were_recorded(recorded: dict[str, Any], part: str) -> None:
    """To 1e-4, on one kind of processor; the hash of the weights is for one machine alone."""
    unlike = {name: differences(recorded[part], golden[part]) for name, golden in GOLDEN.items()}
    assert not all(unlike.values()), unlike


def differences(numbers: dict[str, Any], golden: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that are not as they were recorded, as they are and as they were."""
    names = (numbers.keys() | golden.keys()) - {"weights"}
    return {name: (numbers.get(name), golden.get(name)) for name in names
            if numbers.get(name) != pytest.approx(golden.get(name), rel=1e-4, abs=1e-6)}  # fmt: skip
