"""The prompts of a step: fresh ones and those of the pool, each by what is predicted of it before it is played."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.trainers.harness import make_learner, stage

from turngym.agents.language_model import LanguageModel
from turngym.trainers.config import TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.prompts.sampler import (
    choose_instances,
)

EASIER = [{"size": 2, "frozen_probability": 1.0}]


def test_half_of_the_prompts_are_fresh_and_none_comes_twice(player: LanguageModel, tiny: TrainConfig) -> None:
    learner = make_learner(player, tiny)
    fresh: list[int] = []
    for step in range(20):
        learner.step, learner.fresh_instances = step, 8 * step
        instances = choose_instances(learner, tiny)
        indices = [instance.index for instance in instances]
        assert len(set(indices)) == 8
        assert {instance.split for instance in instances} == {"train"}
        known = [index for index in indices if index < FRESH_INSTANCES]
        assert len(known) == 4 and set(known) <= set(learner.pool)
        fresh += [index for index in indices if index >= FRESH_INSTANCES]
    assert len(set(fresh)) == len(fresh) == 80


@pytest.mark.parametrize(("share", "known"), [(0.0, 8), (1.0, 0), (0.25, 6)])
def test_the_share_of_fresh_prompts(player: LanguageModel, tiny: TrainConfig, share: float, known: int) -> None:
    instances = choose_instances(make_learner(player, tiny), stage(tiny, fresh_share=share))
    assert sum(instance.index < FRESH_INSTANCES for instance in instances) == known
    assert len(instances) == 8


def test_a_small_pool_is_played_whole(player: LanguageModel, tiny: TrainConfig) -> None:
    instances = choose_instances(make_learner(player, tiny), stage(tiny, batch_size=64, fresh_share=0.5))
    assert sorted(instance.index for instance in instances)[:12] == list(range(12))
    assert len(instances) == 12 + 32


def test_prompts_that_are_a_toss_up_come_more_often(player: LanguageModel, tiny: TrainConfig) -> None:
    learner = make_learner(player, tiny)
    counts: Counter[int] = Counter()
    for step in range(400):
        learner.step = step
        counts.update(instance.index for instance in choose_instances(learner, stage(tiny, fresh_share=0.5)))
    middle, ends = counts[5] + counts[6], counts[0] + counts[11]
    assert middle > 2 * ends > 0


def test_the_choice_is_a_function_of_seed_and_step(player: LanguageModel, tiny: TrainConfig) -> None:
    learner = make_learner(player, tiny)
    first = choose_instances(learner, tiny)
    assert choose_instances(learner, tiny) == first
    assert choose_instances(learner, replace(tiny, run=replace(tiny.run, seed=1))) != first
    learner.step = 1
    assert choose_instances(learner, tiny) != first
