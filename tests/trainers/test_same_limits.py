"""A model is measured by the limits that it was trained by, in the run's own table and by every other door."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import turngym
from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.rollout import collect_episodes
from turngym.cli.agents import AgentOptions, find_agent
from turngym.trainers.config import RunConfig, TrainConfig

CONTEXT = 100


@pytest.fixture
def trained(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> turngym.TrainingResult:
    """A run from a model that could hold 512 tokens, with a context of 100 and a temperature that moves."""
    model.save_pretrained(tmp_path / "given")
    config = replace(
        tiny,
        model=replace(tiny.model, path=str(tmp_path / "given"), context_length=CONTEXT),
        warm_start=replace(tiny.warm_start, enabled=False),
        learning=replace(tiny.learning, steps=2, temperature=0.8, temperature_final=0.3),
        run=RunConfig(root=str(tmp_path / "runs"), name="short", threads=1),
    )
    return turngym.train(config)


def score(agent: Any, config: TrainConfig) -> tuple[float, float, float]:
    """Return what an agent is worth on the instances of the run's own table."""
    instances = instance_range("test", config.evaluation.episodes)
    result = score_episodes(collect_episodes(agent, config.env.id, instances, env_kwargs=config.env.kwargs), 0.0)
    return result.rate, result.mean_turns, result.mean_tokens


def test_the_run_and_every_other_door_give_the_same_score(trained: turngym.TrainingResult, tmp_path: Path) -> None:
    config, folder = trained.config, trained.folder
    sampled, greedy = (trained.scores[f"trained_{how}"] for how in ("sampled", "greedy"))
    policy = next((folder / "checkpoints").glob("step-000002")) / "policy"
    exported = shutil.copytree(policy, tmp_path / "exported")
    for place in (folder, policy, exported):
        agent = turngym.load_agent(place)
        assert (agent.context_length, agent.max_reply_tokens, agent.temperature) == (CONTEXT, 4, 0.3)
        assert score(agent, config) == (sampled.rate, sampled.mean_turns, sampled.mean_tokens)
        player = find_agent(str(place)).make(AgentOptions(greedy=True), 128)
        assert score(player, config) == (greedy.rate, greedy.mean_turns, greedy.mean_tokens)
    base = trained.scores["base_sampled"]
    assert score(turngym.load_agent(folder / "base"), config) == (base.rate, base.mean_turns, base.mean_tokens)
    longer = turngym.load_agent(folder, context_length=512)
    assert longer.context_length == 512
    assert score(longer, config)[1] > sampled.mean_turns, "the limit did cut episodes"


def test_every_copy_of_the_weights_knows_its_limits(trained: turngym.TrainingResult) -> None:
    kept = trained.config.decoding
    assert kept == Decoding(context_length=CONTEXT, max_reply_tokens=4, temperature=0.3)
    for folder in (trained.folder / "base", trained.folder / "checkpoints" / "step-000002" / "policy"):
        assert Decoding.read(folder) == kept


def test_no_episode_of_the_run_is_longer_than_its_context(trained: turngym.TrainingResult) -> None:
    from turngym.agents.episode import read_episodes

    episodes = [episode for path in (trained.folder / "episodes").glob("*.jsonl") for episode in read_episodes(path)]
    assert max(turn.span[1] for episode in episodes for turn in episode.turns) <= CONTEXT
