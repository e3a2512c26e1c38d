"""The oracle of WebShop: it knows the goal's own product and searches for its title, which no agent is shown."""

from __future__ import annotations

from turngym.envs.webshop.shopper import QUERY_CHARS
from turngym.webshop_server.goals import Goal, WantedOption
from turngym.webshop_server.pages import (
    BACK_TO_SEARCH,
    BUY,
    NEXT,
    PREVIOUS,
    RESULTS_PER_PAGE,
    Choice,
    Page,
    PageKind,
)
from turngym.webshop_server.reward import matches
from turngym.webshop_server.shop import MAX_RESULTS, ShopBackend, ShopSession

ORACLE_TURNS = 100
"""How long the oracle plays without a turn limit."""


def oracle_step(goal: Goal, session: ShopSession, backend: ShopBackend) -> str:
    """Return the next action of the shop towards the goal's own product with the options that are wanted."""
    page, wanted = session.page, goal.asin
    if page.kind is PageKind.DONE or (page.kind is PageKind.RESULTS and wanted not in page.found):
        return f"click[{BACK_TO_SEARCH}]"
    if page.kind is PageKind.START:
        return f"search[{_query_for(goal, backend)}]"
    if page.kind is PageKind.RESULTS:
        number = page.found.index(wanted) // RESULTS_PER_PAGE + 1
        return f"click[{wanted if number == page.number else NEXT if number > page.number else PREVIOUS}]"
    if page.kind is PageKind.DETAIL or page.asin != wanted:
        return f"click[{PREVIOUS}]"
    choices = [part for part in session.parts if isinstance(part, Choice)]
    missing = (choice for option in goal.options if not _is_chosen(option, page)
               for choice in choices if _is_wanted(option, choice))  # fmt: skip
    return f"click[{next((choice.text for choice in missing), BUY)}]"


def _query_for(goal: Goal, backend: ShopBackend) -> str:
    """Return a query that finds the goal's product, on the first page if any does."""

    def rank(query: str) -> int:
        found = list(backend.search(query.lower(), MAX_RESULTS))
        return found.index(goal.asin) if goal.asin in found else MAX_RESULTS

    queries = (goal.title, f"{goal.query} {goal.title}", goal.instruction)
    return min((query[:QUERY_CHARS] for query in queries), key=rank)


def _is_chosen(wanted: WantedOption, page: Page) -> bool:
    chosen = page.chosen.values() if wanted.name is None else [page.chosen.get(wanted.name, "")]
    return any(_same(wanted, value) for value in chosen)


def _is_wanted(wanted: WantedOption, choice: Choice) -> bool:
    return wanted.name in (None, choice.option) and _same(wanted, choice.value)


def _same(wanted: WantedOption, value: str) -> bool:
    """Return whether a value is the one wanted; a person may have written it a little differently."""
    return value == wanted.value or (wanted.name is None and matches(value, wanted.value))
