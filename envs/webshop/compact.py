"""Pages in few words that can be copied: `observation_mode="compact"`.

    wish : find me a night cream that is cruelty free , with scent : lilac , and price lower than 40 dollars
    50 results ; 1 easy to use night $ 24 ; 2 lilac cream for dry $ 31 ; next >
    price $ 24 ; scent : lilac / rose ; size : six jars / ten jars
    chosen : lilac
    results again

Everything is in lower case, with one space between words and marks, so that a value has the same tokens in the wish, on
the page and in the action `click[ lilac ]`. Prices are rounded up to dollars; bounds are multiples of ten, so that no
comparison changes. What was shown before is named and not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from turngym.envs.webshop.shopper import DETAILS
from turngym.envs.webshop.sight import Sight, sight_of, whole_dollars
from turngym.webshop_server.pages import NEXT, PREVIOUS, Page, PageKind, Part, clickables
from turngym.webshop_server.shop import ShopSession, read_action

NAMES = {PageKind.START: "search", PageKind.RESULTS: "results", PageKind.ITEM: "product", PageKind.DETAIL: DETAILS}
"""What a page is called that is shown again."""
BOUGHT = "bought"
WORD = re.compile(r"([\W_]*)(.*?)([\W_]*)")
BOUND = re.compile(r"(price lower than \d+)\.00(?= dollars)")


def spaced(text: str) -> str:
    """Return a text in lower case with one space between its words and the marks around them.

    Marks inside a word stay: `10.5`, `women's`, `3x-large`.

    Example:
        >>> spaced("Lilac, (pack of 2)")
        'lilac , ( pack of 2 )'
    """
    pieces: list[str] = []
    for word in text.lower().split():
        matched = WORD.fullmatch(word)
        before, core, after = matched.groups() if matched else ("", word, "")
        pieces += [*before, *([core] if core else []), *after]
    return " ".join(pieces)


class CompactView:
    """What one shopper reads and says in this form, which depends on what was shown before.

    Args:
        title_words: Words of the title of each result; 0 for none.
    """

    def __init__(self, title_words: int) -> None:
        self._title_words = title_words
        self._shown: set[object] = set()
        self._choice = ""
        """What the last action chose."""
        self._details: list[str] = []
        """What the last action opened as one page."""

    def text(self, page: Page, parts: Sequence[Part], *, refused: bool = False) -> str:
        """Return a page as it is shown now.

        Args:
            page: The page.
            parts: What it shows.
            refused: Whether the last action changed nothing.
        """
        if page.kind is PageKind.DONE:
            return BOUGHT
        if self._choice and not refused:
            return f"chosen : {self._choice}"
        place = (page.kind, page.asin, page.keywords, page.number, None if self._details else page.detail)
        if place in self._shown:
            return f"{NAMES[page.kind]} again"
        self._shown.add(place)
        if self._details:
            return spaced(f"{DETAILS} ; {' ; '.join(self._details)}")
        return " ; ".join(compact_lines(sight_of(page, parts), self._title_words))

    def act(self, session: ShopSession, action: str, do: Callable[[str], str]) -> str:
        """Do an action that is written in this form; return why it means nothing here, or nothing.

        Args:
            session: Where the shopper stands.
            action: What the shopper says.
            do: Does an action of the shop in that session; returns why it means nothing there, or nothing.
        """
        self._choice = ""
        page = session.page
        name, argument = _read(action)
        if name == "click" and argument == DETAILS and page.kind is PageKind.ITEM:
            return self._open_details(session, do)
        problem = do(in_the_shop(action, page, session.parts))
        if not problem:
            self._details = []
            if page.kind is session.page.kind is PageKind.ITEM:
                self._choice = argument
        return problem

    def _open_details(self, session: ShopSession, do: Callable[[str], str]) -> str:
        """Open features and description of a product as one page; return why that cannot be done, or nothing."""
        texts = [sight_of(session.page, session.parts).title]
        for step in ("click[description]", f"click[{PREVIOUS}]", "click[features]"):
            if problem := do(step):
                return problem
            texts += sight_of(session.page, session.parts).texts
        self._details = texts
        return ""


def compact_lines(sight: Sight, title_words: int) -> Iterator[str]:
    """Yield what a page shows, piece by piece."""
    match sight.kind:
        case PageKind.START:
            yield "wish : " + BOUND.sub(r"\1", spaced(sight.wish))
        case PageKind.RESULTS:
            yield f"{sight.count} results"
            for number, result in enumerate(sight.results, start=sight.first):
                title = " ".join(spaced(result.title).split()[:title_words])
                yield " ".join(filter(None, [str(number), title, whole_dollars(result.price)]))
            if sight.has_next:
                yield NEXT.lower()
        case PageKind.ITEM:
            yield f"price {whole_dollars(sight.price)}"
            for option, choices in groupby(sight.choices, lambda choice: choice.option):
                yield f"{spaced(option)} : {' / '.join(spaced(choice.text) for choice in choices)}"
        case _:
            yield from map(spaced, (str(sight.kind), *sight.texts))


def in_the_shop(action: str, page: Page, parts: Sequence[Part]) -> str:
    """Return an action of this form as the shop takes it: a result by its id, values and buttons by their own texts."""
    name, argument = _read(action)
    if name != "click":
        return f"search[{argument}]" if name else action
    texts = {spaced(text): text for text in clickables(parts)} | _ids(page)
    return f"click[{texts.get(argument, argument)}]"


def in_short(action: str, page: Page) -> str:
    """Return an action of the shop in this form: a result by its number, words and marks apart."""
    name, argument = _read(action)
    numbers = {spaced(asin): number for number, asin in _ids(page).items()}
    return f"{name}[ {numbers.get(argument, argument)} ]" if name else action


def _read(action: str) -> tuple[str, str]:
    """Return name and argument of an action, the argument with its words apart; two empty texts for nothing."""
    name, argument = read_action(action)
    return name, spaced(argument)


def _ids(page: Page) -> dict[str, str]:
    """Return the ids of the results on a page by their numbers."""
    if page.kind is not PageKind.RESULTS:
        return {}
    return {str(number): asin for number, asin in enumerate(page.listed, start=page.first)}
