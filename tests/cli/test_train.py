"""`train`: what runs and what is left behind, with a trainer that only pretends to learn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.cli.pretended import InstallTrainer, pretend, pretended_result
from tests.cli.tiny_run import TINY

from turngym._version import __version__
from turngym.cli import main
from turngym.cli.errors import UsageError
from turngym.cli.train import check_alone
from turngym.extras import install_command
from turngym.trainers.config import TrainConfig, parse_toml
from turngym.trainers.launch.run_folder import run_config
from turngym.trainers.reporting.progress import Progress

RUN = "runs/frozen_lake-seed0"


def test_a_run_leaves_its_folder_and_a_table(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    calls = trainer(pretend)
    assert main(["train", "frozenlake", "--run.seed", "7", "--learning.steps", "2"]) == 0
    folder = Path("runs/frozen_lake-seed7")
    files = {path.name for path in folder.iterdir()}
    configured = {"config.toml", "config.used.toml", "run.lock"}
    assert files == {*configured, "metrics.jsonl", "result.json", "learning_curve.png", "report.html"}
    assert (folder / "config.toml").read_text().startswith(f'version = "{__version__}"\n')
    config = run_config(folder)
    assert (config.run.seed, config.learning.steps, config.run.name) == (7, 2, "frozen_lake-seed7")
    assert config.env.id == "turngym/FrozenLake-v0" and calls == [False]
    captured = capsys.readouterr()
    assert "trained, greedy" in captured.out and "[0.670, 0.888]" in captured.out and captured.err == ""
    assert "Report: runs/frozen_lake-seed7/report.html" in captured.out
    assert "turngym play turngym/FrozenLake-v0 --agent runs/frozen_lake-seed7" in captured.out


def test_a_run_is_never_overwritten(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    calls = trainer(pretend)
    assert main(["train", "FrozenLake", "--run.name", "my run"]) == 0
    capsys.readouterr()
    assert main(["train", "FrozenLake", "--run.name", "my run"]) == 2
    message = capsys.readouterr().err
    assert "exists already" in message and "--resume 'runs/my run'" in message and "--run.name 'my run-b'" in message
    assert len(calls) == 1


def test_ctrl_c_says_the_command_that_resumes(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(config: TrainConfig, folder: Path, progress: Progress) -> dict[str, Any]:
        progress.phase("learning", 10)
        progress.advance(3)
        raise KeyboardInterrupt

    trainer(interrupted)
    assert main(["train", "FrozenLake", "--run.name", "my run"]) == 130
    captured = capsys.readouterr()
    assert captured.err == "Stopped. Continue with: turngym train --resume 'runs/my run'\n"
    assert "learning (stopped): 3/10" in captured.out
    calls = trainer(pretend)
    assert main(["train", "--resume", "runs/my run"]) == 0
    assert calls == [True] and "trained, greedy" in capsys.readouterr().out


def test_resuming_a_complete_run_shows_its_result(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    calls = trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", RUN]) == 0
    out = capsys.readouterr().out
    assert "is complete" in out and "trained, greedy" in out and len(calls) == 1
    Path(RUN, "result.json").write_text("{")
    assert main(["train", "--resume", RUN]) == 2


def test_a_failure_that_explains_itself_is_one_sentence(
    trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    from turngym.agents.models.language_model import CheckpointError, NonFiniteError
    from turngym.trainers.monitoring.alarms import AlarmError

    reasons = [NonFiniteError("the loss is nan"), CheckpointError("x holds no model"), AlarmError("alarm kl_tax")]
    for number, (error, code) in enumerate(zip(reasons, (1, 2, 1), strict=True)):

        def failing(config: TrainConfig, folder: Path, progress: Progress, error: Exception = error) -> dict[str, Any]:
            raise error

        trainer(failing)
        assert main(["train", "FrozenLake", "--run.name", f"run{number}"]) == code
        captured = capsys.readouterr()
        assert captured.err.startswith(f"turngym: {error}") and captured.err.count("\n") == 1


def test_alarms_stand_below_the_table(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(lambda config, folder, progress: {**pretended_result(config), "alarms": {"kl_tax": 2}, "rollbacks": 1})
    assert main(["train", "FrozenLake"]) == 0
    assert "\nAlarms: kl_tax 2; rollbacks: 1 (details in metrics.jsonl)\n" in capsys.readouterr().out


def test_trackers_get_the_picture_and_are_closed(trainer: InstallTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.told: list[str] = []

        def picture(self, name: str, path: Path) -> None:
            self.told.append(str(path))

        def close(self) -> None:
            self.told.append("closed")

    recorder, asked = Recorder(), []

    def make(names: Sequence[str], folder: Path, config: dict[str, Any]) -> list[Recorder]:
        asked.extend([*names, folder.name, config["run"]["name"]])
        return [recorder]

    monkeypatch.setattr("turngym.trainers.reporting.trackers.make_trackers", make)
    trainer(pretend)
    assert main(["train", "FrozenLake", "--run.trackers", "tensorboard"]) == 0
    assert asked == ["tensorboard", "frozen_lake-seed0", "frozen_lake-seed0"]
    assert recorder.told == [f"{RUN}/learning_curve.png", "closed"]


def test_a_bug_in_training_is_not_hidden(trainer: InstallTrainer) -> None:
    def buggy(config: TrainConfig, folder: Path, progress: Progress) -> dict[str, Any]:
        raise ZeroDivisionError

    trainer(buggy)
    with pytest.raises(ZeroDivisionError):
        main(["train", "FrozenLake"])


def test_without_the_extra_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(module: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("turngym.cli.models.import_module", absent)
    assert main(["train", "FrozenLake"]) == 2
    assert f"install it with: {install_command('train')}" in capsys.readouterr().err
    assert not Path("runs").exists()


# What would run -----------------------------------------------------------------------------------------------------


def test_a_dry_run_touches_nothing_and_prints_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "FrozenLakeSlippery", "--dry-run", "--env.kwargs", '{"size": 5}', "--run.seed", "2"]) == 0
    assert list(tmp_path.iterdir()) == []
    text = capsys.readouterr().out
    (tmp_path / "again.toml").write_text(text)  # the plan below the configuration is a comment
    config = parse_toml(text, source="the output")
    assert config.env.kwargs == {"size": 5} and config.run.seed == 2
    assert "runs/frozen_lake_slippery-seed2" in text and "# 3. stage 2:" in text
    assert main(["train", "--preset", "again.toml", "--dry-run"]) == 0
    assert capsys.readouterr().out == text


def test_a_dry_run_tells_the_memory_of_several_processes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "FrozenLake", "--model.hidden-size", "512"]
    assert main([*words, "--dry-run"]) == 0
    alone = capsys.readouterr().out
    assert "# Memory, computed from the configuration, GB:" in alone and "gathered weights" not in alone
    assert main([*words, "--dry-run", "--processes", "4"]) == 0
    each = capsys.readouterr().out
    assert "# Memory of each of 4 processes, computed from the configuration, GB:" in each
    peaks = [float(re.findall(r"#\s+(\S+)\s+.* \(peak\)", text)[0]) for text in (alone, each)]
    assert peaks[1] < peaks[0]
    assert main([*words, "--processes", "4"]) == 2
    assert "torchrun --nproc-per-node 4 -m turngym train" in capsys.readouterr().err
    assert main([*words, "--dry-run", "--processes", "-1"]) == 2
    assert "--processes must be at least 1, got -1" in capsys.readouterr().err


def test_a_dry_run_names_everything_that_is_played(capsys: pytest.CaptureFixture[str]) -> None:
    flags = (
        "--algorithm astarpo_turn --objective.baseline state_tracker --learning.max-tokens 5000 "
        "--learning.reset-every 20 --values.explorer-temperatures 1.5 2.5 "
        "--values.explorer-agents oracle --values.explorer-processes 2"
    )
    levels = ["--curriculum.levels", '[{"size": 3}]']
    assert main(["train", "FrozenLake", "--dry-run", *flags.split(), *levels]) == 0
    text = capsys.readouterr().out
    assert "512 more, explorers in 2 processes: temperature 1.5, temperature 2.5, oracle\n" in text
    assert (
        "# 3. stage 2: 100 steps of 128 episodes, objective astarpo_turn, at most 5000 generated tokens, "
        "easier levels: 1, a new reference and its stage 1 every 20 steps\n"
    ) in text
    assert parse_toml(text, source="the output").learning.reset_every == 20  # long lines stay comments


def test_an_algorithm_is_an_objective_with_its_own_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "MultiplicationSteps", "--algorithm", "grpo", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert '[objective]\nname = "grpo"' in text and "runs/multiplication_steps-grpo-seed0" in text
    assert "stage 1" not in text and "# 2. stage 2: 500 steps of 128 episodes, objective grpo" in text
    assert main(["train", "MultiplicationSteps", "--algorithm", "astarpo_turn", "--dry-run"]) == 0
    assert "runs/multiplication_steps-seed0" in capsys.readouterr().out


def test_an_algorithm_brings_its_settings_which_give_way(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "MultiplicationSteps", "--algorithm", "astarpo_lambda", "--dry-run"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert 'name = "astarpo_turn"' in text and "runs/multiplication_steps-astarpo_lambda-seed0" in text
    assert 'baseline = "state_tracker"' in text and "turn_lambda = 0.5" in text
    assert main([*words, "--objective.turn-lambda", "0.8", "--run.name", "other"]) == 0
    text = capsys.readouterr().out
    assert "turn_lambda = 0.8" in text and "runs/other" in text


def test_a_preset_gives_way_to_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--preset", "frozen_lake_slippery", "--warm-start.success-low", "0.2", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert 'id = "turngym/FrozenLakeSlippery-v0"' in text and "success_low = 0.2" in text and "beta = 0.02" in text


def test_a_file_may_be_a_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "graded.toml"
    preset.write_text('[env]\nid = "turngym/FrozenLake-v0"\n[curriculum]\nlevels = [{ size = 3 }]\nmin_share = 0.2\n')
    assert main(["train", "--preset", str(preset), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert 'levels = [{"size" = 3}]' in text and "min_share = 0.2" in text and "easier levels: 1" in text
    assert "runs/graded-seed0" in text


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list-presets"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["countdown", "Countdown"]


def test_a_base_alone_is_made_and_learned_from_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    assert main(["train", "--preset", "tiny.toml", "--base-only"]) == 0
    run = Path("runs/tiny-seed0")
    assert f"{run}/base is the base. Continue with: turngym train --resume {run}" in capsys.readouterr().out
    weights = (run / "base" / "model.safetensors").read_bytes()
    assert not (run / "checkpoints").exists() and not (run / "values.sqlite").exists()
    assert main(["train", "--resume", str(run)]) == 0
    assert (run / "result.json").is_file() and (run / "base" / "model.safetensors").read_bytes() == weights
    monkeypatch.setattr("turngym.cli.train.launched", lambda: 2)
    with pytest.raises(UsageError, match="--base-only is for one process"):
        check_alone(base_only=True)
