"""The values of states that stage 2 weighs turns with: V* of stage 1, or what the soft returns since then say.

A state is met rarely, its like often. So an estimate is shrunk from level to level: the turn, the bucket (all states of
the same turn and potential, of whichever instance), the state itself. A fresh instance, of which no state was ever
seen, has the values of its buckets.

    S_t = sum_{k >= t} (r_k - beta * l_k)        has the mean V^pi_beta(s_t) <= V*(s_t), with equality at the optimum

Averaging the soft returns S_t costs no episode and is right with chance as without; it follows the policy. V* itself
depends on nothing but the temperature at which it is asked for.

Shapes: K turns, S states.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from turngym.agents.episode import Episode
from turngym.trainers.config import ValueConfig
from turngym.trainers.luck import StateEstimator, recommend, variance_split
from turngym.trainers.soft_values import Transitions, monte_carlo_values, soft_values

MEMORIES = (0.998, 0.99, 0.9)
"""Share of its weight that a level keeps from one visit to the next: a turn averages its last 500 visits, a bucket its
last 100, a state its last 10."""
SHRINKAGE = 4.0
"""Visits that a level counts for in the estimate of the level below it."""
DECIMALS = 2
"""How finely buckets tell potentials apart."""

STATE_ESTIMATORS = ("measured", "soft_values", "log_mean_exp")
"""What `values.state_estimator` may be."""


@dataclass(slots=True)
class _Average:
    """A running average with fading memory."""

    value: float = 0.0
    weight: float = 0.0

    def add(self, value: float, weight: float) -> None:
        self.weight += weight
        self.value += (value - self.value) * weight / self.weight


class StateValues:
    """Running values of states, of their buckets and of turns.

    Args:
        keys: The states of stage 1. Further states count for their bucket and their turn alone: fresh instances are
            played once, so what is held does not grow with the run.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._levels: tuple[dict[Hashable, _Average], ...] = ({}, {}, {key: _Average() for key in keys})

    def value(self, key: str, turn: int, potential: float) -> float:
        """Return the value of a state, in the unit of the returns; 0 where nothing like it was ever met.

        Args:
            key: The state.
            turn: The turn of an episode, from 0.
            potential: The environment's potential in it.
        """
        value = None
        for level, name in zip(self._levels, _names(key, turn, potential), strict=True):
            average = level.get(name)
            if average is not None and average.weight:
                prior = 0.0 if value is None else SHRINKAGE
                value = (average.weight * average.value + prior * (value or 0.0)) / (average.weight + prior)
        return 0.0 if value is None else value

    def before_turns(self, episode: Episode) -> list[float]:
        """Return the value of the state before each turn of an episode, `[K]`."""
        return [self.value(turn.state_key, place, turn.potential) for place, turn in enumerate(episode.turns)]

    def add(self, key: str, turn: int, potential: float, value: float, visits: float = 1.0) -> None:
        """Learn that a state was worth `value` on `visits` visits, of which a level remembers the latest."""
        for level, name, memory in zip(self._levels, _names(key, turn, potential), MEMORIES, strict=True):
            if level is not self._levels[-1]:
                level.setdefault(name, _Average())
            if name in level:
                level[name].weight = min(level[name].weight, memory / (1.0 - memory))
                level[name].add(value, visits)

    def follow(self, episode: Episode, soft_cost_K: Sequence[float]) -> None:
        """Learn from an episode whose values have been used.

        Args:
            episode: What was played.
            soft_cost_K: `beta * (log pi - log ref)` of each turn, in the unit of the returns.
        """
        soft_return = 0.0
        for place in reversed(range(len(episode.turns))):
            turn = episode.turns[place]
            soft_return += turn.reward - soft_cost_K[place]
            self.add(turn.state_key, place, turn.potential, soft_return)

    def state_dict(self) -> list[list[list[Any]]]:
        """Return the state as plain numbers and lists; JSON keeps it to the last bit."""
        return [[[name, average.value, average.weight] for name, average in level.items()] for level in self._levels]

    def load_state_dict(self, state: Sequence[Sequence[Sequence[Any]]]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        self._levels = tuple(
            {tuple(name) if isinstance(name, list) else name: _Average(*numbers) for name, *numbers in level}
            for level in state
        )


def stage_one_states(transitions: Transitions, beta: float, config: ValueConfig, *, single: bool = True) -> StateValues:
    """Return what stage 1 says V* of states, buckets and turns is.

    Args:
        transitions: The stored turns.
        beta: Temperature, in the unit of the returns.
        config: Which estimator is to be used.
        single: Whether single states are told apart. Where the stored episodes themselves are to be judged, a state's
            value would rest on what it judges; in a bucket they are some of many.

    Raises:
        ValueError: The estimator is unknown.
    """
    name = config.state_estimator
    if name not in STATE_ESTIMATORS:
        raise ValueError(f"values.state_estimator {name!r} is unknown; use one of {', '.join(STATE_ESTIMATORS)}")
    if name == "measured":
        fits = recommend(variance_split(transitions)).estimator
        name = "soft_values" if fits is StateEstimator.SOFT_VALUES else "log_mean_exp"
    if name == "soft_values":
        value_S = soft_values(transitions, beta, config.state_strength)
    else:
        value_S = monte_carlo_values(transitions, beta)
    states = StateValues(transitions.keys if single else ())
    numbers = (transitions.turn_S, transitions.potential_S, value_S, transitions.visits)
    for key, *numbers_of_state in zip(transitions.keys, *(column.tolist() for column in numbers), strict=True):
        states.add(key, *numbers_of_state)
    return states


def _names(key: str, turn: int, potential: float) -> tuple[Hashable, Hashable, Hashable]:
    return turn, (turn, round(potential, DECIMALS)), key
