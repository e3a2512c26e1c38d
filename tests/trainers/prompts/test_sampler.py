"""The prompts of a step: fresh ones and those of the pool, each by what is predicted of it before it is played."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from tests.trainers.harness import STAGE_ONE, with_learning

from turngym.trainers.config import TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker

SUCCESSES = SuccessTracker(STAGE_ONE)


def sampler(config: TrainConfig) -> PromptSampler:
    return PromptSampler.of(config, STAGE_ONE.pool)


def test_half_of_the_prompts_are_fresh_and_none_comes_twice(tiny: TrainConfig) -> None:
    prompts = sampler(tiny)
    fresh: list[int] = []
    for step in range(20):
        instances = prompts.draw(step, 0, SUCCESSES)
        indices = [instance.index for instance in instances]
        assert len(set(indices)) == 8
        assert {instance.split for instance in instances} == {"train"}
        known = [index for index in indices if index < FRESH_INSTANCES]
        assert len(known) == 4 and set(known) <= set(prompts.pool)
        fresh += [index for index in indices if index >= FRESH_INSTANCES]
        prompts.count_step()
    assert len(set(fresh)) == len(fresh) == 80


@pytest.mark.parametrize(("share", "known"), [(0.0, 8), (1.0, 0), (0.25, 6)])
def test_the_share_of_fresh_prompts(tiny: TrainConfig, share: float, known: int) -> None:
    instances = sampler(with_learning(tiny, fresh_share=share)).draw(0, 0, SUCCESSES)
    assert sum(instance.index < FRESH_INSTANCES for instance in instances) == known
    assert len(instances) == 8


def test_a_small_pool_is_played_whole(tiny: TrainConfig) -> None:
    instances = sampler(with_learning(tiny, batch_size=64, fresh_share=0.5)).draw(0, 0, SUCCESSES)
    assert sorted(instance.index for instance in instances)[:12] == list(range(12))
    assert len(instances) == 12 + 32


def test_prompts_that_are_a_toss_up_come_more_often(tiny: TrainConfig) -> None:
    prompts = sampler(with_learning(tiny, fresh_share=0.5))
    counts: Counter[int] = Counter()
    for step in range(2000):
        counts.update(instance.index for instance in prompts.draw(step, 0, SUCCESSES))
    middle, ends = counts[5] + counts[6], counts[0] + counts[11]
    # The weights are .55 and .25; four of twelve drawn without replacement are a little more alike.
    assert 1.75 < middle / ends < 2.2


def test_the_choice_is_a_function_of_seed_step_and_rollbacks(tiny: TrainConfig) -> None:
    prompts = sampler(tiny)
    first = prompts.draw(0, 0, SUCCESSES)
    assert prompts.draw(0, 0, SUCCESSES) == first
    assert sampler(replace(tiny, run=replace(tiny.run, seed=1))).draw(0, 0, SUCCESSES) != first
    assert prompts.draw(1, 0, SUCCESSES) != first
    assert prompts.draw(0, 1, SUCCESSES) != first


def test_the_episodes_of_a_group_share_a_prompt_and_no_seed(tiny: TrainConfig) -> None:
    instances = sampler(with_learning(tiny, "grpo", batch_size=16, group_size=4)).draw(0, 0, SUCCESSES)
    indices = [instance.index for instance in instances]
    assert len(indices) == 16 and indices == [index for index in dict.fromkeys(indices) for _ in range(4)]
    assert len({instance.seed for instance in instances}) == 16


def test_what_was_played_stays_used_after_a_resume(tiny: TrainConfig) -> None:
    prompts = sampler(with_learning(tiny, fresh_share=1.0))
    seen: set[int] = set()
    for step in range(3):
        seen |= {instance.index for instance in prompts.draw(step, 0, SUCCESSES)}
        prompts.count_step()
    resumed = sampler(with_learning(tiny, fresh_share=1.0))
    resumed.load_state_dict(json.loads(json.dumps(prompts.state_dict())))
    assert resumed.draw(3, 0, SUCCESSES) == prompts.draw(3, 0, SUCCESSES)
    assert not seen & {instance.index for instance in prompts.draw(0, 1, SUCCESSES)}
