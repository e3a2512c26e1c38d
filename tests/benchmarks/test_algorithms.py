"""The comparison of objectives: what is run, what is kept, what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from turngym.agents.intervals import student_interval
from turngym.benchmarks import algorithm_tasks, algorithms, algorithms_report
from turngym.benchmarks.algorithm_tasks import ABLATIONS, COMPARED, LAKES, SHAPED, STAGE_ONE, TASKS, Task, run_config
from turngym.benchmarks.algorithms import Job, curve, do_all, run_job, tuned_rate
from turngym.benchmarks.algorithms_pictures import draw
from turngym.benchmarks.algorithms_report import page, summary_table, task_table, tuning_table
from turngym.benchmarks.algorithms_rows import (
    COMPARISON,
    RESULTS,
    TUNING,
    Row,
    share_of_optimum,
)
from turngym.benchmarks.page import append_rows, read_rows
from turngym.trainers.config import ALGORITHMS, KLRegularised, ShapingConfig, ValueConfig, with_overrides
from turngym.trainers.objectives import OBJECTIVES

ROOT = Path(__file__).parents[2]
ROW = Row(task="FrozenLake", algorithm="rloo", seed=0, learning_rate=3e-4, episodes=512, success=0.5, tokens=100,
          stage_one_tokens=0, steps=2, seconds=1.5, curve="0.100 0.200")  # fmt: skip


def rows_of(algorithm: str, successes: list[float], **changes: object) -> list[Row]:
    return [replace(ROW, algorithm=algorithm, seed=seed, success=success, **changes)  # type: ignore[arg-type]
            for seed, success in enumerate(successes)]  # fmt: skip


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("name", [*COMPARED, *ABLATIONS, *SHAPED])
def test_every_run_is_possible_and_only_the_objective_differs(task: str, name: str) -> None:
    variant = algorithms.variant_of(name)
    config = run_config(TASKS[task], variant, seed=3, learning_rate=1e-3, share=0.5)
    assert config.objective.name == ALGORITHMS.get(variant.algorithm, (variant.algorithm, {}))[0]
    assert config.learning.max_tokens == TASKS[task].max_tokens // 2
    plain = run_config(TASKS[task], COMPARED["rloo"], seed=3, learning_rate=1e-3, share=0.5)
    for section in ("env", "model", "warm_start", "evaluation", "run"):
        assert getattr(config, section) == getattr(plain, section)
    assert config.learning.batch_size == plain.learning.batch_size
    if isinstance(config.objective, KLRegularised):
        assert (config.objective.beta, config.objective.beta_final) == (0.02, 0.005)


@pytest.mark.parametrize("name", [*COMPARED, *ABLATIONS, *SHAPED])
def test_those_that_read_stage_one_have_the_same(name: str) -> None:
    variant = algorithms.variant_of(name)
    config = run_config(TASKS["FrozenLake"], variant, seed=0, learning_rate=1e-3)
    shared = replace(STAGE_ONE, **variant.overrides.get("values", {}))
    assert config.values == (shared if config.needs_stage_one else ValueConfig(instances=STAGE_ONE.instances))


def test_a_variant_changes_what_it_says_and_nothing_else() -> None:
    plain = run_config(TASKS["FrozenLake"], COMPARED["astarpo_lambda"], seed=0, learning_rate=1e-3)
    for variant in ABLATIONS.values():
        config = run_config(TASKS["FrozenLake"], variant, seed=0, learning_rate=1e-3)
        assert config == with_overrides(plain, variant.overrides)
    for name in ("reinforce", "ppo"):
        config = run_config(TASKS["FrozenLake"], SHAPED[f"{name} with automatic shaping"], seed=0, learning_rate=1e-3)
        assert config.needs_stage_one and config.shaping == ShapingConfig(automatic_weight=1.0)
        unshaped = run_config(TASKS["FrozenLake"], COMPARED[name], seed=0, learning_rate=1e-3)
        assert config.objective == unshaped.objective


def test_every_objective_takes_part() -> None:
    compared = [run_config(TASKS["FrozenLake"], variant, seed=0, learning_rate=1e-3) for variant in COMPARED.values()]
    assert {config.objective.name for config in compared} == set(OBJECTIVES)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.csv"
    assert read_rows(path, Row) == []
    append_rows(path, [ROW], Row)
    append_rows(path, [replace(ROW, seed=1)], Row)
    assert read_rows(path, Row) == [ROW, replace(ROW, seed=1)]


def test_the_learning_rate_that_did_best_in_the_game_is_taken() -> None:
    successes = {
        "FrozenLake": (0.1, 0.2, 0.9, 0.9), "FrozenLakeWindy": (0.1, 0.2, 0.6, 0.6),
        "FrozenLakeSlippery": (0.1, 0.9, 0.3, 0.3), "CountdownSteps": (0.1, 0.3, 0.2, 0.1),
    }  # fmt: skip
    rows = [
        replace(ROW, task=task, algorithm="astarpo_lambda", learning_rate=rate, success=success)
        for task, of_task in successes.items()
        for rate, success in zip(TASKS[task].learning_rates, of_task, strict=True)
    ]
    for name in ("astarpo_lambda", "lambda 1"):
        for lake in LAKES:  # the lower of two that did as well over all of them
            assert tuned_rate(rows, name, lake) == TASKS[lake].learning_rates[2]
        assert tuned_rate(rows, name, "CountdownSteps") == TASKS["CountdownSteps"].learning_rates[1]
    shaped = [replace(row, algorithm="ppo") for row in rows]
    assert tuned_rate(shaped, "ppo with potentials", "FrozenLake") == TASKS["FrozenLake"].learning_rates[2]
    with pytest.raises(ValueError, match="rloo is not tuned on FrozenLake yet"):
        tuned_rate(rows, "rloo", "FrozenLakeWindy")
    with pytest.raises(ValueError, match="astarpo_lambda is not tuned on CountdownSteps yet"):
        tuned_rate(rows[:-1], "astarpo_lambda", "CountdownSteps")


def test_all_rates_are_shown_and_the_one_taken_stands_out() -> None:
    rows = [
        replace(ROW, task="CountdownSteps", algorithm=name, learning_rate=rate, success=success)
        for name, successes in {"rloo": (0.1, 0.3, 0.3, 0.2), "ppo": (0.4, 0.2, 0.1)}.items()
        for rate, success in zip(TASKS["CountdownSteps"].learning_rates, successes, strict=False)
    ]
    head, _, *lines = tuning_table(rows, ["CountdownSteps"]).splitlines()
    assert head == "| CountdownSteps | 0.0003 | 0.0006 | 0.0012 | 0.0024 |"
    assert lines == ["| rloo | 0.100 | **0.300** | 0.300 | 0.200 |"]  # ppo was not tried with every rate
    assert "## Tuning" in page(rows_of("base", [0.1]), rows) and "## Tuning" not in page(rows_of("base", [0.1]), [])


def test_curves_are_means_over_equal_parts_of_the_budget() -> None:
    steps = [{"generated_tokens": tokens, "success": success} for tokens, success in [(5, 0.0), (9, 1.0), (40, 0.25)]]
    assert list(curve(steps, 12 * 10)) == [0.5, 0.5, 0.5] + [0.25] * 9


def test_intervals_are_students() -> None:
    mean, half = student_interval([0.1, 0.2, 0.3, 0.4, 0.5])
    assert mean == pytest.approx(0.3) and half == pytest.approx(2.776445 * 0.1581139 / 5**0.5, rel=1e-6)


def test_differences_are_paired_by_seed() -> None:
    """Seeds may differ widely as long as the two algorithms differ by the same on each."""
    rows = [*rows_of("astarpo_lambda", [0.2, 0.5, 0.8]), *rows_of("rloo", [0.1, 0.4, 0.7]),
            *rows_of("base", [0.0, 0.3, 0.6]), *rows_of("optimum", [1.0, 1.0, 1.0])]  # fmt: skip
    lines = task_table(rows, "FrozenLake", list(COMPARED)).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| astarpo_lambda", "| rloo"]
    assert "+0.200 ± 0.000 |  |" in lines[2] and "+0.100 ± 0.000 | +0.100 ± 0.000" in lines[3]
    assert share_of_optimum(rows, "FrozenLake", "rloo") == pytest.approx([0.1, 1 / 7, 0.25])
    assert "base 0.300" in page(rows, []) and "optimum 1.000" in page(rows, [])


def test_the_summary_sets_astarpo_lambda_beside_the_best_of_the_others() -> None:
    rows = [*rows_of("astarpo_lambda", [0.2, 0.5, 0.8]), *rows_of("rloo", [0.1, 0.4, 0.7]),
            *rows_of("grpo", [0.0, 0.0, 0.9]), *rows_of("base", [0.0, 0.3, 0.6]),
            *rows_of("astarpo_lambda", [0.5], task="CountdownSteps")]  # fmt: skip
    _, _, *lines = summary_table(rows).splitlines()
    (cells,) = [line.strip("| ").split(" | ") for line in lines]  # of the other task nobody else has runs
    assert cells[:2] == ["FrozenLake", "3"] and [cell[:5] for cell in cells[2:4]] == ["0.300", "0.500"]
    # Ahead of rloo on every seed; of grpo by 0.2, 0.5 and -0.1, which may be chance.
    assert cells[4].startswith("rloo 0.400") and cells[5] == "1 / 0 of 2"


def test_parts_are_compared_on_the_seeds_they_were_tried_on() -> None:
    rows = [*rows_of("astarpo_lambda", [0.2, 0.9]), *rows_of("lambda 0", [0.1]), *rows_of("base", [0.0, 0.3]),
            *rows_of("ppo with potentials", [0.0, 0.6])]  # fmt: skip
    compared, parts = page(rows, []).split("Its parts")
    parts, told = parts.split("told of progress")
    assert "| 2 | 0.550" in compared and "| 1 | 0.200 |" in parts and "+0.100" in parts
    assert "| ppo with potentials |" in told and "| 2 | 0.550" in told


def test_a_comparison_goes_on_where_it_stopped(
    small_lake: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(algorithm_tasks, "STAGE_ONE", ValueConfig(instances=8, samples=16, extra_samples=0))
    rows = algorithms.make_base((tmp_path, "FrozenLake", 0, "test"))
    assert [row.algorithm for row in rows] == ["random", "base", "optimum"]
    job = Job(task="FrozenLake", algorithm="astarpo_lambda", seed=0, learning_rate=1e-3, share=1.0, split="test",
              folder=tmp_path)  # fmt: skip
    row = run_job(job)
    assert 0 < row.stage_one_tokens < small_lake.max_tokens <= row.tokens
    assert row.steps > 1 and len(row.curve.split()) == 12
    out = tmp_path / "rows.csv"
    append_rows(out, [*rows, row], Row)
    before = out.read_text()
    do_all([job], out, 1)  # a worker would not know of this test's task
    assert out.read_text() == before
    assert algorithms_report.main(["--rows", str(out), "--out", str(tmp_path / "page.md"), "--no-pictures"]) == 0
    assert "astarpo_lambda" in (tmp_path / "page.md").read_text() and capsys.readouterr().out


def test_the_committed_page_is_what_the_committed_rows_say() -> None:
    rows, tuning = (read_rows(ROOT / path, Row) for path in (COMPARISON, TUNING))
    assert page(rows, tuning) == (ROOT / RESULTS / "algorithms.md").read_text(encoding="utf-8")


def test_pictures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [*rows_of("astarpo_lambda", [0.2, 0.5]), *rows_of("rloo", [0.1, 0.4]), *rows_of("base", [0.0, 0.3]),
            *rows_of("optimum", [1.0, 1.0])]  # fmt: skip
    draw(rows, tmp_path)
    for name in ("algorithms_slip.png", "algorithms_curves.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_no_results_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert algorithms_report.main(["--rows", str(tmp_path / "none.csv")]) == 2
    assert "run `python -m turngym.benchmarks.algorithms run` first" in capsys.readouterr().err
