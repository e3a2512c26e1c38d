"""`train --resume`: what may change freely, what makes a new branch, what cannot change, and runs of other versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tests.cli.pretended import InstallTrainer, pretend
from tests.cli.tiny_run import TINY

from turngym._version import __version__
from turngym.cli import main
from turngym.trainers.config import OBJECTIVE_CONFIGS, TrainConfig, sections
from turngym.trainers.launch.resuming import BRANCHING, FREE, REASONS, steps_done
from turngym.trainers.launch.run_folder import run_config, saved_steps

RUN = "runs/frozen_lake-seed0"
Resume = Callable[..., list[bool]]


@pytest.fixture
def resume(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> Resume:
    """Return a function that goes on with a complete run; it returns the calls of the trainer and checks the code."""
    calls = trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    capsys.readouterr()

    def go_on(*words: str, code: int = 0) -> list[bool]:
        del calls[:]
        assert main(["train", "--resume", RUN, *words]) == code
        return list(calls)

    return go_on


def lines_of(phase: str) -> list[dict[str, object]]:
    """Return the lines of a phase in the run's metrics."""
    lines = [json.loads(line) for line in Path(RUN, "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == phase]


def test_every_setting_is_known() -> None:
    known = {f"{name}.{part.name}" for name, section in sections(TrainConfig()).items() for part in fields(section)}
    known |= {f"objective.{part.name}" for kind in OBJECTIVE_CONFIGS.values() for part in fields(kind)}
    assert known >= FREE | BRANCHING and not FREE & BRANCHING
    assert {name.partition(".")[0] for name in known - FREE - BRANCHING} <= set(REASONS)


def test_what_touches_no_learning_changes_freely(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    Path(RUN, "result.json").unlink()
    assert resume("--run.checkpoint-every", "7", "--evaluation.episodes", "9") == [True]
    config = run_config(Path(RUN))
    assert (config.run.checkpoint_every, config.evaluation.episodes) == (7, 9)
    assert not lines_of("branch") and "branch" not in capsys.readouterr().out


def test_a_free_change_of_a_complete_run_shows_its_result(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    assert resume("--run.threads", "2") == []
    assert "is complete" in capsys.readouterr().out and not lines_of("branch")


def test_more_steps_make_a_new_branch_of_a_complete_run(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    first = Path(RUN, "result.json").read_text()
    before: Any = run_config(Path(RUN)).objective
    assert resume("--learning.steps", "300", "--objective.beta", "0.1") == [True]
    said = "objective.beta 0.05 -> 0.1, learning.steps 100 -> 300"
    assert f"A new branch of the run: {said}." in capsys.readouterr().out
    assert lines_of("branch") == [{"phase": "branch", "changed": said.split(", "), "version": __version__}]
    assert Path(RUN, "result-before-branch-1.json").read_text() == first and Path(RUN, "result.json").is_file()
    config = run_config(Path(RUN))
    assert config.learning.steps == 300 and config.objective == replace(before, beta=0.1)
    assert resume("--learning.steps", "400") == [True] and len(lines_of("branch")) == 2
    assert Path(RUN, "result-before-branch-2.json").is_file()


def halfway(generated: int = 0) -> None:
    """Give the run, of 100 steps, a checkpoint after step 49, of which the schedules read their counts."""
    Path(RUN, "result.json").unlink()
    folder = Path(RUN, "checkpoints", "step-000049")
    folder.mkdir(parents=True)
    schedule = {"step": 49, "rollbacks": 0, "stage_one_tokens": 0, "generated_tokens": generated, "counted": []}
    (folder / "state.json").write_text(json.dumps({"step": 49, "extra": {"schedule": schedule}}))


BETA = "objective.beta is {}, and was to be 0.016: it "
RATE = "learning.learning_rate is {}, and was to be 0.000604: it "
FALLS = "goes from objective.beta {} in step 1 to objective.beta_final 0.005 in step {}."


@pytest.mark.parametrize(
    ("words", "told"),
    [  # beta falls geometrically: at 49/99 of the way from 0.05 to 0.005 it is 0.05 * 0.1 ** (49 / 99) = 0.0160
        ("--objective.beta 0.1", [BETA.format(0.0227) + FALLS.format(0.1, 100)]),
        ("--objective.beta 0.1 --objective.beta-final 0.1", [BETA.format(0.1) + "stays at 0.1."]),
        ("--learning.steps 50", [BETA.format(0.005) + FALLS.format(0.05, 50),
                                 RATE.format(0.0002) + "goes from learning.learning_rate 0.001 in step 1 to "
                                 "learning.final_learning_rate 0.0002 in step 50."]),
        ("--learning.final-learning-rate 1e-3", [RATE.format(0.001) + "stays at 0.001."]),
        ("--learning.fresh-share 0.9", []),
    ],
)  # fmt: skip
def test_a_branch_says_where_its_schedules_are(
    words: str, told: list[str], resume: Resume, capsys: pytest.CaptureFixture[str]
) -> None:
    halfway()
    for more in (["--dry-run"], []):
        resume(*words.split(), *more)
        said = [line.removeprefix("# ") for line in capsys.readouterr().out.splitlines()]
        assert [line for line in said if line.startswith("In step")] == [f"In step 50, {line}" for line in told]


def test_a_schedule_by_tokens_and_one_that_had_ended(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    halfway(generated=8000)  # 0.8 of the tokens: 0.05 * 0.1 ** 0.8
    resume("--learning.max-tokens", "10000", "--dry-run")
    said = BETA.format(0.00792) + FALLS.format(0.05, "100 or token 10000")
    assert said in capsys.readouterr().out
    Path(RUN, "checkpoints", "step-000049").rename(Path(RUN, "checkpoints", "step-000100"))
    state = Path(RUN, "checkpoints", "step-000100", "state.json")
    state.write_text(state.read_text().replace("49", "100"))
    resume("--learning.steps", "200", "--objective.beta", "0.005", "--dry-run")
    said = "In step 101, objective.beta is 0.005, and the run had ended at 0.005: it stays at 0.005."
    assert said in capsys.readouterr().out


def test_a_dry_run_of_a_branch_touches_nothing(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in Path(RUN).iterdir()}
    assert resume("--learning.steps", "300", "--dry-run") == []
    assert "# 3. stage 2: 300 steps" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in Path(RUN).iterdir()} == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--run.seed 5", "cannot change run.seed from 0 to 5: everything random was drawn from this seed"),
        ("--model.layers 3", "cannot change model.layers from 4 to 3: the weights have this shape"),
        ("--model.context-length 90", "from 1024 to 90: its episodes were played within this limit"),
        ("--learning.temperature 0.9", "from 1.0 to 0.9: its episodes were sampled at this temperature"),
        ("--values.instances 9", "cannot change values.instances from 512 to 9: stage 1 has been played"),
        ("--warm-start.course-steps 9", "the base has been cloned"),
        ("--shaping.step-cost 0.1", "stage 1 was paid with these rewards"),
        ("--objective.optimal-baseline false", "the values and the optimizer belong to this objective"),
        ("--learning.batch-size 64", "cannot change learning.batch_size from 128 to 64"),
        ('--curriculum.levels [{"size":3}]', "the levels have their own instances"),
        ('--env.kwargs {"size":3}', "the policy was taught this environment"),
        ("--algorithm grpo", "--resume continues a run as it was started: leave out ENV, --preset and --algorithm"),
        ("FrozenLake", "leave out ENV, --preset and --algorithm"),
        ("--preset frozen_lake", "leave out ENV, --preset and --algorithm"),
        ("--learning.steps 0", "learning.steps must be at least 1, got 0"),
        ("--learning.step 9", "did you mean '--learning.steps'?"),
    ],
)
def test_the_rest_is_refused_with_its_reason(
    words: str, sentence: str, resume: Resume, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in Path(RUN).iterdir()}
    assert resume(*words.split(), code=2) == []
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert {path.name: path.read_bytes() for path in Path(RUN).iterdir()} == before


def test_a_policy_is_offered_where_there_is_one(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    assert resume("--run.seed", "5", code=2) == []
    assert capsys.readouterr().err.endswith("; start another run for that\n")
    Path(RUN, "checkpoints", "step-000100").mkdir(parents=True)
    assert resume("--run.seed", "5", code=2) == []
    assert capsys.readouterr().err.endswith(f", from this one's policy with --model.path {RUN} if you like\n")


def test_steps_that_were_learned_are_not_taken_back(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    Path(RUN, "checkpoints", "step-000090").mkdir(parents=True)
    assert resume("--learning.steps", "80", code=2) == []
    assert f"cannot lower learning.steps to 80: {RUN} has learned for 90 already" in capsys.readouterr().err
    assert resume("--learning.steps", "95") == [True]


def test_a_copy_of_a_checkpoint_is_no_step(resume: Resume) -> None:
    for name in ("step-000100", "step-000150.old", "step-000900-backup", "step-abc"):
        Path(RUN, "checkpoints", name).mkdir(parents=True)
    assert [step for step, _ in saved_steps(Path(RUN))] == [150, 100] and steps_done(Path(RUN)) == 150
    assert resume("--learning.steps", "160") == [True]


@pytest.mark.parametrize("version", ['version = "0.0.9"\n', ""])
def test_a_run_of_another_version_is_not_continued(
    version: str, resume: Resume, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path(RUN, "config.toml")
    config.write_text(config.read_text().replace(f'version = "{__version__}"\n', version))
    assert resume(code=2) == []
    writer = "turngym 0.0.9" if version else "an earlier version"
    assert f"was written by {writer}, and this is {__version__}" in capsys.readouterr().err


def test_what_is_no_run_is_not_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", "runs/none"]) == 2
    assert main(["train", "--resume", "."]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "there is no run folder runs/none" in lines[0] and "config.toml cannot be read" in lines[1]


def test_a_complete_run_really_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("frozen_lake.toml").write_text(TINY)
    assert main(["train", "--preset", "frozen_lake.toml", "--run.checkpoint-every", "1"]) == 0
    assert [line["step"] for line in lines_of("learning")] == [1, 2]
    before = Path(RUN, "metrics.jsonl").read_text()
    capsys.readouterr()
    assert main(["train", "--resume", RUN, "--learning.steps", "3"]) == 0
    out = capsys.readouterr().out
    assert "A new branch of the run: learning.steps 2 -> 3." in out and "trained, greedy" in out
    assert Path(RUN, "metrics.jsonl").read_text().startswith(before)
    assert [line["step"] for line in lines_of("learning")] == [1, 2, 3] and len(lines_of("branch")) == 1
    results = [json.loads(Path(RUN, name).read_text()) for name in ("result-before-branch-1.json", "result.json")]
    assert results[0]["generated_tokens"]["learning"] < results[1]["generated_tokens"]["learning"]
