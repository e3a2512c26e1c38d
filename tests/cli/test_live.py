"""Live tuning from the command line: a run that is tuned, its replay, and what both refuse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cli.pretended import InstallTrainer, pretend
from tests.cli.tiny_run import TINY

from turngym.cli import main
from turngym.trainers.live.changes import Change, write_changes

RUN = "runs/frozen_lake-seed0"
COSTLY = """
[objective]
baseline = "none"
[shaping]
step_cost = 0.1
"""
"""So that there is something to learn from, whoever plays."""


def weights(run: str) -> bytes:
    return Path(run, "checkpoints", "step-000002", "policy", "model.safetensors").read_bytes()


def test_a_replay_ends_in_the_weights_of_the_run_that_was_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY.replace("samples = 2\nextra_samples = 2\n", "") + COSTLY)
    for name in ("plain", "tuned"):
        assert main(["train", "FrozenLake", "--preset", "tiny.toml", "--run.name", name, "--base-only"]) == 0
    live = Path("runs/tuned/live.toml")
    live.write_text("[learning]\nlearning_rate = 0.01\n[objective]\nbeta = 0.2\n")
    os.utime(live, (1e9, 1e9))
    for name in ("plain", "tuned"):
        assert main(["train", "--resume", f"runs/{name}"]) == 0
    assert "live: objective.beta 0.05 to 0.005 -> 0.2, learning.learning_rate" in capsys.readouterr().out
    assert main(["train", "--replay", "runs/tuned", "--evaluation.episodes", "5"]) == 0
    assert "runs/tuned-replay repeats runs/tuned, with 1 live change." in capsys.readouterr().out
    assert weights("runs/tuned-replay") == weights("runs/tuned") != weights("runs/plain")
    assert not Path("runs/tuned-replay/live.toml").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (f"--replay {RUN} --learning.steps 9", "--replay cannot change learning.steps from 100 to 9"),
        (f"--replay {RUN} --run.seed 9", "--replay cannot change run.seed"),
        (f"--replay {RUN} FrozenLake", "--replay repeats a run as it was: leave out ENV"),
        (f"--replay {RUN} --processes 4", "--processes says what --dry-run computes the memory for"),
        ("--replay nowhere", "there is no run folder nowhere"),
        (f"--resume {RUN} --objective.beta 0.1", "from 0.05 to 0.1: it is held live at 0.2; change it in"),
        (f"--resume {RUN} --objective.beta-final 0.1", "cannot change objective.beta_final"),
    ],
)
def test_what_would_be_another_run_is_refused(
    words: str, sentence: str, trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    write_changes(Path(RUN, "live.jsonl"), [Change(step=1, rollbacks=0, values={"objective.beta": 0.2})])
    capsys.readouterr()
    assert main(["train", *words.split()]) == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in Path("runs").iterdir()] == ["frozen_lake-seed0"]


def test_a_run_that_went_on_with_other_settings_is_not_replayed(
    trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    assert main(["train", "--resume", RUN, "--learning.steps", "300"]) == 0
    assert main(["train", "--replay", RUN]) == 2
    assert "went on with other settings after a stop (learning.steps 100 -> 300)" in capsys.readouterr().err
    Path(RUN, "live.jsonl").write_text("half\n")
    assert main(["train", "--resume", RUN, "--learning.steps", "301"]) == 2
    assert "is no change of settings: put the file back" in capsys.readouterr().err
