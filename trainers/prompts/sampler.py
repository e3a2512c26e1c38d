"""Which instances a step plays: some never played before, some never solved, the rest from the pool of stage 1.

Instances that are always won or always lost teach nothing. That is predicted before anything is played, so no episode
is spent on finding it out: prompts are drawn without replacement with weight sqrt(p (1 - p)) + 0.05, the predicted
standard deviation of a binary return. Of an instance of the pool p is followed by itself; of a fresh one by its like,
the instances of its level whose start has the same potential. Filtering episodes by how they ended would bias what is
learned from them; choosing prompts does not.

Source: SPO, arXiv:2509.13232, for the weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from turngym.agents.episode import Episode
from turngym.agents.rollout import Instance, read_starts
from turngym.trainers.baselines.instances import sampling_weights
from turngym.trainers.baselines.states import State, StateValues, states_of
from turngym.trainers.config import TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES, level_instances, level_of
from turngym.trainers.learner import Learner
from turngym.trainers.objectives import group_size
from turngym.trainers.prompts.curriculum import at_level, draw_levels
from turngym.trainers.stage_one.store_rows import StoredStart

STAGE_TWO_STREAM = 3
"""Keeps the seeds of stage 2 apart from those of the others."""


def check_prompts(config: TrainConfig) -> None:
    """Refuse numbers that no prompts can be chosen by.

    Raises:
        ValueError: `astarpo.fresh_candidates` is below 1, or `astarpo.frontier_share` is no share.
    """
    if not 0.0 <= config.astarpo.frontier_share <= 1.0:
        raise ValueError(f"astarpo.frontier_share must lie in [0, 1], got {config.astarpo.frontier_share:g}")
    if config.astarpo.fresh_candidates < 1:
        raise ValueError("astarpo.fresh_candidates counts the instances looked at for each fresh prompt: set it to 1 "
                         f"to take them as they come, or higher, got {config.astarpo.fresh_candidates}")  # fmt: skip


def choose_instances(learner: Learner, config: TrainConfig) -> list[Instance]:
    """Draw the training instances of a step, each for one group: some fresh, the rest from the pool of stage 1.

    Fresh ones have never been played and are never played again, so they cannot be memorised; what was looked at and
    not taken is not looked at again either. With a curriculum the level of each prompt is drawn first; those of an
    easier level are all fresh. After a rollback a step is repeated with other instances and other chance: what led to
    the collapse is not drawn again.
    """
    stage = config.astarpo
    rng = np.random.default_rng([config.run.seed, STAGE_TWO_STREAM, learner.step, *learner.repeats])
    size = group_size(config)
    *easier, num_prompts = draw_levels(learner.tracker, config.curriculum, stage.batch_size // size, rng)
    retried = draw_frontier(learner, round(stage.frontier_share * num_prompts), rng)
    num_prompts -= len(retried)
    num_fresh = round(stage.fresh_share * num_prompts)
    pool = [index for index in learner.pool if index not in retried]
    weights = learner.tracker.prompt_weights(pool)
    num_known = min(num_prompts - num_fresh, len(pool))
    known = rng.choice(pool, size=num_known, replace=False, p=weights / weights.sum()).tolist() if pool else []
    looks, offset = stage.fresh_candidates, learner.fresh_instances
    first = FRESH_INSTANCES + offset
    fresh = [*range(first, first + looks * num_fresh), *level_instances([looks * count for count in easier], offset)]
    if looks > 1:
        fresh = draw_fresh(fresh, learner.starts, config, rng)
    chosen = [index for index in (*retried, *known, *fresh) for _ in range(size)]
    seeds = rng.integers(2**31, size=len(chosen)).tolist()
    return [Instance(split="train", index=i, seed=seed) for i, seed in zip(chosen, seeds, strict=True)]


def draw_frontier(learner: Learner, count: int, rng: np.random.Generator) -> list[int]:
    """Return so many instances of the pool that were never solved, each as likely as the others, or all if fewer.

    Their predicted success is near 0, and by it they would hardly be drawn; but a first success teaches the most.
    """
    if not count:
        return []
    frontier = learner.tracker.unsolved(learner.pool)
    drawn: list[int] = rng.permutation(frontier)[:count].tolist()
    return drawn


def draw_fresh(
    candidates: Sequence[int], starts: StateValues, config: TrainConfig, rng: np.random.Generator
) -> list[int]:
    """Return one of every `astarpo.fresh_candidates` instances, level by level, by the success of their like.

    Args:
        candidates: Instances never played, those of a level one after the other.
        starts: The success from starts; see `follow_start`.
        config: The run.
        rng: Draws them.
    """
    drawn: list[int] = []
    for level, part in groupby(candidates, level_of):
        block = list(part)
        weights = sampling_weights(predicted_successes(block, level, starts, config))
        count = len(block) // config.astarpo.fresh_candidates
        drawn += rng.choice(block, size=count, replace=False, p=weights / weights.sum()).tolist()
    return drawn


def predicted_successes(indices: Sequence[int], level: int, starts: StateValues, config: TrainConfig) -> list[float]:
    """Return how likely instances of a level are solved, from what is seen at their start; no token is generated.

    An instance that the environment fails to start counts as never solved.
    """
    env = at_level(config, level).env
    instances = [Instance(split="train", index=index, seed=0) for index in indices]
    infos = read_starts(env.id, instances, env_kwargs=env.kwargs, step_timeout=env.step_timeout or None)
    return [starts.value(State("", 0, info["potential"], level)) if info else 0.0 for info in infos]


# The success from starts ----------------------------------------------------------------------------------------


def known_starts(stored: Iterable[StoredStart]) -> StateValues:
    """Return the success from starts as stage 1 saw it; every instance counts once, however often it was sampled."""
    starts = StateValues()
    for start in stored:
        starts.add(State("", 0, start.potential), start.success)
    return starts


def follow_start(starts: StateValues, episode: Episode) -> None:
    """Learn how an episode ended, for the instances of its level: for those of the same start potential above all.

    The turn limit, on which success depends too, is one for all instances of a level. A potential that was rarely met
    is shrunk towards the level, as `StateValues` shrinks buckets.
    """
    starts.visit(states_of(episode)[0], float(episode.success))
