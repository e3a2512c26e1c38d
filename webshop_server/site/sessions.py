"""A session of the site: a session of the shop that can be walked through by addresses, and that remembers its steps.

A step is kept as the address of the page that it led to, and the page is made again when it is asked for. The last ones
are kept for the operator. Of all the hashes of their addresses are kept, so that a client can come back to any page.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from turngym.webshop_server.pages import (
    BUY,
    Address,
    Button,
    Choice,
    Link,
    Page,
    PageKind,
    Part,
    address_of,
    target_of,
)
from turngym.webshop_server.shop import ENDED, LocalBackend, LocalSession, Move

ID_BYTES = 16
"""Bytes of a session's random name: 128 bits cannot be guessed."""
GO_BACK = "go back"
MAX_STEPS = 200
"""How many of the last steps the operator is shown."""
MAX_CHARS = 40_000
"""How many characters its steps may have in all; long ones are forgotten earlier."""
MAX_ACTIONS = 5_000
"""After how many actions a session is over."""


@dataclass(frozen=True, slots=True)
class Step:
    """An action of a session and where it led."""

    action: str
    """What was done, as an agent would write it; empty for the beginning, `GO_BACK` for a page shown before."""
    place: Address
    """The page that it led to."""
    problem: str = ""
    """Why the action meant nothing."""

    @property
    def num_chars(self) -> int:
        """How much there is to remember."""
        place = self.place
        return len(self.action) + len(self.problem) + len(place.query) + sum(len(value) for _, value in place.chosen)


class SiteSession(LocalSession):
    """A session that has a name. Its lock is held by whoever reads or changes it.

    Args:
        backend: The shop.
        goal_number: Which goal the shopper has, in the fixed order.
        name: What the session is called in addresses; 128 random bits if None.
    """

    def __init__(self, backend: LocalBackend, goal_number: int, name: str | None = None) -> None:
        super().__init__(backend.shop, backend.open_session(goal_number).page)
        self.lock = Lock()
        self.goal_number = goal_number
        self.is_named = name is not None
        """Whether a client chose the name."""
        self.name = name or secrets.token_urlsafe(ID_BYTES)
        self.token = secrets.token_urlsafe(ID_BYTES)
        """What a page of the session sends along when it buys."""
        self.steps: deque[Step] = deque([Step("", address_of(self.page))])
        """The last steps, the present page's being the last."""
        self.num_actions = 0
        """How many actions there were."""
        self._open: set[int] = set()
        """The hashes of the addresses of all pages that the session was at, and of the purchases offered there."""
        self._num_chars = 0

    @property
    def bought(self) -> bool:
        """Whether the shopper has bought."""
        return self.page.kind is PageKind.DONE

    @property
    def ended(self) -> bool:
        """Whether all addresses lead to the receipt.

        In the original a purchase ends nothing, and clients that search a tree of actions count on that: sessions that
        they name in a faithful shop go on.
        """
        return self.bought and not (self.is_named and self.shop.mode == "faithful")

    @property
    def spent(self) -> bool:
        """Whether there were so many actions that no further one is taken."""
        return self.num_actions >= MAX_ACTIONS

    def act(self, action: str) -> str:
        """Do what an agent writes, from the present page; return why it means nothing there, or nothing."""
        move = Move(self.page, ENDED) if self.bought else self._move(action)
        self._go(action, move.page, move.problem)
        return move.problem

    def search(self, query: str) -> str:
        """Search from the first page; return why that is impossible, or nothing."""
        if self.ended:
            return ENDED
        move = self.shop.look_for(self._start(), query)
        self._go(f"search[{query}]", move.page, move.problem)
        return move.problem

    def go_to(self, address: Address) -> bool:
        """Go to a page by its address, if the session was there or a link led there; return whether it was so.

        After the purchase every address leads to the receipt, see `ended`.
        """
        if self.ended or address == address_of(self.page):
            return True
        part = _leading_to(address, self.page, self.parts)
        if part is not None:
            self._go(f"click[{part.text}]", self.shop.follow(self.page, part))
        elif address.kind is PageKind.START or self._is_open(address):
            self._go(f"click[{BUY}]" if address.kind is PageKind.DONE else GO_BACK, self.page_at(address))
        elif (offer := self._offer(address)) is not None:
            page, part = offer
            self._go(f"click[{part.text}]", self.shop.follow(page, part))
        else:
            return False
        return True

    def knows(self, address: Address) -> bool:
        """Return whether the session was at a page, or a link led there."""
        return address == address_of(self.page) or self._is_open(address) or self._offer(address) is not None

    def page_at(self, address: Address) -> Page:
        """Return a page that the session was at, made anew from its address."""
        start = self._start()
        if address.kind is PageKind.START:
            return start
        results = self.shop.look_for(start, address.query).page if address.query else start
        page = replace(
            results,
            kind=address.kind,
            number=address.number,
            asin=address.asin,
            chosen=dict(address.chosen),
            detail=address.detail,
            visited=self.page.visited | ({address.asin} if address.asin else set()),
        )
        return replace(page, reward=self.shop.reward(page).total) if page.kind is PageKind.DONE else page

    def _is_open(self, address: Address) -> bool:
        return hash(address) in self._open

    def _offer(self, address: Address) -> tuple[Page, Part] | None:
        """Return a page that the session was at and that has a link to an address, and the link."""
        for place in filter(self._is_open, self._places_before(address)):
            page = self.page_at(place)
            part = _leading_to(address, page, self.shop.layout(page))
            if part is not None:
                return page, part
        return None

    def _places_before(self, address: Address) -> Iterator[Address]:
        """Yield the addresses of pages that may have a link to an address which is not open itself."""
        match address.kind:
            case PageKind.RESULTS:
                yield replace(address, number=address.number - 1)
                yield replace(address, number=address.number + 1)
            case PageKind.ITEM if not address.chosen:
                yield Address(PageKind.RESULTS, address.query, address.number)
            case PageKind.ITEM:
                yield from self._places_before_choice(address)
            case PageKind.DETAIL:
                yield replace(address, kind=PageKind.ITEM, detail=None)

    def _places_before_choice(self, address: Address) -> Iterator[Address]:
        """Yield the addresses of a product's pages where one option has no value or another one."""
        product = self.shop.catalogue.get(address.asin)
        if product is None or any(value not in product.options.get(option, ()) for option, value in address.chosen):
            return
        for option, _ in address.chosen:
            others = {name: value for name, value in address.chosen if name != option}
            yield replace(address, chosen=tuple(others.items()))
            for value in product.options[option]:
                yield replace(address, chosen=tuple(sorted({**others, option: value}.items())))

    def _start(self) -> Page:
        return self.shop.open(self.page.goal, self.page.session)

    def _go(self, action: str, page: Page, problem: str = "") -> None:
        self.num_actions += 1
        self.page = page
        place = address_of(page)
        self._open.add(hash(place))
        if page.kind is PageKind.ITEM:
            self._open.add(hash(Address(PageKind.DONE, asin=place.asin, chosen=place.chosen)))
        self.steps.append(Step(action, place, problem))
        self._num_chars += self.steps[-1].num_chars
        while len(self.steps) > MAX_STEPS or (self._num_chars > MAX_CHARS and len(self.steps) > 1):
            self._num_chars -= self.steps.popleft().num_chars


def _leading_to(address: Address, page: Page, parts: Sequence[Part]) -> Part | None:
    """Return the button, link or choice of a page that leads to an address, if there is one."""
    if page.kind in {PageKind.START, PageKind.DONE}:
        return None
    links = (part for part in parts if isinstance(part, Button | Link | Choice))
    return next((part for part in links if address_of(target_of(page, part)) == address), None)
