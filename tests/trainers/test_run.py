"""A whole run: what it leaves behind, what it never does twice, and how it stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.trainers.harness import with_learning

from turngym.agents.base import Agent
from turngym.agents.episode import read_episodes
from turngym.agents.evaluation import Score
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel, NonFiniteError
from turngym.trainers import evaluation, run
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from turngym.trainers.config import TrainConfig
from turngym.trainers.objectives import OBJECTIVES, StepParams, TrainingBatch, astarpo
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import train

ROWS = ["random", "base_sampled", "base_greedy", "trained_sampled", "trained_greedy"]


class Phases(SilentProgress):
    """Counts the work of every phase."""

    def __init__(self) -> None:
        self.work: dict[str, int] = {}
        self.totals: dict[str, int | None] = {}

    def phase(self, name: str, total: int | None) -> None:
        self.now = name
        self.work[name] = 0
        self.totals[name] = total

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.work[self.now] += n


Finished = tuple[Path, dict[str, Any], Phases]
"""A complete run: its folder, what `train` returned, and what it told the progress."""


@pytest.fixture(scope="session")
def finished(tiny: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder, progress = tmp_path_factory.mktemp("run"), Phases()
    return folder, train(tiny, folder, progress), progress


@pytest.fixture
def folder(finished: Finished, tmp_path: Path) -> Path:
    """A complete run of one's own."""
    return shutil.copytree(finished[0], tmp_path / "run")


def policy(folder: Path) -> str:
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    return fingerprint_of(LanguageModel.from_pretrained(last / "policy").model.state_dict())


def scores(result: dict[str, Any]) -> dict[str, Any]:
    return {row: {key: value for key, value in result[row].items() if key != "seconds"} for row in ROWS}


def steps(folder: Path) -> list[int]:
    return [line["step"] for line in Metrics(folder / "metrics.jsonl").lines() if line["phase"] == "learning"]


def test_a_run_ends_with_its_result(finished: Finished) -> None:
    folder, result, _ = finished
    written = json.loads((folder / "result.json").read_text())
    assert scores(written) == json.loads(json.dumps(scores(result)))
    assert list(result) == [
        "env_id",
        "objective",
        "optimum",
        "optimum_failures",
        *ROWS,
        "generated_tokens",
        "alarms",
        "rollbacks",
        "seconds",
    ]
    assert (result["env_id"], result["objective"]) == ("turngym/FrozenLake-v0", "astarpo")
    assert result["optimum"] == 1.0
    for row in ROWS:
        score = Score.from_dict(written[row])
        assert (score.episodes, score.errors) == (20, 0)
        assert score.interval[0] <= score.rate <= score.interval[1]
    assert result["random"]["mean_tokens"] == 0 < result["base_sampled"]["mean_tokens"]
    assert all(seconds > 0 for seconds in result["seconds"].values())
    lines = Metrics(folder / "metrics.jsonl").lines()
    tokens = {phase: sum(line["sampled_tokens"] for line in lines if line["phase"] == phase)
              for phase in ("values", "learning")}  # fmt: skip
    assert result["generated_tokens"] == tokens and min(tokens.values()) > 100
    assert lines[-1]["generated_tokens"] == sum(tokens.values())
    assert list(result["seconds"]) == ["warm_start", "values", "learning", "test"]


def test_a_run_leaves_a_folder_that_says_everything(finished: Finished) -> None:
    folder, _, _ = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "base", "checkpoints", "credit", "episodes", "live.echo.toml", "metrics.jsonl", "result.json", "values.sqlite",
    ]  # fmt: skip
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-000004", "step-000006"]
    counts = {path.name: len(list(read_episodes(path))) for path in (folder / "episodes").iterdir()}
    assert counts == {
        "train_000002.jsonl": 8, "train_000004.jsonl": 8, "train_000006.jsonl": 8,
        "test_trained_sampled.jsonl": 20, "test_trained_greedy.jsonl": 20,
    }  # fmt: skip
    assert sorted(path.stem for path in (folder / "credit").iterdir()) == [f"train_{step:06d}" for step in (2, 4, 6)]
    assert steps(folder) == [1, 2, 3, 4, 5, 6]
    lines = Metrics(folder / "metrics.jsonl").lines()
    assert [line["phase"] for line in lines] == sorted(
        (line["phase"] for line in lines), key=["warm_start", "values", "learning"].index
    )


def test_progress_counts_what_it_announced(finished: Finished) -> None:
    _, _, progress = finished
    assert list(progress.work) == [
        "warm start", "stage 1: values", "stage 2: astarpo", "test: random", "test: base, sampled",
        "test: base, greedy", "test: trained, sampled", "test: trained, greedy",
    ]  # fmt: skip
    for name, total in progress.totals.items():
        assert total is None or progress.work[name] == total


def test_the_seed_decides_the_run(tiny: TrainConfig, finished: Finished, tmp_path: Path) -> None:
    folder, result, _ = finished
    (tmp_path / "again").mkdir()
    again = train(tiny, tmp_path / "again", SilentProgress())
    assert policy(tmp_path / "again") == policy(folder)
    assert scores(again) == scores(result)


def test_a_lost_value_store_comes_back_from_the_checkpoint(tiny: TrainConfig, folder: Path) -> None:
    store = folder / "values.sqlite"
    before = store.read_bytes()
    store.unlink()
    progress = Phases()
    train(tiny, folder, progress, resume=True)
    assert store.read_bytes() == before
    assert progress.work["stage 1: values"] == progress.totals["stage 1: values"]


def test_resuming_a_complete_run_learns_nothing_more(tiny: TrainConfig, folder: Path) -> None:
    before, metrics = policy(folder), (folder / "metrics.jsonl").read_text()
    first = json.loads((folder / "result.json").read_text())
    progress = Phases()
    second = json.loads(json.dumps(train(tiny, folder, progress, resume=True)))
    assert policy(folder) == before
    assert (folder / "metrics.jsonl").read_text() == metrics
    assert scores(second) == scores(first)
    assert {**second["seconds"], "test": 0} == {**first["seconds"], "test": 0}
    assert "warm start" not in progress.work
    assert len(list(read_episodes(folder / "episodes" / "test_trained_greedy.jsonl"))) == 20


def test_resuming_repeats_what_was_not_saved(tiny: TrainConfig, finished: Finished, folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints" / "step-000006")
    (folder / "result.json").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "ast')  # and the crash cut off a line
    result = train(tiny, folder, SilentProgress(), resume=True)
    assert policy(folder) == policy(finished[0])
    assert scores(result) == scores(finished[1])
    assert steps(folder) == [1, 2, 3, 4, 5, 6]


def test_what_is_damaged_is_told_and_passed_over(
    tiny: TrainConfig, finished: Finished, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(folder / "checkpoints" / "step-000006" / "policy" / "model.safetensors", 1000)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'7\n{"phase": "\xff"}\n')
    told: list[str] = []
    progress = SilentProgress()
    monkeypatch.setattr(progress, "note", told.append)
    train(tiny, folder, progress, resume=True)
    assert [line.partition(":")[0] for line in told] == [f"{folder}/metrics.jsonl", "passed over a damaged checkpoint"]
    assert told[0].endswith(": 2 cut off or damaged lines are left out")
    assert told[1].endswith("model.safetensors has 1000 bytes instead of " + told[1].rpartition(" ")[2])
    assert policy(folder) == policy(finished[0])
    assert steps(folder) == [1, 2, 3, 4, 5, 6]


def test_learning_that_becomes_unstable_leaves_the_last_checkpoint(
    tiny: TrainConfig, folder: Path, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "checkpoints")
    calls = 0

    def unstable(batch: TrainingBatch, step: StepParams[Any]) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return astarpo(batch, step) * (torch.nan if calls > 30 else 1.0)

    # One micro-batch an episode: the fourth step fails in its seventh micro-batch.
    config = with_learning(tiny, tokens_per_microbatch=1)
    with monkeypatch.context() as patch:
        patch.setitem(OBJECTIVES, "astarpo", replace(OBJECTIVES["astarpo"], loss=unstable))
        with pytest.raises(NonFiniteError, match="step 3: loss nan"):
            train(config, folder, SilentProgress(), resume=True)
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    assert load_checkpoint(last).step == 2
    assert steps(folder) == [1, 2, 3]
    assert len(list(read_episodes(folder / "episodes" / "failed_step.jsonl"))) == 8
    train(config, folder, SilentProgress(), resume=True)
    assert steps(folder) == [1, 2, 3, 4, 5, 6]


def test_a_base_that_is_there_replaces_the_warm_start(tiny: TrainConfig, finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished[0] / "base", tmp_path / "base")
    progress = Phases()
    result = train(tiny, tmp_path, progress)
    assert "warm start" not in progress.work
    assert policy(tmp_path) == policy(finished[0])
    assert result["seconds"]["warm_start"] == 0.0


def test_a_pretrained_model_is_the_base(tiny: TrainConfig, finished: Finished, tmp_path: Path) -> None:
    config = replace(
        tiny,
        model=replace(tiny.model, path=str(finished[0] / "base")),
        warm_start=replace(tiny.warm_start, enabled=False),
    )
    train(config, tmp_path, SilentProgress())
    assert policy(tmp_path) == policy(finished[0])
    assert {line["phase"] for line in Metrics(tmp_path / "metrics.jsonl").lines()} == {"values", "learning"}


def test_without_values_there_is_no_stage_one(tiny: TrainConfig, finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished[0] / "base", tmp_path / "base")
    progress = Phases()
    config = with_learning(tiny, "grpo", steps=2)
    result = train(config, tmp_path, progress)
    assert "stage 1: values" not in progress.work and progress.work["stage 2: grpo"] == 2
    assert not (tmp_path / "values.sqlite").exists()
    assert result["generated_tokens"]["values"] == 0 < result["generated_tokens"]["learning"]
    assert result["seconds"]["values"] == 0.0
    before = policy(tmp_path)
    (tmp_path / "result.json").unlink()
    train(config, tmp_path, SilentProgress(), resume=True)
    assert policy(tmp_path) == before


def test_validation_is_reported_when_it_is_due_and_changes_nothing(
    tiny: TrainConfig, finished: Finished, folder: Path
) -> None:
    shutil.rmtree(folder / "checkpoints")
    config = replace(tiny, evaluation=replace(tiny.evaluation, validate_every=3, validation_episodes=8))
    train(config, folder, SilentProgress(), resume=True)
    lines = [line for line in Metrics(folder / "metrics.jsonl").lines() if line["phase"] == "learning"]
    assert [line["step"] for line in lines if "validation" in line] == [3, 6]
    assert all(0 <= line["validation"] <= 1 for line in lines if "validation" in line)
    assert policy(folder) == policy(finished[0])


def test_what_is_measured_is_sampled_at_the_last_temperature(
    tiny: TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    measured: dict[str, float] = {}
    agents = evaluation.evaluated_agents

    def validate(*_: object, temperature: float) -> float:
        asked.append(temperature)
        return 0.0

    def watched(*arguments: Any) -> Iterator[tuple[str, Agent]]:
        for name, agent in agents(*arguments):
            if name.endswith("sampled"):
                measured[name] = agent.temperature  # type: ignore[attr-defined]
            yield name, agent

    monkeypatch.setattr(run, "validate", validate)
    monkeypatch.setattr(evaluation, "evaluated_agents", watched)
    cooling = replace(with_learning(tiny, temperature_final=0.5), evaluation=replace(tiny.evaluation, validate_every=3))
    for config, expected in ((cooling, 0.5), (replace(tiny, evaluation=cooling.evaluation), 1.0)):
        shutil.rmtree(folder / "checkpoints")
        asked.clear()
        train(config, folder, SilentProgress(), resume=True)
        assert asked == [expected, expected]
        assert measured == {"base_sampled": expected, "trained_sampled": expected}


def test_an_interrupt_saves_the_step_and_the_run_goes_on_from_it(
    tiny: TrainConfig, finished: Finished, folder: Path
) -> None:
    shutil.rmtree(folder / "checkpoints")

    class Impatient(SilentProgress):
        def advance(self, n: int = 1, **numbers: float) -> None:
            if steps(folder) == [1, 2, 3] and "kl" in numbers:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny, folder, Impatient(), resume=True)
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    assert load_checkpoint(last).step == 3  # no multiple of checkpoint_every
    assert len(list(read_episodes(folder / "episodes" / "train_000003.jsonl"))) == 8
    train(tiny, folder, SilentProgress(), resume=True)
    assert policy(folder) == policy(finished[0])
    assert steps(folder) == [1, 2, 3, 4, 5, 6]
