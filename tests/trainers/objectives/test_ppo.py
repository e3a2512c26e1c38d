"""Advantages under a critic, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.trainers.objectives.steps import step_params, with_advantages

from turngym.trainers.objectives import OBJECTIVES, TrainingBatch
from turngym.trainers.objectives.ppo import bilevel_gae, gae, gae_advantages, ppo_returns, token_gae, turn_gae

SPANS = [(0, 2), (2, 3), (3, 5)]
REWARDS = [1.0, 0.0, 2.0]
VALUES = [0.5, 1.0, 1.5, 0.25, 2.0]
LEVELS = ["token", "turn", "bilevel"]


def test_gae_by_hand() -> None:
    # delta: 1 + 0.5 * 4 - 2 = 1, then 3 - 4 = -1; 1 + 0.5 * 0.5 * -1 = 0.75.
    assert gae([1.0, 3.0], [2.0, 4.0], 0.5, 0.5) == [0.75, -1.0]
    assert gae([1.0, 3.0], [2.0, 4.0], 1.0, 1.0) == [4.0 - 2.0, 3.0 - 4.0]
    assert gae([1.0, 3.0], [2.0, 4.0], 1.0, 0.0) == [3.0, -1.0]


def test_whole_returns_over_tokens() -> None:
    assert token_gae(SPANS, REWARDS, VALUES, step_params("ppo")) == ([2.5, 2.0, 0.5, 1.75, 0.0], VALUES)


def test_turns_as_actions() -> None:
    step = step_params("ppo", gae_level="turn", turn_gamma=0.5)
    # Values before the turns 0.5, 1.5, 0.25; from the end: 1.75, then 0.5 * 0.25 - 1.5 + 0.5 * 1.75 = -0.5,
    # then 1 + 0.5 * 1.5 - 0.5 + 0.5 * -0.5 = 1. Each is over the value before its turn.
    advantages, bases = turn_gae(SPANS, REWARDS, VALUES, step)
    assert advantages == [1.0, 1.0, -0.5, 1.75, 1.75]
    assert bases == [0.5, 0.5, 1.5, 0.25, 0.25]


def test_both_levels() -> None:
    step = step_params("ppo", gae_level="bilevel", turn_gamma=0.5, gae_lambda=1.0)
    # Values at the ends 1, 1.5, 2; from the end: 0, then 0.5 * 2 - 1.5 = -0.5, then 1 + 0.75 - 1 - 0.25 = 0.5.
    # The returns 1.5, 1 and 2 are the rewards of chains of their own.
    assert bilevel_gae(SPANS, REWARDS, VALUES, step) == ([1.0, 0.5, -0.5, 1.75, 0.0], VALUES)


def test_turns_of_one_token_make_the_levels_equal() -> None:
    spans = [(0, 1), (1, 2), (2, 3)]
    step = step_params("ppo", gae_level="bilevel", turn_gamma=0.9, gamma=0.9, gae_lambda=0.7)
    token, turn, both = (spread(spans, REWARDS, VALUES[:3], step) for spread in (token_gae, turn_gae, bilevel_gae))
    assert token == turn and token[0] == pytest.approx(both[0]) and token[1] == both[1]


@pytest.mark.parametrize("level", LEVELS)
def test_the_reward_of_a_turn_without_room_to_speak_goes_to_the_last_that_had(
    samples: TrainingBatch, level: str
) -> None:
    step = step_params("ppo", gae_level=level)
    silent, merged = samples.reward_BK.clone(), samples.reward_BK.clone()
    silent[1, 1] = 5.0  # episode 1 has one turn with tokens
    merged[1, 0] += 5.0
    with torch.no_grad():
        one, _ = gae_advantages(replace(samples, reward_BK=silent), step)
        other, _ = gae_advantages(replace(samples, reward_BK=merged), step)
    assert torch.equal(one, other)


def test_a_critic_that_is_right_has_nothing_to_learn(samples: TrainingBatch) -> None:
    """With whole returns the target is the reward-to-go, whatever the critic said."""
    with torch.no_grad():
        target_N = ppo_returns(samples, step_params("ppo"))
    to_go_BK = samples.reward_BK.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(target_N, samples.gather_turns(to_go_BK), rtol=0, atol=1e-12)


def test_the_return_of_a_turn_does_not_depend_on_what_the_critic_said_within_turns(samples: TrainingBatch) -> None:
    step = step_params("ppo", gae_level="turn", gae_lambda=0.8)
    place_N = torch.arange(len(samples.episode_N))
    within_N = (samples.episode_N == samples.episode_N[place_N - 1]) & (samples.turn_N == samples.turn_N[place_N - 1])
    assert 0 < int(within_N.sum()) < len(within_N)
    with torch.no_grad():
        target_N = ppo_returns(samples, step)
        other_N = ppo_returns(replace(samples, critic_N=samples.critic_N + 5 * within_N), step)
        moved_N = ppo_returns(replace(samples, critic_N=samples.critic_N + 5 * ~within_N), step)
    assert torch.equal(target_N, other_N)
    assert not torch.equal(target_N, moved_N)


@pytest.mark.parametrize("gae_lambda", [1.0, 0.8])
@pytest.mark.parametrize("level", LEVELS)
def test_the_critic_alone_descends_to_the_truth(level: str, gae_lambda: float) -> None:
    """Two turns of two tokens; the first token is heads or tails, and heads earns 1 in each turn."""
    turns = {} if level == "token" else {"turn_gamma": 1.0}
    step = step_params("ppo", gae_level=level, gae_lambda=gae_lambda, kl_coef=0.0, **turns)
    prefix_N = torch.tensor([0, 1, 2, 3, 0, 4, 5, 6])
    truth_P = torch.tensor([1.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    value_P = torch.tensor([3.0, -1.0, 2.0, -4.0, 0.5, 1.5, -2.0], dtype=torch.float64, requires_grad=True)
    logp_N = torch.full((8,), -1.0, dtype=torch.float64)
    for _ in range(200):
        samples = TrainingBatch(
            logp_N=logp_N, old_logp_N=logp_N, critic_N=value_P[prefix_N], episode_N=torch.arange(8) // 4,
            turn_N=torch.arange(8) % 4 // 2, reward_BK=torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64),
        )  # fmt: skip
        with torch.no_grad():
            weighed = with_advantages(samples, "ppo", step)
        (gradient_P,) = torch.autograd.grad(OBJECTIVES["ppo"].loss(weighed, step).sum(), value_P)
        value_P.data -= 0.5 * gradient_P
    torch.testing.assert_close(value_P.detach(), truth_P, rtol=0, atol=1e-6)
