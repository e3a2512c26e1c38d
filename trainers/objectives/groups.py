"""Sums over turns and statistics within groups, which several objectives use.

Shapes: B episodes, K turns, M members (episodes, or turns of episodes) that are compared within their G groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to standard deviations before dividing by them; filters and alarms take a spread up to this for 0."""
ROUNDING = 4 * torch.finfo(torch.float32).eps
"""Members that differ by no more than this share of their size are equal: rewards come in single precision."""


def sums_to_go(x_BK: Tensor, decay: float = 1.0) -> Tensor:
    """Return sum_{k >= t} decay^(k - t) * x_k for every turn t, `[B, K]`."""
    total_B = torch.zeros_like(x_BK[:, 0])
    columns = []
    for x_B in reversed(x_BK.unbind(1)):
        total_B = x_B + decay * total_B
        columns.append(total_B)
    return torch.stack(columns[::-1], dim=1)


def turn_values(start_B: Tensor, reward_BK: Tensor) -> Tensor:
    """Return the value before each turn, that of the start less the rewards so far, `[B, K]`."""
    return start_B[:, None] - (reward_BK.cumsum(1) - reward_BK)


def group_sizes(group_M: Tensor) -> Tensor:
    """Return how many members the group of each member has, `[M]`."""
    number_M, count_G = _numbered(group_M)
    return count_G[number_M]


def group_means(x_M: Tensor, group_M: Tensor) -> Tensor:
    """Return the mean of each member's group, `[M]`."""
    number_M, count_G = _numbered(group_M)
    return (x_M.new_zeros(len(count_G)).index_add(0, number_M, x_M) / count_G)[number_M]


def group_deviations(x_M: Tensor, group_M: Tensor, scale_M: Tensor | None = None) -> Tensor:
    """Return x less the mean of its group, worked out in float64 and 0 where a group differs by rounding alone, `[M]`.

    Args:
        x_M: The numbers.
        group_M: The group of each number.
        scale_M: The size that rounding errors are relative to: for a sum of rewards, which may cancel, the sum of their
            absolute values. |x| if left out.
    """
    number_M, count_G = _numbered(group_M)
    exact_M, scale_M = x_M.double(), (x_M if scale_M is None else scale_M).double().abs()
    nothing_G = torch.zeros_like(count_G, dtype=torch.float64)
    deviation_M = exact_M - (nothing_G.index_add(0, number_M, exact_M) / count_G)[number_M]
    spread_G = nothing_G.scatter_reduce(0, number_M, deviation_M.abs(), "amax")
    scale_G = nothing_G.scatter_reduce(0, number_M, scale_M, "amax")
    return deviation_M.masked_fill((spread_G <= ROUNDING * scale_G)[number_M], 0.0).to(x_M.dtype)


def group_stds(x_M: Tensor, group_M: Tensor, scale_M: Tensor | None = None) -> Tensor:
    """Return the sample standard deviation of each member's group, 0 for a member on its own, `[M]`.

    It is 0 where `group_deviations` says so.
    """
    sizes_M = group_sizes(group_M)
    squares_M = group_deviations(x_M, group_M, scale_M) ** 2
    return (group_means(squares_M, group_M) * sizes_M / (sizes_M - 1).clamp(min=1)).sqrt()


def leave_one_out_advantage(x_M: Tensor, group_M: Tensor) -> Tensor:
    """Return x less the mean of the others of the group, 0 for a member on its own, `[M]`."""
    sizes_M = group_sizes(group_M)
    return (x_M - group_means(x_M, group_M)) * sizes_M / (sizes_M - 1).clamp(min=1)


def group_scores(x_M: Tensor, group_M: Tensor, scale_M: Tensor | None = None) -> Tensor:
    """Return x in standard deviations from the mean of its group, 0 where all are equal up to rounding, `[M]`.

    The arguments are those of `group_deviations`.
    """
    return group_deviations(x_M, group_M, scale_M) / (group_stds(x_M, group_M, scale_M) + EPSILON)


def whitened(x_M: Tensor, scale_M: Tensor | None = None) -> Tensor:
    """Return x with mean 0 and standard deviation 1, or 0 where all numbers are equal up to rounding, `[M]`."""
    everyone_M = torch.zeros_like(x_M, dtype=torch.long)
    return group_scores(x_M, everyone_M, scale_M)


def _numbered(group_M: Tensor) -> tuple[Tensor, Tensor]:
    """Number the groups from 0; return the number of each member's group, `[M]`, and the sizes, `[G]`."""
    _, number_M, count_G = torch.unique(group_M, return_inverse=True, return_counts=True)
    return number_M, count_G
