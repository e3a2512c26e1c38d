"""What a step tells about the health of learning, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from turngym.agents.episode import Episode, Turn
from turngym.trainers.monitors import distinct_share, measure_rollouts, measure_update, value_quality
from turngym.trainers.objectives import Samples, Settings, find_objective
from turngym.trainers.pool import ValueEstimates, estimate_values
from turngym.trainers.tracker import ValueTracker

BETA = 0.5


def tracker() -> ValueTracker:
    """Return a tracker that knows nothing of any prompt: success 0.5 for all of them."""
    return ValueTracker(
        ValueEstimates(instances=np.empty(0, dtype=np.int64), values=np.empty(0), stds=np.empty(0),
                       counts=np.empty(0, dtype=np.int64), prior=0.25), {},
    )  # fmt: skip


def visited_once(success_rates: dict[int, float]) -> ValueTracker:
    """Return a tracker of prompts 1 and 2, each played once in stage 1; the pool counts next to nothing."""
    estimates = estimate_values({1: [1.0], 2: [0.0]}, 0.5, 1.0, (0.0, 1.0))
    return ValueTracker(estimates, success_rates, pool_weight=1e-14)


def episode(index: int, reward: float, *replies: list[int], logprob: float = -0.5) -> Episode:
    """Return an episode whose turns are prompts of one token, 99, each with a reply; the last turn earns the reward."""
    ids: list[int] = []
    turns: list[Turn] = []
    for reply in replies:
        ids += [99, *reply]
        turns.append(
            Turn(observation="o", action="a", reward=0.0, task_reward=0.0, state_key="s", potential=0.0, valid=True,
                 span=(len(ids) - len(reply), len(ids)), logprobs=[logprob] * len(reply))
        )  # fmt: skip
    turns[-1].reward = reward
    return Episode(env_id="x", split="train", index=index, seed=0, turns=turns, token_ids=ids)


# Before the update ----------------------------------------------------------------------------------------------


def test_rollouts_by_hand() -> None:
    episodes = [
        episode(1, 1.0, [1, 2], [1, 2], logprob=-0.25),
        episode(1, 0.0, [1, 2], [1, 2], logprob=-0.5),
        episode(2, 1.0, [1, 3, 1], logprob=-1.0),
        episode(2, 1.0, [4], logprob=-2.0),
    ]
    assert measure_rollouts(episodes, tracker()) == pytest.approx(
        {
            "predictive_std": 0.5,
            "group_std": (math.sqrt(0.5) + 0.0) / 2,
            "zero_std_share": 0.5,
            "entropy": (4 * 0.25 + 4 * 0.5 + 3 * 1.0 + 1 * 2.0) / 12,
            "reply_length": (2 + 2 + 2 + 2 + 3 + 1) / 6,
            "distinct_1": 4 / 12,  # 1 2 3 4
            "distinct_2": 3 / 6,  # 12 four times, 13, 31
            "duplicate_share": 0.25,
        }
    )


def test_a_prompt_with_one_episode_counts_by_its_prediction() -> None:
    sure = ValueTracker(
        estimate_values({1: [1.0], 2: [0.0]}, 0.5, 1.0, (0.0, 1.0)), {1: 1.0, 2: 1.0}, pool_weight=1e-14
    )
    numbers = measure_rollouts([episode(1, 1.0, [1]), episode(2, 1.0, [2])], sure)
    assert numbers["predictive_std"] == 0.0 and numbers["zero_std_share"] == 1.0 and "group_std" not in numbers
    sure.update(2, 0.0, success=False)  # 2 is worth two visits now: a success and a failure
    numbers = measure_rollouts([episode(1, 1.0, [1]), episode(2, 1.0, [2])], sure)
    p = (0.9 * 1.0 + 0.0) / 1.9
    assert numbers["predictive_std"] == pytest.approx(math.sqrt(p * (1 - p)) / 2, abs=1e-6)
    assert numbers["zero_std_share"] == 0.5


def test_the_prediction_is_a_mean_over_prompts_and_not_over_episodes() -> None:
    known = ValueTracker(
        estimate_values({1: [1.0], 2: [0.0]}, 0.5, 1.0, (0.0, 1.0)), {1: 1.0, 2: 0.5}, pool_weight=1e-14
    )
    numbers = measure_rollouts([episode(1, 1.0, [1]), episode(1, 1.0, [2]), episode(2, 1.0, [3])], known)
    assert numbers["predictive_std"] == pytest.approx((0.0 + 0.5) / 2, abs=1e-6)
    assert numbers["zero_std_share"] == 0.5


def test_distinct_n() -> None:
    assert distinct_share([[7, 7, 7]], 1) == pytest.approx(1 / 3)
    assert distinct_share([[1, 2, 3], [1, 2]], 2) == pytest.approx(2 / 3)  # 12 23 12, and none across replies
    assert distinct_share([[1], [2]], 2) is None
    assert "distinct_2" not in measure_rollouts([episode(1, 0.0, [5])], tracker())


def test_replies_that_are_cut_differently_are_no_duplicates() -> None:
    numbers = measure_rollouts([episode(1, 0.0, [1, 2], [3]), episode(2, 0.0, [1], [2, 3])], tracker())
    assert numbers["duplicate_share"] == 0.0


# After the update -----------------------------------------------------------------------------------------------


@pytest.fixture
def batch() -> Samples:
    """Three episodes of 2, 1 and 1 tokens with returns 1, 0 and 1."""
    return Samples(
        logp_N=torch.zeros(4),
        old_logp_N=torch.tensor([-1.0, -1.0, -1.0, -1.0]),
        row_N=torch.tensor([0, 0, 1, 2]),
        turn_N=torch.tensor([0, 1, 0, 0]),
        reward_BK=torch.tensor([[0.5, 0.5], [0.0, 0.0], [1.0, 0.0]]),
        value_BK=torch.tensor([[0.5, 0.0], [0.25, 0.0], [0.25, 0.0]]),
        group_B=torch.tensor([3, 4, 5]),
    )


def measured(batch: Samples, name: str, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "logp_N": torch.tensor([-1.0, -1.25, -1.5, -2.0]),
        "unmoved_N": torch.arange(4),
        "log_ratio_B": torch.tensor([0.5, 1.0, 0.0]),
        "tracker": tracker(),
        "objective": find_objective(name),
        "settings": Settings(beta=BETA, reward_span=2.0),
    } | changes
    return measure_update(batch, arguments.pop("logp_N"), arguments.pop("unmoved_N"), arguments.pop("log_ratio_B"),
                          **arguments)  # fmt: skip


def test_an_update_of_astarpo_by_hand(batch: Samples) -> None:
    # S = R - 0.5 * l = .75, -.5, 1; V = .5, .25, .25; V - S = -.25, .75, -.75, with mean -1/12.
    soft, residual = np.array([0.75, -0.5, 1.0]), np.array([-0.25, 0.75, -0.75])
    assert measured(batch, "astarpo") == pytest.approx(
        {
            "logprob_drift": 1.0,
            "logprob_drift_p50": 0.375,
            "logprob_drift_p99": 0.5 + 0.97 * 0.5,
            "kl": 0.5,
            "kl_per_token": 1.5 / 4,
            "kl_tax": 0.5 * 0.5 / 2,
            "residual_mean": -1 / 12,
            "residual_var": (0.0625 + 0.5625 + 0.5625) / 3 - 1 / 144,
            "value_gap": 0.25 - 1.25 / 3,
            "explained_variance": 1 - residual.var() / soft.var(),
            "negative_share": 0.75 / (0.25 + 0.25 + 0.75 + 0.75),  # the first episode has two tokens
        },
        abs=1e-6,
    )


def test_drift_is_read_before_the_policy_moves(batch: Samples) -> None:
    assert measured(batch, "astarpo", unmoved_N=torch.tensor([0, 1]))["logprob_drift"] == 0.25


def test_what_an_objective_does_without_is_not_there(batch: Samples) -> None:
    batch = replace(batch, advantage_N=torch.tensor([1.0, -3.0, 0.5, -0.5]))
    grpo = measured(batch, "grpo", settings=Settings(beta=BETA, kl_weight=0.1))
    assert grpo["negative_share"] == pytest.approx(3.5 / 5)
    assert {"kl", "kl_per_token"} <= set(grpo)
    assert not {"kl_tax", "residual_mean", "value_gap", "explained_variance"} & set(grpo)
    without = measured(batch, "grpo", settings=Settings(beta=BETA, kl_weight=0.0))
    assert not {"kl", "kl_per_token"} & set(without)
    assert "kl_tax" in measured(batch, "rloo") and "value_gap" not in measured(batch, "rloo")
    own = measured(batch, "astarpo", settings=Settings(beta=BETA, baseline="batch"))
    assert "residual_mean" in own and "value_gap" not in own
    assert "negative_share" not in measured(replace(batch, advantage_N=torch.empty(0)), "gvpo")


def test_a_critic_is_measured_by_token(batch: Samples) -> None:
    critic_N, return_N = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.0, 2.0, 0.0, 2.0])
    numbers = measured(replace(batch, critic_N=critic_N, return_N=return_N), "ppo")
    assert numbers["explained_variance"] == pytest.approx(1 - 0.25 / 1.0)
    assert "residual_mean" not in numbers and "value_calibration" not in numbers


def test_explained_variance() -> None:
    target = np.array([0.0, 1.0, 0.0, 1.0])
    assert value_quality(target, target) == {"explained_variance": 1.0}
    assert value_quality(target + 7, target) == {"explained_variance": 1.0}  # a shift is the gap's business
    assert value_quality(np.full(4, 0.3), target)["explained_variance"] == pytest.approx(0.0)
    assert value_quality(1 - target, target)["explained_variance"] == pytest.approx(-3.0)
    assert value_quality(target, np.ones(4)) == {}


def test_calibration_by_tenths() -> None:
    value = np.arange(100.0)[::-1].copy()
    tenths = value_quality(value, value**2)["value_calibration"]
    assert len(tenths) == 10
    assert tenths[0] == [4.5, pytest.approx(28.5)] and tenths[9][0] == 94.5
    assert "value_calibration" not in value_quality(value[1:], value[1:])
