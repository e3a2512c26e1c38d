"""What the environment needs of a shop, wherever that runs: a backend that opens sessions, one per episode.

`shop.local` is the backend in this process, `shop.remote` the one for a shop on a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from turngym.webshop_server.pages import Page, Part
from turngym.webshop_server.reward import Reward
from turngym.webshop_server.settings import Mode

Split = Literal["train", "validation", "test"]


class ShopSession(Protocol):
    """One shopper with one goal, from the search page to the purchase."""

    @property
    def page(self) -> Page:
        """Where the shopper stands."""

    @property
    def parts(self) -> Sequence[Part]:
        """What the page shows, from top to bottom."""

    @property
    def worth(self) -> Reward | None:
        """What buying the product of the page as it is chosen would earn, or has earned; None where there is none."""

    def act(self, action: str) -> str:
        """Do `search[words]` or `click[text]`; return why it means nothing here, or nothing."""

    def end(self) -> None:
        """Leave the shop."""


class ShopBackend(Protocol):
    """A shop with its goals, in this process or on a server."""

    @property
    def mode(self) -> Mode:
        """Whether it is `faithful` to the original, or `fixed`."""

    @property
    def setup(self) -> str:
        """What tells one shop from others that play differently: equal for equal products, goals, prices and mode."""

    def goal_range(self, split: Split) -> tuple[int, int]:
        """Return the number of the first goal of a split in the fixed order, and the number after its last."""

    def goal_number(self, split: Split, index: int) -> int:
        """Return the number of goal `index` of a split in the fixed order."""

    def search(self, query: str, limit: int) -> Sequence[str]:
        """Return the asins that a query finds, best first, at most so many."""

    def open_session(self, number: int) -> ShopSession:
        """Begin a session with the goal of this number in the fixed order."""
