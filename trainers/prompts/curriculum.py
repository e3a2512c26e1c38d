"""A curriculum: easier levels of the environment, played as often as they can teach.

A level is the configured environment with some arguments changed; the last level, the target, is that environment
itself, and the only one that is measured and that stage 1 plays. The level of every prompt of a step is drawn, so one
batch mixes levels: each plays its part in a call of its own, and one update learns from all of them. The share of a
level is

    floor + (1 - floor * L) * w / sum(w)    with w = sqrt(p (1 - p)) + 0.05,

where p is its running success: w is the predicted standard deviation of a binary return, so what is always won and what
never is give way to what is in between. As a level is mastered, its share goes to the next one.

Source: SPO, arXiv:2509.13232, draws single prompts with this weight, and follows their success as here: a Beta
distribution whose counts fade, `a <- memory * a + success` and `b <- memory * b + 1 - success`.

The instances of an easier level are fresh: never played before, and never again. Their indices have a block of their
own, so an index alone tells the level, and no two levels share one.

Shapes: L levels, easiest first, the target last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turngym.agents.episode import Episode
from turngym.agents.rollout import Instance, make_env, text_env
from turngym.envs.core import TextEnv
from turngym.trainers.baselines.instances import ValueTracker, predictive_stds, sampling_weights
from turngym.trainers.config import CurriculumConfig, TrainConfig
from turngym.trainers.instances import LEVEL_INSTANCES, TARGET, level_of
from turngym.trainers.stage_one.instance_values import NO_ESTIMATES, ValueEstimates
from turngym.trainers.units import task_range

NO_LEVELS = ("split", "render_mode")
"""Arguments that change nothing about an episode of training."""


# Levels and their instances -------------------------------------------------------------------------------------


def by_level(instances: Sequence[Instance], config: TrainConfig) -> Iterator[tuple[list[Instance], TrainConfig]]:
    """Yield runs of instances of one level, in their order, each with the configuration of its environment."""
    for level, part in groupby(instances, lambda instance: level_of(instance.index)):
        yield list(part), at_level(config, level)


def at_level(config: TrainConfig, level: int) -> TrainConfig:
    """Return the configuration with the environment of a level."""
    if level == TARGET:
        return config
    kwargs = {**config.env.kwargs, **config.curriculum.levels[level]}
    return replace(config, env=replace(config.env, kwargs=kwargs))


def check_levels(config: TrainConfig) -> None:
    """Make and reset the environment of every level, so that a wrong one is refused before anything is played.

    A level may change how hard the game is. It must not change what a reply looks like (`reasoning`) or what the return
    can be, since policy, values and KL temperature are shared.

    Raises:
        ValueError: A level cannot be made, is no level of its own, or does not fit the target; or `floor` is so large
            that the shares exceed 1.
    """
    stage = config.curriculum
    if not stage.levels:
        return
    count = len(stage.levels) + 1
    if stage.floor * count > 1:
        raise ValueError(f"curriculum.floor is the least share of each of {count} levels: lower it to {1 / count:.3g} "
                         f"or less, got {stage.floor:g}")  # fmt: skip
    target = text_env(make_env(config.env.id, config.env.kwargs))
    known = [config.env.kwargs]
    for number, level in enumerate(stage.levels):
        place = f"curriculum.levels[{number}] {level}"
        kwargs = at_level(config, number).env.kwargs
        for name in NO_LEVELS:
            if name in level:
                raise ValueError(f"{place}: {name} makes no level, since training sets it; leave it out")
        if kwargs in known:
            raise ValueError(f"{place} is the same as another level or the environment itself; leave it out")
        known.append(kwargs)
        env = _made(config.env.id, kwargs, place)
        for name in ("reasoning", "reward_range"):
            if getattr(env, name) != getattr(target, name):
                raise ValueError(f"{place} must not change {name}: it has {getattr(env, name)}, the environment itself "
                                 f"{getattr(target, name)}")  # fmt: skip


def _made(env_id: str, kwargs: Mapping[str, Any], place: str) -> TextEnv:
    try:
        env = make_env(env_id, kwargs)
        env.reset(seed=0, options={"split": "train", "index": LEVEL_INSTANCES})
    except (TypeError, ValueError) as error:
        reason = str(error).partition(" was raised from the environment creator")[0]
        raise ValueError(f"{place} cannot be made: {reason}") from error
    env.close()
    return text_env(env)


# Values and shares ----------------------------------------------------------------------------------------------


class LevelTracker:
    """The trackers of all levels behind the interface of one: the index of an instance says which of them answers.

    An instance of an easier level is worth the running level of that level, for `first_value` too, since stage 1 plays
    the target alone. Before its first episode, an easier level has success 1/2 and the middle of the reward range.

    Args:
        target: That of the configured environment; it chooses among the prompts of the pool.
        easier: One for each easier level.
    """

    def __init__(self, target: ValueTracker, easier: Sequence[ValueTracker]) -> None:
        self._levels = [*easier, target]

    def first_value(self, index: int) -> float:
        """Return V* of an instance as stage 1 estimated it; of an easier level, the level's running value."""
        return self._of(index).first_value(index) if level_of(index) == TARGET else self.value(index)

    def value(self, index: int) -> float:
        """Return the baseline of an instance, in the unit of the returns."""
        return self._of(index).value(index)

    def success(self, index: int) -> float:
        """Return the estimated probability that the current policy solves an instance."""
        return self._of(index).success(index)

    def update(self, index: int, soft_return: float, *, success: bool) -> None:
        """Learn from an episode whose baseline has been used; see `ValueTracker.update`."""
        self._of(index).update(index, soft_return, success=success)

    def remember(self, index: int, total_return: float) -> None:
        """Keep the return of the last episode of an instance; see `ValueTracker.remember`."""
        self._of(index).remember(index, total_return)

    def last_return(self, index: int) -> float | None:
        """Return what `remember` was last told of an instance, None if nothing."""
        return self._of(index).last_return(index)

    def predictive_stds(self, indices_I: Iterable[int]) -> NDArray[np.float64]:
        """Return the predicted standard deviation of the success, in [0, 0.5], shape [I]."""
        return predictive_stds([self.success(index) for index in indices_I])

    def prompt_weights(self, indices_I: Sequence[int]) -> NDArray[np.float64]:
        """Return the sampling weights of instances of the target, shape [I]."""
        return self._levels[TARGET].prompt_weights(indices_I)

    def level_successes(self) -> list[float]:
        """Return the running success of every level, [L]."""
        return [level.pool_success for level in self._levels]

    def follow_on(self, state: Mapping[str, Any]) -> None:
        """Take over from the state of an earlier tracker what a stage 1 of the target cannot know."""
        for level, own in zip(self._levels, state["levels"][:-1], strict=False):
            level.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists."""
        return {"levels": [level.state_dict() for level in self._levels]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        for level, own in zip(self._levels, state["levels"], strict=True):
            level.load_state_dict(own)

    def _of(self, index: int) -> ValueTracker:
        return self._levels[level_of(index)]


Tracker = ValueTracker | LevelTracker
"""Without and with a curriculum."""


def make_tracker(estimates: ValueEstimates, success_rates: Mapping[int, float], config: TrainConfig) -> Tracker:
    """Return the tracker of a run.

    Args:
        estimates: Stage 1, of the target.
        success_rates: Success rate of the reference policy per instance.
        config: The run.
    """
    memory, stage = config.astarpo.tracker_memory, config.curriculum
    if not stage.levels:
        return ValueTracker(estimates, success_rates, memory=memory)
    unknown = replace(NO_ESTIMATES, prior=sum(task_range(config)) / 2)
    easier = [ValueTracker(unknown, {}, pool_memory=stage.memory) for _ in stage.levels]
    return LevelTracker(ValueTracker(estimates, success_rates, memory=memory, pool_memory=stage.memory), easier)


def level_shares(success_L: ArrayLike, floor: float) -> NDArray[np.float64]:
    """Return the share of the prompts that each level gets, shape [L]; they add up to 1.

    Args:
        success_L: The running success of each level, in [0, 1].
        floor: The least share, in [0, 1 / L].
    """
    weight_L = sampling_weights(success_L)
    return np.asarray(floor + (1.0 - floor * len(weight_L)) * weight_L / weight_L.sum())


def draw_levels(tracker: Tracker, stage: CurriculumConfig, num_prompts: int, rng: np.random.Generator) -> list[int]:
    """Draw the level of each prompt of a step and return how many each level has, [L]; all without a curriculum."""
    if isinstance(tracker, ValueTracker):
        return [num_prompts]
    counts: list[int] = rng.multinomial(num_prompts, level_shares(tracker.level_successes(), stage.floor)).tolist()
    return counts


# What a step reports --------------------------------------------------------------------------------------------


def outcomes(episodes: Sequence[Episode], config: TrainConfig) -> dict[str, Any]:
    """Return success and task return of the target's episodes, absent where none was played.

    With a curriculum also, as "levels", each level's share of the episodes and, where it has any, its success.
    """
    played: list[list[Episode]] = [[] for _ in range(len(config.curriculum.levels) + 1)]
    for episode in episodes:
        played[level_of(episode.index)].append(episode)
    numbers: dict[str, Any] = {}
    if played[TARGET]:
        numbers |= {
            "success": float(np.mean([episode.success for episode in played[TARGET]])),
            "task_return": float(np.mean([episode.task_return for episode in played[TARGET]])),
        }
    if config.curriculum.levels:
        numbers["levels"] = [
            {"share": len(part) / len(episodes)}
            | ({"success": float(np.mean([episode.success for episode in part]))} if part else {})
            for part in played
        ]
    return numbers
