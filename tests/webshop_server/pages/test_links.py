"""What can be clicked on a page, and where it leads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from turngym.webshop_server.goals import Goal
from turngym.webshop_server.pages.links import clickables, target_of, usable_actions
from turngym.webshop_server.pages.page import Button, Choice, Link, Page, PageKind, Part


@pytest.fixture
def item(wish: Goal) -> Page:
    """A product on the second page of results, with one option chosen."""
    return Page("7", wish, PageKind.ITEM, ("linen",), 2, ("A", "B"), "A", {"color": "red"}, visited=frozenset("A"))


def test_a_link_leads_to_a_product_and_is_remembered(item: Page) -> None:
    target = target_of(item, Link("B", visited=False))
    assert (target.kind, target.asin, target.chosen, target.visited) == (PageKind.ITEM, "B", {}, {"A", "B"})


def test_a_choice_joins_the_others(item: Page) -> None:
    target = target_of(item, Choice("small", "size", "small", chosen=False))
    assert target == replace(item, chosen={"color": "red", "size": "small"})


@pytest.mark.parametrize(
    ("button", "changes"),
    [
        ("Buy Now", {"kind": PageKind.DONE}),
        ("Features", {"kind": PageKind.DETAIL, "detail": "Features"}),
        ("< Prev", {"kind": PageKind.RESULTS, "asin": "", "chosen": {}}),
    ],
)
def test_buttons_of_a_product_lead_on(item: Page, button: str, changes: dict[str, object]) -> None:
    assert target_of(item, Button(button)) == replace(item, **changes)  # type: ignore[arg-type]


def test_the_way_to_the_search_forgets_all_but_what_was_looked_at(item: Page) -> None:
    assert target_of(item, Button("Back to Search")) == Page("7", item.goal, visited=frozenset("A"))


def test_results_have_pages_before_and_after(item: Page) -> None:
    results = replace(item, kind=PageKind.RESULTS)
    assert target_of(results, Button("Next >")).number == 3
    assert target_of(results, Button("< Prev")).number == 1


@pytest.mark.parametrize("part", [Part("Price: $5"), Button("Search")])
def test_other_parts_lead_nowhere(item: Page, part: Part) -> None:
    with pytest.raises(ValueError, match="leads nowhere"):
        target_of(item, part)


def test_of_several_with_one_text_the_last_counts() -> None:
    first, last = Choice("red", "color", "red", chosen=False), Choice("Red", "trim", "red", chosen=False)
    button = Button("Buy Now")
    assert clickables([first, Part("red"), last, button]) == {"buy now": button, "red": last}


def test_a_search_is_possible_where_the_page_has_a_bar(item: Page) -> None:
    parts = [Button("Search"), Button("Buy Now")]
    assert usable_actions(item, parts) == ["click[buy now]"]
    assert usable_actions(replace(item, kind=PageKind.START), parts) == ["search[words]", "click[buy now]"]
