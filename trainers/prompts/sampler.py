"""Which instances a step plays: some never played before, the rest from the pool of stage 1.

Instances that are always won or always lost teach nothing. That is predicted before anything is played, so no episode
is spent on finding it out: prompts of the pool are drawn without replacement with weight sqrt(p (1 - p)) + 0.05, the
predicted standard deviation of a binary return, where p is the running success of the instance. Filtering episodes by
how they ended would bias what is learned from them; choosing prompts does not.

Source: SPO, arXiv:2509.13232, for the weight.
"""

from __future__ import annotations

import numpy as np

from turngym.agents.rollout import Instance
from turngym.trainers.config import TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES, level_instances
from turngym.trainers.learner import Learner
from turngym.trainers.objectives import group_size
from turngym.trainers.prompts.curriculum import draw_levels

STAGE_TWO_STREAM = 3
"""Keeps the seeds of stage 2 apart from those of the others."""


def choose_instances(learner: Learner, config: TrainConfig) -> list[Instance]:
    """Draw the training instances of a step, each for one group: some fresh, the rest from the pool of stage 1.

    Fresh ones have never been played and are never played again, so they cannot be memorised. With a curriculum the
    level of each prompt is drawn first; those of an easier level are all fresh. After a rollback a step is repeated
    with other instances and other chance: what led to the collapse is not drawn again.
    """
    stage = config.astarpo
    rng = np.random.default_rng([config.run.seed, STAGE_TWO_STREAM, learner.step, *learner.repeats])
    size = group_size(config)
    *easier, num_prompts = draw_levels(learner.tracker, config.curriculum, stage.batch_size // size, rng)
    num_fresh = round(stage.fresh_share * num_prompts)
    pool = list(learner.pool)
    weights = learner.tracker.prompt_weights(pool)
    num_known = min(num_prompts - num_fresh, len(pool))
    known = rng.choice(pool, size=num_known, replace=False, p=weights / weights.sum()).tolist() if pool else []
    first = FRESH_INSTANCES + learner.fresh_instances
    fresh = [*range(first, first + num_fresh), *level_instances(easier, learner.fresh_instances)]
    chosen = [index for index in (*known, *fresh) for _ in range(size)]
    seeds = rng.integers(2**31, size=len(chosen)).tolist()
    return [Instance(split="train", index=i, seed=seed) for i, seed in zip(chosen, seeds, strict=True)]
