"""A shop on a server, reached over its interface for agents with the operator's key."""

from __future__ import annotations

import json
import os
import weakref
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from turngym._errors import InputError
from turngym.credentials import password_of, with_credentials, without_credentials
from turngym.webshop_server.goals import Goal, WantedOption
from turngym.webshop_server.pages import Button, Choice, Link, Page, PageKind, Part
from turngym.webshop_server.settings import Mode
from turngym.webshop_server.shop.backend import Split

KEY_VARIABLE = "TURNGYM_WEBSHOP_KEY"
"""The environment variable that has the operator's key, where the address has none."""
TIMEOUT = 30.0
"""Seconds to wait for an answer."""


GIVE_UP = 3
"""Requests without an answer in a row after which no more are made."""
_unanswered: Counter[str] = Counter()
"""Requests without an answer in a row, by address: those of all environments of this process."""


class RemoteShopError(InputError, ConnectionError):
    """The server cannot be used; the message says why and what to do."""


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
        self._server = _Server(url)
        about = self._server.ask("GET", "/api/shop")
        self._server.ask("GET", "/api/goals/0")  # refused without the key
        try:
            self.mode: Mode = about["mode"]
            self.setup = str(about["setup"])
            self._splits: dict[str, tuple[int, int]] = {name: tuple(ends) for name, ends in about["goals"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise RemoteShopError(f"what answers at {self._server.address} is no shop of this version of "
                                  "turngym") from error  # fmt: skip

    def goal_number(self, split: Split, index: int) -> int:
        """Return the number of goal `index` of a split in the fixed order; beyond the last one they begin again."""
        first, end = self._splits[split]
        return first + index % (end - first)

    def search(self, query: str, limit: int) -> list[str]:
        """Return the asins that a query finds, best first, at most so many."""
        found: list[str] = self._server.ask("GET", f"/api/search?{urlencode({'query': query, 'limit': limit})}")[
            "asins"
        ]
        return found

    def open_session(self, number: int) -> RemoteSession:
        """Begin a session with the goal of this number in the fixed order."""
        return RemoteSession(self._server, number, self._goal(number))

    def _goal(self, number: int) -> Goal:
        told = self._server.ask("GET", f"/api/goals/{number}")
        options = tuple(WantedOption(**option) for option in told.pop("options"))
        return Goal(**{**told, "attributes": tuple(told["attributes"])}, options=options)


class RemoteSession:
    """A session on a server; implements `ShopSession`.

    A copy, and what comes out of a pickle, begins a session of its own at its next action and repeats what was done in
    the first one, which leads to the same page.
    """

    def __init__(self, server: _Server, number: int, goal: Goal) -> None:
        self._server = server
        self._number = number
        self._goal = goal
        self._done: list[str] = []
        """The actions so far."""
        self._copied = False
        """Whether the session on the server belongs to another."""
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy begins with."""
        return {**vars(self), "_copied": True}

    def _begin(self) -> None:
        self._copied = False
        self._take(self._server.ask("POST", "/api/sessions", {"goal": self._number}))
        for action in self._done:
            self._send(action)

    @property
    def potential(self) -> float:
        """What buying the product of the page as it is chosen would be worth, in [0, 1]; 0 where there is none."""
        return float(self._state["hidden"]["potential"])

    def act(self, action: str) -> str:
        """Do `search[words]` or `click[text]`; return why it means nothing here, or nothing."""
        if self._copied:
            self._server.ask("GET", f"/api/goals/{self._number}")  # refused with the key of an earlier start
            self._begin()
        self._send(action)
        self._done.append(action)
        return str(self._state["problem"])

    def _send(self, action: str) -> None:
        order = {"action": action, "number": self._state["number"]}
        self._take(self._server.ask("POST", f"{self._path}/actions", order))

    def end(self) -> None:
        """End the session, if it has not ended by itself or with an earlier server."""
        if not self._copied:
            self._server.ask("DELETE", self._path, absent_is_fine=True)

    @property
    def _path(self) -> str:
        return f"/api/sessions/{quote(self._state['session'], safe='')}"

    def _take(self, state: dict[str, Any]) -> None:
        self._state = state
        self.parts: Sequence[Part] = [_part(record) for record in state["hidden"]["parts"]]
        self.page = _page(state["hidden"]["page"], self._goal)


class _Server:
    """An HTTP server that answers in JSON; the connection is kept. A copy holds the address alone and connects anew."""

    def __init__(self, url: str) -> None:
        self.address = without_credentials(url)
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        """Return the address."""
        return {"address": self.address}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the address."""
        self.address = state["address"]
        self._connect()

    def _connect(self) -> None:
        """Make a connection, which opens with the first request."""
        host, port, secure, self._prefix = _parts_of(self.address)
        keys = (password_of(with_credentials(self.address)), os.environ.get(KEY_VARIABLE, ""))
        self._keys = [key for key in keys if key] or [""]
        """The operator's key of the address, then that of the variable: one of them may be that of an earlier start."""
        self._connection = (HTTPSConnection if secure else HTTPConnection)(host, port, timeout=TIMEOUT)
        weakref.finalize(self, self._connection.close)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, *, absent_is_fine: bool = False) -> Any:
        """Return what the server answers.

        Args:
            method: The HTTP method.
            path: What is asked for.
            body: What is sent along, as JSON.
            absent_is_fine: Return an empty answer where there is no such thing.

        Raises:
            RemoteShopError: It does not answer, or not with what was asked for.
        """
        if _unanswered[self.address] >= GIVE_UP:
            raise RemoteShopError(f"the shop at {self.address} left {GIVE_UP} requests in a row without answer and is "
                                  "asked no more; start it anew, and then this program")  # fmt: skip
        try:
            status, answer = self._exchange(method, path, body)
        except (OSError, HTTPException) as error:
            _unanswered[self.address] += isinstance(error, TimeoutError)
            raise RemoteShopError(f"the shop at {self.address} does not answer: {error}; is `turngym webshop serve` "
                                  "running there?") from error  # fmt: skip
        _unanswered[self.address] = 0
        if status == 401 and len(self._keys) > 1:
            del self._keys[0]
            return self.ask(method, path, body, absent_is_fine=absent_is_fine)
        if status == 401:
            raise RemoteShopError(f"the shop at {self.address} needs the operator's key, which it printed when it "
                                  f"started: put it into {KEY_VARIABLE} or into the address")  # fmt: skip
        try:
            told = json.loads(answer) if answer else {}
        except ValueError as error:
            raise RemoteShopError(f"what answers at {self.address} is no shop of turngym") from error
        if status == 404 and absent_is_fine:
            return {}
        if status >= 400:
            raise RemoteShopError(f"the shop at {self.address} refuses {method} {path}: {told.get('error', status)}")
        return told

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        """Send a request; repeat it once if the server has closed the kept connection.

        The number of an action travels with it, so that the server does not do a repeated one twice.
        """
        kept = self._connection.sock is not None
        data = None if body is None else json.dumps(body)
        credentials = b64encode(f"operator:{self._keys[0]}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        for last in (not kept, True):
            try:
                self._connection.request(method, self._prefix + path, data, headers)
                response = self._connection.getresponse()
                return response.status, response.read()
            except (ConnectionError, HTTPException):
                self._connection.close()
                if last:
                    raise
            except OSError:
                self._connection.close()
                raise
        raise AssertionError("unreachable")


def _parts_of(address: str) -> tuple[str, int | None, bool, str]:
    """Return host, port, whether it is HTTPS, and what comes before the path of every request.

    Raises:
        InputError: It is no address of a server.
    """
    try:
        parts = urlsplit(address)
        if parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment):
            return parts.hostname, parts.port, parts.scheme == "https", parts.path.rstrip("/")
    except ValueError:  # of a port that is no number, or brackets that are no address
        pass
    raise InputError(f"{address!r} is no address of a server; write http://HOST:PORT")


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
