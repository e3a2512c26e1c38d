"""Groups, differences and aggregates of written runs, against what is computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.benchmarks.comparing.written_runs import write_run

from turngym._errors import InputError
from turngym.agents.intervals import student_interval, student_quantile
from turngym.benchmarks.comparing import compare
from turngym.benchmarks.comparing.comparison import compare_runs
from turngym.benchmarks.comparing.report import record
from turngym.benchmarks.comparing.runs import read_runs, run_folders


def write_sweep(root: Path, sampled: dict[str, list[int]], *, shared: bool = True) -> Path:
    """Write a run for each algorithm and seed; the base of a seed is shared by all algorithms, or by none."""
    for algorithm, counts in sampled.items():
        for seed, count in enumerate(counts):
            base = f"{seed}" if shared else f"{algorithm} {seed}"
            write_run(root / f"{algorithm}-seed{seed}", [20, 30 + seed, 50, count, 90], algorithm=algorithm, seed=seed,
                      base=base)  # fmt: skip
    return root


def test_algorithms_are_never_pooled(tmp_path: Path) -> None:
    root = write_sweep(tmp_path, {"astarpo": [60, 70], "grpo": [40, 50], "rloo": [45]})
    comparison = compare([root])
    rows = {row.group.label: row for row in comparison.rows}
    assert list(rows) == ["astarpo", "grpo", "rloo"]
    assert rows["astarpo"].sampled.mean == pytest.approx(0.65) and rows["grpo"].sampled.mean == pytest.approx(0.45)
    # Two runs: 12.706 standard errors, of which one is half the distance.
    assert rows["grpo"].sampled.half == pytest.approx(12.7062 * 0.05, rel=1e-4)
    # The gain is a mean of the gains of the runs: .60 - .30 and .70 - .31.
    assert rows["astarpo"].gain.mean == pytest.approx(0.345) and rows["astarpo"].gain.half == pytest.approx(
        student_interval([0.30, 0.39])[1]
    )
    assert math.isnan(rows["rloo"].sampled.half) and rows["rloo"].tokens == 350 and rows["rloo"].seconds == 22.0


def test_names_of_algorithms_beyond_the_objectives_are_known(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [1] * 5, algorithm="astarpo_lambda")
    write_run(tmp_path / "b", [1] * 5, algorithm="astarpo_turn")
    assert [row.group.label for row in compare([tmp_path]).rows] == ["astarpo_lambda", "astarpo_turn"]


def test_differences_are_paired_where_bases_are_shared(tmp_path: Path) -> None:
    """Seeds may differ widely as long as the algorithms differ by the same on each."""
    root = write_sweep(tmp_path, {"astarpo": [20, 50, 80], "grpo": [10, 40, 70], "rloo": [10, 40, 70, 90]})
    lead, other = compare([root], reference="astarpo").differences
    assert (lead.group.label, lead.reference.label, lead.pairs, lead.how) == ("grpo", "astarpo", 3, "paired, 3 seeds")
    assert lead.difference.mean == pytest.approx(-0.1) and lead.difference.half == pytest.approx(0.0, abs=1e-12)
    assert lead.clear and other.pairs == 3 and other.how == "paired, 3 of 4 seeds"


def test_differences_of_runs_with_bases_of_their_own_are_unpaired_and_say_so(tmp_path: Path) -> None:
    root = write_sweep(tmp_path, {"astarpo": [20, 50, 80], "grpo": [10, 40, 70]}, shared=False)
    (lead,) = compare([root]).differences
    assert lead.pairs == 0 and lead.how == "unpaired: no base is shared" and not lead.clear
    # Both spread by .3: Welch has 4 degrees of freedom.
    half = student_quantile(0.975, 4) * math.sqrt(0.09 / 3 + 0.09 / 3)
    assert lead.difference.mean == pytest.approx(-0.1) and lead.difference.half == pytest.approx(half)


def test_bases_that_are_gone_are_not_taken_for_the_same(tmp_path: Path) -> None:
    for algorithm in ("astarpo", "grpo"):
        write_run(tmp_path / algorithm, [20, 30, 50, 60, 70], algorithm=algorithm, base=None)
    (lead,) = compare([tmp_path]).differences
    assert lead.pairs == 0 and math.isnan(lead.difference.half) and not lead.clear


def test_the_reference_is_the_first_algorithm_or_the_named_one(tmp_path: Path) -> None:
    root = write_sweep(tmp_path, {"rloo": [10], "grpo": [20], "astarpo": [30]})
    assert compare([root]).reference == "astarpo"
    assert {each.group.label for each in compare([root], reference="grpo").differences} == {"astarpo", "rloo"}
    with pytest.raises(InputError, match=r"no run is of the reference 'gropo'; did you mean 'grpo'\?"):
        compare([root], reference="gropo")


def test_settings_that_differ_are_rows_of_their_own(tmp_path: Path) -> None:
    for algorithm in ("astarpo", "grpo"):
        for rate in (1e-4, 5e-4):
            write_run(tmp_path / f"{algorithm}-{rate}", [20, 30, 50, 60, 70], algorithm=algorithm,
                      learning={"learning_rate": rate})  # fmt: skip
    comparison = compare([tmp_path])
    assert [row.group.label for row in comparison.rows] == [
        "astarpo learning_rate=0.0001", "astarpo learning_rate=0.0005", "grpo learning_rate=0.0001",
        "grpo learning_rate=0.0005",
    ]  # fmt: skip
    # Of several of the reference it is the one with the same settings.
    assert [(each.group.settings, each.reference.settings) for each in comparison.differences] == [
        ("learning_rate=0.0001",) * 2, ("learning_rate=0.0005",) * 2,
    ]  # fmt: skip
    named = compare([tmp_path], reference="grpo learning_rate=0.0005")
    assert {each.reference.label for each in named.differences} == {"grpo learning_rate=0.0005"}
    assert len(named.differences) == 3


def test_a_reference_of_several_settings_must_be_named(tmp_path: Path) -> None:
    write_run(tmp_path / "rloo", [20, 30, 50, 60, 70], algorithm="rloo")
    for steps in (60, 90):
        write_run(tmp_path / f"grpo-{steps}", [20, 30, 50, 60, 70], algorithm="grpo", learning={"steps": steps})
    comparison = compare([tmp_path], reference="grpo")
    assert not comparison.differences
    assert "name one of 'grpo steps=60', 'grpo steps=90' with --reference" in " ".join(comparison.notes)


def test_what_algorithms_differ_in_beyond_themselves_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [20, 30, 50, 60, 70], learning={"learning_rate": 1e-4}, values={"samples": 8})
    write_run(tmp_path / "g", [20, 30, 50, 60, 70], algorithm="grpo", learning={"learning_rate": 2e-4})
    (note,) = compare([tmp_path]).notes
    assert note == ("In FrozenLake-v0 the algorithms also differ in learning.learning_rate 0.0001 (astarpo), "
                    "0.0002 (grpo).")  # fmt: skip


def test_arguments_instances_and_versions_are_not_mixed(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [20, 30, 50, 60, 70])
    write_run(tmp_path / "b", [20, 30, 50, 70, 70], seed=1, evaluation={"episodes": 100, "first": 1000})
    write_run(tmp_path / "c", [20, 30, 50, 80, 70], seed=2, version="0.0.9")
    write_run(tmp_path / "d", [20, 30, 50, 90, 70], seed=3, env={"kwargs": {"size": 3}})
    comparison = compare([tmp_path])
    assert len(comparison.rows) == len(comparison.tasks) == 4
    apart, arguments = comparison.notes[:2]
    assert "test instances 0 to 99 and 1000 to 1099, and of turngym 0.0.9 and turngym" in apart
    assert arguments.endswith("FrozenLake-v0; FrozenLake-v0 (size=3).")


def test_runs_of_one_seed_count_once(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [20, 30, 50, 60, 70])
    write_run(tmp_path / "b", [20, 30, 50, 60, 70])
    comparison = compare([tmp_path, tmp_path / "a"])
    (row,) = comparison.rows
    assert [run.folder.name for run in row.group.runs] == ["a"] and str(tmp_path / "b") in comparison.notes[0]


def test_what_is_not_complete_is_listed_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [20, 30, 50, 60, 70])
    write_run(tmp_path / "b", [20, 30, 50, 60, 70], done=False)
    (write_run(tmp_path / "c", [20, 30, 50, 60, 70]) / "result.json").write_text("{")
    (write_run(tmp_path / "d", [20, 30, 50, 60, 70]) / "config.toml").write_text("version = 3")
    comparison = compare([tmp_path])
    assert len(comparison.rows) == 1
    told = {run.folder.name: run.why for run in comparison.incomplete}
    assert told["b"] == f"0 of 150 steps are saved; go on with: turngym train --resume {tmp_path / 'b'}"
    assert "result.json cannot be read" in told["c"] and "is damaged" in told["d"]


def test_the_bases_of_a_sweep_are_no_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "astarpo-seed0", [20, 30, 50, 60, 70])
    base = write_run(tmp_path / "base-seed0", [], done=False)
    (base / "metrics.jsonl").write_text('{"phase": "warm_start", "success": 0.5}\n')
    assert not compare([tmp_path]).incomplete
    assert [run.folder for run in compare([tmp_path, base]).incomplete] == [base]  # where it is named it is told


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run: neither it nor a folder in it has a"):
        compare([tmp_path])


def test_metrics_have_their_own_units(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [20, 30, 50, 60, 70], env={"id": "turngym/WebShopGiGPO-v0"})
    path = tmp_path / "a" / "result.json"
    path.write_text(path.read_text().replace('"mean_return": 0.6', '"mean_return": 6.0'))
    means = {metric: compare([tmp_path], metric).rows[0].sampled.mean for metric in ("success", "score", "return")}
    assert means == {"success": 0.6, "score": pytest.approx(0.6), "return": 6.0}


def test_interquartile_means_are_over_tasks_that_all_have(tmp_path: Path) -> None:
    for size, counts in ((2, [10, 20]), (3, [60, 90])):
        for algorithm in ("astarpo", "grpo"):
            for seed, count in enumerate(counts):
                write_run(tmp_path / f"{algorithm}-{size}-{seed}", [5, 5, 5, count, 90], algorithm=algorithm, seed=seed,
                          env={"kwargs": {"size": size}})  # fmt: skip
    write_run(tmp_path / "more", [5, 5, 5, 100, 90], env={"kwargs": {"size": 5}})
    comparison = compare([tmp_path])
    first, second = comparison.aggregates
    assert first.iqm == second.iqm == pytest.approx(0.4) and first.runs == 4  # .2 and .6 are the middle half
    assert first.interval[0] <= first.iqm <= first.interval[1]
    assert any("leave out FrozenLake-v0 (size=5)" in note for note in comparison.notes)
    returns = compare([tmp_path], "return")
    assert not returns.aggregates and any("no common scale" in note for note in returns.notes)


def test_few_runs_have_no_interquartile_mean(tmp_path: Path) -> None:
    assert not compare([write_sweep(tmp_path / "few", {"astarpo": [20, 50, 80]})]).aggregates
    (only,) = compare([write_sweep(tmp_path / "four", {"astarpo": [20, 50, 80, 90]})]).aggregates
    assert only.iqm == pytest.approx(0.65)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shuffling=st.randoms(use_true_random=False))
def test_the_order_of_the_runs_changes_nothing(shuffling: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "permuted"
    if not root.exists():
        write_sweep(root, {"astarpo": [20, 50, 80, 90], "grpo": [10, 60, 70], "rloo": [5]})
        write_run(root / "again", [20, 30, 50, 20, 90])
    runs, _ = read_runs(run_folders([root]))
    before = record(compare_runs(runs))
    shuffling.shuffle(runs)  # type: ignore[attr-defined]
    assert record(compare_runs(runs)) == before
