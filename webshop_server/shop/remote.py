"""A shop on a server, reached over its interface for agents with the operator's key."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, get_args
from urllib.parse import quote, urlencode

from turngym.webshop_server.goals import Goal, WantedOption
from turngym.webshop_server.pages import Button, Choice, Link, Page, PageKind, Part
from turngym.webshop_server.reward import Reward
from turngym.webshop_server.settings import Mode
from turngym.webshop_server.shop.backend import Split
from turngym.webshop_server.shop.connection import RemoteShopError, ShopServer


class RemoteBackend:
    """A shop on a server; implements `ShopBackend`. Not to be shared between threads; a copy connects anew.

    Args:
        url: The server's address, with the operator's key as its password: `http://operator:KEY@127.0.0.1:3000`.
            Without it the key is the one that came with this address before, see `turngym.credentials`, or that of the
            environment variable `TURNGYM_WEBSHOP_KEY`.

    Raises:
        InputError: The address is none.
        RemoteShopError: The server does not answer, is none of turngym's, or refuses the key.
    """

    def __init__(self, url: str) -> None:
        self._server = ShopServer(url)
        about = self._server.ask("GET", "/api/shop")
        self._server.ask("GET", "/api/goals/0")  # refused without the key
        with self._server.understood():
            self.mode: Mode = next(mode for mode in get_args(Mode) if mode == about["mode"])
            self.setup = str(about["setup"])
            self._splits = {split: _range(*about["goals"][split]) for split in get_args(Split)}

    def goal_range(self, split: Split) -> tuple[int, int]:
        """Return the number of the first goal of a split, and the number after its last."""
        return self._splits[split].start, self._splits[split].stop

    def goal_number(self, split: Split, index: int) -> int:
        """Return the number of goal `index` of a split in the fixed order; beyond the last one they begin again."""
        goals = self._splits[split]
        return goals[index % len(goals)]

    def search(self, query: str, limit: int) -> list[str]:
        """Return the asins that a query finds, best first, at most so many."""
        told = self._server.ask("GET", f"/api/search?{urlencode({'query': query, 'limit': limit})}")
        with self._server.understood():
            return [str(asin) for asin in told["asins"]]

    def open_session(self, number: int) -> RemoteSession:
        """Begin a session with the goal of this number in the fixed order."""
        return RemoteSession(self._server, number, self._goal(number), self.setup)

    def _goal(self, number: int) -> Goal:
        told = self._server.ask("GET", f"/api/goals/{number}")
        with self._server.understood():
            options = tuple(WantedOption(**option) for option in told.pop("options"))
            return Goal(**{**told, "attributes": tuple(told["attributes"])}, options=options)


class RemoteSession:
    """A session on a server; implements `ShopSession`.

    A copy, and what comes out of a pickle, begins a session of its own at its next action and repeats what was done in
    the first one, which leads to the same page. So does a session that the server has forgotten, since it was started
    anew or the session was not used for long.

    Args:
        server: Where the shop is.
        number: The number of the goal in the fixed order.
        goal: The goal.
        setup: What tells the shop from others; a session does not go on in another one.

    Raises:
        RemoteShopError: The server does not answer, or not as such a shop.
    """

    def __init__(self, server: ShopServer, number: int, goal: Goal, setup: str) -> None:
        self._server = server
        self._number = number
        self._goal = goal
        self._setup = setup
        self._done: list[str] = []
        """The actions so far."""
        self._ended = False
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy begins with."""
        return {**vars(self), "_copied": True}

    def _begin(self) -> None:
        self._copied = False
        """Whether the session on the server belongs to another."""
        self._take(self._server.ask("POST", "/api/sessions", {"goal": self._number}))

    def act(self, action: str) -> str:
        """Do `search[words]` or `click[text]`; return why it means nothing here, or nothing."""
        if self._copied or not self._send(action):
            self._server.ask("GET", f"/api/goals/{self._number}")  # refused with the key of an earlier start
            self._begin()
            if not all(self._send(one) for one in (*self._done, action)):
                raise RemoteShopError(f"the shop at {self._server.address} forgets sessions that have just begun")
        self._done.append(action)
        return self._problem

    def _send(self, action: str) -> bool:
        """Do an action; return whether the server knows the session."""
        order = {"action": action, "number": self._num_actions}
        told = self._server.ask("POST", f"{self._path}/actions", order, absent_is_fine=not self._ended)
        if told:
            self._take(told)
        return bool(told)

    def end(self) -> None:
        """End the session; one that the server has forgotten, or a server that is gone, is left alone."""
        self._ended = True
        if not self._copied:
            with suppress(RemoteShopError):
                self._server.ask("DELETE", self._path)

    def _take(self, state: dict[str, Any]) -> None:
        with self._server.understood():
            hidden = state["hidden"]
            if hidden["setup"] != self._setup:
                raise RemoteShopError(f"the shop at {self._server.address} is another one than before; make the "
                                      "environment anew")  # fmt: skip
            self.name = str(state["session"])
            """What the session is called on the server."""
            self._path = f"/api/sessions/{quote(self.name, safe='')}"
            self._num_actions = int(state["number"])
            self._problem = str(state["problem"])
            self.worth = Reward(**hidden["worth"]) if hidden["worth"] else None
            self.parts: Sequence[Part] = [_part(record) for record in hidden["parts"]]
            self.page = _page(hidden["page"], self._goal)


def _range(first: int, end: int) -> range:
    if not 0 <= first < end:
        raise ValueError(f"there are no goals from {first} to {end}")
    return range(first, end)


def _part(record: dict[str, Any]) -> Part:
    kinds = {kind.__name__.lower(): kind for kind in (Part, Button, Link, Choice)}
    return kinds[record["is"]](**{name: value for name, value in record.items() if name != "is"})


def _page(record: dict[str, Any], goal: Goal) -> Page:
    return Page(**{
        **record,
        "goal": goal,
        "kind": PageKind[record["kind"].upper()],
        "keywords": tuple(record["keywords"]),
        "found": tuple(record["found"]),
        "visited": frozenset(record["visited"]),
    })  # fmt: skip
