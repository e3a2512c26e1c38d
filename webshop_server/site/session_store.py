"""The sessions of a site, all in memory: each client has its share, and none takes away those of another."""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from threading import Lock

from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.sessions import SiteSession

OPERATOR = "operator"
"""The client that is whoever has the operator's key."""
SHARE = 4
"""One client has at most one part in so many of all sessions, and as many are kept for the operator."""
SPARE_SECONDS = 600.0
"""After how long without use a session makes room for another one of its own client, if that has its share."""


class TooManySessionsError(Exception):
    """There is no room for another session.

    Args:
        seconds: After how many seconds there will be, if nothing is used any more.
        by_one: Whether this client has its share; else all clients together have too many.
    """

    def __init__(self, seconds: float, *, by_one: bool) -> None:
        super().__init__(seconds, by_one)
        self.seconds = max(1, math.ceil(seconds))
        self.by_one = by_one


@dataclass(slots=True)
class _Entry:
    session: SiteSession
    client: str
    used: float


class SessionStore:
    """The sessions of a site, each as long as it is used.

    A client that has its share of them gives up its own: the one that was not used for longest of those that have
    bought, or else of those not used for `SPARE_SECONDS`. If it has none of these it has to wait.

    Args:
        backend: The shop.
        max_sessions: How many there may be.
        lifetime: Seconds after its last use at which a session ends.
        clock: Gives seconds.
    """

    def __init__(
        self, backend: LocalBackend, *, max_sessions: int, lifetime: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._share = max(1, max_sessions // SHARE)
        self._most = max(1, max_sessions - self._share)
        self._lifetime = lifetime
        self._clock = clock
        self._lock = Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._entries)

    def create(
        self, goal_number: int | None = None, name: str | None = None, *, client: str = "", anew: bool = False
    ) -> SiteSession:
        """Begin a session.

        Args:
            goal_number: Which goal, in the fixed order; any of them with equal chance if None.
            name: What it is called; 128 random bits if None. A session that has the name already is returned instead.
            client: Whose it is: an address, or `OPERATOR`.
            anew: Begin anew even if a session has the name.

        Raises:
            ValueError: There is no such goal.
            TooManySessionsError: The client has to wait.
        """
        goals = self._backend.goals
        number = secrets.randbelow(len(goals)) if goal_number is None else goal_number
        if not 0 <= number < len(goals):
            raise ValueError(f"there are goals 0 to {len(goals) - 1}, and no goal {number}")
        session = SiteSession(self._backend, number, name)
        with self._lock:
            self._expire()
            if session.name in self._entries and not anew:
                return self._entries[session.name].session
            before = self._entries.get(session.name)
            if before is None or before.client != client:
                self._make_room(client)
            self._remove(session.name)
            self._entries[session.name] = _Entry(session, client, self._clock())
            self._counts[client] += 1
            return session

    def get(self, name: str) -> SiteSession | None:
        """Return a session and count that as a use of it; None if there is none, or no longer."""
        with self._lock:
            self._expire()
            entry = self._entries.get(name)
            if entry is None:
                return None
            entry.used = self._clock()
            self._entries.move_to_end(name)
            return entry.session

    def end(self, name: str) -> bool:
        """Forget a session; return whether there was one."""
        with self._lock:
            return self._remove(name)

    def latest(self, number: int) -> list[SiteSession]:
        """Return the sessions used last, the latest first; this does not count as a use of them."""
        with self._lock:
            self._expire()
            return [entry.session for entry in islice(reversed(self._entries.values()), number)]

    def _make_room(self, client: str) -> None:
        """Forget a session of a client, if it cannot have another one besides.

        Raises:
            TooManySessionsError: It has none to give up.
        """
        by_one = self._counts[client] >= self._share
        visitors = len(self._entries) - self._counts[OPERATOR]
        if not by_one and (client == OPERATOR or visitors < self._most):
            return
        now = self._clock()
        oldest = next(self._of(client), None)
        given_up = next((entry for entry in self._of(client) if entry.session.bought), None)
        if given_up is None and oldest is not None and now - oldest.used >= SPARE_SECONDS:
            given_up = oldest
        if given_up is not None:
            self._remove(given_up.session.name)
            return
        wait = self._lifetime if oldest is None else min(SPARE_SECONDS, self._lifetime)
        raise TooManySessionsError((oldest or self._oldest()).used + wait - now, by_one=by_one)

    def _of(self, client: str) -> Iterator[_Entry]:
        """Yield what a client has, the one not used for longest first."""
        return (entry for entry in self._entries.values() if entry.client == client)

    def _remove(self, name: str) -> bool:
        entry = self._entries.pop(name, None)
        if entry is None:
            return False
        self._counts[entry.client] -= 1
        if not self._counts[entry.client]:
            del self._counts[entry.client]
        return True

    def _expire(self) -> None:
        end = self._clock() - self._lifetime
        while self._entries and self._oldest().used < end:
            self._remove(self._oldest().session.name)

    def _oldest(self) -> _Entry:
        return next(iter(self._entries.values()))
