"""Which groups are learned from: StarPO-S, DAPO, and the linear top-p rule of RAGEN-2."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.trainers.objectives.steps import step_params

from turngym.trainers.config import OBJECTIVE_CONFIGS
from turngym.trainers.objectives import FILTERS, OBJECTIVES, TrainingBatch


def batch(*returns: tuple[float, ...], interleaved: bool = True) -> TrainingBatch:
    """Return groups of episodes with these returns; their episodes stand mixed."""
    pairs = [(10 - group, value) for group, values in enumerate(returns) for value in values]
    pairs = pairs[::2] + pairs[1::2] if interleaved else pairs
    count = len(pairs)
    return TrainingBatch(
        logp_N=torch.zeros(count), episode_N=torch.arange(count), turn_N=torch.zeros(count, dtype=torch.long),
        reward_BK=torch.tensor([[value] for _, value in pairs], dtype=torch.float64),
        group_B=torch.tensor([group for group, _ in pairs]),
        success_B=torch.tensor([value > 0.5 for _, value in pairs]),
    )  # fmt: skip


def keep(name: str, samples: TrainingBatch, share: float | None = None) -> torch.Tensor:
    """Return whether each episode passes a filter."""
    return FILTERS[name](samples, step_params("grpo", filter=name, filter_share=share))


def kept(name: str, samples: TrainingBatch, share: float | None = None) -> list[int]:
    """Return the groups that are kept, by their places; checks that they are kept whole."""
    keep_B = keep(name, samples, share)
    groups = set((10 - samples.group_B[keep_B]).tolist())
    whole_B = torch.tensor([10 - group in groups for group in samples.group_B.tolist()])
    assert torch.equal(keep_B, whole_B)
    return sorted(groups)


def spread(*stds: float) -> TrainingBatch:
    """Return pairs of episodes with these sample standard deviations."""
    return batch(*[(0.0, std * 2**0.5) for std in stds])


def test_the_share_of_largest_deviation() -> None:
    samples = spread(0.1, 0.9, 0.0, 0.5, 0.3, 0.2, 0.7, 0.0)
    assert kept("top_std", samples) == [1, 6]
    assert kept("top_std", samples, 0.5) == [1, 3, 4, 6]
    assert kept("top_std", samples, 0.124) == [1]  # at least one
    assert kept("top_std", spread(0.0, 0.0)) == [0] or kept("top_std", spread(0.0, 0.0)) == [1]


def test_groups_that_differ() -> None:
    assert kept("mixed", batch((1, 1, 1), (0, 0, 0), (1, 0, 1), (0.1, 0.1, 0.1))) == [2]
    assert kept("mixed", batch((1, 1), (0, 0))) == []
    assert kept("all", batch((1, 1), (0, 0))) == [0, 1]


def test_episodes_that_succeeded() -> None:
    samples = batch((1, 0), (0, 0), (1, 1), interleaved=False)
    assert keep("success", samples).tolist() == [True, False, False, False, True, True]


@pytest.mark.parametrize(
    ("stds", "mass", "groups"),
    [
        ((0.5, 0.3, 0.2), 0.9, [0, 1, 2]),  # 0.8 falls short of 0.89
        ((0.5, 0.39, 0.11), 0.9, [0, 1]),  # 0.89 is enough: the slack of 0.01
        ((0.11, 0.5, 0.385), 0.9, [0, 1, 2]),  # 0.885 falls short of 0.8855
        ((0.5, 0.5, 0.0), 0.9, [0, 1]),
        ((0.5, 0.3, 0.2), 0.5, [0]),
        ((0.5, 0.3, 0.2, 0.0), 1.0, [0, 1, 2]),  # all but those without a spread
        ((0.0, 0.0), 0.9, []),
        ((0.005, 0.004), 0.9, []),  # 0.9 of the sum is below the slack
    ],
)
def test_linear_top_p(stds: tuple[float, ...], mass: float, groups: list[int]) -> None:
    assert kept("top_p", spread(*stds), mass) == groups


def ragen_top_p(stds: list[float], mass: float) -> list[int]:
    """Follow the rule step by step: add the largest until the sum reaches `mass` of all, less 0.01."""
    threshold, total, chosen = mass * sum(stds) - 0.01, 0.0, []
    for place in sorted((i for i, std in enumerate(stds) if std > 1e-6), key=lambda i: -stds[i]):
        if total >= threshold:
            break
        total += stds[place]
        chosen.append(place)
    return sorted(chosen)


def test_linear_top_p_follows_the_rule_step_by_step() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        stds = (torch.rand(7, generator=generator, dtype=torch.float64) - 0.2).clamp(min=0).tolist()
        mass = float(torch.rand(1, generator=generator))
        assert kept("top_p", spread(*stds), mass) == ragen_top_p(stds, mass)


def test_groups_that_differ_by_rounding_alone_do_not_differ(alike_but_for_rounding: TrainingBatch) -> None:
    samples = alike_but_for_rounding
    assert len(set(samples.reward_BK.sum(1).tolist())) > 20  # rounding there is
    for mass in (0.9, 1.0):
        assert not keep("top_p", samples, mass).any()
    assert not keep("mixed", samples).any()
    for name in ("grpo", "dr_grpo"):
        advantages = OBJECTIVES[name].advantages
        assert advantages is not None and not advantages(samples, step_params(name)).any()


def test_a_small_difference_is_one(alike_but_for_rounding: TrainingBatch) -> None:
    reward_BK = alike_but_for_rounding.reward_BK.clone()
    reward_BK[::4, 0] += 0.01
    samples = replace(alike_but_for_rounding, reward_BK=reward_BK)
    assert keep("mixed", samples).all()


def test_equal_states_that_differ_by_rounding_alone_do_not_differ() -> None:
    """GiGPO: rewards to go of 0, which discounted ones cancel to."""
    reward_BK = torch.tensor([[0.0, 0.0], [-0.95 * 0.3, 0.3], [-0.95 * 7.1, 7.1]])
    samples = TrainingBatch(
        logp_N=torch.zeros(3), episode_N=torch.arange(3), turn_N=torch.zeros(3, dtype=torch.long), reward_BK=reward_BK,
        group_B=torch.tensor([0, 1, 2]), state_BK=torch.tensor([[4, -1], [4, -1], [4, -1]]),
    )  # fmt: skip
    advantages = OBJECTIVES["gigpo"].advantages
    assert advantages is not None and not advantages(samples, step_params("gigpo")).any()


def test_the_filters_that_objectives_come_with() -> None:
    own = {name: kind().filter for name, kind in OBJECTIVE_CONFIGS.items() if kind().filter != "all"}
    assert own == {"dapo": "mixed", "starpo_s": "top_std", "raft": "success"}
