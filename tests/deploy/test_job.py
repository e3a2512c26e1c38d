"""The command line of a rented run: what is asked for, and what is refused before anything is rented."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from deploy.job import RESERVE, START, Job, main, plan

from turngym._errors import InputError
from turngym.trainers.config import parse_toml

ASKED = ["--preset", "frozen_lake", "--max-dollars", "25"]


def test_options_of_renting_and_of_training_stand_side_by_side() -> None:
    wanted = plan([
        "FrozenLake", "--learning.steps", "60", "--max-dollars=25", "--curriculum.levels", '[{"size": 3}]',
        "--run.seed", "3", "--gpu", "L4", "--hours", "2.5", "--retries", "1", "--out", "there", "--algorithm", "rloo",
    ])  # fmt: skip
    config = parse_toml(wanted.job.config, source="job")
    assert (config.learning.steps, config.run.seed, config.objective.name) == (60, 3, "rloo")
    assert config.curriculum.levels == [{"size": 3}]
    assert wanted.job.name == config.run.name == "frozen_lake-rloo-seed3"
    assert (wanted.job.max_dollars, wanted.job.attempt_seconds, wanted.retries) == (25.0, 9000.0, 1)
    assert wanted.job.price == wanted.machine.price and wanted.machine.gpu == "L4" and wanted.out == Path("there")


def test_the_dollars_of_all_attempts_are_seconds_of_the_machine() -> None:
    job = plan([*ASKED, "--price-per-hour", "3.6"]).job
    assert job.seconds_left(0.0) == pytest.approx(25_000)
    assert job.seconds_left(24.0) == pytest.approx(1000)
    assert job.seconds_left(26.0) == 0.0


def test_a_job_travels_as_plain_values() -> None:
    job = plan(ASKED).job
    assert Job(**asdict(job)) == job
    assert {type(value) for value in asdict(job).values()} == {str, float}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["FrozenLake"], "the following arguments are required: --max-dollars"),
        (["--max-dollars", "5"], "name an environment, such as FrozenLake, or --preset NAME"),
        ([*ASKED[:3], "-1"], "--max-dollars takes an amount above 0, not -1"),
        ([*ASKED[:3], "nan"], "--max-dollars takes an amount above 0, not nan"),
        ([*ASKED[:3], "much"], "argument --max-dollars: invalid float value: 'much'"),
        ([*ASKED, "--gpu", "H10"], "there is no GPU 'H10' with a known price; did you mean 'H100'?"),
        ([*ASKED, "--hours", "-1"], "--hours takes a number above 0 and at most 24, not -1"),
        ([*ASKED, "--hours", "25"], "--hours takes a number above 0 and at most 24, not 25"),
        ([*ASKED, "--hours", "0.1"], "--hours 0.1 is 360 seconds of this machine, and an attempt needs more than 420"),
        ([*ASKED, "--retries", "11"], "--retries takes 0 to 10, not 11"),
        ([*ASKED, "--price-per-hour", "1000"], "--max-dollars 25 is 90 seconds of this machine, and an attempt needs"),
        ([*ASKED, "--max-dolars", "5"], "train has no option --max-dolars"),
        ([*ASKED, "--learning.stps", "5"], "did you mean '--learning.steps'?"),
        ([*ASKED, "--objective.beta", "-1"], "objective.beta must be above 0, got -1.0"),
        ([*ASKED, "--run.root", "x"], "--run.root is of no use on a rented machine: leave it out"),
        ([*ASKED, "--run.root=x"], "--run.root is of no use on a rented machine: leave it out"),
        (
            [*ASKED, "--run.name", "../x"],
            "--run.name is made of letters, digits, '.', '-' and '_' where a run is rented",
        ),
        ([*ASKED, "--resume", "x"], "--resume is of no use on a rented machine: leave it out"),
        ([*ASKED, "--dry_run"], "--dry-run is of no use on a rented machine: leave it out"),
        (
            [*ASKED, "--run.trackers", "tensorboard"],
            "run.trackers is ['tensorboard'], which the rented machine does not",
        ),
        ([*ASKED, "--warm_start.demonstrations", "x.jsonl"], "/x.jsonl', which the rented machine does not have"),
        (["--preset", "Nope", "--max-dollars", "5"], "there is no preset 'Nope'"),
    ],
)
def test_what_cannot_be_is_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.err.startswith("turngym: ") and said.err.count("\n") == 1 and not said.out


def test_code_of_ones_own_is_not_on_the_rented_machine(own_code: Path) -> None:
    (own_code / "mine.py").touch()
    with pytest.raises(InputError, match=re.escape("run.imports is ['mine'], which the rented machine does not have")):
        plan([*ASKED, "--run.imports", "mine"])


def test_what_would_be_rented_is_shown_without_an_account(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "--price-per-hour", "2.5"]) == 0
    said = capsys.readouterr().out
    assert "Run: frozen_lake-seed0 (turngym/FrozenLake-v0)" in said
    assert "At most: $25, which is 10.00 hours of it, all attempts together" in said


def test_an_attempt_has_time_to_start_and_to_save() -> None:
    assert plan(ASKED).job.shortest == START + 2 * RESERVE
