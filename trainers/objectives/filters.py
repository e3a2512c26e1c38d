"""Filters: which episodes of a batch are learned from. All but "success" keep or drop whole groups.

Shapes: B episodes, G groups.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from turngym.trainers.config import ObjectiveConfig
from turngym.trainers.objectives.groups import EPSILON, group_stds
from turngym.trainers.objectives.registry import StepParams, TrainingBatch

SLACK = 0.01
"""Amount by which the kept sum of standard deviations may fall short of its share."""

Filter = Callable[[TrainingBatch, StepParams[ObjectiveConfig]], Tensor]
"""From a whole batch to whether each episode is kept, `[B]`."""


def keep_all(batch: TrainingBatch, _: StepParams[ObjectiveConfig]) -> Tensor:
    """Keep every episode."""
    return torch.ones_like(batch.group_B, dtype=torch.bool)


def keep_success(batch: TrainingBatch, _: StepParams[ObjectiveConfig]) -> Tensor:
    """Keep the episodes that solved their task."""
    return batch.success_B


def keep_mixed(batch: TrainingBatch, _: StepParams[ObjectiveConfig]) -> Tensor:
    """Keep the groups whose returns differ (DAPO, arXiv:2503.14476, dynamic sampling; none replaces a dropped one)."""
    return group_stds(batch.returns(), batch.group_B, batch.return_scales()) > EPSILON


def keep_top_std(batch: TrainingBatch, step: StepParams[ObjectiveConfig]) -> Tensor:
    """Keep the share `filter_share` of the groups, at least one, whose returns differ most.

    Reference: StarPO-S, arXiv:2504.20073.
    """
    groups_G, _ = _stds_of_groups(batch)
    count = max(1, int(step.config.share_kept * len(groups_G)))
    return torch.isin(batch.group_B, groups_G[:count])


def keep_top_p(batch: TrainingBatch, step: StepParams[ObjectiveConfig]) -> Tensor:
    """Keep the fewest groups whose standard deviations sum to `filter_share` of all, less 0.01; none without a spread.

    From `filter_share` 1 on every group whose returns differ is kept (RAGEN-2, arXiv:2604.06268, linear top-p).
    """
    groups_G, std_G = _stds_of_groups(batch)
    if step.config.share_kept >= 1:
        return torch.isin(batch.group_B, groups_G[std_G > EPSILON])
    missing_G = step.config.share_kept * std_G.sum() - SLACK - (std_G.cumsum(0) - std_G)
    return torch.isin(batch.group_B, groups_G[(missing_G > 0) & (std_G > EPSILON)])


FILTERS: dict[str, Filter] = {
    "all": keep_all,
    "success": keep_success,
    "mixed": keep_mixed,
    "top_std": keep_top_std,
    "top_p": keep_top_p,
}
"""The filters by their names in a configuration."""


def _stds_of_groups(batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """Return the groups and the standard deviations of their returns, the largest first, each `[G]`."""
    std_B = group_stds(batch.returns(), batch.group_B, batch.return_scales())
    groups_G, group_B = torch.unique(batch.group_B, return_inverse=True)
    std_G = torch.zeros_like(groups_G, dtype=std_B.dtype).scatter(0, group_B, std_B)
    order_G = std_G.argsort(descending=True, stable=True)
    return groups_G[order_G], std_G[order_G]
