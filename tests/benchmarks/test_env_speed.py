"""The benchmark of environments: every row is of instances and episodes of its own, in turns, and ratios are to us."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from turngym._errors import InputError
from turngym.benchmarks import env_speed, env_speed_worker
from turngym.benchmarks.env_speed import BEFORE, OURS, Options, Row, Worker, main, results, started

ROOT = Path(__file__).parents[2]
TINY = ["--against", str(ROOT), "--resets", "1", "--turns", "2", "--episodes", "1", "--repeats", "1", "--starts", "0"]


def test_a_tiny_run_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_speed, "RESET", ("FrozenLake", "Multiplication"))
    out = tmp_path / "results" / "env_speed.md"
    assert main([*TINY, "--out", str(out)]) == 0
    cells = [line.strip("| ").split(" | ") for line in out.read_text().splitlines() if line.startswith("| ")]
    rows = {row[0]: row[1:] for row in cells}
    for name in ("FrozenLake, test", "Multiplication, train", "CountdownSteps", "the same lake again and again"):
        assert min(float(cell.replace(",", "")) for cell in rows[name][:2]) > 0
    assert "Start-up" not in out.read_text()


def test_ratios_are_to_this_checkout_and_the_least_counts() -> None:
    one, other = Row("a"), Row("b")
    for seconds in (4.0, 2.0, 3.0):
        one.note(OURS, (1_000_000, seconds))
    one.note(BEFORE, (2_000_000, 10.0))
    other.note(OURS, (1_000, 1.5))
    other.note("another", (1_000, 0.75))
    start = Row("c", seconds=True)
    start.note(OURS, (1, 0.5))
    assert results([one, other, start]).splitlines()[2:] == [
        "| a | 2.0 | 5.0 |  | 2.5 |  |",
        "| b | 1,500.0 |  | 750.0 |  | 0.5 |",
        "| c | 0.50 |  |  |  |  |",
    ]


def test_another_checkout_is_one() -> None:
    with pytest.raises(InputError, match="is no checkout of turngym: there is no src/turngym in it"):
        main(["--against", str(ROOT / "docs")])


def test_a_start_is_timed_and_a_failed_one_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert 0 < started(ROOT, ["--version"]) < 60
    with pytest.raises(RuntimeError, match="ended with 2; its error is above"):
        started(ROOT, ["fly"])
    assert "there is no command 'fly'" in capfd.readouterr().err


def test_a_process_that_ends_early_is_an_error() -> None:
    with Worker(sys.executable) as worker, pytest.raises(RuntimeError, match="ended before its answer"):
        worker.ask("place", module=7)


def test_everybody_makes_the_same_moves() -> None:
    drawn = [list(episode) for episode in env_speed_worker.moves(3)]
    rng = random.Random(0)
    assert drawn == [[rng.randrange(4) for _ in range(10)] for _ in range(3)]


def test_steps_and_turns_are_counted() -> None:
    assert env_speed_worker.turngym_turns("FrozenLake", 25)[0] == 25
    assert 3 <= env_speed_worker.turngym_lake("train", first=0, count=3, new=True)[0] <= 30
    assert env_speed_worker.gymnasium_lake(2, new=False)[0] <= 20
    assert env_speed_worker.place("turngym") and not env_speed_worker.place("no_such_module")


@pytest.mark.skipif(not importlib.util.find_spec("textarena"), reason="TextArena is not installed")
def test_the_lake_of_textarena_is_played() -> None:
    assert 2 <= env_speed_worker.textarena_lake(2)[0] <= 20


def test_options_have_a_page() -> None:
    assert Options(against=ROOT).out == Path("benchmarks/results/env_speed.md")
