"""Explorers in stage 1: who plays, what is stored, and that the reference does not notice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turngym.agents.evaluation import instance_range
from turngym.agents.language_model import LanguageModel
from turngym.trainers import exploration
from turngym.trainers.config import ShapingConfig, TrainConfig, ValueConfig
from turngym.trainers.exploration import explore, explorer_seed, reference_logprobs
from turngym.trainers.metrics import Metrics
from turngym.trainers.play import model_player, play
from turngym.trainers.progress import SilentProgress
from turngym.trainers.reference import store_fingerprint
from turngym.trainers.soft_values import read_transitions
from turngym.trainers.stage_one import run_stage_one
from turngym.trainers.value_store import ValueStore

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


def fill(path: Path, player: LanguageModel, config: TrainConfig, stop_after: float = np.inf) -> list[dict[str, Any]]:
    with ValueStore(path, store_fingerprint(player, config)) as store:
        return list(explore(player, store, config, StopAfter(stop_after)))


def test_every_explorer_plays_every_instance(player: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    blocks = fill(tmp_path / "v", player, config)
    assert [(block["explorer"], block["explorer_episodes"]) for block in blocks] == [
        (HOT, 20), (HOT, 16), (COLD, 20), (COLD, 16),
    ]  # fmt: skip
    assert all(block["seconds"] > 0 and block["sampled_tokens"] > 0 and block["errors"] == 0 for block in blocks)
    with ValueStore(tmp_path / "v", store_fingerprint(player, config)) as store:
        assert store.counts(behaviour=HOT) == store.counts(behaviour=COLD) == dict.fromkeys(range(12), 3)
        assert store.counts() == {}
    assert fill(tmp_path / "v", player, config, stop_after=72) == []  # nothing is played again


def test_rewards_of_explorers_are_shaped_as_those_of_the_reference(
    player: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    """Values of states are learned from both."""
    fill(tmp_path / "shaped", player, replace(config, shaping=ShapingConfig(step_cost=0.25)))
    with ValueStore(tmp_path / "shaped", None) as store:
        turns = list(store.turns(behaviour=None))
    assert {turn.behaviour for turn in turns} == {HOT, COLD}
    assert {turn.reward - turn.task_reward for turn in turns} == {-0.25}


def test_a_ratio_is_one_on_average(player: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    """E_b[ref / b] = 1 in every state, for the replies of a hotter and of a cooler explorer."""
    many = replace(config, values=replace(config.values, explorer_samples=10))
    with ValueStore(tmp_path / "v", {}) as store:
        list(explore(player, store, many, SilentProgress()))
        turns = list(store.turns(behaviour=None))
    for name in (HOT, COLD):
        ratios = np.exp([turn.log_ratio for turn in turns if turn.behaviour == name])
        assert len(ratios) > 200 and ratios.std() > 0.1
        assert abs(ratios.mean() - 1.0) < 4 * ratios.std() / np.sqrt(len(ratios))


def test_what_the_reference_says_of_its_own_replies(player: LanguageModel, config: TrainConfig) -> None:
    warm = replace(config, astarpo=replace(config.astarpo, temperature=1.3))
    episodes = play(model_player(player, warm), instance_range("train", 10), warm)
    scored = reference_logprobs(player, episodes, warm)
    for episode, logprobs in zip(episodes, scored, strict=True):
        assert logprobs == pytest.approx([sum(turn.logprobs) for turn in episode.turns], abs=1e-4)


@pytest.mark.parametrize("episodes", [7, 25, 40, 71])
def test_interrupted_and_continued_equals_uninterrupted(
    player: LanguageModel, config: TrainConfig, tmp_path: Path, episodes: int
) -> None:
    fill(tmp_path / "whole", player, config)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "parts", player, config, stop_after=episodes)
    fill(tmp_path / "parts", player, config)
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")


def test_the_reference_does_not_notice(player: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    """Values of instances, the pool and the reference's episodes are those of a run without explorers."""
    alone = replace(config, values=replace(config.values, explorer_temperatures=[]))
    found = {}
    for name, chosen in (("with", config), ("alone", alone)):
        folder = tmp_path / name
        folder.mkdir()
        metrics = Metrics(folder / "metrics.jsonl")
        known = run_stage_one(player, folder / "v", chosen, metrics, SilentProgress())
        with ValueStore(folder / "v", None) as store:
            held = store.fingerprint, list(store.episodes()), list(store.turns())
        found[name] = [known.tracker.value(index) for index in known.pool], known.pool, held
        played = [line.get("explorer") for line in metrics.lines()]
        assert (HOT in played) == (name == "with")
        assert metrics.total("values", "explorer_episodes") == (72 if name == "with" else 0)
    assert found["with"] == found["alone"]
    with ValueStore(tmp_path / "with" / "v", None) as store:
        both = read_transitions(store.turns(behaviour=None))
    assert 0 < both.own_M.sum() < len(both.own_M)


def test_seeds_are_a_function_of_run_explorer_instance_and_sample() -> None:
    seeds = [explorer_seed(run, b, i, k) for run in range(2) for b in (HOT, COLD) for i in range(9) for k in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert seeds[0] == explorer_seed(0, HOT, 0, 0)
