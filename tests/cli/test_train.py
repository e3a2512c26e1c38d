"""`train`: what would run, what runs, what is left behind; with a trainer that only pretends to learn."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from turngym.agents.evaluation import Score, wilson_interval
from turngym.cli import main
from turngym.cli.config import read_config
from turngym.trainers.config import TrainConfig
from turngym.trainers.reporting.progress import Progress

Trainer = Callable[[TrainConfig, Path, Progress], dict[str, Any]]


def result(config: TrainConfig) -> dict[str, Any]:
    """Return a result as a run writes it."""
    score = Score(episodes=50, successes=40, rate=0.8, interval=wilson_interval(40, 50), mean_return=0.8,
                  mean_turns=4.0, mean_tokens=9.0, seconds=1.0, errors=0).to_dict()  # fmt: skip
    names = ("random", "base_sampled", "base_greedy", "trained_sampled", "trained_greedy")
    return {"env_id": config.env.id, "optimum": 1.0, "seconds": {"astarpo": 2.0}, **dict.fromkeys(names, score)}


def pretend(config: TrainConfig, folder: Path, progress: Progress) -> dict[str, Any]:
    """Learn nothing, quickly."""
    progress.phase("astarpo", 2)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for step in (1, 2):
            progress.advance(success=step / 2)
            file.write(json.dumps({"phase": "astarpo", "step": step, "success": step / 2}) + "\n")
    (folder / "result.json").write_text(json.dumps(result(config)), encoding="utf-8")
    return result(config)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Trainer], list[bool]]:
    """Return a function that puts a trainer in place; it returns the list of its calls' `resume`."""
    monkeypatch.chdir(tmp_path)

    def install(trainer: Trainer) -> list[bool]:
        calls: list[bool] = []

        def train(config: TrainConfig, folder: Path, progress: Progress, *, resume: bool = False) -> dict[str, Any]:
            calls.append(resume)
            return trainer(config, folder, progress)

        module = ModuleType("turngym.trainers.run")
        module.train = train  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "turngym.trainers.run", module)
        return calls

    return install


def test_a_run_leaves_its_folder_and_a_table(
    trainer: Callable[[Trainer], list[bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = trainer(pretend)
    assert main(["train", "frozenlake", "--run.seed", "7", "--astarpo.steps", "2"]) == 0
    folder = Path("runs/frozen_lake-seed7")
    files = {path.name for path in folder.iterdir()}
    assert files == {"config.toml", "metrics.jsonl", "result.json", "learning_curve.png", "report.html"}
    config = read_config(folder / "config.toml")
    assert (config.run.seed, config.astarpo.steps, config.run.name) == (7, 2, "frozen_lake-seed7")
    assert config.env.id == "turngym/FrozenLake-v0" and calls == [False]
    captured = capsys.readouterr()
    assert "trained, greedy" in captured.out and "[0.670, 0.888]" in captured.out and captured.err == ""
    assert "Report: runs/frozen_lake-seed7/report.html" in captured.out
    assert "turngym play FrozenLake --agent runs/frozen_lake-seed7" in captured.out


def test_a_run_is_never_overwritten(
    trainer: Callable[[Trainer], list[bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = trainer(pretend)
    assert main(["train", "FrozenLake", "--run.name", "my run"]) == 0
    capsys.readouterr()
    assert main(["train", "FrozenLake", "--run.name", "my run"]) == 2
    message = capsys.readouterr().err
    assert "exists already" in message and "--resume 'runs/my run'" in message and "--run.name 'my run-b'" in message
    assert len(calls) == 1


def test_ctrl_c_says_the_command_that_resumes(
    trainer: Callable[[Trainer], list[bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(config: TrainConfig, folder: Path, progress: Progress) -> dict[str, Any]:
        progress.phase("astarpo", 10)
        progress.advance(3)
        raise KeyboardInterrupt

    trainer(interrupted)
    assert main(["train", "FrozenLake"]) == 130
    captured = capsys.readouterr()
    assert captured.err == "Stopped. Continue with: turngym train --resume runs/frozen_lake-seed0\n"
    assert "astarpo (stopped): 3/10" in captured.out
    calls = trainer(pretend)
    assert main(["train", "--resume", "runs/frozen_lake-seed0"]) == 0
    assert calls == [True] and "trained, greedy" in capsys.readouterr().out


def test_resuming_a_complete_run_shows_its_result(
    trainer: Callable[[Trainer], list[bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = trainer(pretend)
    main(["train", "FrozenLake"])
    capsys.readouterr()
    assert main(["train", "--resume", "runs/frozen_lake-seed0"]) == 0
    out = capsys.readouterr().out
    assert "is complete" in out and "trained, greedy" in out and len(calls) == 1
    Path("runs/frozen_lake-seed0/result.json").write_text("{")
    assert main(["train", "--resume", "runs/frozen_lake-seed0"]) == 2


def test_a_run_resumes_as_it_was_started(
    trainer: Callable[[Trainer], list[bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(pretend)
    main(["train", "FrozenLake"])
    run = "runs/frozen_lake-seed0"
    capsys.readouterr()
    for words, sentence in [
        (["--run.seed", "5"], "run.seed cannot change"),
        (["--algorithm", "grpo"], "astarpo.objective cannot change"),
        (["FrozenLake"], "leave out ENV and --preset"),
        (["--preset", "frozen_lake"], "leave out ENV and --preset"),
    ]:
        assert main(["train", *words, "--resume", run]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["train", "--resume", "runs/none"]) == 2
    assert main(["train", "--resume", "."]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_failure_that_explains_itself_is_one_sentence(
    trainer: Callable[[Trainer], list[bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    from turngym.agents.language_model import CheckpointError, NonFiniteError
    from turngym.trainers.monitoring.alarms import AlarmError

    reasons = [NonFiniteError("the loss is nan"), CheckpointError("x holds no model"), AlarmError("alarm kl_tax")]
    for number, (error, code) in enumerate(zip(reasons, (1, 2, 1), strict=True)):

        def failing(config: TrainConfig, folder: Path, progress: Progress, error: Exception = error) -> dict[str, Any]:
            raise error

        trainer(failing)
        assert main(["train", "FrozenLake", "--run.name", f"run{number}"]) == code
        captured = capsys.readouterr()
        assert captured.err.startswith(f"turngym: {error}") and captured.err.count("\n") == 1


def test_alarms_stand_below_the_table(
    trainer: Callable[[Trainer], list[bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(lambda config, folder, progress: {**result(config), "alarms": {"kl_tax": 2}, "rollbacks": 1})
    assert main(["train", "FrozenLake"]) == 0
    assert "\nAlarms: kl_tax 2; rollbacks: 1 (details in metrics.jsonl)\n" in capsys.readouterr().out


def test_an_alarm_cannot_do_just_anything(
    trainer: Callable[[Trainer], list[bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert trainer(pretend) == [] and main(["train", "FrozenLake", "--monitors.on-alarm", "halt"]) == 2
    assert "must be warn, stop or rollback, got 'halt'" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_bug_in_training_is_not_hidden(trainer: Callable[[Trainer], list[bool]]) -> None:
    def buggy(config: TrainConfig, folder: Path, progress: Progress) -> dict[str, Any]:
        raise ZeroDivisionError

    trainer(buggy)
    with pytest.raises(ZeroDivisionError):
        main(["train", "FrozenLake"])


def test_a_dry_run_touches_nothing_and_prints_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "FrozenLakeSlippery", "--dry-run", "--env.kwargs", '{"size": 5}', "--run.seed", "2"]) == 0
    assert list(tmp_path.iterdir()) == []
    text = capsys.readouterr().out
    (tmp_path / "again.toml").write_text(text)  # the plan below the configuration is a comment
    config = read_config(tmp_path / "again.toml")
    assert config.env.kwargs == {"size": 5} and config.run.seed == 2
    assert "runs/frozen_lake_slippery-seed2" in text and "# 3. stage 2:" in text
    assert main(["train", "--preset", "again.toml", "--dry-run"]) == 0
    assert capsys.readouterr().out == text


def test_a_dry_run_names_everything_that_is_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = (
        "--algorithm astarpo_turn --objectives.baseline state_tracker --astarpo.max-tokens 5000 "
        "--astarpo.reset-every 20 --values.explorer-temperatures 1.5 2.5"
    )
    levels = ["--curriculum.levels", '[{"size": 3}]']
    assert main(["train", "FrozenLake", "--dry-run", *flags.split(), *levels]) == 0
    text = capsys.readouterr().out
    assert "512 more, explorers: temperature 1.5, temperature 2.5\n" in text
    assert (
        "# 3. stage 2: 200 steps of 128 episodes, objective astarpo_turn, at most 5000 generated tokens, "
        "easier levels: 1, a new reference and its stage 1 every 20 steps\n"
    ) in text
    (tmp_path / "again.toml").write_text(text)  # long lines stay comments
    assert read_config(tmp_path / "again.toml").astarpo.reset_every == 20


def test_an_algorithm_is_named_for_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "MultiplicationSteps", "--algorithm", "grpo", "--dry-run"]) == 0
    short = capsys.readouterr().out
    assert 'objective = "grpo"' in short and "runs/multiplication_steps-grpo-seed0" in short
    assert "stage 1" not in short and "# 2. stage 2: 500 steps of 128 episodes, objective grpo" in short
    assert main(["train", "MultiplicationSteps", "--astarpo.objective", "grpo", "--dry-run"]) == 0
    assert capsys.readouterr().out == short
    assert main(["train", "MultiplicationSteps", "--algorithm", "astarpo_turn", "--dry-run"]) == 0
    assert "runs/multiplication_steps-seed0" in capsys.readouterr().out


def test_an_algorithm_brings_its_settings_which_give_way(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "MultiplicationSteps", "--algorithm", "astarpo_lambda", "--dry-run"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert 'objective = "astarpo_turn"' in text and "runs/multiplication_steps-astarpo_lambda-seed0" in text
    assert 'baseline = "state_tracker"' in text and "turn_lambda = 0.5" in text
    assert main([*words, "--objectives.turn-lambda", "0.8", "--run.name", "other"]) == 0
    text = capsys.readouterr().out
    assert "turn_lambda = 0.8" in text and "runs/other" in text


def test_a_preset_gives_way_to_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "FrozenLake8x8", "--preset", "frozen_lake_slippery", "--warm-start.success-low", "0.2",
                 "--dry-run"]) == 0  # fmt: skip
    text = capsys.readouterr().out
    assert 'id = "turngym/FrozenLake8x8-v0"' in text and "success_low = 0.2" in text


def test_a_curriculum_belongs_to_its_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "graded.toml"
    preset.write_text('[env]\nid = "turngym/FrozenLake-v0"\n[curriculum]\nlevels = [{ size = 3 }]\nfloor = 0.2\n')
    assert main(["train", "--preset", str(preset), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert 'levels = [{"size" = 3}]' in text and "objective astarpo, easier levels: 1" in text
    assert main(["train", "Countdown", "--preset", str(preset), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "levels = []" in text and "floor = 0.2" in text and "easier levels" not in text


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list-presets"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["countdown_steps", "CountdownSteps"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "train needs ENV, such as FrozenLake"),
        (["FrozenLak3"], "did you mean 'FrozenLake'?"),
        (["FrozenLake", "--preset", "frozenlake"], "there is no preset 'frozenlake'; did you mean 'frozen_lake'?"),
        (["FrozenLake", "--astarpo.batchsize", "3"], "did you mean '--astarpo.batch-size'?"),
        (["FrozenLake", "--astarpo.batch-size", "0"], "--astarpo.batch-size must be at least 1"),
        (["FrozenLake", "--astarpo.beta", "tiny"], "--astarpo.beta takes a number, not 'tiny'"),
        (
            ["--values.explorer-temperatures", "2", "FrozenLake"],
            "--values.explorer-temperatures takes a number, not 'Fro",
        ),
        (["FrozenLake", "--values.explorer-temperatures", "2", "0"], "must be numbers above 0, got 2.0 0.0"),
        (["FrozenLake", "--astarpo.objective", "astarp"], "did you mean 'astarpo'?"),
        (["FrozenLake", "--algorithm", "grppo"], "did you mean 'grpo'?"),
        (["FrozenLake", "--algorithm", "grpo", "--astarpo.objective", "ppo"], "the objective is named twice"),
        (["FrozenLake", "--algorithm", "astarpo_lambda", "--astarpo.objective", "ppo"], "the objective is named twice"),
        (["FrozenLake", "--algorithm", "grpo", "--astarpo.group-size", "1"], "must be at least 2, or 0 for 4, got 1"),
        (["FrozenLake", "--algorithm", "grpo", "--astarpo.batch-size", "10"], "a multiple of the group size 4, got 10"),
        (["FrozenLake", "--objectives.filter", "top-p"], "did you mean 'top_p'?"),
        (["FrozenLake", "--env.id", "turngym/FrozenLakeWindy-v0"], "the environment is named twice"),
        (["FrozenLake", "--env.kwargs", '{"sise": 5}'], "did you mean 'size'?"),
        (["FrozenLake", "--env.kwargs", '{"action_budget": null}'], "env.kwargs holds None"),
        (["FrozenLake", "--curriculum.levels", '[{"sise": 3}]'], "levels[0] {'sise': 3} cannot be made"),
        (["FrozenLake", "--model.hidden-size", "63"], "must be a multiple of 8"),
        (["FrozenLake", "--model.path", "nowhere"], "there is no folder nowhere"),
        (["FrozenLake", "--values.explorer-models", "nowhere"], "there is no folder nowhere"),
        (["FrozenLake", "--run.root", "file"], "cannot be created"),
    ],
)
def test_what_cannot_be_trained(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert main(["train", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
    assert sentence in captured.err
    assert not Path("runs").exists()


def test_without_the_extra_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(module: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("turngym.cli.players.import_module", absent)
    assert main(["train", "FrozenLake"]) == 2
    assert "install it with: pip install 'turngym[train]'" in capsys.readouterr().err
    assert not Path("runs").exists()
