"""The share of chance in the variance of returns, and the estimator of state values that it recommends.

Returns from the start of an instance cannot tell skill from luck: the entropic value V^E, which log-mean-exp estimates,
is the same function of the success rate in a game of chance as in a game of skill. Replies that were given more than
once in the same state can: in a game of skill they have the same outcome each time.

Shapes: I instances, M turns, O outcomes (a reply in a state, with the reward and the state that followed).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from turngym.trainers.stage_one.estimators import Floats, Ints, grouped_log_mean_exp
from turngym.trainers.stage_one.soft_values import Transitions

NEGLIGIBLE = 0.01
"""Share of the environment in the variance of returns below which log-mean-exp is recommended."""


def bracket(returns: Mapping[int, Sequence[float]], beta: float) -> tuple[Floats, Floats]:
    """Estimate the bounds of V*, the mean return and V^E, from the returns of an instance.

    The true ones hold `mean <= V* <= V^E`, in deterministic and stochastic environments. The estimates need not, not
    even in expectation: the lower end is unbiased, but the log-mean-exp of few returns is below V^E on average, and so
    below V* where both are the same, as they are without chance. Of a single return both ends are that return. The
    width is no measure of chance: a deterministic game that the reference wins at times has `V* = V^E`, well above the
    mean.

    Args:
        returns: The returns of each instance; none may be empty.
        beta: Temperature, as in `log_mean_exp`.

    Returns:
        Lower and upper ends in ascending order of instance, each `[I]`.
    """
    instances = sorted(returns)
    group = np.repeat(np.arange(len(instances)), [len(returns[index]) for index in instances])
    values = np.concatenate([np.asarray(returns[index], np.float64) for index in instances])
    ones = np.ones_like(values)
    lower_I = grouped_log_mean_exp(values, ones, group, len(instances), math.inf)
    return lower_I, grouped_log_mean_exp(values, ones, group, len(instances), beta)


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceSplit:
    """The variance of returns, divided between the environment and the policy."""

    returns: float
    """Mean variance of the return of an episode from a given start; nan where no start was played twice."""
    environment: float
    """The part that comes from the environment's chance, between 0 and `returns`; the policy's choices are the rest."""
    repeated: int
    """How many replies were given at least twice in the same state; the split is measured on these."""
    varied: int
    """How many of these had more than one outcome."""

    @property
    def environment_share(self) -> float:
        """The environment's share of the variance, in [0, 1]; 0 where nothing varies or `returns` is nan."""
        return self.environment / self.returns if self.returns > 0 else 0.0

    @property
    def spread_is_luck(self) -> bool:
        """Whether most of the spread of returns is the environment's, so that filtering by it selects lucky prompts."""
        return self.environment_share > 0.5

    @property
    def of_spread(self) -> str:
        """The consequence for a filter by the spread of returns, as the end of a sentence."""
        if math.isnan(self.returns):
            return "not measured, since no start was played twice."
        return "not to be trusted, most of the spread is luck." if self.spread_is_luck else "most of it is choice."


def variance_split(transitions: Transitions) -> VarianceSplit:
    """Measure how the variance of returns divides between the policy and the environment.

    The return is a sum of uncorrelated surprises, one for each choice and one for each outcome of a choice. Those of
    the outcomes are measured on replies given at least twice in a state: the variance of what followed the reply, less
    that of what followed one and the same outcome. A turn whose replies were all given once counts nothing. Explorers
    choose otherwise and have other returns, so only the reference's own turns are used.

    Args:
        transitions: The stored turns.
    """
    transitions = transitions.of_reference()
    turn_M = transitions.turn_S[transitions.state_M]
    to_go_M = transitions.to_go_M
    outcomes = np.stack([transitions.pair_M, transitions.next_M, transitions.reward_M])
    outcome_M = np.unique(outcomes, axis=1, return_inverse=True)[1].ravel()
    pair_variance_M, pair_count_M = _within(to_go_M, transitions.pair_M)
    outcome_variance_M, outcome_count_M = _within(to_go_M, outcome_M)
    varied_M = (pair_count_M > 1) & (outcome_count_M < pair_count_M)
    environment = 0.0
    for turn in np.unique(turn_M[varied_M]):
        now_M = turn_M == turn
        measured_M, known_M = now_M & (pair_count_M > 1), now_M & (outcome_count_M > 1)
        # An outcome seen once takes its variance from the others of its turn.
        usual = float(outcome_variance_M[known_M].mean()) if known_M.any() else 0.0
        after_M = np.where(outcome_count_M > 1, outcome_variance_M, usual)
        surprise = float((pair_variance_M - after_M)[measured_M].mean())
        environment += surprise * now_M.sum() / (turn_M == 0).sum()
    start_variance_M, start_count_M = _within(to_go_M, transitions.state_M)
    starts_M = (turn_M == 0) & (start_count_M > 1)
    returns = float(start_variance_M[starts_M].mean()) if starts_M.any() else math.nan
    return VarianceSplit(
        returns=returns,
        environment=min(max(environment, 0.0), returns),
        repeated=len(np.unique(transitions.pair_M[pair_count_M > 1])),
        varied=len(np.unique(transitions.pair_M[varied_M])),
    )


class StateEstimator(StrEnum):
    """How values of states are to be estimated."""

    SOFT_VALUES = "soft value iteration"
    """`soft_values`: right with chance, and needs replies given more than once in a state."""
    MONTE_CARLO = "log-mean-exp"
    """`monte_carlo_values`: right without chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Which estimator to use."""

    estimator: StateEstimator
    """The estimator."""
    reason: str
    """Why, as a sentence."""


def recommend(split: VarianceSplit) -> Recommendation:
    """Return which estimator of state values fits what was measured."""
    if split.repeated == 0:
        estimator = StateEstimator.MONTE_CARLO
        reason = (
            "No reply was given twice in the same state, so chance cannot be told from skill and soft value iteration "
            "without pseudo-visits would give the same numbers."
        )
    elif split.varied == 0:
        estimator = StateEstimator.MONTE_CARLO
        reason = f"All {split.repeated} replies given more than once in a state had the same outcome each time."
    elif math.isnan(split.returns):
        estimator = StateEstimator.SOFT_VALUES
        reason = (
            f"Chance plays a part: {split.varied} of {split.repeated} replies given more than once in a state had "
            "various outcomes. How much of the returns it decides is unknown, since no start was played twice."
        )
    elif split.returns == 0:
        estimator = StateEstimator.MONTE_CARLO
        reason = "The returns of an instance do not vary, so every estimator gives the same values."
    elif split.environment_share < NEGLIGIBLE:
        estimator = StateEstimator.MONTE_CARLO
        reason = f"Chance makes only {split.environment_share:.2%} of the variance of returns."
    else:
        estimator = StateEstimator.SOFT_VALUES
        reason = (
            f"Chance makes {split.environment_share:.0%} of the variance of returns, which log-mean-exp would count as "
            f"skill: {split.varied} of {split.repeated} replies given more than once in a state had various outcomes."
        )
    return Recommendation(estimator=estimator, reason=reason)


def _within(x_M: Floats, group_M: Ints) -> tuple[Floats, Ints]:
    """Return for every number the variance of its group, 0 where it is alone, and the size of the group."""
    count_G = np.bincount(group_M)
    safe_G = np.maximum(count_G, 1)
    centred_M = x_M - (np.bincount(group_M, x_M) / safe_G)[group_M]
    variance_G = np.bincount(group_M, centred_M**2) / np.maximum(count_G - 1, 1)
    return variance_G[group_M], count_G[group_M]
