"""Decision processes small enough to be solved exactly: what the mathematics of the learner is checked against.

A policy pi is regularised towards a reference: J(pi) = E[R] - beta * KL(pi || ref), over a fixed number of turns. All
is NumPy in float64, by dynamic programming or by enumeration of every trajectory.

Axes: S states, A actions, N states moved to, H turns, T = H + 1 moments (the last one after the end), B trajectories.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tests.trainers.objectives.steps import step_params
from torch import Tensor

from turngym.envs.frozen_lake_maps import transition_table
from turngym.trainers.objectives.registry import TrainingBatch, find_objective
from turngym.trainers.stage_one.store_rows import REFERENCE, StoredTurn

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")
"""Gymnasium's own lake."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Values and the policy that belongs to them; terminal states and the end are worth 0."""

    value_TS: Floats
    """Value of a state at each moment."""
    q_HSA: Floats
    """Value of an action: its reward and what follows, without the KL cost of the action itself."""
    policy_HSA: Floats
    """Probability of each action."""


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """Trajectories of one process, in rows; after a terminal state nothing is played and nothing earned."""

    states_BT: Ints
    actions_BH: Ints
    reward_BH: Floats
    played_BH: Bools
    """Whether the turn took place."""
    chance_B: Floats
    """The environment's share of the probability: start and moves."""

    @property
    def turns(self) -> Ints:
        """The number of each turn, `[B, H]`."""
        return np.broadcast_to(np.arange(self.actions_BH.shape[1]), self.actions_BH.shape)

    def taken(self, x_HSA: Floats) -> Floats:
        """Return an entry of `x_HSA` for every turn, 0 where none took place, `[B, H]`."""
        return np.where(self.played_BH, x_HSA[self.turns, self.states_BT[:, :-1], self.actions_BH], 0.0)

    def visited(self, x_TS: Floats) -> Floats:
        """Return an entry of `x_TS` for every moment, `[B, T]`."""
        return np.asarray(x_TS[np.arange(self.states_BT.shape[1]), self.states_BT])

    def odds(self, policy_HSA: Floats) -> Floats:
        """Return the probability of every trajectory when `policy_HSA` plays, `[B]`."""
        return np.asarray(self.chance_B * np.where(self.played_BH, self.taken(policy_HSA), 1.0).prod(1))

    def rows(self, chosen_B: Bools | Ints) -> Trajectories:
        """Return some of the trajectories."""
        return Trajectories(
            states_BT=self.states_BT[chosen_B], actions_BH=self.actions_BH[chosen_B], chance_B=self.chance_B[chosen_B],
            reward_BH=self.reward_BH[chosen_B], played_BH=self.played_BH[chosen_B],
        )  # fmt: skip

    def samples(self, logp_HSA: Tensor, reference_HSA: Floats, value_TS: Floats) -> TrainingBatch:
        """Return the trajectories as an objective sees them, one token per action."""
        turns, states = self.turns[self.played_BH], self.states_BT[:, :-1][self.played_BH]
        actions = self.actions_BH[self.played_BH]
        return TrainingBatch(
            logp_N=logp_HSA[turns, states, actions],
            ref_logp_N=torch.from_numpy(np.log(reference_HSA[turns, states, actions])),
            episode_N=torch.from_numpy(np.nonzero(self.played_BH)[0]),
            turn_N=torch.from_numpy(turns),
            reward_BK=torch.from_numpy(self.reward_BH),
            value_BK=torch.from_numpy(self.visited(value_TS)[:, :-1]),
        )

    def stored_turns(self, behaviour: str = REFERENCE, log_ratio_HSA: Floats | None = None) -> list[StoredTurn]:
        """Return the turns as a value store holds them: a state's key ends in the turns left.

        Args:
            behaviour: Who played.
            log_ratio_HSA: Logarithm of the reference's probabilities over those of who played; None for 0.
        """
        last = self.actions_BH.shape[1]
        ratio_BH = np.zeros(self.actions_BH.shape) if log_ratio_HSA is None else self.taken(log_ratio_HSA)
        return [
            StoredTurn(instance=0, sample=int(row), turn=int(turn), action=str(self.actions_BH[row, turn]),
                       state_key=f"{self.states_BT[row, turn]}|{last - turn}", reward=float(self.reward_BH[row, turn]),
                       task_reward=float(self.reward_BH[row, turn]), valid=True, potential=0.0,
                       behaviour=behaviour, log_ratio=float(ratio_BH[row, turn]))
            for row, turn in np.argwhere(self.played_BH)
        ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SoftMDP:
    """A finite decision process with a fixed number of turns, a reference policy and a KL temperature."""

    start_S: Floats
    """Probability of starting in each state."""
    moves_SAN: Floats
    """Probability of each move."""
    reward_SAN: Floats
    """Reward of each move."""
    terminal_S: Bools
    """States that end an episode."""
    reference_HSA: Floats
    """Probability of each action under the reference, above 0."""
    beta: float
    """KL temperature, in units of reward per nat."""

    def optimum(self) -> Solution:
        """Return V*, Q* and pi*: V = beta log sum_a ref exp(Q / beta), Q = E[r + V(next)]."""
        return self._solve(lambda ahead_SAN: (self.moves_SAN * ahead_SAN).sum(-1))

    def entropic(self) -> Solution:
        """Return V^E, Q^E and pi^E, for which luck counts as skill: Q = beta log E[exp((r + V(next)) / beta)].

        V^E is what log-mean-exp over whole returns of the reference estimates.
        """
        with np.errstate(divide="ignore"):
            log_moves_SAN = np.log(self.moves_SAN)
        return self._solve(
            lambda ahead_SAN: self.beta * np.logaddexp.reduce(log_moves_SAN + ahead_SAN / self.beta, axis=-1)
        )

    def greedy(self, value_TS: Floats) -> Floats:
        """Return the policy ref * exp(Q_V / beta) that is soft-greedy in values V, `[H, S, A]`; pi* where V is V*."""
        q_HSA = np.einsum("san,hsan->hsa", self.moves_SAN, self.reward_SAN + value_TS[1:, None, None, :])
        logits_HSA = np.log(self.reference_HSA) + q_HSA / self.beta
        return np.exp(logits_HSA - np.logaddexp.reduce(logits_HSA, axis=-1, keepdims=True))

    def values_of(self, policy_HSA: Floats, beta: float) -> Solution:
        """Return the values of a policy that pays `beta` for each nat of its KL; for the reference that is its mean."""
        value_TS, q_HSA = self._empty()
        for turn in reversed(range(len(q_HSA))):
            q_HSA[turn] = (self.moves_SAN * (self.reward_SAN + value_TS[turn + 1])).sum(-1)
            cost_SA = beta * np.log(policy_HSA[turn] / self.reference_HSA[turn])
            value_TS[turn] = np.where(self.terminal_S, 0.0, (policy_HSA[turn] * (q_HSA[turn] - cost_SA)).sum(-1))
        return Solution(value_TS=value_TS, q_HSA=q_HSA, policy_HSA=policy_HSA)

    def objective(self, policy_HSA: Floats) -> float:
        """Return J = E[R] - beta * KL(pi || ref)."""
        return float(self.start_S @ self.values_of(policy_HSA, self.beta).value_TS[0])

    def objective_gradient(self, policy_HSA: Floats) -> Floats:
        """Return the gradient of J in the logits of a softmax policy, by the policy gradient theorem, `[H, S, A]`."""
        values = self.values_of(policy_HSA, self.beta)
        soft_HSA = values.q_HSA - self.beta * np.log(policy_HSA / self.reference_HSA)
        advantage_HSA = soft_HSA - values.value_TS[:-1, :, None]
        return self.visits(policy_HSA)[..., None] * policy_HSA * advantage_HSA

    def visits(self, policy_HSA: Floats) -> Floats:
        """Return the probability of playing a turn in each state, `[H, S]`."""
        visits_HS = np.zeros(policy_HSA.shape[:2])
        reached_S = self.start_S
        for turn, policy_SA in enumerate(policy_HSA):
            visits_HS[turn] = np.where(self.terminal_S, 0.0, reached_S)
            reached_S = np.einsum("s,sa,san->n", visits_HS[turn], policy_SA, self.moves_SAN)
        return visits_HS

    def trajectories(self) -> Trajectories:
        """Return every trajectory that the environment makes possible."""
        turns, states, actions = self.reference_HSA.shape
        paths = np.array(list(itertools.product(*[range(states), range(actions)] * turns, range(states))))
        states_BT, actions_BH = paths[:, 0::2], paths[:, 1::2]
        place = states_BT[:, :-1], actions_BH, states_BT[:, 1:]
        played_BH = ~self.terminal_S[states_BT[:, :-1]]
        # After the end one path alone goes on: action 0, in place.
        stays_BH = (actions_BH == 0) & (place[0] == place[2])
        chance_B = self.start_S[states_BT[:, 0]] * np.where(played_BH, self.moves_SAN[place], stays_BH).prod(1)
        everything = Trajectories(states_BT=states_BT, actions_BH=actions_BH, played_BH=played_BH, chance_B=chance_B,
                                  reward_BH=np.where(played_BH, self.reward_SAN[place], 0.0))  # fmt: skip
        return everything.rows(chance_B > 0)

    def play(self, policy_HSA: Floats, episodes: int, rng: np.random.Generator) -> Trajectories:
        """Draw trajectories of a policy."""
        turns = len(policy_HSA)
        states_BT = np.zeros((episodes, turns + 1), np.int64)
        actions_BH, reward_BH = np.zeros((episodes, turns), np.int64), np.zeros((episodes, turns))
        states_BT[:, 0] = rng.choice(len(self.start_S), size=episodes, p=self.start_S)
        for turn, state_B in enumerate(states_BT.T[:-1]):
            action_B = _draw(policy_HSA[turn, state_B], rng)
            next_B = _draw(self.moves_SAN[state_B, action_B], rng)
            live_B = ~self.terminal_S[state_B]
            actions_BH[:, turn] = np.where(live_B, action_B, 0)
            reward_BH[:, turn] = np.where(live_B, self.reward_SAN[state_B, action_B, next_B], 0.0)
            states_BT[:, turn + 1] = np.where(live_B, next_B, state_B)
        return Trajectories(states_BT=states_BT, actions_BH=actions_BH, reward_BH=reward_BH,
                            played_BH=~self.terminal_S[states_BT[:, :-1]], chance_B=np.ones(episodes))  # fmt: skip

    def _solve(self, expect: Callable[[Floats], Floats]) -> Solution:
        value_TS, q_HSA = self._empty()
        log_reference_HSA = np.log(self.reference_HSA)
        for turn in reversed(range(len(q_HSA))):
            q_HSA[turn] = expect(self.reward_SAN + value_TS[turn + 1])
            soft_S = self.beta * np.logaddexp.reduce(log_reference_HSA[turn] + q_HSA[turn] / self.beta, axis=-1)
            value_TS[turn] = np.where(self.terminal_S, 0.0, soft_S)
        live_SA = ~self.terminal_S[:, None]
        advantage_HSA = np.where(live_SA, q_HSA - value_TS[:-1, :, None], 0.0)
        return Solution(
            value_TS=value_TS, q_HSA=q_HSA, policy_HSA=self.reference_HSA * np.exp(advantage_HSA / self.beta)
        )

    def _empty(self) -> tuple[Floats, Floats]:
        turns, states, actions = self.reference_HSA.shape
        return np.zeros((turns + 1, states)), np.zeros((turns, states, actions))


def random_mdp(
    seed: int = 0, *, turns: int = 3, deterministic: bool = False, terminal: bool = False, beta: float = 0.3
) -> SoftMDP:
    """Draw a process of three states, of which the last may be terminal, and two actions.

    Args:
        seed: Seeds every draw.
        turns: Turns of an episode.
        deterministic: Whether every action has one outcome.
        terminal: Whether the last state ends the episode.
        beta: KL temperature.
    """
    states, actions = 3, 2
    rng = np.random.default_rng(seed)
    moves_SAN = rng.dirichlet(np.ones(states), size=(states, actions))
    if deterministic:
        moves_SAN = np.eye(states)[moves_SAN.argmax(-1)]
    terminal_S = np.arange(states) >= states - int(terminal)
    start_S = np.where(terminal_S, 0.0, rng.dirichlet(np.ones(states)))
    return SoftMDP(
        start_S=start_S / start_S.sum(),
        moves_SAN=moves_SAN,
        reward_SAN=rng.uniform(-1, 1, (states, actions, states)),
        terminal_S=terminal_S,
        reference_HSA=rng.dirichlet(np.ones(actions), size=(turns, states)),
        beta=beta,
    )


def at_temperature(policy_HSA: Floats, temperature: float) -> Floats:
    """Return the policy whose logits are divided by a temperature."""
    return np.asarray(torch.from_numpy(np.log(policy_HSA) / temperature).softmax(-1).numpy())


def random_policy(mdp: SoftMDP, seed: int = 1) -> Floats:
    """Draw the probabilities of a policy, `[H, S, A]`."""
    logits_HSA = np.random.default_rng(seed).normal(size=mdp.reference_HSA.shape)
    return np.asarray(torch.from_numpy(logits_HSA).softmax(-1).numpy())


def frozen_lake(success_rate: float, beta: float, *, turns: int = 20) -> SoftMDP:
    """Return Gymnasium's 4x4 lake from its own table, under a uniform reference.

    Args:
        success_rate: Probability that a move goes where it was meant to.
        beta: KL temperature.
        turns: The turn limit.
    """
    moves_SAN, reward_SAN = np.zeros((2, 16, 4, 16))
    for cell, by_move in transition_table(LAKE, success_rate).items():
        for move, outcomes in by_move.items():
            for odds, following, reward, _ in outcomes:
                moves_SAN[cell, move, following] += odds
                reward_SAN[cell, move, following] = reward
    letters = "".join(LAKE)
    return SoftMDP(
        start_S=np.eye(16)[letters.index("S")],
        moves_SAN=moves_SAN,
        reward_SAN=reward_SAN,
        terminal_S=np.array([letter in "HG" for letter in letters]),
        reference_HSA=np.full((turns, 16, 4), 0.25),
        beta=beta,
    )


def _draw(odds_BX: Floats, rng: np.random.Generator) -> Ints:
    """Draw a column for every row."""
    reached_BX = odds_BX.cumsum(-1)
    return np.asarray((rng.random((len(odds_BX), 1)) * reached_BX[:, -1:] >= reached_BX).sum(-1))


def logits_of(policy_HSA: Floats) -> Tensor:
    """Return logits of which a policy is the softmax, to be differentiated by."""
    return torch.from_numpy(np.log(policy_HSA)).requires_grad_()


def expected_step(
    name: str, mdp: SoftMDP, policy_HSA: Floats, value_TS: Floats, behavior_HSA: Floats, turn_lambda: float = 1.0
) -> tuple[float, Floats]:
    """Return an objective's expected loss over the trajectories of a behavior, and its gradient in the logits.

    Args:
        name: The objective.
        mdp: The process; its temperature is the KL temperature.
        policy_HSA: The policy that learns.
        value_TS: V of each state at each moment.
        behavior_HSA: The policy that plays.
        turn_lambda: lambda of `astarpo_turn`.
    """
    paths, logits_HSA = mdp.trajectories(), logits_of(policy_HSA)
    samples = paths.samples(logits_HSA.log_softmax(-1), mdp.reference_HSA, value_TS)
    loss_B = find_objective(name).loss(samples, step_params(name, beta=mdp.beta, turn_lambda=turn_lambda))
    loss = torch.from_numpy(paths.odds(behavior_HSA)) @ loss_B
    return loss.item(), torch.autograd.grad(loss, logits_HSA)[0].numpy()
