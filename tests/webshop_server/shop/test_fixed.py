"""The fixed shop: what is not offered says so, what is offered works, and nothing is given away."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.catalogue import Catalogue
from turngym.webshop_server.goals import Goal, SeededDraws
from turngym.webshop_server.pages import Page, PageKind, clickables, plain_text, rich_text
from turngym.webshop_server.shop.fixed import MAX_QUERY_CHARS, FixedShop

Find = Callable[[str, int], list[str]]


@pytest.fixture(scope="module")
def shop(shirts: Catalogue, find: Find) -> FixedShop:
    return FixedShop(shirts, find, SeededDraws())


def play(shop: FixedShop, goal: Goal, *actions: str) -> Page:
    page = shop.open(goal, "7")
    for action in actions:
        move = shop.act(page, action)
        assert not move.problem, action
        page = move.page
    return page


def test_a_visit(shop: FixedShop, wish: Goal) -> None:
    page = play(shop, wish, "search[ Linen  ]", "Click[SHIRT00001]", "click[Navy Blue] ")
    assert plain_text(shop.layout(page)) == (
        f"Instruction: [SEP] {wish.instruction} [SEP] Back to Search [SEP] < Prev [SEP] color (chosen: navy blue) "
        "[SEP] navy blue [SEP] red [SEP] size [SEP] small [SEP] size: description [SEP] Linen Shirt [SEP] Price: $25.0 "
        "[SEP] Description [SEP] Features [SEP] Buy Now"
    )
    assert "You have clicked navy blue.\n" in rich_text(shop.layout(page))
    bought = shop.act(page, "click[buy now]").page
    assert bought.kind is PageKind.DONE and bought.reward == 1.0
    assert plain_text(shop.layout(bought)) == (
        f"Instruction: [SEP] {wish.instruction} [SEP] Thank you for shopping with us! [SEP] Purchased [SEP] SHIRT00001 "
        "[SEP] color: navy blue"
    )


def test_the_cost_is_told_when_nothing_is_left_to_choose(shop: FixedShop, wish: Goal) -> None:
    price = shop.draws.price(shop.catalogue["SHIRT00002"])
    ways = {
        (): None,
        ("search[silk]",): None,
        ("search[silk]", "click[shirt00002]"): None,
        ("search[silk]", "click[shirt00002]", "click[gold]"): None,
        ("search[silk]", "click[shirt00002]", "click[buy now]"): price,
        ("search[silk]", "click[shirt00002]", "click[gold]", "click[color: red]"): price,
        ("search[wool]", "click[shirt00003]"): 25.0,
    }
    assert {way: shop.cost(play(shop, wish, *way)) for way in ways} == ways


@pytest.mark.parametrize(
    ("way", "action", "problem"),
    [
        ([], "", r"write search\[words\] or click\[text\]"),
        ([], "think[shirt]", r"write search\[words\]"),
        ([], "search[a\nb]", r"write search\[words\]"),
        ([], "search[shirt] then", r"write search\[words\]"),
        ([], "search[ ]", "write the words"),
        ([], f"search[{'a' * (MAX_QUERY_CHARS + 1)}]", "at most 4,000 characters"),
        ([], "click[search]", "nothing on this page"),
        ([], "click[buy now]", "nothing on this page"),
        (["search[shirt]"], "search[lamp]", "no search bar here"),
        (["search[shirt]"], "click[< prev]", "nothing on this page"),
        (["search[linen]"], "click[next >]", "nothing on this page"),
        (["search[silk]", "click[shirt00002]"], "click[red]", "nothing on this page"),
        (["search[silk]", "click[shirt00002]"], "click[reviews]", "nothing on this page"),
        (["search[silk]", "click[shirt00002]", "click[buy now]"], "search[linen]", "has ended the session"),
    ],
)
def test_what_is_not_offered_says_so(shop: FixedShop, wish: Goal, way: list[str], action: str, problem: str) -> None:
    page = play(shop, wish, *way)
    move = shop.act(page, action)
    assert move.page == page
    assert re.search(problem, move.problem)


def test_pages_end_where_the_results_do(shop: FixedShop, wish: Goal) -> None:
    page = play(shop, wish, "search[shirt]", "click[next >]")
    assert len(page.listed) == 5
    assert "next >" not in clickables(shop.layout(page))
    assert play(shop, wish, "search[shirt]", "click[next >]", "click[< prev]") == play(shop, wish, "search[shirt]")


def test_values_that_are_not_unique_are_clicked_with_their_option(shop: FixedShop, wish: Goal) -> None:
    silk = ["search[silk]", "click[shirt00002]"]
    assert play(shop, wish, *silk, "click[color: red]", "click[trim: red]").chosen == {
        "color": "red",
        "trim": "red",
    }
    assert play(shop, wish, *silk, "click[gold]", "click[trim: red]").chosen == {"trim": "red"}
    linen = ["search[linen]", "click[shirt00001]"]
    assert play(shop, wish, *linen, "click[size: description]").chosen == {"size": "description"}
    assert play(shop, wish, *linen, "click[description]").detail == "Description"


def test_tags_are_words(shop: FixedShop, wish: Goal) -> None:
    assert play(shop, wish, "search[<c> fashion]").found == ()


def test_ways_back(shop: FixedShop, wish: Goal) -> None:
    way = ["search[shirt search_results]", "click[next >]", "click[plain00008]"]
    assert play(shop, wish, *way, "click[features]", "click[< prev]") == play(shop, wish, *way)
    back = play(shop, wish, *way, "click[< prev]")
    assert (back.kind, back.number, back.asin, back.chosen) == (PageKind.RESULTS, 2, "", {})
    start = play(shop, wish, *way, "click[back to search]")
    assert (start.kind, start.keywords, start.found) == (PageKind.START, (), ())
    assert "[clicked button] PLAIN00008" in rich_text(shop.layout(back))


@given(actions=st.lists(st.one_of(st.text(max_size=30), st.text(max_size=10).map("search[{}]".format),
                                  st.integers(0, 30)), max_size=12))  # fmt: skip
def test_every_action_leads_somewhere(shop: FixedShop, wish: Goal, actions: list[str | int]) -> None:
    page = shop.open(wish, "7")
    for action in actions:
        offered = list(clickables(shop.layout(page))) or ["nothing"]
        text = action if isinstance(action, str) else f"click[{offered[action % len(offered)]}]"
        move = shop.act(page, text)
        assert move.page == page if move.problem else move.page != page or isinstance(action, int)
        page = move.page
        assert page.reward is None or 0 <= page.reward <= 1
        assert plain_text(shop.layout(page))
