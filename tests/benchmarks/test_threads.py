"""The benchmark of threads: variants take the same steps in processes of their own, beside loops that end with it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from turngym.benchmarks import threads
from turngym.benchmarks.threads import Options, Variant, Worker, busy_loops, main, results

TELLS_ITS_POLICY = """
import os
input()
print("ready", flush=True)
input()
print(int(os.environ.get("OMP_WAIT_POLICY") == "PASSIVE" and "GOMP_SPINCOUNT" not in os.environ))
"""


def test_a_tiny_run_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "variants", lambda count: [Variant("1", 1), Variant(f"{count}", count)])
    out = tmp_path / "results" / "threads.md"
    words = ["--threads", "2", "--loops", "1", "--repeats", "1", "--cloning-steps", "1", "--size", "2", "--batch-size",
             "4", "--out", str(out)]  # fmt: skip
    assert main(words) == 0
    rows = [line.strip("| ").split(" | ") for line in out.read_text().splitlines() if line.startswith("| ")][2:]
    assert [row[:3] for row in rows] == [
        [kind, loops, count] for kind in ("cloning", "learning") for loops in ("0", "1") for count in ("1", "2")
    ]
    assert all(0 <= float(row[3]) <= float(row[4]) for row in rows)


def test_ratios_are_to_one_thread_under_the_same_conditions() -> None:
    seconds = {
        ("cloning", "1", 0): [1.0, 2.0, 9.0], ("cloning", "2", 0): [1.0, 1.0, 3.0],
        ("cloning", "1", 2): [4.0], ("cloning", "2", 2): [10.0],
    }  # fmt: skip
    assert results(seconds).splitlines()[2:] == [
        "| cloning | 0 | 1 | 1.00 | 2.00 | 1.00 |",
        "| cloning | 0 | 2 | 1.00 | 1.00 | 0.50 |",
        "| cloning | 2 | 1 | 4.00 | 4.00 | 1.00 |",
        "| cloning | 2 | 2 | 10.00 | 10.00 | 2.50 |",
    ]


@pytest.mark.parametrize(("place", "expected"), [(0, 0.0), (2, 1.0)])
def test_a_variant_sets_how_threads_wait(place: int, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORKER", TELLS_ITS_POLICY)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    with Worker(threads.variants(2)[place], Options()) as worker:
        worker.wait()
        assert worker.seconds("cloning") == expected


def test_a_process_that_ends_early_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORKER", "input()")
    with Worker(Variant("1", 1), Options()) as worker, pytest.raises(RuntimeError, match="ended before its answer"):
        worker.wait()


def test_loops_end_with_what_they_run_beside() -> None:
    with busy_loops(2) as loops:
        assert [loop.poll() for loop in loops] == [None, None]
    assert [loop.poll() for loop in loops] == [-signal.SIGKILL] * 2
