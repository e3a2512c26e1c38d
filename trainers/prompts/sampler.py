"""The prompt sampler: it draws the instances of a step, some fresh and the rest from the pool.

Instances that are always won or always lost teach nothing. So prompts of the pool are drawn without replacement with
weight sqrt(p (1 - p)) + 0.05, where p is the running success rate of the instance and sqrt(p (1 - p)) the predicted
standard deviation of a binary return. Filtering episodes by how they ended would bias the gradient; choosing prompts
before they are played does not.

Source: SPO, arXiv:2509.13232, for the weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turngym.agents.rollout import Instance
from turngym.seeds import Stream, generator
from turngym.trainers.config import CurriculumConfig, SelfplayConfig, TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES, level_instances
from turngym.trainers.prompts.curriculum import level_shares
from turngym.trainers.prompts.successes import SuccessTracker


class PromptSampler:
    """Draws the instances of a step.

    Args:
        pool: The training instances that are played repeatedly: those that stage 1 sampled, if it ran.
        batch_size: Episodes of a step that are played.
        group_size: Episodes of each prompt.
        fresh_share: Share of the prompts that were never played before.
        curriculum: The easier levels.
        selfplay: Who proposes instances, and how much they are played.
        seed: The seed of the run.
    """

    def __init__(
        self,
        pool: Sequence[int],
        *,
        batch_size: int,
        group_size: int,
        fresh_share: float,
        curriculum: CurriculumConfig,
        selfplay: SelfplayConfig | None = None,
        seed: int,
    ) -> None:
        self.pool = pool
        self._batch_size, self._group_size, self._fresh_share = batch_size, group_size, fresh_share
        self._curriculum, self._seed = curriculum, seed
        self._selfplay = SelfplayConfig() if selfplay is None else selfplay
        self._used = 0
        """Fresh indices used so far, in each level of a curriculum."""

    @classmethod
    def of(cls, config: TrainConfig, pool: Sequence[int]) -> PromptSampler:
        """Return the sampler of a run."""
        learning = config.learning
        return cls(pool, batch_size=learning.batch_size - learning.replayed, group_size=config.objective.group_size,
                   fresh_share=learning.fresh_share, curriculum=config.curriculum, selfplay=config.selfplay,
                   seed=config.run.seed)  # fmt: skip

    def retune(self, config: TrainConfig) -> None:
        """Take other sizes of groups and other shares from the next step on."""
        self._group_size, self._fresh_share = config.objective.group_size, config.learning.fresh_share
        self._curriculum = config.curriculum

    def draw(
        self, step: int, rollbacks: int, successes: SuccessTracker, *, new: Sequence[int] = (), kept: Sequence[int] = ()
    ) -> list[Instance]:
        """Draw the instances of a step, those of each group one after the other.

        Fresh ones have never been played and are never played again, so they cannot be memorised. With a curriculum the
        level of each prompt is drawn first; those of an easier level are all fresh. After a rollback a step is repeated
        with other instances and other seeds, so that the draws before the collapse do not come again.

        Args:
            step: Steps taken before this one.
            rollbacks: The number of rollbacks so far.
            successes: The running success rates of instances and levels.
            new: Instances that self-play has accepted in this step, each `selfplay.plays` times.
            kept: Those that it has kept of earlier steps, of which the rest of its share is drawn by weight.
        """
        rng = generator(self._seed, Stream.STEP, step, rollbacks)
        proposed = self._proposed(new, kept, successes, rng)
        *easier, num_prompts = self._levels(successes, rng, self._batch_size // self._group_size - len(proposed))
        num_fresh = round(self._fresh_share * num_prompts)
        known = _by_weight(list(self.pool), num_prompts - num_fresh, successes, rng)
        first = FRESH_INSTANCES + self._used
        fresh = [*range(first, first + num_fresh), *level_instances(easier, self._used)]
        chosen = [index for index in (*proposed, *known, *fresh) for _ in range(self._group_size)]
        seeds = rng.integers(2**31, size=len(chosen)).tolist()
        return [Instance(split="train", index=i, seed=seed) for i, seed in zip(chosen, seeds, strict=True)]

    def _proposed(
        self, new: Sequence[int], kept: Sequence[int], successes: SuccessTracker, rng: np.random.Generator
    ) -> list[int]:
        """Return the proposals among the prompts: the new ones, and kept ones that fill their share."""
        first = [index for index in new for _ in range(self._selfplay.plays // self._group_size)]
        share = round(self._selfplay.share * (self._batch_size // self._group_size))
        return first + _by_weight(list(kept), share - len(first), successes, rng)

    def _levels(self, successes: SuccessTracker, rng: np.random.Generator, num_prompts: int) -> list[int]:
        """Draw the level of each prompt and return how many each level has, [L]; all without a curriculum."""
        if not self._curriculum.levels:
            return [num_prompts]
        shares_L = level_shares(successes.level_successes(), self._curriculum.min_share)
        counts: list[int] = rng.multinomial(num_prompts, shares_L).tolist()
        return counts

    def count_step(self) -> None:
        """Mark the fresh indices of a step as used."""
        self._used += self._batch_size

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers."""
        return {"used": self._used}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`."""
        self._used = int(state["used"])


def _by_weight(indices: list[int], most: int, successes: SuccessTracker, rng: np.random.Generator) -> list[int]:
    """Draw instances without replacement by their weight, all where there are fewer than `most`."""
    if not indices or most <= 0:
        return []
    weights = successes.prompt_weights(indices)
    drawn = rng.choice(len(indices), size=min(most, len(indices)), replace=False, p=weights / weights.sum())
    return [indices[place] for place in drawn.tolist()]
