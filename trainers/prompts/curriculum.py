"""A curriculum: easier levels of the environment, with a share of the prompts for each.

A level is the configured environment with some arguments changed. The last level, the target, is that environment
itself, and the only one that stage 1 and the evaluation play. The level of every prompt of a step is drawn, so one
batch mixes levels, and one update learns from all of them. The share of a level is

    min_share + (1 - min_share * L) * w / sum(w)    with w = sqrt(p (1 - p)) + 0.05,

where p is its running success rate and w the predicted standard deviation of a binary return, plus 0.05: levels that
are won half of the time get the largest shares, and the share of a level falls when it is mastered. Example: for
success rates of 1 and 0.5 and `min_share` 0.1, w is 0.05 and 0.55, and the shares are 0.167 and 0.833.

Source: SPO, arXiv:2509.13232, draws single prompts with this weight, and follows their success as here: a Beta
distribution whose counts fade, `a <- memory * a + success` and `b <- memory * b + 1 - success`.

Shapes: L levels, easiest first, the target last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turngym.agents.episode import Episode
from turngym.trainers.instances import TARGET, level_of
from turngym.trainers.prompts.successes import sampling_weights

# Shares ------------------------------------------------------------------------------------------------------


def level_shares(success_L: ArrayLike, min_share: float) -> NDArray[np.float64]:
    """Return the share of the prompts that each level gets, shape [L]; they add up to 1.

    Args:
        success_L: The running success of each level, in [0, 1].
        min_share: The least share, in [0, 1 / L].
    """
    weight_L = sampling_weights(success_L)
    return np.asarray(min_share + (1.0 - min_share * len(weight_L)) * weight_L / weight_L.sum())


# Outcomes by level ----------------------------------------------------------------------------------------------


def outcomes(episodes: Sequence[Episode], easier: int) -> dict[str, Any]:
    """Return success and task return of the target's episodes, absent where none was played.

    Args:
        episodes: The episodes of a step, at least one.
        easier: How many easier levels there are; with any, "levels" holds the share of the episodes of each level, the
            easiest first, and its success rate where it has an episode.
    """
    played: list[list[Episode]] = [[] for _ in range(easier + 1)]
    for episode in episodes:
        played[level_of(episode.index)].append(episode)
    numbers: dict[str, Any] = {}
    if played[TARGET]:
        numbers |= {
            "success": float(np.mean([episode.success for episode in played[TARGET]])),
            "task_return": float(np.mean([episode.task_return for episode in played[TARGET]])),
        }
    if easier:
        numbers["levels"] = [
            {"share": len(part) / len(episodes)}
            | ({"success": float(np.mean([episode.success for episode in part]))} if part else {})
            for part in played
        ]
    return numbers
