"""The benchmark of limits and isolation runs, and counts what failed."""

from __future__ import annotations

import pytest

from turngym.benchmarks import isolation


def test_every_case_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "RATE", 10)
    monkeypatch.setattr(isolation, "FAULTS", {"no limit": ("raise",), "limit": ("raise",)})
    isolation.main(["--episodes", "20", "--repetitions", "1", "--milliseconds", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all("20 episodes and 0 errors" in line for line in lines if "no fault" in line)
    assert all("18 episodes and 2 errors" in line for line in lines if "raise" in line)
