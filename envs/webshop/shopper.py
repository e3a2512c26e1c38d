"""A scripted shopper that reads visible text alone: what can be had on WebShop without learning.

It searches for the instruction without its price clause, looks at some results in their order, chooses the options that
the instruction names, and buys the first product that has them all at a price that fits, or else the best it has seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from turngym.envs.webshop.sight import Result, Sight, dollars, whole_dollars
from turngym.webshop_server.pages import BACK_TO_SEARCH, BUY, PREVIOUS, Choice, Detail, PageKind
from turngym.webshop_server.search import analyze

DETAILS = "details"
"""What is clicked for features and description, where they are one page."""
MARKS = ".,:;!?()"
"""What is no part of a word at its edges."""
LOOKS = 5
"""How many results it looks at, at most."""
QUERY_CHARS = 500
"""The most characters of a query."""
BOUND = re.compile(r",? and price lower than (\d+(?:\.\d+)?) dollars\.?$")
NAMED = re.compile(r"(?: with |, and )((?:(?! with |, and )[^:])+): (.+?)(?=, and (?:(?!, and )[^:])+: |$)")
"""An option and its value, as synthetic instructions name them: ` with color: navy blue, and size: 11`."""
REQUESTS = frozenset(analyze("I am looking for something. Please find me, get me, show me what I want, need, buy"))
"""Terms of an instruction that ask and do not describe."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an instruction says."""

    text: str
    query: str
    """The instruction without its price clause, as it is searched for."""
    options: tuple[tuple[str, str], ...]
    """Options with their values, in lower case; none where a person wrote the instruction."""
    words: tuple[tuple[str, frozenset[str]], ...]
    """The words that describe the product itself, in lower case, with what they are to the search engine."""
    bound: float
    """The most to spend, in dollars."""

    @classmethod
    def read(cls, instruction: str) -> Wish:
        """Return what an instruction says."""
        bound = BOUND.search(instruction)
        without_bound = BOUND.sub("", instruction)
        options = tuple((name.lower(), value.lower()) for name, value in NAMED.findall(without_bound))
        words = {word.strip(MARKS): _terms(word) - REQUESTS for word in NAMED.sub("", without_bound).lower().split()}
        query = " ".join(re.sub(r"[\[\]]", " ", without_bound).split())[:QUERY_CHARS]
        described = tuple((word, terms) for word, terms in words.items() if terms)
        return cls(instruction.lower(), query, options, described, float(bound[1]) if bound else float("inf"))

    @property
    def terms(self) -> frozenset[str]:
        """What describes the product itself, in terms of the search engine."""
        return frozenset().union(*(terms for _, terms in self.words))

    def allows(self, price_tag: str) -> bool:
        """Return whether a price, or the lower end of a range, is within the bound."""
        return min(dollars(price_tag), default=0.0) <= self.bound

    def named(self, choices: Sequence[Choice]) -> list[Choice]:
        """Return the values on a page that the wish names, in its order, at most one for each option.

        Where a person wrote it, these are the longest values of each option that stand in it as words, in the order of
        the page.
        """
        if self.options:
            here = {(choice.option.lower(), choice.value.lower()): choice for choice in choices}
            return [here[option] for option in self.options if option in here]
        found: dict[str, Choice] = {}
        for choice in choices:
            longest = len(found[choice.option].value) if choice.option in found else 0
            if len(choice.value) > longest and _stands_in(choice.value.lower(), self.text):
                found[choice.option] = choice
        return list(found.values())


@dataclass(slots=True)
class Seen:
    """What is known of a product that was looked at."""

    lacking: int
    """How many of the wished options it lacks, and one more where its price does not fit."""
    named: int
    """How many options are to be chosen."""
    title: frozenset[str]
    """The terms of its title."""
    unread: frozenset[str]
    """Terms of the wish that its details, title included, do not hold, as far as they were read."""
    to_read: set[Detail] = field(default_factory=lambda: {"Description", "Features"})
    """Which of its texts were not read."""


@dataclass(slots=True)
class Shopper:
    """What a shopper of visible text has seen so far, and what it does next.

    Args:
        looks: How many results it looks at, at most.
        details: Whether it reads the details of products that have the options at the price, and buys the first whose
            texts hold all terms of the wish.
        prices: Whether it passes over results whose price does not fit, instead of looking at them.
        one_page: Whether all details are one page, clicked as `DETAILS`.
    """

    looks: int = LOOKS
    details: bool = False
    prices: bool = False
    one_page: bool = False
    _wish: Wish | None = None
    _products: dict[str, Seen] = field(default_factory=dict)
    _listed: tuple[str, ...] = ()
    """The products on the page of results that was seen last."""

    def see(self, sight: Sight) -> None:
        """Take in a page."""
        if self._wish is None:
            self._wish = Wish.read(sight.wish)
        if sight.kind is PageKind.RESULTS:
            self._listed = tuple(result.asin for result in sight.results)
        elif sight.kind is PageKind.ITEM and sight.asin not in self._products:
            self._products[sight.asin] = self._judged(self._wish, sight)
        elif sight.kind is PageKind.DETAIL and sight.asin in self._products:
            product = self._products[sight.asin]
            product.unread -= product.title | _terms(" ".join(sight.texts))
            product.to_read -= {sight.detail}

    @staticmethod
    def _judged(wish: Wish, sight: Sight) -> Seen:
        named = len(wish.named(sight.choices))
        fits = wish.allows(sight.price)
        lacking = max(0, len(wish.options) - named) + (not fits)
        return Seen(lacking=lacking, named=named, title=_terms(sight.title), unread=wish.terms)

    def action(self, sight: Sight, turns_left: float) -> str:
        """Return what to do on a page that was seen.

        Args:
            sight: The page.
            turns_left: Turns until the limit.
        """
        assert self._wish is not None
        match sight.kind:
            case PageKind.START:
                return f"search[{self._wish.query}]"
            case PageKind.RESULTS:
                return f"click[{self._next_result(self._wish, sight, turns_left) or BACK_TO_SEARCH}]"
            case PageKind.ITEM:
                return f"click[{self._on_item(self._wish, sight, turns_left)}]"
            case PageKind.DETAIL:
                return f"click[{PREVIOUS}]"
            case _:
                return f"click[{BACK_TO_SEARCH}]"

    def thoughts(self, sight: Sight, turns_left: float) -> str:
        """Return what a shopper notes before it acts.

        On results of which it passes over what is too dear, which price fits: `price lower than 40, 1 $ 52 no, 2 $ 24
        yes`. On the page of a product which of the wished options there are, and which one it chooses: `with scent:
        lilac yes, and size: six jars yes, with scent: lilac`, and then `lilac yes, and size: six jars`. Where it has
        read the details, which words of the wish they hold: `for night yes, cream no`.

        Args:
            sight: The page.
            turns_left: Turns until the limit.
        """
        assert self._wish is not None
        notes: Iterable[str] = ()
        if sight.kind is PageKind.RESULTS and self.prices and self._looks_on(turns_left):
            notes = self._notes_on_prices(self._wish, sight)
        elif sight.kind is PageKind.ITEM:
            notes = self._notes_on_options(self._wish, sight, turns_left)
        elif sight.kind is PageKind.DETAIL and sight.asin in self._products:
            notes = self._notes_on_details(self._wish, self._products[sight.asin])
        return ", ".join(notes)

    def _notes_on_prices(self, wish: Wish, sight: Sight) -> Iterator[str]:
        """Yield what a price must be below, and which prices are, up to the first, without those passed over before."""
        if math.isfinite(wish.bound):
            yield f"price lower than {wish.bound:g}"
        known = [number for number, one in enumerate(sight.results, sight.first) if one.asin in self._products]
        for number, result in self._unseen(sight):
            fits = wish.allows(result.price)
            if fits or number > max(known, default=0):
                yield f"{number} {whole_dollars(result.price)} {'yes' if fits else 'no'}"
            if fits:
                return

    def _notes_on_options(self, wish: Wish, sight: Sight, turns_left: float) -> Iterator[str]:
        """Yield which of the wished options there are, unless some are chosen, and which one is chosen next."""
        named = wish.named(sight.choices)
        if not sight.chosen:
            here = {(choice.option.lower(), choice.value.lower()) for choice in named}
            wanted = wish.options or sorted(here)
            yield from (f"{'and' if place else 'with'} {name}: {value} {'yes' if (name, value) in here else 'no'}"
                        for place, (name, value) in enumerate(wanted))  # fmt: skip
        if self._leaving(sight, turns_left):
            return
        for before, choice in zip([None, *named], named, strict=False):
            if (choice.option, choice.value) not in sight.chosen:
                then = f"{before.value.lower()} yes, and" if before else "with"
                yield f"{then} {choice.option.lower()}: {choice.value.lower()}"
                return

    @staticmethod
    def _notes_on_details(wish: Wish, product: Seen) -> Iterator[str]:
        """Yield which words of the wish were found."""
        for place, (word, terms) in enumerate(wish.words):
            yield f"{'' if place else 'for '}{word} {'no' if terms & product.unread else 'yes'}"

    def _next_result(self, wish: Wish, sight: Sight, turns_left: float) -> str:
        """Return the product to look at next, nothing where there is none."""
        new = [result.asin for _, result in self._unseen(sight) if not self.prices or wish.allows(result.price)]
        if new and self._looks_on(turns_left):
            return new[0]
        return self._best() or (self._listed[0] if self._listed else "")

    def _unseen(self, sight: Sight) -> list[tuple[int, Result]]:
        """Return the results on a page that were not looked at, with their numbers."""
        numbered = enumerate(sight.results, start=sight.first)
        return [(number, result) for number, result in numbered if result.asin not in self._products]

    def _looks_on(self, turns_left: float) -> bool:
        """Return whether to look at another result, if there is one."""
        best = self._best()
        return not self._done(best) and (best is None or self._may_look(turns_left))

    def _on_item(self, wish: Wish, sight: Sight, turns_left: float) -> str:
        if leaving := self._leaving(sight, turns_left):
            return leaving
        missing = [choice for choice in wish.named(sight.choices) if (choice.option, choice.value) not in sight.chosen]
        return missing[0].text if missing else BUY

    def _leaving(self, sight: Sight, turns_left: float) -> str:
        """Return what to click to leave the page of a product, nothing where it is to be bought."""
        product = self._products[sight.asin]
        if not self._done(sight.asin):
            if self._may_read(product, turns_left):
                return DETAILS if self.one_page else min(product.to_read).lower()
            if self._may_look(turns_left - 1) or self._best() != sight.asin:
                return PREVIOUS
        return ""

    def _best(self) -> str | None:
        """Return the product that lacks least of those that were looked at and are at hand, the first of equals."""
        known = [asin for asin in self._products if asin in self._listed]
        judged = {asin: (self._products[asin].lacking, len(self._products[asin].unread)) for asin in known}
        return min(judged, key=judged.__getitem__, default=None)

    def _done(self, asin: str | None) -> bool:
        """Return whether a product is all that was wished for, as far as it can be known."""
        product = self._products.get(asin or "")
        return product is not None and not product.lacking and not (self.details and product.unread)

    def _may_look(self, turns_left: float) -> bool:
        """Return whether there are looks left, and turns for another one and for the way back to the best."""
        return len(self._products) < self.looks and turns_left >= 1 + self._way_back

    def _may_read(self, product: Seen, turns_left: float) -> bool:
        """Return whether there is something to read of a product, and turns for it and for the way back to the best."""
        wanted = self.details and not product.lacking and bool(product.to_read)
        turns = 2 if self.one_page else 2 * len(product.to_read)
        return wanted and turns_left >= turns + self._way_back

    @property
    def _way_back(self) -> int:
        """Turns from a product to the purchase of the best one seen."""
        best = self._products.get(self._best() or "")
        return 2 + (best.named if best else 0) + 1


def _terms(text: str) -> frozenset[str]:
    return frozenset(analyze(text))


def _stands_in(value: str, text: str) -> bool:
    return bool(value) and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None
