"""Statistics within groups, and sums over turns."""

from __future__ import annotations

import pytest
import torch

from turngym.trainers.objectives.groups import (
    group_deviations,
    group_means,
    group_scores,
    group_sizes,
    group_stds,
    leave_one_out_advantage,
    sums_to_go,
    turn_values,
    whitened,
)

GROUP_M = torch.tensor([7, 3, 7, 5, 7, 3])
X_M = torch.tensor([1.0, 2.0, 3.0, 4.0, 8.0, 6.0], dtype=torch.float64)


def test_means_and_deviations_by_hand() -> None:
    assert group_sizes(GROUP_M).tolist() == [3, 2, 3, 1, 3, 2]
    assert group_means(X_M, GROUP_M).tolist() == [4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    # Group 7: deviations -3, -1, 4, squares 26, over 2. Group 3: -2 and 2, squares 8, over 1.
    assert group_stds(X_M, GROUP_M).tolist() == pytest.approx([13**0.5, 8**0.5, 13**0.5, 0, 13**0.5, 8**0.5])
    scores = group_scores(X_M, GROUP_M).tolist()
    assert scores == pytest.approx([-0.832050, -0.707107, -0.277350, 0, 1.109400, 0.707107], abs=1e-6)


def test_the_lead_leaves_the_member_itself_out() -> None:
    # Group 7: 1 - 5.5, 3 - 4.5, 8 - 2. Group 3: 2 - 6 and 6 - 2. Nobody to compare the fourth with.
    assert leave_one_out_advantage(X_M, GROUP_M).tolist() == pytest.approx([-4.5, -4.0, -1.5, 0.0, 6.0, 4.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("value", "count"), [(0.7, 16), (3.3, 16), (10.1, 7), (100.7, 3), (0.0, 5), (-0.1, 6)])
def test_equal_members_have_no_advantage(value: float, count: int, dtype: torch.dtype) -> None:
    equal_M, group_M = torch.full((count,), value, dtype=dtype), torch.zeros(count, dtype=torch.long)
    assert not group_deviations(equal_M, group_M).any()
    assert not group_stds(equal_M, group_M).any()
    assert not group_scores(equal_M, group_M).any()
    assert not whitened(equal_M).any()
    assert leave_one_out_advantage(equal_M, group_M).abs().max() < 1e-4


def test_rounding_is_relative_to_what_was_added_up() -> None:
    """What is left of 30 - 30 may be off by 1e-6; of 1 - 1 it may not, and one group does not excuse another."""
    x_M, group_M = torch.tensor([0.0, 2e-6, 0.0, 2e-6], dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    scale_M = torch.tensor([60.0, 60.0, 2.0, 2.0])
    assert group_deviations(x_M, group_M, scale_M).tolist() == pytest.approx([0.0, 0.0, -1e-6, 1e-6], rel=1e-12)
    assert group_stds(x_M, group_M, scale_M).tolist() == pytest.approx([0.0, 0.0, 2**0.5 * 1e-6, 2**0.5 * 1e-6])
    scores = group_scores(x_M, group_M, scale_M).tolist()
    assert scores[:2] == [0.0, 0.0] and scores[3] == -scores[2] > 0.4


def test_what_is_not_a_number_is_not_called_equal() -> None:
    assert group_deviations(torch.tensor([1.0, torch.nan]), torch.tensor([0, 0])).isnan().all()


def test_whitening() -> None:
    white_M = whitened(X_M)
    assert float(white_M.mean()) == pytest.approx(0.0, abs=1e-12)
    assert float(white_M.std()) == pytest.approx(1.0, abs=1e-5)
    assert whitened(torch.tensor([2.0])).tolist() == [0.0]


def test_sums_to_go() -> None:
    x_BK = torch.tensor([[1.0, 2.0, 4.0], [8.0, 0.0, 0.0]])
    assert sums_to_go(x_BK).tolist() == [[7.0, 6.0, 4.0], [8.0, 0.0, 0.0]]
    assert sums_to_go(x_BK, 0.5).tolist() == [[3.0, 4.0, 4.0], [8.0, 0.0, 0.0]]
    assert torch.equal(sums_to_go(x_BK, 0.0), x_BK)


def test_a_value_of_the_start_is_carried_on() -> None:
    assert turn_values(torch.tensor([1.0]), torch.tensor([[0.25, 0.5, 1.0]])).tolist() == [[1.0, 0.75, 0.25]]
