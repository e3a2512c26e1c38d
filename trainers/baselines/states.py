"""The values of states in stage 2: V* of stage 1, or running means of the soft returns seen since.

Most states are met once or twice. So three averages are kept, each shrunk towards the one before: of the turn, of the
bucket (all states of the same turn and potential, of any instance) and of the state itself. The average before counts
for `SHRINKAGE` = 4 visits. Example: a state that was visited once, with a return of 1, in a bucket of 40 visits whose
average is 0.5, has (1 * 1 + 4 * 0.5) / (1 + 4) = 0.6. A fresh instance, none of whose states was ever visited, has the
values of its buckets. Each level of a curriculum has turns and buckets of its own; those of the easier levels are
shrunk towards the target's.

The soft return from turn t on,

    S_t = sum_{k >= t} (r_k - beta * l_k),    l_k = log(pi / ref) of the reply of turn k,

has the mean V^pi_beta(s_t) <= V*(s_t) under the policy, with equality at the optimum, in deterministic and stochastic
environments alike. Averaging it costs no further episodes, and the average follows the policy.

Shapes: K turns, S states.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from turngym.agents.episode import Episode
from turngym.trainers.config import ValueConfig
from turngym.trainers.instances import TARGET, level_of
from turngym.trainers.running_means import RunningMean
from turngym.trainers.stage_one.soft_values import DECIMALS, Transitions, monte_carlo_values, soft_values
from turngym.trainers.stage_one.variance import StateEstimator, recommend, variance_split

MEMORIES = (0.998, 0.99, 0.9)
"""Share m of its weight that an average keeps from visit to visit: of a turn, a bucket and a state about the last
`1 / (1 - m)` = 500, 100 and 10 visits count."""
SHRINKAGE = 4.0
"""Visits that the average of a turn counts for in the value of a bucket, and the latter in the value of a state."""

STRENGTH = 1.0
"""Pseudo-visits by which soft value iteration shrinks each action of a state towards the state's mean, and that towards
the mean of all states of the same turn and potential."""


class State(NamedTuple):
    """A state in which the agent is to reply."""

    key: str
    """The environment's `state_key`."""
    turn: int
    """The turn of an episode that it belongs to, from 0."""
    potential: float
    """The environment's potential in it."""
    level: int = TARGET
    """The level of a curriculum that it belongs to."""

    def names(self, potentials: bool) -> tuple[Hashable, Hashable, Hashable]:
        """Return the keys of its turn, its bucket and itself; without potentials, a turn has one bucket."""
        bucket = round(self.potential, DECIMALS) if potentials else 0.0
        return (self.level, self.turn), (self.level, self.turn, bucket), self.key


def states_of(episode: Episode) -> list[State]:
    """Return the state before each turn of an episode, `[K]`."""
    level = level_of(episode.index)
    return [State(turn.state_key, place, turn.potential, level) for place, turn in enumerate(episode.turns)]


class StateValues:
    """Running values of states, of their buckets and of turns.

    Args:
        keys: The states of stage 1. Other states add to the averages of their bucket and their turn alone: fresh
            instances are played once, so memory does not grow with the run.
        potentials: Whether states of one turn but different potentials have different buckets.
    """

    def __init__(self, keys: Iterable[str] = (), *, potentials: bool = True) -> None:
        self._potentials = potentials
        self._averages: tuple[dict[Hashable, RunningMean], ...] = ({}, {}, {key: RunningMean() for key in keys})

    def value(self, state: State) -> float:
        """Return the value of a state, in the unit of the returns; 0 where not even its turn was ever visited.

        An easier level of a curriculum that was hardly played yet has the values of the target's turns.
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

    def known(self, state: State) -> bool:
        """Return whether the state itself has a value, and not its bucket or its turn alone."""
        average = self._averages[-1].get(state.key)
        return average is not None and average.weight > 0

    def add(self, state: State, value: float, visits: float = 1.0) -> None:
        """Add `visits` visits to a state, with the mean return `value`, to its averages; nothing fades."""
        for averages, name in zip(self._averages, state.names(self._potentials), strict=True):
            if averages is not self._averages[-1]:
                averages.setdefault(name, RunningMean())
            if name in averages:
                averages[name].add(value, visits)

    def visit(self, state: State, value: float) -> None:
        """Add one visit to a state, with the return `value`; earlier visits fade by `MEMORIES`."""
        for averages, name, memory in zip(self._averages, state.names(self._potentials), MEMORIES, strict=True):
            if name in averages:
                averages[name].cap(memory / (1.0 - memory))
        self.add(state, value)

    def follow(self, episode: Episode, soft_cost_K: Sequence[float]) -> None:
        """Add the soft returns of an episode, after its values were used.

        Args:
            episode: The episode, with shaped rewards.
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
            {tuple(name) if isinstance(name, list) else name: RunningMean(*numbers) for name, *numbers in averages}
            for averages in state["averages"]
        )


def stage_one_states(transitions: Transitions, beta: float, config: ValueConfig) -> StateValues:
    """Return V* of states, buckets and turns as stage 1 estimates it.

    Args:
        transitions: The stored turns.
        beta: Temperature, in the unit of the returns.
        config: `state_estimator` and `state_potentials` are read.
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
        if visits and not math.isnan(value):  # nan: log_mean_exp has no value where only explorers were
            states.add(State(key, turn, potential), value, visits)
    return states
