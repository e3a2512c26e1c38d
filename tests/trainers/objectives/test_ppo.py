"""Advantages under a critic, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from turngym.trainers.objectives import Samples, Settings
from turngym.trainers.objectives.ppo import bilevel_gae, gae, gae_advantages, ppo_returns, token_gae, turn_gae

SPANS = [(0, 2), (2, 3), (3, 5)]
REWARDS = [1.0, 0.0, 2.0]
VALUES = [0.5, 1.0, 1.5, 0.25, 2.0]


def test_gae_by_hand() -> None:
    # delta: 1 + 0.5 * 4 - 2 = 1, then 3 - 4 = -1; 1 + 0.5 * 0.5 * -1 = 0.75.
    assert gae([1.0, 3.0], [2.0, 4.0], 0.5, 0.5) == [0.75, -1.0]
    assert gae([1.0, 3.0], [2.0, 4.0], 1.0, 1.0) == [4.0 - 2.0, 3.0 - 4.0]
    assert gae([1.0, 3.0], [2.0, 4.0], 1.0, 0.0) == [3.0, -1.0]


def test_whole_returns_over_tokens() -> None:
    assert token_gae(SPANS, REWARDS, VALUES, Settings(beta=0.1)) == [2.5, 2.0, 0.5, 1.75, 0.0]


def test_turns_as_actions() -> None:
    settings = Settings(beta=0.1, turn_discount=0.5)
    # Values before the turns 0.5, 1.5, 0.25; from the end: 1.75, then 0.5 * 0.25 - 1.5 + 0.5 * 1.75 = -0.5,
    # then 1 + 0.5 * 1.5 - 0.5 + 0.5 * -0.5 = 1.
    assert turn_gae(SPANS, REWARDS, VALUES, settings) == [1.0, 1.0, -0.5, 1.75, 1.75]


def test_both_levels() -> None:
    settings = Settings(beta=0.1, turn_discount=0.5, gae_lambda=1.0)
    # Values at the ends 1, 1.5, 2; from the end: 0, then 0.5 * 2 - 1.5 = -0.5, then 1 + 0.75 - 1 - 0.25 = 0.5.
    # The returns 1.5, 1 and 2 are the rewards of chains of their own.
    assert bilevel_gae(SPANS, REWARDS, VALUES, settings) == [1.0, 0.5, -0.5, 1.75, 0.0]


def test_turns_of_one_token_make_the_levels_equal() -> None:
    spans = [(0, 1), (1, 2), (2, 3)]
    settings = Settings(beta=0.1, turn_discount=0.9, gae_discount=0.9, gae_lambda=0.7)
    token, turn, both = (spread(spans, REWARDS, VALUES[:3], settings) for spread in (token_gae, turn_gae, bilevel_gae))
    assert token == turn == pytest.approx(both)


@pytest.mark.parametrize("level", ["token", "turn", "bilevel"])
def test_the_reward_of_a_turn_without_room_to_speak_goes_to_the_last_that_had(samples: Samples, level: str) -> None:
    settings = Settings(beta=0.1, gae_level=level)
    silent, merged = samples.reward_BK.clone(), samples.reward_BK.clone()
    silent[1, 1] = 5.0  # episode 1 has one turn with tokens
    merged[1, 0] += 5.0
    with torch.no_grad():
        one = gae_advantages(replace(samples, reward_BK=silent), settings)
        other = gae_advantages(replace(samples, reward_BK=merged), settings)
    assert torch.equal(one, other)


def test_a_critic_that_is_right_has_nothing_to_learn(samples: Samples) -> None:
    """With whole returns the target is the reward-to-go, whatever the critic said."""
    with torch.no_grad():
        target_N = ppo_returns(samples, Settings(beta=0.1))
    to_go_BK = samples.reward_BK.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(target_N, samples.of_turns(to_go_BK), rtol=0, atol=1e-12)
