"""What a step tells about the health of learning, by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainers.harness import make_loop, run, with_learning
from tests.trainers.objectives.steps import step_params

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.config import TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.monitoring.alarms import Alarms, Thresholds
from turngym.trainers.monitoring.measures import distinct_share, measure_rollouts, measure_update, value_quality
from turngym.trainers.objectives import TrainingBatch, find_objective
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.stage_one.instance_values import estimate_values
from turngym.trainers.stage_one.stage import StageOneResult

BETA = 0.5


def successes() -> SuccessTracker:
    """Return a tracker that knows nothing of any prompt: success 0.5 for all of them."""
    return SuccessTracker(StageOneResult(pool=[]))


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
    assert measure_rollouts(episodes, successes(), {}) == pytest.approx(
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


POOL = range(16)


class Pool:
    """Prompts of which stage 1 won every other episode, and what stage 2 remembers of them."""

    def __init__(self) -> None:
        estimates = estimate_values({index: [1.0, 0.0] for index in POOL}, 0.5, 1.0, (0.0, 1.0))
        result = StageOneResult(pool=POOL, estimates=estimates, success_rates=dict.fromkeys(POOL, 0.5))
        self.successes = SuccessTracker(result)
        self.last_returns: dict[int, float] = {}

    def measure(self, episodes: Sequence[Episode]) -> dict[str, float]:
        return measure_rollouts(episodes, self.successes, self.last_returns)

    def play(self, rewards: Sequence[float]) -> dict[str, float]:
        """Return what is measured of one episode of each prompt, and remember them as stage 2 does."""
        episodes = [episode(index, reward, [1]) for index, reward in zip(POOL, rewards, strict=True)]
        for each in episodes:
            each.success = each.total_reward == 1.0
        numbers = self.measure(episodes)
        self.successes.update(episodes)
        self.last_returns |= {each.index: each.total_reward for each in episodes}
        return numbers


def test_a_prompt_with_one_episode_is_compared_with_its_last_episode() -> None:
    known = Pool()
    assert not {"revisit_std", "zero_std_share", "group_std"} & set(known.play([0.25] * 16))
    numbers = known.play([0.75] * 4 + [0.25] * 12)
    assert numbers["revisit_std"] == pytest.approx(math.sqrt(4 * 0.5**2 / 16 / 2))
    assert numbers["zero_std_share"] == 12 / 16
    fewer = [episode(index, 1.0, [1]) for index in POOL[:7]]
    fresh = [episode(FRESH_INSTANCES + index, 1.0, [1]) for index in POOL]
    assert "revisit_std" not in known.measure(fewer + fresh)
    eight = known.measure([*fewer, episode(7, 1.0, [1]), *fresh])
    assert eight["revisit_std"] == pytest.approx(math.sqrt((4 * 0.25**2 + 4 * 0.75**2) / 8 / 2))


def test_the_last_episode_of_a_prompt_is_no_part_of_a_group() -> None:
    known = Pool()
    known.play([0.0] * 16)
    groups = [episode(index, 1.0, [1]) for index in POOL for _ in range(2)]
    numbers = known.measure(groups)
    assert (numbers["group_std"], numbers["zero_std_share"]) == (0.0, 1.0) and "revisit_std" not in numbers


def rung(rewards: Iterable[Sequence[float]]) -> list[int]:
    """Return the steps after which "reward_std" rings."""
    known, alarms, thresholds = Pool(), Alarms(), Thresholds()
    found = []
    for step, row in enumerate(rewards, start=1):
        numbers = known.play(row) | {"step": step, "kept": 1.0, "grad_norm": 1.0, "success": float(np.mean(row))}
        found += [alarm.step for alarm in alarms.judge(numbers, thresholds) if alarm.alarm == "reward_std"]
    return found


def test_prompts_without_spread_ring_although_their_mean_success_is_unchanged() -> None:
    rng = np.random.default_rng(0)
    alive = rng.integers(2, size=(200, 16)).astype(float).tolist()
    settled = [1.0, 0.0] * 8
    assert rung(alive) == []
    assert rung([*alive[:20], *[settled] * 30]) == [31]  # the first settled step still differs from the last alive one
    known = Pool()
    numbers = [known.play(row) for row in [*alive[:20], *[settled] * 30]][-1]
    assert (numbers["revisit_std"], numbers["zero_std_share"]) == (0.0, 1.0) and numbers["predictive_std"] > 0.2


def test_a_run_that_is_dead_from_its_first_step_rings() -> None:
    assert rung([[0.0] * 16] * 30) == [11]  # the first step has no visit before it
    assert rung([[1.0] * 16] * 30) == []  # solved


def test_returns_that_differ_without_a_success_are_no_collapse() -> None:
    rng = np.random.default_rng(1)
    assert rung(rng.uniform(0.0, 0.5, size=(50, 16)).tolist()) == []


def test_distinct_n() -> None:
    assert distinct_share([[7, 7, 7]], 1) == pytest.approx(1 / 3)
    assert distinct_share([[1, 2, 3], [1, 2]], 2) == pytest.approx(2 / 3)  # 12 23 12, and none across replies
    assert distinct_share([[1], [2]], 2) is None
    assert "distinct_2" not in measure_rollouts([episode(1, 0.0, [5])], successes(), {})


def test_replies_that_are_cut_differently_are_no_duplicates() -> None:
    numbers = measure_rollouts([episode(1, 0.0, [1, 2], [3]), episode(2, 0.0, [1], [2, 3])], successes(), {})
    assert numbers["duplicate_share"] == 0.0


def test_stage_two_remembers_what_it_played(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    config = with_learning(tiny, fresh_share=0.0, batch_size=10, steps=3)
    loop = make_loop(model, config)
    numbers, steps = run(loop, tmp_path)
    last: dict[int, float] = {}
    for step, episodes in zip(numbers, steps, strict=True):
        changes = [each.total_reward - last[each.index] for each in episodes if each.index in last]
        expected = math.sqrt(np.mean(np.square(changes)) / 2) if changes else None
        assert len(changes) >= 8 or step["step"] == 1
        assert step.get("revisit_std") == pytest.approx(expected)
        last |= {each.index: each.total_reward for each in episodes}
    assert dict(loop.monitors.state_dict()["last_returns"]) == last


# After the update -----------------------------------------------------------------------------------------------


@pytest.fixture
def batch() -> TrainingBatch:
    """Three episodes of 2, 1 and 1 tokens with returns 1, 0 and 1."""
    return TrainingBatch(
        logp_N=torch.zeros(4),
        old_logp_N=torch.tensor([-1.0, -1.0, -1.0, -1.0]),
        episode_N=torch.tensor([0, 0, 1, 2]),
        turn_N=torch.tensor([0, 1, 0, 0]),
        reward_BK=torch.tensor([[0.5, 0.5], [0.0, 0.0], [1.0, 0.0]]),
        value_BK=torch.tensor([[0.5, 0.0], [0.25, 0.0], [0.25, 0.0]]),
        group_B=torch.tensor([3, 4, 5]),
    )


def measured(batch: TrainingBatch, name: str, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "logp_N": torch.tensor([-1.0, -1.25, -1.5, -2.0]),
        "unmoved_N": torch.arange(4),
        "log_ratio_B": torch.tensor([0.5, 1.0, 0.0]),
        "return_B": batch.reward_BK.sum(1),
        "value_B": batch.value_BK[:, 0],
        "first_value_B": [0.25] * 3 if find_objective(name).needs_values else [None] * 3,
        "objective": find_objective(name),
        "step": step_params(name, beta=BETA, reward_span=2.0),
    } | changes
    return measure_update(batch, arguments.pop("logp_N"), arguments.pop("unmoved_N"), arguments.pop("log_ratio_B"),
                          **arguments)  # fmt: skip


def test_an_update_of_astarpo_by_hand(batch: TrainingBatch) -> None:
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


def test_drift_is_read_before_the_policy_moves(batch: TrainingBatch) -> None:
    assert measured(batch, "astarpo", unmoved_N=torch.tensor([0, 1]))["logprob_drift"] == 0.25


def test_numbers_that_an_objective_has_no_use_for_are_absent(batch: TrainingBatch) -> None:
    batch = replace(batch, advantage_N=torch.tensor([1.0, -3.0, 0.5, -0.5]))
    grpo = measured(batch, "grpo", step=step_params("grpo", beta=BETA, kl_coef=0.1))
    assert grpo["negative_share"] == pytest.approx(3.5 / 5)
    assert {"kl", "kl_per_token"} <= set(grpo)
    assert not {"kl_tax", "residual_mean", "value_gap", "explained_variance"} & set(grpo)
    without = measured(batch, "grpo", step=step_params("grpo", beta=BETA, kl_coef=0.0))
    assert not {"kl", "kl_per_token"} & set(without)
    assert "kl_tax" in measured(batch, "rloo") and "value_gap" not in measured(batch, "rloo")
    own = measured(batch, "astarpo", first_value_B=[None] * 3)
    assert "residual_mean" in own and "value_gap" not in own
    assert "negative_share" not in measured(replace(batch, advantage_N=torch.empty(0)), "gvpo")


def test_a_critic_is_measured_by_token(batch: TrainingBatch) -> None:
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
