"""Training from Python: a name or a configuration in, a table and an agent out, and refusals that leave nothing."""

from __future__ import annotations

import inspect
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import turngym
from turngym._errors import InputError
from turngym.agents import collect_episodes, instance_range
from turngym.cli import main
from turngym.trainers.config import (
    AstarpoConfig,
    CurriculumConfig,
    EnvConfig,
    EvaluationConfig,
    LearningConfig,
    ModelConfig,
    RlooConfig,
    RunConfig,
    ShapingConfig,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
)
from turngym.trainers.launch import training
from turngym.trainers.launch.run_folder import run_config
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.reporting.tables import ROWS
from turngym.trainers.run_lock import check_unused

TINY: Any = {
    "env": {"kwargs": {"size": 2}},
    "model": {"hidden_size": 16, "layers": 1, "heads": 2, "copying": False, "max_reply_tokens": 3},
    "warm_start": {"enabled": False},
    "values": {"instances": 4, "samples": 2, "extra_samples": 2},
    "learning": {"steps": 2, "batch_size": 8},
    "evaluation": {"episodes": 4},
}
"""A whole run in a second, of a model that knows nothing."""


def tiny_config(root: Path) -> TrainConfig:
    """Return the same as a configuration."""
    return TrainConfig(
        env=EnvConfig(**TINY["env"]), model=ModelConfig(**TINY["model"]), warm_start=WarmStartConfig(enabled=False),
        values=ValueConfig(**TINY["values"]), learning=LearningConfig(**TINY["learning"]),
        evaluation=EvaluationConfig(episodes=4), run=RunConfig(root=str(root)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> training.TrainingResult:
    """Return the result of a run that was begun by the environment's name."""
    root = tmp_path_factory.mktemp("runs")
    return turngym.train("FrozenLake", run={"name": "mine", "root": str(root)}, **TINY)


def test_a_result_is_a_table(result: turngym.TrainingResult) -> None:
    lines = str(result).splitlines()
    assert [line.split("  ")[0] for line in lines[: 1 + len(ROWS)]] == ["agent", *ROWS.values()]
    assert lines[1 + len(ROWS)] == "4 episodes of 1 instance; of others the interval says nothing."
    assert set(result.scores) == {*ROWS} - {"optimum"} and result.scores["trained_greedy"].episodes == 4
    assert result.optimum == 1.0 and f"{result.scores['random'].rate:.3f}" in lines[1]
    assert replace(result, record={}).optimum is None


def test_a_run_folder_is_left_that_the_command_line_reads(result: turngym.TrainingResult) -> None:
    assert result.folder.name == "mine" and run_config(result.folder) == result.config
    assert result.config.env.kwargs == {"size": 2} and result.config.model.max_reply_tokens == 3
    assert training.read_result(result.folder) == json.loads(json.dumps(result.record))


def test_the_agent_of_a_run_plays(result: turngym.TrainingResult) -> None:
    agent = turngym.load_agent(result.folder, temperature=0.5, slots=2)
    assert (agent.max_reply_tokens, agent.greedy, agent.temperature) == (3, False, 0.5)
    instances = instance_range("test", 3)
    episodes = collect_episodes(agent, "turngym/FrozenLake-v0", instances, env_kwargs={"size": 2}, slots=2)
    assert len(episodes) == 3 and all(1 <= turn.span[1] - turn.span[0] <= 3 for e in episodes for turn in e.turns)
    assert turngym.load_agent(str(result.folder / "base"), greedy=True).greedy
    with pytest.raises(InputError, match="there is no folder nowhere"):
        turngym.load_agent("nowhere")


def test_a_folder_is_never_overwritten_but_resumed(result: turngym.TrainingResult) -> None:
    run = {"name": "mine", "root": str(result.folder.parent)}
    before = (result.folder / "metrics.jsonl").read_text()
    with pytest.raises(InputError, match=r"mine exists already; continue that run .*resume=True"):
        turngym.train("FrozenLake", run=run, **TINY)
    assert (result.folder / "metrics.jsonl").read_text() == before
    (result.folder / "result.json").unlink()
    again = turngym.train("FrozenLake", run=run, resume=True)
    assert again.config == result.config, "as it was configured"
    assert again.scores.keys() == result.scores.keys()
    rates = [{name: score.rate for name, score in one.scores.items()} for one in (again, result)]
    assert rates[0] == rates[1] and (result.folder / "metrics.jsonl").read_text() == before


def test_a_run_that_was_moved_goes_on_from_another_folder(
    result: turngym.TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Begun from a folder beside its model, with an edit of its configuration on the way."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shutil.copytree(result.folder / "base", "model")
    tiny = {**TINY, "model": {"path": "model", "max_reply_tokens": 3}}
    first = turngym.train("FrozenLake", run={"name": "mine"}, **tiny)
    moved = Path("runs/mine").rename(tmp_path / "there" / "other").absolute()
    (moved / "result.json").unlink()
    shutil.rmtree(moved / "checkpoints")
    text = (moved / "config.toml").read_text()
    (moved / "config.toml").write_text(text.replace("episodes = 4\n", "episodes = 5\n"))
    monkeypatch.chdir(tmp_path / "there")
    assert main(["train", "--resume", "other"]) == 0
    assert main(["evaluate", "other", "--episodes", "2"]) == 0
    again = json.loads((moved / "result.json").read_text())
    assert again["trained_greedy"]["episodes"] == 5 and first.record["trained_greedy"]["episodes"] == 4
    assert "Report: other/report.html" in capsys.readouterr().out


def test_an_edit_that_cannot_be_is_refused_in_python_too(result: turngym.TrainingResult) -> None:
    path = result.folder / "config.toml"
    text = path.read_text()
    path.write_text(text.replace("batch_size = 8\n", "batch_size = 16\n"))
    try:
        with pytest.raises(InputError, match=r"cannot change learning.batch_size from 8 to 16, as .* was edited to"):
            turngym.train("FrozenLake", run={"name": "mine", "root": str(result.folder.parent)}, resume=True)
    finally:
        path.write_text(text)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, None)])
def test_a_signal_ends_a_script_as_a_scheduler_expects(number: int, code: int | None, tmp_path: Path) -> None:
    class Struck(SilentProgress):
        def phase(self, name: str, total: int | None) -> None:
            if name.startswith("test"):
                signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt if code is None else SystemExit) as ended:
        turngym.train("FrozenLake", run={"name": "x", "root": str(tmp_path)}, progress=Struck(), **TINY)
    assert code is None or (isinstance(ended.value, SystemExit) and ended.value.code == code)
    assert (tmp_path / "x" / "checkpoints" / "step-000002").is_dir()
    check_unused(tmp_path / "x")


def test_only_a_run_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run folder"):
        turngym.train("FrozenLake", run={"name": "none", "root": str(tmp_path)}, resume=True)


def test_a_configuration_may_stand_for_the_name(tmp_path: Path) -> None:
    done = turngym.train(tiny_config(tmp_path), algorithm="raft", evaluation={"episodes": 2})
    assert done.folder == tmp_path / "frozen_lake-seed0" and done.config.objective.name == "raft"
    assert done.scores["random"].episodes == 2 and not (done.folder / "values.sqlite").exists()


def test_trackers_are_told_the_lines_and_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.told: list[str] = []

        def scalars(self, phase: str, step: int, numbers: Any) -> None:
            self.told.append(phase)

        def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
            self.told.append(f"{name} {len(rows)}")

        def close(self) -> None:
            self.told.append("closed")

    recorder = Recorder()
    monkeypatch.setattr(
        "turngym.trainers.reporting.trackers.make_trackers", lambda names, folder, config: [recorder] if names else []
    )
    turngym.train(tiny_config(tmp_path), run={"trackers": ["tensorboard"]})
    assert recorder.told.count("learning") == 2 and recorder.told[-2:] == ["result 6", "closed"]


# Refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: LearningConfig(batch_size=-5), "learning.batch_size must be at least 1, got -5"),
        (lambda: AstarpoConfig(beta=-1.0), "objective.beta must be above 0, got -1.0"),
        (lambda: ValueConfig(max_samples=2), "values.max_samples must be at least values.samples, 4, got 2"),
        (lambda: ValueConfig(state_estimator="montecarlo"), "values.state_estimator must be one of 'measured'"),  # type: ignore[arg-type]
        (lambda: WarmStartConfig(success_low=0.9), "must be at most warm_start.success_high, 0.6, got 0.9"),
        (
            lambda: TrainConfig(objective=RlooConfig(), values=ValueConfig(beta_value=3.0)),
            "values.beta_value is not read: rloo does without stage 1",
        ),
        (
            lambda: TrainConfig(objective=RlooConfig(), learning=LearningConfig(batch_size=10)),
            "learning.batch_size must be a multiple of objective.group_size, 4, got 10",
        ),
    ],
)
def test_a_section_that_cannot_be_used_is_not_made(make: Any, part: str) -> None:
    with pytest.raises(InputError) as refusal:
        make()
    assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"shaping": ShapingConfig(potential="hope")}, "there is no potential 'hope'"),
        ({"curriculum": CurriculumConfig(levels=[{"sise": 3}])}, r"curriculum.levels\[0\] {'sise': 3} cannot be made"),
        ({"env": EnvConfig(kwargs={"sise": 3})}, "no argument 'sise'"),
        ({"values": ValueConfig(explorer_models=["nowhere"])}, "there is no folder nowhere"),
        ({"model": ModelConfig(path="nowhere")}, "there is no folder nowhere"),
        (
            {"warm_start": WarmStartConfig(), "model": ModelConfig(context_length=20)},
            "64 of 64 demonstrations do not fit: raise model.context_length to at least ",
        ),
    ],
)
def test_a_configuration_that_cannot_run_leaves_no_folder(changes: dict[str, Any], part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=part):
        turngym.train(replace(tiny_config(tmp_path), **changes))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"learnin": {"steps": 3}}, "there is no section 'learnin'; did you mean 'learning'?"),
        ({"learning": {"step": 3}}, "there is no setting 'learning.step'; did you mean 'steps'?"),
        ({"objective": {"clip_low": 0.1}}, "astarpo_turn does not read objective.clip_low; grpo, "),
        ({"learning": {"steps": True}}, "learning.steps must be a whole number, got True"),
    ],
)
def test_overrides_that_name_nothing_are_refused(overrides: dict[str, Any], part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        turngym.train("FrozenLake", **{"run": {"root": str(tmp_path)}, **overrides})
    assert part in str(refusal.value) and not any(tmp_path.iterdir())


@pytest.mark.parametrize("text", [None, "{", "[1]"])
def test_a_result_that_cannot_be_read_is_one_sentence(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json (cannot be read|holds no result)"):
        training.read_result(tmp_path)


# What is public -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["turngym", "turngym.envs", "turngym.agents", "turngym.trainers"])
def test_public_names_are_there_and_documented(module: str) -> None:
    package = import_module(module)
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = package.no_such_name


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, json, turngym, turngym.envs, turngym.agents, turngym.trainers as trainers; "
        "trainers.configure('FrozenLake', algorithm='ppo'); "
        "print(json.dumps([name for name in ('torch', 'transformers', 'flask', 'tyro') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []
