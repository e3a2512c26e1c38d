"""Where objectives must agree with each other: on policy, without a clip, at equal references."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.trainers.objectives.steps import step_params, with_advantages
from torch import Tensor

from turngym.trainers.objectives import OBJECTIVES, StepParams, TrainingBatch
from turngym.trainers.objectives.groups import turn_values


def step_of(name: str, kl_coef: float = 0.0) -> StepParams[Any]:
    return step_params(name, beta=0.3, kl_coef=kl_coef)


def advantages(samples: TrainingBatch, name: str) -> Tensor:
    """Return the advantage of each token."""
    return with_advantages(samples, name, step_of(name)).advantage_N


def score_weights(samples: TrainingBatch, name: str, kl_coef: float = 0.0) -> Tensor:
    """Return the gradient of a batch's loss in the log-probability of each token."""
    step = step_of(name, kl_coef)
    loss = OBJECTIVES[name].loss(with_advantages(samples, name, step), step).sum()
    (gradient_N,) = torch.autograd.grad(loss, samples.logp_N)
    return gradient_N


@pytest.fixture
def on_policy(samples: TrainingBatch) -> TrainingBatch:
    """The batch before anything was learned from it: the policy is the sampler."""
    return replace(samples, logp_N=samples.old_logp_N.clone().requires_grad_())


def test_reinforce_is_the_turn_form_of_astarpo_on_policy(on_policy: TrainingBatch) -> None:
    one, other = score_weights(on_policy, "reinforce"), score_weights(on_policy, "astarpo_turn")
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert one.abs().max() > 0.5


def test_rloo_is_gvpo_on_policy(on_policy: TrainingBatch) -> None:
    torch.testing.assert_close(score_weights(on_policy, "rloo"), score_weights(on_policy, "gvpo"), rtol=0, atol=1e-12)


def test_rebel_is_gvpo_with_the_sampler_as_reference(samples: TrainingBatch) -> None:
    """Over all pairs of a group, the mean squared difference is that of the centred residuals, off policy too."""
    lagged = replace(samples, ref_logp_N=samples.old_logp_N)
    torch.testing.assert_close(score_weights(lagged, "rebel"), score_weights(lagged, "gvpo"), rtol=0, atol=1e-12)
    sums = [OBJECTIVES[name].loss(lagged, step_of(name)).sum() for name in ("rebel", "gvpo")]
    torch.testing.assert_close(*sums, rtol=0, atol=1e-12)


def test_oapl_is_astarpo_with_the_sampler_as_reference(samples: TrainingBatch) -> None:
    advantage_N = advantages(samples, "oapl")
    first = [int((samples.episode_N == row).nonzero()[0, 0]) for row in range(6)]
    start_B = samples.reward_BK.sum(1) - advantage_N[first]
    lagged = replace(samples, ref_logp_N=samples.old_logp_N, value_BK=turn_values(start_B, samples.reward_BK))
    torch.testing.assert_close(score_weights(samples, "oapl"), score_weights(lagged, "astarpo"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "starpo_s", "gigpo"])
def test_the_clip_is_idle_on_policy(on_policy: TrainingBatch, name: str) -> None:
    gradient_N = score_weights(on_policy, name)
    advantage_N = advantages(on_policy, name)
    scale_N = gradient_N / -advantage_N
    divisor_N = {"grpo": on_policy.lengths()[on_policy.episode_N], "dr_grpo": torch.ones(20).double()}.get(
        name, torch.full((20,), on_policy.tokens_per_episode, dtype=torch.float64)
    )
    alone_N = advantage_N == 0  # the group of one
    torch.testing.assert_close(scale_N[~alone_N], 1 / divisor_N[~alone_N], rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "high"), [("grpo", 0.2), ("dr_grpo", 0.2), ("gigpo", 0.2), ("dapo", 0.28),
                                            ("starpo_s", 0.28), ("ppo", 0.2)])  # fmt: skip
def test_what_has_moved_beyond_the_clip_is_left_alone(samples: TrainingBatch, name: str, high: float) -> None:
    advantage_N = advantages(samples, name)
    for ratio, idle_N in [(1 + high + 0.01, advantage_N > 0), (1 + high - 0.01, torch.zeros(20, dtype=torch.bool)),
                          (0.79, advantage_N < 0), (0.81, torch.zeros(20, dtype=torch.bool))]:  # fmt: skip
        logp_N = (samples.old_logp_N + torch.tensor(ratio).double().log()).requires_grad_()
        gradient_N = score_weights(replace(samples, logp_N=logp_N), name)
        assert torch.equal(gradient_N == 0, idle_N | (advantage_N == 0))


@pytest.mark.parametrize("name", ["grpo", "gigpo", "ppo", "awr", "weighted_sft"])
def test_without_a_kl_weight_the_reference_is_not_read(samples: TrainingBatch, name: str) -> None:
    blind = replace(samples, ref_logp_N=torch.full_like(samples.ref_logp_N, torch.nan))
    assert torch.equal(score_weights(blind, name), score_weights(samples, name))
    assert score_weights(blind, name, kl_coef=0.1).isnan().any()


@pytest.mark.parametrize("name", ["dr_grpo", "dapo", "starpo_s", "raft", "oapl", "rebel"])
def test_without_a_kl_term_the_reference_is_never_read(samples: TrainingBatch, name: str) -> None:
    blind = replace(samples, ref_logp_N=torch.full_like(samples.ref_logp_N, torch.nan))
    assert torch.equal(score_weights(blind, name, kl_coef=9.0), score_weights(samples, name))


def test_weights_of_imitation_are_bounded(samples: TrainingBatch) -> None:
    samples = replace(samples, reward_BK=samples.reward_BK * torch.tensor([1e3, 1, 1, 1, 1, -1e3])[:, None])
    awr_N = advantages(samples, "awr")
    sft_N = advantages(samples, "weighted_sft")
    assert float(awr_N.max()) <= torch.tensor(3.0).double().exp() and float(awr_N.min()) >= 0
    assert 0.1 <= float(sft_N.min()) < float(sft_N.max()) <= 5.0


def test_what_went_as_expected_up_to_rounding_is_not_whitened(alike_but_for_rounding: TrainingBatch) -> None:
    return_B = alike_but_for_rounding.returns().round(decimals=1)
    assert return_B.unique().tolist() == [0.0, 0.6]
    samples = replace(alike_but_for_rounding, value_BK=return_B.float()[:, None])
    assert advantages(samples, "weighted_sft").unique().tolist() == [1.0]
    high = replace(samples, reward_BK=samples.reward_BK + 100.0, critic_N=return_B.float() + 600.0)  # one token each
    assert (high.returns() - high.critic_N).unique().numel() > 5
    assert not advantages(high, "ppo").any()
