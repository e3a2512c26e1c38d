"""V* of states from stored turns, by soft value iteration or by Monte Carlo.

    V*(s) = beta * log E_{u ~ ref}[exp(Q*(s, u) / beta)],    Q*(s, u) = E[r + V*(next state)]

The soft maximum is over the choices of the agent, the mean over those of the environment. In a deterministic
environment the log-mean-exp of the returns that follow a state estimates V* too; in a stochastic one it tends to the
larger entropic value, V^E(s) = beta * log E[exp(return / beta)], which takes luck for skill. The mean of these returns
lies below both.

The values are those of the empirical process: how often each reply was tried in a state, and which reward and state
followed. The state after an episode has the value 0, however the episode ended.

Shapes: M turns, S states, P pairs of a state and an action. A state's key holds the turns left, so it belongs to one
turn of an episode, and the values are computed from the last turn back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from turngym.envs.parsing import extract_action
from turngym.trainers.stage_one.estimators import Bools, Floats, Ints, check_strength, grouped_log_mean_exp
from turngym.trainers.stage_one.importance import turn_weights
from turngym.trainers.stage_one.store_rows import REFERENCE, StoredTurn

END = -1
"""The position of the state after an episode."""
DECIMALS = 2
"""Decimals of a potential that tell buckets apart."""


def played_action(turn: StoredTurn, *, reasoning: bool = False) -> str:
    """Return the action in a reply; unusable replies, which all do nothing, are one and the same.

    Args:
        turn: The turn.
        reasoning: Whether the environment lets the agent think first; thoughts are not part of an action.

    Raises:
        ValueError: The reply was usable and yet holds no action in this style.
    """
    return extract_action(turn.action, reasoning=reasoning) if turn.valid else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """Stored turns as arrays, episode by episode."""

    keys: list[str]  # [S]
    """The states, in order of first appearance."""
    turn_S: Ints
    """The turn of an episode that each state belongs to, from 0."""
    potential_S: Floats
    """The environment's potential in each state."""
    pair_state_P: Ints
    """The state of each pair of a state and an action."""
    state_M: Ints
    """The state in which each turn was played."""
    pair_M: Ints
    """The pair of that state and the action in the reply."""
    next_M: Ints
    """The state it led to, `END` after the last turn of an episode."""
    reward_M: Floats
    """The reward of each turn."""
    to_go_M: Floats
    """The sum of the rewards from each turn to the end of its episode."""
    own_M: Bools
    """Whether the reference played the turn, and not an explorer."""
    weight_M: Floats
    """The weight of each turn in the odds of the replies to its state, in [0, 1] (`turn_weights`)."""

    @property
    def visits(self) -> Ints:
        """How many turns with a weight were played in each state, `[S]`: of all who play but scripts."""
        return np.bincount(self.state_M[self.weight_M > 0], minlength=len(self.keys))

    def of_reference(self) -> Transitions:
        """Return the same states and pairs with the turns of the reference alone."""
        names = ("state_M", "pair_M", "next_M", "reward_M", "to_go_M", "own_M", "weight_M")
        return replace(self, **{name: getattr(self, name)[self.own_M] for name in names})

    @property
    def starts(self) -> Ints:
        """The states in which episodes begin, as positions in `keys`."""
        return np.flatnonzero(self.turn_S == 0)

    def followed_by(self, values_S: Floats) -> Floats:
        """Return the reward of each turn and the value of the state it led to, `[M]`."""
        return np.asarray(self.reward_M + np.append(values_S, 0.0)[self.next_M])


def read_transitions(turns: Iterable[StoredTurn], *, reasoning: bool = False) -> Transitions:
    """Read stored turns into arrays.

    Actions are told apart by their text. Where several mean the same to the environment the values stay right, but each
    is tried more rarely. Unusable replies are told apart by their reward, which is the penalty of their kind and
    no matter of chance.

    Args:
        turns: Whole episodes one after the other, as `ValueStore.turns` yields them, of one behaviour or of several.
        reasoning: As in `played_action`.

    Raises:
        ValueError: There are no turns, an episode does not begin with turn 0, or a state's key does not hold the turns
            left, so that values cannot be computed from the last turn back.
    """
    stored = list(turns)
    if not stored:
        raise ValueError("no stored turns")
    states: dict[str, int] = {}
    pairs: dict[tuple[int, str, float], int] = {}
    state_M = [states.setdefault(turn.state_key, len(states)) for turn in stored]
    actions = [played_action(turn, reasoning=reasoning) for turn in stored]
    penalties = [0.0 if turn.valid else turn.reward for turn in stored]
    pair_M = [pairs.setdefault(pair, len(pairs)) for pair in zip(state_M, actions, penalties, strict=True)]
    names: dict[str, int] = {}
    behaviour_M = [names.setdefault(turn.behaviour, len(names)) for turn in stored]
    number_M = np.array([turn.turn for turn in stored])
    turn_S, potential_S = np.zeros(len(states), np.int64), np.zeros(len(states))
    turn_S[state_M], potential_S[state_M] = number_M, [turn.potential for turn in stored]
    _check_keys(stored, turn_S[state_M])
    ends_M = np.append(number_M[1:] == 0, True)
    if number_M[0] != 0 or (number_M[1:][~ends_M[:-1]] != number_M[:-1][~ends_M[:-1]] + 1).any():
        raise ValueError("the turns are not whole episodes in order")
    reward_M = np.array([turn.reward for turn in stored])
    return Transitions(
        keys=list(states),
        turn_S=turn_S,
        potential_S=potential_S,
        pair_state_P=np.array([state for state, *_ in pairs]),
        state_M=np.array(state_M),
        pair_M=np.array(pair_M),
        next_M=np.where(ends_M, END, np.roll(state_M, -1)),
        reward_M=reward_M,
        to_go_M=_rewards_to_go(reward_M, ends_M),
        own_M=np.array([turn.behaviour == REFERENCE for turn in stored]),
        weight_M=turn_weights([turn.log_ratio for turn in stored], behaviour_M, state_M),
    )


def _check_keys(stored: Sequence[StoredTurn], turn_M: Ints) -> None:
    """Check that every state belongs to one turn of an episode.

    Args:
        stored: All turns.
        turn_M: The turn that the state of each belongs to.

    Raises:
        ValueError: A state occurs at two turns.
    """
    for turn, known in zip(stored, turn_M.tolist(), strict=True):
        if turn.turn != known:
            raise ValueError(f"the state {turn.state_key!r} occurs at turn {turn.turn} and at turn {known}: "
                             "its key must hold the turns left")  # fmt: skip


def _rewards_to_go(reward_M: Floats, ends_M: Bools) -> Floats:
    """Return the sum of the rewards from each turn to the end of its episode, `[M]`."""
    to_go_M = reward_M.copy()
    for place in range(len(reward_M) - 2, -1, -1):
        if not ends_M[place]:
            to_go_M[place] += to_go_M[place + 1]
    return to_go_M


def monte_carlo_values(transitions: Transitions, beta: float) -> Floats:
    """Return the log-mean-exp of the returns that followed each state, `[S]`.

    It tends to V* in deterministic environments and to the larger V^E in stochastic ones. Infinite `beta` gives the
    mean return of the reference, which is at most V*. The returns depend on the policy that plays on, so only the
    reference's own turns are used; a state that only explorers reached has nan.

    Args:
        transitions: The stored turns.
        beta: Temperature, as in `log_mean_exp`.
    """
    own, values_S = transitions.of_reference(), np.full(len(transitions.keys), np.nan)
    states, state_M = np.unique(own.state_M, return_inverse=True)
    values_S[states] = grouped_log_mean_exp(own.to_go_M, np.ones_like(own.to_go_M), state_M, len(states), beta)
    return values_S


def soft_values(transitions: Transitions, beta: float, strength: float) -> Floats:
    """Return V* of every state by empirical soft value iteration, `[S]`.

    It is consistent in deterministic and stochastic environments. Q(s, u) is the mean over all turns that tried the
    reply, those of explorers included; the odds of the reply are the reference's, by the weights of the turns
    (`importance`); a reply without odds is left out. So a script makes Q(s, u) more precise where chance decides what
    follows, and adds nothing where nothing is left to chance.

    A state that scripts alone have reached has no odds and no value, which is nan. A turn that led there counts with
    the mean of the bucket, and not at all where the bucket has none.

    Where a reply was tried once, its Q is the outcome of that one turn, and the soft maximum prefers lucky outcomes. So
    each Q(s, u) is averaged with `strength` pseudo-visits that earned the reference's mean in its state, and that mean
    with as many that earned the mean of the bucket: all states of the same turn and potential, of any instance. At
    `strength` 0 this is the plain estimate, and as `strength` grows it tends to the mean of the bucket. Where no reply
    was tried twice, and only the reference played, the plain estimate is the log-mean-exp of the returns.

    Args:
        transitions: The stored turns.
        beta: Temperature, as in `log_mean_exp`, in the unit of the rewards.
        strength: Pseudo-visits of each pair of state and action, at least 0; 0.5 to 1 does well for dozens of
            episodes of an instance, and with thousands it hardly matters.

    Raises:
        ValueError: `beta` or `strength` is out of range.
    """
    check_strength(strength)
    values_S = np.full(len(transitions.keys), np.nan)
    after_S = values_S.copy()  # what a turn that led there counts with
    turn_M = transitions.turn_S[transitions.state_M]
    for turn in reversed(range(int(turn_M.max()) + 1)):
        now_M = turn_M == turn
        states, state_M = np.unique(transitions.state_M[now_M], return_inverse=True)
        pairs, pair_M = np.unique(transitions.pair_M[now_M], return_inverse=True)
        state_P = np.searchsorted(states, transitions.pair_state_P[pairs])
        target_M, weight_M = transitions.followed_by(after_S)[now_M], transitions.weight_M[now_M]
        known_M = ~np.isnan(target_M)  # but where a script went on alone
        target_M = np.where(known_M, target_M, 0.0)
        visits_P, weight_P = np.bincount(pair_M, known_M), np.bincount(pair_M, weight_M)
        bucket_S = np.unique(transitions.potential_S[states].round(DECIMALS), return_inverse=True)[1]
        weight_S, sum_S = np.bincount(state_M, weight_M), np.bincount(state_M, weight_M * target_M)
        with np.errstate(invalid="ignore"):  # 0 / 0 where scripts alone have been
            alike_S = (np.bincount(bucket_S, sum_S) / np.bincount(bucket_S, weight_S))[bucket_S]
            pooled_S = (sum_S + strength * alike_S) / (weight_S + strength)
        given_S, given_P = weight_S > 0, weight_P > 0
        sum_P, prior_P = np.bincount(pair_M, target_M)[given_P], strength * pooled_S[state_P[given_P]]
        q_P = (sum_P + prior_P) / (visits_P[given_P] + strength)
        place_P = (np.cumsum(given_S) - 1)[state_P[given_P]]
        values_S[states[given_S]] = grouped_log_mean_exp(q_P, weight_P[given_P], place_P, int(given_S.sum()), beta)
        after_S[states] = np.where(given_S, values_S[states], alike_S)
    return values_S
