"""The comparison of instances that are proposed with those that are drawn: what is run, kept, and said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turngym.benchmarks import algorithm_tasks, algorithms, selfplay
from turngym.benchmarks.algorithm_tasks import SELFPLAY, SELFPLAY_TASKS, run_config
from turngym.benchmarks.algorithms import do_all, task_of
from turngym.benchmarks.page import append_rows, read_rows
from turngym.benchmarks.selfplay import FOREIGN, Options, SelfplayRow, jobs_of, main, page, run_job
from turngym.trainers.config import ModelConfig, ValueConfig, WarmStartConfig
from turngym.trainers.launch.configure import check_game

COUNTDOWN, SHOP = SELFPLAY_TASKS
ROW = SelfplayRow(task=COUNTDOWN, algorithm="drawn anew", seed=0, learning_rate=6e-4, episodes=512, success=0.5,
                  tokens=100, stage_one_tokens=0, steps=2, seconds=1.5, curve="0.1 0.2")  # fmt: skip
SHARES = " ".join(["0.2"] * 3 + ["0.5"] * 6 + ["0.8"] * 3)


@pytest.mark.parametrize("task", SELFPLAY_TASKS)
def test_runs_of_a_task_differ_in_their_instances_alone(task: str) -> None:
    configs = {
        name: run_config(task_of(task), SELFPLAY[name], seed=3, learning_rate=1e-3)
        for name in SELFPLAY
        if name != FOREIGN[task]
    }
    plain = configs["drawn anew"]
    assert {config.selfplay.proposer for config in configs.values()} == {"none", "rule", "model"}
    assert sum(bool(config.curriculum.levels) for config in configs.values()) == 1
    for config in configs.values():
        check_game(config)
        assert replace(config, selfplay=plain.selfplay, curriculum=plain.curriculum) == plain
    assert [job.algorithm for job in jobs_of(Options(tasks=(task,), seeds=(7,)))] == list(configs)


@pytest.mark.parametrize("name", ["drawn anew", "proposed by the rule"])
def test_a_run_is_kept_with_what_its_proposals_were(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(
        SELFPLAY_TASKS[COUNTDOWN], max_tokens=1500, episodes=8,
        env_kwargs={"number_range": [1, 4], "target_range": [1, 12]},
        model=ModelConfig(hidden_size=32, layers=2, heads=2, digits_per_token=3, max_reply_tokens=12),
        warm_start=WarmStartConfig(course_steps=5, success_low=0.0, success_high=1.0, flawless_share=0.0,
                                   check_episodes=16),
    )  # fmt: skip
    monkeypatch.setitem(SELFPLAY_TASKS, COUNTDOWN, tiny)
    monkeypatch.setattr(algorithm_tasks, "STAGE_ONE", ValueConfig(instances=8, samples=2, extra_samples=0))
    rows = algorithms.make_base((tmp_path, COUNTDOWN, 0, "test"))
    (job,) = (one for one in jobs_of(Options(tasks=(COUNTDOWN,), seeds=(0,), folder=tmp_path)) if one.algorithm == name)
    row = run_job(job)
    shares = [row.valid, row.solvable, row.accepted]
    if name == "drawn anew":
        assert shares == ["", "", ""] and row.learnability == ""
    else:
        assert all(len(share.split()) == 12 for share in shares)
        valid, accepted = ([float(point) for point in share.split()] for share in (row.valid, row.accepted))
        assert all(0 <= low <= high <= 1 for low, high in zip(accepted, valid, strict=True)) and set(valid) == {1.0}
    out = tmp_path / "rows.csv"
    append_rows(out, [*rows, row], SelfplayRow)
    assert read_rows(out, SelfplayRow)[-1] == replace(row, success=round(row.success, 6), seconds=round(row.seconds, 1))
    before = out.read_text()
    assert do_all([job], out, 1, run_job, SelfplayRow) == 0 and out.read_text() == before


def rows_of(name: str, successes: list[float], **changes: Any) -> list[SelfplayRow]:
    return [replace(ROW, algorithm=name, seed=seed, success=success, **changes)
            for seed, success in enumerate(successes)]  # fmt: skip


def test_the_page_sets_pairs_of_seeds_side_by_side_and_proposals_early_and_late(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    shares = dict.fromkeys(("valid", "solvable", "accepted", "learnability"), SHARES)
    rows = [*rows_of("base", [0.2, 0.4]), *rows_of("drawn anew", [0.3, 0.5]),
            *rows_of("proposed by the policy", [0.5, 0.7], **shares)]  # fmt: skip
    text = page(rows)
    assert "| proposed by the policy | 2 | 0.600 ± 1.271 | +0.300 ± 0.000 | +0.200 ± 0.000 |" in text
    assert "| proposed by the policy | 0.20 to 0.80 |" in text and "## CountdownSteps\n" in text
    assert "WebShop\n" not in text
    path, out = tmp_path / "rows.csv", tmp_path / "page.md"
    append_rows(path, rows, SelfplayRow)
    assert main(["--rows", str(path), "--out", str(out), "--no-run"]) == 0
    assert out.read_text() == text and out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_is_what_the_committed_rows_say() -> None:
    root = Path(__file__).parents[2]
    rows = read_rows(root / selfplay.Options.rows, SelfplayRow)
    assert rows and page(rows) == (root / selfplay.Options.out).read_text(encoding="utf-8")
