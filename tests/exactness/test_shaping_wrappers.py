"""The wrappers that shape rewards, on a slippery lake of which every reply and every slip is played out.

What a wrapped environment pays becomes a decision process whose states are those of the game at each moment, so that it
can be solved exactly. Axes as in `soft_mdp`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.exactness.soft_mdp import Floats, SoftMDP, expected_step, logits_of, random_policy
from tests.trainers.objectives.steps import step_params

from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.shaping import PlainShaping, PotentialShaping
from turngym.trainers.objectives.registry import find_objective

TURNS, BETA, WEIGHT = 3, 0.3, 0.8
REPLIES = ("right", "down", "jump")
"""The last one is unusable, and costs its turn."""
HIT = 0.6
SLIPS = {0.1: (1 - HIT) / 2, 0.5: HIT, 0.9: (1 - HIT) / 2}
"""A draw of each thing that can happen, with its odds: to one side, as meant, to the other side."""


class GivenDraw:
    """A generator whose only share is given."""

    def __init__(self, draw: float) -> None:
        self.draw = draw

    def random(self) -> float:
        return self.draw

    def integers(self, high: int) -> int:
        return high - 1


@dataclass(frozen=True)
class Played:
    """An environment that was played out."""

    mdp: SoftMDP
    infos: list[dict[str, Any]]
    """Of each state, `[S]`; those after the end are empty."""

    def charges(self) -> Floats:
        """Return weight * Phi of each state at each moment: 0 after the end."""
        return np.tile([WEIGHT * height(info) if info else 0.0 for info in self.infos], (TURNS + 1, 1))


def lake() -> gym.Env[str, str]:
    return gym.make("turngym/FrozenLake-v0", size=2, success_rate=HIT, action_budget=None, max_episode_steps=TURNS)


def play_out(env: gym.Env[str, str]) -> Played:
    """Play every reply with every slip, on a lake whose goal lies past a hole, and collect where that leads."""
    inside = env.unwrapped
    assert isinstance(inside, FrozenLakeEnv)
    index = next(i for i in range(999) if env.reset(options={"index": i}) and inside.rows == ("SH", "FG"))
    infos: dict[str, dict[str, Any]] = {"failed": {}, "solved": {}}
    paid: dict[tuple[str, int, str, float], float] = {}
    for plan in itertools.product(range(len(REPLIES)), SLIPS, repeat=TURNS):
        _, info = env.reset(options={"index": index})
        over, turn = False, 0
        while not over:
            action, draw = plan[2 * turn : 2 * turn + 2]
            inside.np_random = GivenDraw(draw)  # type: ignore[assignment]
            before = info["state_key"]
            infos[before] = info
            _, reward, terminated, truncated, info = env.step(REPLIES[int(action)])
            over, turn = terminated or truncated, turn + 1
            after = ("solved" if info["success"] else "failed") if over else info["state_key"]
            assert paid.setdefault((before, int(action), after, draw), float(reward)) == reward
    return Played(as_process(list(infos), paid), list(infos.values()))


def as_process(states: list[str], paid: dict[tuple[str, int, str, float], float]) -> SoftMDP:
    """Return the process with these states, under a reference that differs from state to state."""
    moves_SAN, reward_SAN = np.zeros((2, len(states), len(REPLIES), len(states)))
    for (before, action, after, draw), reward in paid.items():
        place = states.index(before), action, states.index(after)
        assert moves_SAN[place] == 0 or reward_SAN[place] == reward
        moves_SAN[place] += SLIPS[draw]
        reward_SAN[place] = reward
    reference_SA = np.random.default_rng(8).dirichlet(np.ones(len(REPLIES)), size=len(states))
    return SoftMDP(
        start_S=np.array([float(state.endswith(f"|{TURNS}")) for state in states]),
        moves_SAN=moves_SAN,
        reward_SAN=reward_SAN,
        terminal_S=np.array([state in {"failed", "solved"} for state in states]),
        reference_HSA=np.tile(reference_SA, (TURNS, 1, 1)),
        beta=BETA,
    )


def height(info: Mapping[str, Any]) -> float:
    """Return a potential that was drawn for the state, turns left included."""
    return float(np.random.default_rng(list(info["state_key"].encode())).uniform(-1, 1))


@pytest.fixture(scope="module")
def game() -> Played:
    return play_out(lake())


@pytest.fixture(scope="module")
def shaped() -> Played:
    return play_out(PotentialShaping(lake(), height, weight=WEIGHT, potential_range=(-1, 1)))


def test_what_is_played_out_is_the_whole_game(game: Played) -> None:
    """Two cells of ice at each of three moments but the first, and two ends; every reply leads somewhere."""
    mdp = game.mdp
    assert len(game.infos) == 7 and mdp.start_S.sum() == 1
    np.testing.assert_allclose(mdp.moves_SAN.sum(-1)[~mdp.terminal_S], 1.0, rtol=0, atol=1e-15)
    odds_B = mdp.trajectories().odds(mdp.reference_HSA)
    assert odds_B.sum() == pytest.approx(1.0, abs=1e-12)
    assert 0.05 < mdp.objective(mdp.reference_HSA) < 0.95


def test_a_potential_changes_no_optimal_policy(game: Played, shaped: Played) -> None:
    charge_TS = game.charges()
    reached_HS = game.mdp.visits(game.mdp.reference_HSA) > 0
    plain, moved = game.mdp.optimum(), shaped.mdp.optimum()
    np.testing.assert_allclose(moved.policy_HSA[reached_HS], plain.policy_HSA[reached_HS], rtol=0, atol=1e-12)
    fallen_HS = (plain.value_TS - moved.value_TS)[:-1]
    np.testing.assert_allclose(fallen_HS[reached_HS], charge_TS[:-1][reached_HS], rtol=0, atol=1e-12)
    assert np.abs(fallen_HS[reached_HS]).max() > 0.1
    assert np.abs(plain.policy_HSA - game.mdp.reference_HSA)[reached_HS].max() > 0.1


@pytest.mark.parametrize("name", ["astarpo", "astarpo_turn"])
@pytest.mark.parametrize("turn_lambda", [0.0, 0.5, 1.0])
def test_no_loss_of_any_trajectory_changes_when_values_fall_by_the_potential(
    game: Played, shaped: Played, name: str, turn_lambda: float
) -> None:
    charge_TS = game.charges()
    policy_HSA = random_policy(game.mdp)
    value_TS = np.random.default_rng(4).normal(size=charge_TS.shape) * ~game.mdp.terminal_S
    value_TS[-1] = 0.0

    def losses(mdp: SoftMDP, value_TS: Floats) -> Floats:
        samples = mdp.trajectories().samples(logits_of(policy_HSA).log_softmax(-1), mdp.reference_HSA, value_TS)
        step = step_params(name, beta=BETA, turn_lambda=turn_lambda)
        return np.asarray(find_objective(name).loss(samples, step).detach().numpy())

    plain_B = losses(game.mdp, value_TS)
    np.testing.assert_allclose(losses(shaped.mdp, value_TS - charge_TS), plain_B, rtol=0, atol=1e-12)
    assert np.abs(losses(shaped.mdp, value_TS) - plain_B).max() > 1e-2, "the values must fall too"
    steps = [
        expected_step(name, mdp, policy_HSA, values_TS, game.mdp.reference_HSA, turn_lambda)[1]
        for mdp, values_TS in ((game.mdp, value_TS), (shaped.mdp, value_TS - charge_TS))
    ]
    np.testing.assert_allclose(steps[1], steps[0], rtol=0, atol=1e-12)
    assert np.abs(steps[0]).max() > 1e-3


@pytest.mark.parametrize("costs", [{"step_cost": 0.2}, {"invalid_penalty": 0.2}])
def test_plain_shaping_changes_the_optimal_policy(game: Played, costs: dict[str, float]) -> None:
    reached_HS = game.mdp.visits(game.mdp.reference_HSA) > 0
    moved = play_out(PlainShaping(lake(), **costs)).mdp.optimum()
    change_HSA = (moved.policy_HSA - game.mdp.optimum().policy_HSA)[reached_HS]
    assert np.abs(change_HSA).max() > 0.03
    if "invalid_penalty" in costs:
        assert (change_HSA[:, REPLIES.index("jump")] < -0.01).all(), "the penalty is avoided"
