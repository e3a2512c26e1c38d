"""The values of states that stage 2 weighs turns with: V* of stage 1, or what the soft returns since then say.

Most states are met once or twice. So an estimate is shrunk from level to level: the turn, the bucket (all states of the
same turn and potential, of whichever instance), the state itself. A state met once, worth 1 then, in a bucket of 40
visits worth .5 has (1 * 1 + 4 * .5) / (1 + 4) = .6: the level above counts for `SHRINKAGE` visits. Every level of a
curriculum has turns and buckets of its own, and those of the easier ones are shrunk towards the target's. A fresh
instance, of which no state was ever seen, has the values of its buckets.

    S_t = sum_{k >= t} (r_k - beta * l_k)        has the mean V^pi_beta(s_t) <= V*(s_t), with equality at the optimum

Averaging the soft returns S_t costs no episode and is right with chance as without; it follows the policy. V* itself
depends on nothing but the temperature at which it is asked for.

Shapes: K turns, S states.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from turngym.agents.episode import Episode
from turngym.trainers.config import ValueConfig
from turngym.trainers.instances import TARGET, level_of
from turngym.trainers.stage_one.soft_values import DECIMALS, Transitions, monte_carlo_values, soft_values
from turngym.trainers.stage_one.variance import StateEstimator, recommend, variance_split

MEMORIES = (0.998, 0.99, 0.9)
"""Share of its weight that an average keeps from visit to visit: a turn averages its last 500 visits, a bucket its last
100, a state its last 10."""
SHRINKAGE = 4.0
"""Visits that an average counts for in the estimate below it."""

STRENGTH = 1.0
"""Pseudo-visits by which soft value iteration shrinks each action of a state towards the state's mean, and that towards
the mean of all states of the same turn and potential."""


@dataclass(slots=True)
class _Average:
    """A running average with fading memory."""

    value: float = 0.0
    weight: float = 0.0

    def add(self, value: float, weight: float) -> None:
        self.weight += weight
        self.value += (value - self.value) * weight / self.weight


class State(NamedTuple):
    """What is known of a state before a reply."""

    key: str
    """Names it."""
    turn: int
    """The turn of an episode that it belongs to, from 0."""
    potential: float
    """The environment's potential in it."""
    level: int = TARGET
    """The level of a curriculum that it belongs to."""

    def names(self, potentials: bool) -> tuple[Hashable, Hashable, Hashable]:
        """Return what its turn, its bucket and itself are known by; without potentials a bucket is a turn."""
        bucket = round(self.potential, DECIMALS) if potentials else 0.0
        return (self.level, self.turn), (self.level, self.turn, bucket), self.key


def states_of(episode: Episode) -> list[State]:
    """Return the state before each turn of an episode, `[K]`."""
    level = level_of(episode.index)
    return [State(turn.state_key, place, turn.potential, level) for place, turn in enumerate(episode.turns)]


class StateValues:
    """Running values of states, of their buckets and of turns.

    Args:
        keys: The states of stage 1. Further states count for their bucket and their turn alone: fresh instances are
            played once, so what is held does not grow with the run.
        potentials: Whether buckets tell potentials apart, or turns alone.
    """

    def __init__(self, keys: Iterable[str] = (), *, potentials: bool = True) -> None:
        self._potentials = potentials
        self._averages: tuple[dict[Hashable, _Average], ...] = ({}, {}, {key: _Average() for key in keys})

    def value(self, state: State) -> float:
        """Return the value of a state, in the unit of the returns; 0 where nothing like it was ever met.

        A level of a curriculum that was hardly met yet has the values of the target's turns, which stage 1 knows.
        """
        known = [*zip(self._averages, state.names(self._potentials), strict=True)]
        if state.level != TARGET:
            known.insert(0, (self._averages[0], (TARGET, state.turn)))
        value, prior = 0.0, 0.0
        for averages, name in known:
            average = averages.get(name)
            if average is not None and average.weight:
                value = (average.weight * average.value + prior * value) / (average.weight + prior)
                prior = SHRINKAGE
        return value

    def before_turns(self, episode: Episode) -> list[float]:
        """Return the value of the state before each turn of an episode, `[K]`."""
        return [self.value(state) for state in states_of(episode)]

    def add(self, state: State, value: float, visits: float = 1.0) -> None:
        """Learn that a state was worth `value` on `visits` visits, which count for what they are."""
        for averages, name in zip(self._averages, state.names(self._potentials), strict=True):
            if averages is not self._averages[-1]:
                averages.setdefault(name, _Average())
            if name in averages:
                averages[name].add(value, visits)

    def visit(self, state: State, value: float) -> None:
        """Learn what a state was worth on a further visit; of those before, each average keeps the latest."""
        for averages, name, memory in zip(self._averages, state.names(self._potentials), MEMORIES, strict=True):
            if name in averages:
                averages[name].weight = min(averages[name].weight, memory / (1.0 - memory))
        self.add(state, value)

    def follow(self, episode: Episode, soft_cost_K: Sequence[float]) -> None:
        """Learn from an episode whose values have been used.

        Args:
            episode: What was played.
            soft_cost_K: `beta * (log pi - log ref)` of each turn, in the unit of the returns.
        """
        soft_return = 0.0
        steps = zip(states_of(episode), episode.turns, soft_cost_K, strict=True)
        for state, turn, soft_cost in reversed(list(steps)):
            soft_return += turn.reward - soft_cost
            self.visit(state, soft_return)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists; JSON keeps it to the last bit."""
        averages = [[[name, one.value, one.weight] for name, one in level.items()] for level in self._averages]
        return {"potentials": self._potentials, "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        self._potentials = state["potentials"]
        self._averages = tuple(
            {tuple(name) if isinstance(name, list) else name: _Average(*numbers) for name, *numbers in averages}
            for averages in state["averages"]
        )


def stage_one_states(transitions: Transitions, beta: float, config: ValueConfig) -> StateValues:
    """Return what stage 1 says V* of states, buckets and turns is.

    Args:
        transitions: The stored turns.
        beta: Temperature, in the unit of the returns.
        config: Which estimator is to be used.
    """
    name = config.state_estimator
    if name == "measured":
        fits = recommend(variance_split(transitions)).estimator
        name = "soft_values" if fits is StateEstimator.SOFT_VALUES else "log_mean_exp"
    if name == "soft_values":
        value_S = soft_values(transitions, beta, STRENGTH)
    else:
        value_S = monte_carlo_values(transitions, beta)
    states = StateValues(transitions.keys, potentials=config.state_potentials)
    numbers = (transitions.turn_S, transitions.potential_S, value_S, transitions.visits)
    columns = zip(transitions.keys, *(column.tolist() for column in numbers), strict=True)
    for key, turn, potential, value, visits in columns:
        if visits and not math.isnan(value):  # nan: explorers alone have met the state, and no soft value iteration
            states.add(State(key, turn, potential), value, visits)
    return states
