"""The baselines of `objective.baseline`: the values that the returns of episodes are compared with.

The soft return of an episode, `S = R - beta * log(pi / ref)(episode)`, has the mean `V^pi_beta(x) <= V*(x)` under the
policy, with equality at the optimum, in deterministic and stochastic environments alike. Averaging it costs no further
episodes. So "tracker" and "state_tracker" begin with V* of stage 1 and follow the soft returns; "vstar" and
"state_vstar" keep V*.

The values of a step are read before its episodes update them. So the baseline of an episode never depends on that
episode, and the gradient is unbiased whatever the value.

Shapes: B episodes, K turns.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.envs.written import WRITTEN_INSTANCES
from turngym.trainers.baselines.states import StateValues, stage_one_states
from turngym.trainers.config import STATE_BASELINES, ValueConfig, Valued
from turngym.trainers.instances import TARGET, level_of
from turngym.trainers.objectives.groups import leave_one_out_advantage, turn_values
from turngym.trainers.objectives.registry import TrainingBatch
from turngym.trainers.running_means import level_means
from turngym.trainers.stage_one.stage import StageOneResult


class Baseline(ABC):
    """The values that episodes are compared with. What is not overridden suits a baseline without a state."""

    @abstractmethod
    def values(self, batch: TrainingBatch, episodes: Sequence[Episode]) -> Tensor:
        """Return the value before each turn, `[B, K]`, in units of reward; entries after the last turn are not read.

        Args:
            batch: The whole batch of a step.
            episodes: The same episodes as they were played.
        """

    def begin_step(self, beta: float) -> None:
        """Prepare the values of a step.

        Args:
            beta: KL temperature of the step, in units of reward.
        """

    def update(self, episodes: Sequence[Episode], log_ratio_BK: Sequence[Sequence[float]], beta: float) -> None:
        """Learn from episodes, after their values were used.

        Args:
            episodes: The episodes of a step.
            log_ratio_BK: `log pi - log ref` of each turn of each of them, nats.
            beta: KL temperature of the step, in units of reward.
        """

    def first_value(self, index: int) -> float | None:
        """Return V* of an instance as stage 1 estimated it; None for a baseline that does without stage 1."""
        return None

    def track(self, index: int, value: float = 0.0, count: int = 0) -> None:
        """Value an instance that was proposed on its own from now on.

        Args:
            index: The instance.
            value: V* as `count` episodes of the reference have it.
            count: At 0 the value is that of the pool.
        """

    def forget(self, index: int) -> None:
        """Value an instance that was proposed as any other."""

    def follow_on(self, earlier: Baseline) -> None:
        """Take over what the baseline of an earlier round knows of what stage 1 does not play.

        That is the easier levels, what was proposed, and the proposer.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists; JSON keeps it to the last bit."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""


class NoBaseline(Baseline):
    """Values every state at 0."""

    def values(self, batch: TrainingBatch, episodes: Sequence[Episode]) -> Tensor:
        """Return 0 before each turn."""
        return torch.zeros_like(batch.reward_BK)


class BatchBaseline(Baseline):
    """Values a start by the mean return of the other episodes of its level in the step."""

    def values(self, batch: TrainingBatch, episodes: Sequence[Episode]) -> Tensor:
        """Return the mean of the others before the first turn, then that less the rewards so far."""
        return_B = batch.reward_BK.sum(1)
        level_B = batch.group_B.new_tensor([level_of(index) for index in batch.group_B.tolist()])
        return turn_values(return_B - leave_one_out_advantage(return_B, level_B), batch.reward_BK)


class InstanceBaseline(Baseline):
    """Values a start by its instance, and a later turn by the same less the rewards so far.

    Args:
        result: Stage 1, with the first values.
        easier: How many easier levels there are.
        middle: The middle of the reward range: the first value of the easier levels.
        follows: Whether the values follow the soft returns, or stay V*.
    """

    def __init__(self, result: StageOneResult, *, easier: int, middle: float, follows: bool) -> None:
        known = result.estimates
        first = dict(zip(known.instances.tolist(), known.values.tolist(), strict=True))
        counts = dict(zip(known.instances.tolist(), map(float, known.counts.tolist()), strict=True))
        self._first: dict[int, float] = first
        self._first_of_pool = known.prior
        self.means = level_means(first, counts, known.prior, easier=easier, easier_pool=middle)
        self._follows = follows

    def value(self, index: int) -> float:
        """Return the running value of an instance, in units of reward."""
        return self.means.value(index)

    def first_value(self, index: int) -> float:
        """Return V* of an instance as stage 1 estimated it; of an easier level, the running value of the level."""
        if level_of(index) != TARGET:
            return self.value(index)
        return self._first.get(index, self._first_of_pool)

    def track(self, index: int, value: float = 0.0, count: int = 0) -> None:
        """Value an instance that was proposed on its own from now on."""
        if count:
            self._first[index] = value
        self.means.track(index, value, count)

    def forget(self, index: int) -> None:
        """Value an instance that was proposed as any other."""
        self._first.pop(index, None)
        self.means.forget(index)

    def values(self, batch: TrainingBatch, episodes: Sequence[Episode]) -> Tensor:
        """Return the value of the instance before the first turn, then that less the rewards so far."""
        value = self.value if self._follows else self.first_value
        return turn_values(batch.reward_BK.new_tensor([value(index) for index in batch.group_B.tolist()]),
                           batch.reward_BK)  # fmt: skip

    def update(self, episodes: Sequence[Episode], log_ratio_BK: Sequence[Sequence[float]], beta: float) -> None:
        """Follow the soft returns of instances and levels.

        Raises:
            ValueError: A soft return is not finite.
        """
        for episode, log_ratio_K in zip(episodes, log_ratio_BK, strict=True):
            soft_return = episode.total_reward - beta * sum(log_ratio_K)
            if not math.isfinite(soft_return):
                raise ValueError(f"need a finite soft return, got {soft_return}")
            self.means.update(episode.index, soft_return)

    def follow_on(self, earlier: Baseline) -> None:
        """Take over the easier levels of a curriculum, what was proposed, and the proposer."""
        if isinstance(earlier, InstanceBaseline):
            self.means.follow_on(earlier.means)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists."""
        proposed = [[index, value] for index, value in self._first.items() if index >= WRITTEN_INSTANCES]
        return {**self.means.state_dict(), "proposed": proposed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`."""
        self.means.load_state_dict(state)
        self._first |= {int(index): value for index, value in state.get("proposed", ())}


class StateBaseline(InstanceBaseline):
    """Values every state by V* of stage 1 at the temperature of a step, or by the soft returns seen since.

    Args:
        result: Stage 1, with its transitions.
        config: How states are valued.
        easier: How many easier levels there are.
        middle: The middle of the reward range.
        follows: Whether the values follow the soft returns from the first step on, or are V* at the temperature of
            every step.
    """

    def __init__(
        self, result: StageOneResult, config: ValueConfig, *, easier: int, middle: float, follows: bool
    ) -> None:
        super().__init__(result, easier=easier, middle=middle, follows=follows)
        assert result.transitions is not None
        self._transitions, self._config = result.transitions, config
        self._states, self._begun = StateValues(), False

    def begin_step(self, beta: float) -> None:
        """Take V* of stage 1 at the temperature of the step, in every step or in the first one."""
        if not (self._begun and self._follows):
            self._states, self._begun = stage_one_states(self._transitions, beta, self._config), True

    def values(self, batch: TrainingBatch, episodes: Sequence[Episode]) -> Tensor:
        """Return the value of the state before each turn."""
        return values_of_states(batch, episodes, self._states)

    def update(self, episodes: Sequence[Episode], log_ratio_BK: Sequence[Sequence[float]], beta: float) -> None:
        """Follow the soft returns of instances, levels and states."""
        super().update(episodes, log_ratio_BK, beta)
        for episode, log_ratio_K in zip(episodes, log_ratio_BK, strict=True):
            self._states.follow(episode, [beta * log_ratio for log_ratio in log_ratio_K])

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists."""
        return {**super().state_dict(), "states": self._states.state_dict(), "begun": self._begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`."""
        super().load_state_dict(state)
        self._states.load_state_dict(state["states"])
        self._begun = state["begun"]


def values_of_states(batch: TrainingBatch, episodes: Sequence[Episode], states: StateValues) -> Tensor:
    """Return the value of the state before each turn, `[B, K]`.

    Args:
        batch: The whole batch.
        episodes: The same as they were played.
        states: The values of states, read and not updated.
    """
    rows = [batch.reward_BK.new_tensor(states.before_turns(episode)) for episode in episodes]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def make_baseline(
    objective: Valued, result: StageOneResult, values: ValueConfig, *, easier: int, middle: float
) -> Baseline:
    """Return the baseline that an objective names, as a round begins.

    Args:
        objective: The settings of the objective.
        result: Stage 1, where the baseline reads it.
        values: How states are valued.
        easier: How many easier levels there are.
        middle: The middle of the reward range: the first value of the easier levels.
    """
    name = objective.baseline
    follows = name.endswith("tracker")
    if name in STATE_BASELINES:
        return StateBaseline(result, values, easier=easier, middle=middle, follows=follows)
    if objective.reads_stage_one:
        return InstanceBaseline(result, easier=easier, middle=middle, follows=follows)
    return BatchBaseline() if name == "batch" else NoBaseline()
