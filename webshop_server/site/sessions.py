"""The sessions of the site: each is a session of the shop with its past steps; old ones expire. All are in memory."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import TypeVar

from turngym.webshop_server.pages import Address, Button, Choice, Link, Page, PageKind, Part, address_of, target_of
from turngym.webshop_server.shop import ENDED, LocalBackend, LocalSession, Move

ID_BYTES = 16
"""Bytes of a session's random name: 128 bits cannot be guessed."""
GO_BACK = "go back"
MAX_STEPS = 200
"""How many of the last steps a session remembers."""
MAX_LINKS = 1_000
"""How many of the links that it offered last a session remembers."""


@dataclass(frozen=True, slots=True)
class Step:
    """An action of a session and where it led."""

    action: str
    """What was done, as an agent would write it; empty for the beginning, `GO_BACK` for a page shown before."""
    page: Page
    problem: str = ""
    """Why the action meant nothing."""


class SiteSession(LocalSession):
    """A session of the shop that has a name and remembers its steps. Its lock is held by whoever reads or changes it.

    Args:
        backend: The shop.
        goal_number: Which goal the shopper has, in the fixed order.
        name: What the session is called in addresses.
    """

    def __init__(self, backend: LocalBackend, goal_number: int, name: str) -> None:
        super().__init__(backend.shop, backend.open_session(goal_number).page)
        self.lock = Lock()
        self.goal_number = goal_number
        self.name = name
        self.steps: deque[Step] = deque([Step("", self.page)], maxlen=MAX_STEPS)
        """The last steps, the present page's being the last."""
        self.num_actions = 0
        """How many actions there were."""
        self._shown: OrderedDict[Address, Page] = OrderedDict()
        self._offered: OrderedDict[Address, tuple[Page, Part]] = OrderedDict()

    @property
    def bought(self) -> bool:
        """Whether the shopper has bought."""
        return self.page.kind is PageKind.DONE

    def act(self, action: str) -> str:
        """Do what an agent writes, from the present page; return why it means nothing there, or nothing."""
        move = Move(self.page, ENDED) if self.bought else self.shop.act(self.page, action)
        self._go(action, move.page, move.problem)
        return move.problem

    def search(self, query: str) -> str:
        """Search from the first page; return why that is impossible, or nothing."""
        if self.bought:
            return ENDED
        move = self.shop.look_for(self._start(), query)
        self._go(f"search[{query}]", move.page, move.problem)
        return move.problem

    def go_to(self, address: Address) -> bool:
        """Go to a page by its address, if it was shown or offered by a link; return whether it was.

        After the purchase every address leads to the receipt.
        """
        if self.bought or address == address_of(self.page):
            return True
        if address in self._offered:
            page, part = self._offered[address]
            self._go(f"click[{part.text}]", self.shop.follow(page, part))
        elif address in self._shown:
            self._go(GO_BACK, self._shown[address])
        elif address.kind is PageKind.START:
            self._go(GO_BACK, self._start())
        else:
            return False
        return True

    def knows(self, address: Address) -> bool:
        """Return whether the page was shown or offered."""
        return address == address_of(self.page) or address in self._offered or address in self._shown

    def show(self) -> Page:
        """Return the present page and accept the addresses of its links from now on."""
        page = self.page
        _remember(self._shown, address_of(page), page, MAX_STEPS)
        if page.kind not in {PageKind.START, PageKind.DONE}:
            for part in self.parts:
                if isinstance(part, Button | Link | Choice):
                    _remember(self._offered, address_of(target_of(page, part)), (page, part), MAX_LINKS)
        return page

    def _start(self) -> Page:
        return self.shop.open(self.page.goal, self.page.session)

    def _go(self, action: str, page: Page, problem: str = "") -> None:
        self.num_actions += 1
        self.steps.append(Step(action, page, problem))
        self.page = page


class SessionStore:
    """The sessions of a site: the latest so many, each as long as it is used.

    Args:
        backend: The shop.
        max_sessions: How many; a further one takes the place of the one that was not used for longest.
        lifetime: Seconds after its last use at which a session ends.
        clock: Gives seconds.
    """

    def __init__(
        self, backend: LocalBackend, *, max_sessions: int, lifetime: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._max_sessions = max_sessions
        self._lifetime = lifetime
        self._clock = clock
        self._lock = Lock()
        self._sessions: OrderedDict[str, tuple[float, SiteSession]] = OrderedDict()

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._sessions)

    def create(self, goal_number: int | None = None, name: str | None = None) -> SiteSession:
        """Begin a session.

        Args:
            goal_number: Which goal, in the fixed order; any of them with equal chance if None.
            name: What it is called; 128 random bits if None. A session that has the name already is returned instead.

        Raises:
            ValueError: There is no such goal.
        """
        goals = self._backend.goals
        number = secrets.randbelow(len(goals)) if goal_number is None else goal_number
        if not 0 <= number < len(goals):
            raise ValueError(f"there are goals 0 to {len(goals) - 1}, and no goal {number}")
        name = name or secrets.token_urlsafe(ID_BYTES)
        session = SiteSession(self._backend, number, name)
        with self._lock:
            self._expire()
            if name not in self._sessions:
                self._sessions[name] = (self._clock(), session)
            while len(self._sessions) > self._max_sessions:
                self._sessions.popitem(last=False)
            return self._sessions[name][1]

    def get(self, name: str) -> SiteSession | None:
        """Return a session and count that as a use of it; None if there is none, or no longer."""
        with self._lock:
            self._expire()
            if name not in self._sessions:
                return None
            self._sessions[name] = (self._clock(), self._sessions[name][1])
            self._sessions.move_to_end(name)
            return self._sessions[name][1]

    def end(self, name: str) -> bool:
        """Forget a session; return whether there was one."""
        with self._lock:
            return self._sessions.pop(name, None) is not None

    def latest(self, number: int) -> list[SiteSession]:
        """Return the sessions used last, the latest first; this does not count as a use of them."""
        with self._lock:
            self._expire()
            return [session for _, session in islice(reversed(self._sessions.values()), number)]

    def _expire(self) -> None:
        oldest = self._clock() - self._lifetime
        while self._sessions and next(iter(self._sessions.values()))[0] < oldest:
            self._sessions.popitem(last=False)


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _remember(memory: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)
