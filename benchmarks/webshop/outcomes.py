"""What came of episodes in the shop."""

from __future__ import annotations

from dataclasses import dataclass

from turngym.agents.episode import Episode, Status
from turngym.benchmarks.cells import Outcome

PARTS = ("r_type", "r_att", "r_option", "r_price")
"""The parts of the reward, as `info` and an outcome call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopOutcome(Outcome):
    """What came of one episode; its instance is the goal, by its number within the split."""

    bought: bool = False
    """Whether there was a purchase."""
    score: float = 0.0
    """The share of the wish that the purchase fulfills, in [0, 1], whatever reward the protocol makes of it."""
    r_type: float | None = None
    """The factor of the kind of product, in [0, 1]; None without a purchase."""
    r_att: float | None = None
    """The share of the wanted attributes."""
    r_option: float | None = None
    """The share of the wanted options; None where none were wanted."""
    r_price: float | None = None
    """1 if the price respects the bound, else 0."""


def shop_outcome(episode: Episode, num_goals: int) -> ShopOutcome:
    """Return the outcome of an episode.

    Args:
        episode: A finished episode.
        num_goals: How many goals the split has, after which they begin again.
    """
    bought = episode.status is Status.COMPLETED  # a product that is only looked at has measures too
    parts = episode.measures if bought else {}
    return ShopOutcome.of(episode, episode.index % num_goals, bought=bought, score=parts.get("task_score", 0.0),
                          **{name: parts.get(name) for name in PARTS})  # fmt: skip
