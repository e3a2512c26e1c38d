"""Explorers in stage 1: who plays, what is stored, and that the reference does not notice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trainers.harness import copied, total

from turngym.agents.evaluation import instance_range
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import CheckpointError, LanguageModel
from turngym.trainers.base_model import load_or_build
from turngym.trainers.config import TrainConfig, ValueConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress, SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.stage_one.exploring import exploration
from turngym.trainers.stage_one.exploring.exploration import Exploration
from turngym.trainers.stage_one.exploring.explorers import explorer_seed, reference_logprobs
from turngym.trainers.stage_one.sampling import StageOneSetup, sample_reference, store_fingerprint
from turngym.trainers.stage_one.soft_values import read_transitions
from turngym.trainers.stage_one.stage import run_stage_one
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_rows import REFERENCE

HOT, COLD = "temperature 2.0", "temperature 0.8"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "BLOCK", 20)


@pytest.fixture
def config(tiny: TrainConfig) -> TrainConfig:
    values = ValueConfig(instances=12, extra_samples=8, explorer_temperatures=[2.0, 0.8], explorer_samples=3)
    return replace(tiny, values=values)


class StopAfter(SilentProgress):
    """Interrupts after so many episodes, as a user would."""

    def __init__(self, episodes: float) -> None:
        self.left = episodes

    def phase(self, name: str, total: int | None) -> None:
        assert (name, total) == ("stage 1: explorers", 72)

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.left -= n
        if self.left < 0:
            raise KeyboardInterrupt


def rows_of(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return [database.execute(f"SELECT * FROM {table}").fetchall() for table in ("episodes", "turns")]  # noqa: S608


def explored(
    model: LanguageModel, store: ValueStore, config: TrainConfig, progress: Progress | None = None
) -> list[dict[str, Any]]:
    with Exploration(model, store, StageOneSetup.of(config)) as exploring:
        return list(exploring.blocks(progress or SilentProgress()))


def fill(path: Path, model: LanguageModel, config: TrainConfig, stop_after: float = np.inf) -> list[dict[str, Any]]:
    with ValueStore(path, store_fingerprint(model, Rollouts.of(config))) as store:
        return explored(model, store, config, StopAfter(stop_after))


def test_every_explorer_plays_every_instance(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    blocks = fill(tmp_path / "v", model, config)
    assert [(block["explorer"], block["explorer_episodes"]) for block in blocks] == [
        (HOT, 20), (HOT, 16), (COLD, 20), (COLD, 16),
    ]  # fmt: skip
    assert all(block["seconds"] > 0 and block["sampled_tokens"] > 0 and block["errors"] == 0 for block in blocks)
    with ValueStore(tmp_path / "v", store_fingerprint(model, Rollouts.of(config))) as store:
        assert store.counts(behaviour=HOT) == store.counts(behaviour=COLD) == dict.fromkeys(range(12), 3)
        assert store.counts() == {}
    assert fill(tmp_path / "v", model, config, stop_after=72) == []  # nothing is played again


def test_explorers_get_the_same_shaped_rewards(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    """Soft value iteration averages over both."""
    config = replace(config, shaping=replace(config.shaping, step_cost=0.125))
    with ValueStore(tmp_path / "v", store_fingerprint(model, Rollouts.of(config))) as store:
        assert list(sample_reference(model, store, StageOneSetup.of(config), SilentProgress()))
        assert explored(model, store, config)
        paid = {behaviour: [turn.reward - turn.task_reward for turn in store.turns(behaviour=behaviour)]
                for behaviour in (REFERENCE, HOT, COLD)}  # fmt: skip
    assert all(costs and set(costs) == {-0.125} for costs in paid.values())


def test_another_model_explores_under_its_own_name(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    """The reference says how likely its replies are; where it is the reference itself, they are as likely to both."""
    other = copied(model)
    for weight in other.model.parameters():
        weight.data.mul_(0.9)
    for name, explorer in (("other", other), ("same", model)):
        explorer.save_pretrained(tmp_path / name)
    models = [str(tmp_path / name) for name in ("other", "same")]
    config = replace(config, values=replace(config.values, explorer_temperatures=[], explorer_models=models))
    with ValueStore(tmp_path / "v", store_fingerprint(model, Rollouts.of(config))) as store:
        blocks = explored(model, store, config)
        assert sum(block["explorer_episodes"] for block in blocks) == 2 * 12 * 3
        names = dict.fromkeys(block["explorer"] for block in blocks)
        assert list(names) == [f"model {fingerprint_of(model.model.state_dict())[:16]}" for model in (other, model)]
        ratios = {name: [turn.log_ratio for turn in store.turns(behaviour=name)] for name in names}
        assert explored(model, store, config) == []
    apart, alike = ratios.values()
    assert max(map(abs, alike)) < 1e-4 and max(map(abs, apart)) > 0.01


def test_a_model_with_another_tokenizer_is_refused(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    stranger = load_or_build(replace(config, model=replace(config.model, vocabulary_size=300)))
    stranger.save_pretrained(tmp_path / "stranger")
    config = replace(
        config, values=replace(config.values, explorer_models=[str(tmp_path / "stranger")], explorer_temperatures=[])
    )
    with (
        ValueStore(tmp_path / "v", store_fingerprint(model, Rollouts.of(config))) as store,
        pytest.raises(CheckpointError, match="stranger has another tokenizer than the reference"),
    ):
        explored(model, store, config)


def test_a_ratio_is_one_on_average(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    """E_b[ref / b] = 1 in every state, for the replies of a hotter and of a cooler explorer."""
    many = replace(config, values=replace(config.values, explorer_samples=10))
    with ValueStore(tmp_path / "v", {}) as store:
        explored(model, store, many)
        turns = list(store.turns(behaviour=None))
    for name in (HOT, COLD):
        ratios = np.exp([turn.log_ratio for turn in turns if turn.behaviour == name])
        assert len(ratios) > 200 and ratios.std() > 0.1
        assert abs(ratios.mean() - 1.0) < 4 * ratios.std() / np.sqrt(len(ratios))


def test_the_reference_scores_its_own_replies_as_it_recorded_them(model: LanguageModel, config: TrainConfig) -> None:
    setup = StageOneSetup.of(replace(config, learning=replace(config.learning, temperature=1.3)))
    episodes = setup.rollouts.play(setup.rollouts.agent(model), instance_range("train", 10))
    scored = reference_logprobs(model, episodes, setup)
    for episode, logprobs in zip(episodes, scored, strict=True):
        assert logprobs == pytest.approx([sum(turn.logprobs) for turn in episode.turns], abs=1e-4)


@pytest.mark.parametrize("episodes", [7, 25, 40, 71])
def test_interrupted_and_continued_equals_uninterrupted(
    model: LanguageModel, config: TrainConfig, tmp_path: Path, episodes: int
) -> None:
    fill(tmp_path / "whole", model, config)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "parts", model, config, stop_after=episodes)
    fill(tmp_path / "parts", model, config)
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")


def test_the_episodes_of_the_reference_do_not_depend_on_explorers(
    model: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    """Values of instances, the pool and the reference's episodes are those of a run without explorers."""
    alone = replace(config, values=replace(config.values, explorer_temperatures=[]))
    found = {}
    for name, chosen in (("with", config), ("alone", alone)):
        folder = tmp_path / name
        folder.mkdir()
        metrics = Metrics(folder / "metrics.jsonl")
        known = run_stage_one(model, folder / "v", StageOneSetup.of(chosen), metrics, SilentProgress())
        with ValueStore(folder / "v", None) as store:
            held = store.fingerprint, store.returns(), list(store.turns())
        found[name] = known.estimates.values.tolist(), known.estimates.prior, known.success_rates, known.pool, held
        played = [line.get("explorer") for line in metrics.lines()]
        assert (HOT in played) == (name == "with")
        assert total(metrics, "values", "explorer_episodes") == (72 if name == "with" else 0)
    assert found["with"] == found["alone"]
    with ValueStore(tmp_path / "with" / "v", None) as store:
        both = read_transitions(store.turns(behaviour=None))
    assert 0 < both.own_M.sum() < len(both.own_M)


def test_seeds_are_a_function_of_run_explorer_instance_and_sample() -> None:
    seeds = [explorer_seed(run, b, i, k) for run in range(2) for b in (HOT, COLD) for i in range(9) for k in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert seeds[0] == explorer_seed(0, HOT, 0, 0)
