"""Demonstrations from the states that a student visits: what is read, what is cloned, and who plays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.trainers.warm_start.test_course import shown

from turngym.agents.evaluation import instance_range
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import HandoverAgent, HostileAgent, OracleAgent, RandomAgent
from turngym.trainers.config import TrainConfig, WarmStartConfig
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start.cloning import demonstrator
from turngym.trainers.warm_start.course import cloning_optimizers, cloning_step
from turngym.trainers.warm_start.on_policy import HANDOVERS, handed_over

LAKE = "turngym/FrozenLake-v0"


@pytest.mark.parametrize("isolate", [0, 1])
def test_another_agent_goes_on_from_where_one_was(isolate: int) -> None:
    instances = instance_range("train", 12)
    begun = collect_episodes(RandomAgent(), LAKE, instances)
    openings = {episode.seed: [turn.action for turn in episode.turns[: episode.index % 3]] for episode in begun}
    played = collect_episodes(HandoverAgent(openings, OracleAgent()), LAKE, instances, isolate=isolate)
    for before, after in zip(begun, played, strict=True):
        first = len(openings[before.seed])
        assert [turn.action for turn in after.turns[:first]] == openings[before.seed]
        assert [turn.state_key for turn in after.turns[: first + 1]] == [t.state_key for t in before.turns[: first + 1]]
    assert sum(episode.success for episode in played) >= 8 > sum(episode.success for episode in begun)


def test_replies_are_repeated_as_they_were_given() -> None:
    instances = instance_range("train", 3)
    begun = collect_episodes(HostileAgent(), LAKE, instances, env_kwargs={"reasoning": True})
    openings = {episode.seed: [turn.action for turn in episode.turns[:3]] for episode in begun}
    agent = HandoverAgent(openings, OracleAgent())
    for episode in collect_episodes(agent, LAKE, instances, env_kwargs={"reasoning": True}):
        assert [turn.action for turn in episode.turns[:3]] == openings[episode.seed]
        assert all(turn.action.startswith("<answer>") for turn in episode.turns[3:])


def test_what_the_student_did_is_read_and_not_cloned(model: LanguageModel, tiny: TrainConfig) -> None:
    demonstrations = handed_over(model, Rollouts.of(tiny), OracleAgent(), np.random.default_rng(0), 10)
    assert 5 <= len(demonstrations) <= 10
    handovers = []
    for episode in demonstrations:
        cloned = [bool(turn.span[1]) for turn in episode.turns]
        assert cloned == sorted(cloned) and cloned[-1]
        handovers.append(cloned.index(True))
        text = model.tokenizer.decode(episode.token_ids)
        assert all(turn.action in text for turn in episode.turns)
    assert len(set(handovers)) > 1 and {handovers.count(0), HANDOVERS} != {len(handovers)}
    loss = cloning_step(model, cloning_optimizers(model.model, tiny.warm_start), demonstrations)
    assert loss > 0


def test_the_later_part_of_a_course_begins_as_the_student_plays(model: LanguageModel, tiny: TrainConfig) -> None:
    config = WarmStartConfig(batch_size=8, on_policy_share=0.5)
    demonstrate = demonstrator(model, Rollouts.of(tiny), config, np.random.default_rng(0))
    assert all(turn.span[1] for episode in demonstrate(0.0) for turn in episode.turns)
    later = demonstrate(0.5)
    assert any(not turn.span[1] for episode in later[4:] for turn in episode.turns)
    assert all(turn.span[1] for episode in later[:4] for turn in episode.turns) and shown(model, tiny)


def test_a_file_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match=r"warm_start\.on_policy_share asks the demonstrator, who is not read beside"):
        WarmStartConfig(on_policy_share=0.5, demonstrations="shown.jsonl")


@pytest.mark.parametrize("settings", [{"mistake_rate": 0.0}, {"flawless_share": 1.0}])
def test_a_course_without_a_later_part_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"warm_start\.on_policy_share is for the later part of the course"):
        WarmStartConfig(on_policy_share=0.5, **settings)
