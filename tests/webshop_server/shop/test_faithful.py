"""The faithful shop: pages, addresses, rewards and oddities of the original, from its recordings and by hand."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.catalogue import Catalogue, goals_of
from turngym.webshop_server.goals import Goal, RecordedDraws, SeededDraws
from turngym.webshop_server.pages import Page, PageKind, clickables, plain_text, rich_text
from turngym.webshop_server.settings import GoalKind
from turngym.webshop_server.shop.faithful import FaithfulShop, name_and_argument

Find = Callable[[str, int], list[str]]


@pytest.fixture
def shop(shirts: Catalogue, find: Find) -> FaithfulShop:
    return FaithfulShop(shirts, find, SeededDraws())


def play(shop: FaithfulShop, goal: Goal, *actions: str) -> Page:
    page = shop.open(goal, "7")
    for action in actions:
        page = shop.act(page, action).page
    return page


def seen(shop: FaithfulShop, page: Page) -> str:
    return plain_text(shop.layout(page))


def test_a_visit(shop: FaithfulShop, wish: Goal) -> None:
    page = shop.open(wish, "7")
    assert seen(shop, page) == f"WebShop [SEP] Instruction: [SEP] {wish.instruction} [SEP] Search"
    page = play(shop, wish, "search[linen]")
    assert seen(shop, page) == (
        f"Instruction: [SEP] {wish.instruction} [SEP] Back to Search [SEP] Page 1 (Total results: 1) [SEP] Next > "
        "[SEP] SHIRT00001 [SEP] Linen Shirt [SEP] $25.0"
    )
    page = play(shop, wish, "search[linen]", "click[shirt00001]", "click[navy blue]")
    assert rich_text(shop.layout(page)) == (
        f"You have clicked navy blue.\nInstruction:\n{wish.instruction}\n[button] Back to Search [button_]\n"
        "[button] < Prev [button_]\ncolor\n  [clicked button] navy blue [clicked button_]\n  [button] red [button_]\n"
        "size\n  [button] small [button_]\n  [button] description [button_]\nLinen Shirt\nPrice: $25.0\nRating: N.A.\n"
        "[button] Description [button_]\n[button] Features [button_]\n[button] Reviews [button_]\n"
        "[button] Buy Now [button_]\n"
    )
    assert page.url == 'http://127.0.0.1:3000/item_page/7/SHIRT00001/linen/1/{"color": "navy blue"}'
    move = shop.act(page, "click[buy now]")
    assert move.problem == "" and move.page.kind is PageKind.DONE and move.page.reward == 1.0
    assert move.page.url == "http://127.0.0.1:3000/done/7/SHIRT00001/{'color': 'navy blue'}"
    assert "Your score (min 0.0, max 1.0) [SEP] 1.0" in seen(shop, move.page)
    assert clickables(shop.layout(move.page)) == {}


@pytest.mark.parametrize(
    "action",
    ["", "search[]", "SEARCH[shirt]", " search[shirt]", "search[shirt", "click[search]", "click[buy now]",
     "think[shirt]", "search[[shirt]]", "search\n[shirt]"],
)  # fmt: skip
def test_what_means_nothing_changes_nothing(shop: FaithfulShop, wish: Goal, action: str) -> None:
    page = shop.open(wish, "7")
    move = shop.act(page, action)
    assert move.page == page and move.problem


@pytest.mark.parametrize(
    ("action", "keywords"),
    [
        ("search[a  B]", ("a", "", "b")),
        ("search[x] and more", ("x",)),
        ("search[a]b]", ("a]b",)),
        ("search[ ]", ("", "")),
    ],
)
def test_queries_are_read_as_the_original_does(
    shop: FaithfulShop, wish: Goal, action: str, keywords: tuple[str, ...]
) -> None:
    assert play(shop, wish, action).keywords == keywords


@pytest.mark.parametrize(
    ("query", "total"), [("<q> lamps", 1), ("<c> fashion", 15), ("<c>", 0), ("<r>", 16), ("<a> x", 0), ("shirt", 15)]
)
def test_tags_list_the_catalogue(shop: FaithfulShop, wish: Goal, query: str, total: int) -> None:
    assert len(play(shop, wish, f"search[{query}]").found) == total


def test_there_is_always_a_next_page(shop: FaithfulShop, wish: Goal) -> None:
    page = play(shop, wish, "search[shirt]", *["click[next >]"] * 5)
    assert page.number == 6 and page.listed == ()
    assert play(shop, wish, "search[shirt]", "click[next >]", "click[< prev]").number == 1


def test_ways_back(shop: FaithfulShop, wish: Goal) -> None:
    way = ["search[shirt]", "click[next >]", "click[plain00008]"]
    assert play(shop, wish, *way, "click[features]").detail == "Features"
    assert play(shop, wish, *way, "click[features]", "click[< prev]") == play(shop, wish, *way)
    back = play(shop, wish, *way, "click[< prev]")
    assert (back.kind, back.number, back.asin, back.visited) == (PageKind.RESULTS, 2, "", {"PLAIN00008"})
    assert "\n[clicked button] PLAIN00008 [clicked button_]\n" in rich_text(shop.layout(back))
    assert play(shop, wish, *way, "click[back to search]") == shop.open(wish, "7")


def test_keywords_can_be_taken_for_a_kind_of_page(shop: FaithfulShop, wish: Goal) -> None:
    lost = play(shop, wish, "search[shirt search_results]", "click[plain00001]", "click[< prev]")
    assert (lost.kind, lost.number) == (PageKind.RESULTS, 0)


def test_an_option_named_like_a_button_replaces_it(shop: FaithfulShop, wish: Goal) -> None:
    page = play(shop, wish, "search[linen]", "click[shirt00001]", "click[description]")
    assert page.kind is PageKind.DETAIL and page.chosen == {}


def test_a_value_of_two_options_is_of_the_last(shop: FaithfulShop, wish: Goal) -> None:
    page = play(shop, wish, "search[silk]", "click[shirt00002]", "click[red]")
    assert page.chosen == {"trim": "red"}
    assert list(clickables(shop.layout(page))) == [
        "back to search", "< prev", "description", "features", "reviews", "buy now", "red", "gold",
    ]  # fmt: skip


def test_texts_of_mere_space(shop: FaithfulShop, wish: Goal) -> None:
    page = play(shop, wish, "search[wool]", "click[shirt00003]", "click[description]")
    assert seen(shop, page).endswith("< Prev [SEP] ")
    page = play(shop, wish, "search[wool]", "click[shirt00003]", "click[features]")
    assert rich_text(shop.layout(page)).endswith("< Prev [button_]\n \n")


def test_a_purchase_ends_nothing(shop: FaithfulShop, wish: Goal) -> None:
    first = ["search[lamp]", "click[lamp000001]", "click[buy now]"]
    assert play(shop, wish, *first).reward == 0.0
    again = play(shop, wish, *first, "search[wool]", "click[shirt00003]", "click[buy now]")
    assert again.reward == pytest.approx(2 / 3)


def test_equals_the_original_at_every_step(
    original_catalogue: Catalogue, recorded: Callable[[str], Any], original_search: Find
) -> None:
    nouns: dict[str, Sequence[str]] = {}
    for purchase in recorded("golden/rewards.jsonl"):
        nouns[original_catalogue[purchase["purchased_asin"]].title] = purchase["purchased_nouns"]
        nouns[purchase["goal"]["name"]] = purchase["goal_nouns"]
    shops, goals = {}, {}
    for kind in get_args(GoalKind):
        bounds = {goal["asin"]: goal["price_upper"] for goal in recorded(f"golden/goals_{kind}.json")}
        draws = RecordedDraws(recorded(f"golden/product_prices_{kind}_env.json"), bounds)
        shops[kind] = FaithfulShop(original_catalogue, original_search, draws, nouns.__getitem__)
        goals[kind] = goals_of(original_catalogue, kind, draws)
    episodes = recorded("golden/traces.jsonl")
    assert len(episodes) == 78
    for episode in episodes:
        shop, number = shops[episode["env"]], episode["goal_idx"]
        page = shop.open(goals[episode["env"]][number], str(number))
        assert facts(shop, page) == recorded_facts(episode["initial"])
        for step in episode["steps"]:
            if step["done"]:
                goal, title = page.goal, original_catalogue[page.asin].title
                nouns.setdefault(title, with_score(step["verbose_info"]["title_score"], nouns[goal.title]))
            move = shop.act(page, step["action"])
            page = move.page
            bought = page.kind is PageKind.DONE and not move.problem
            assert (page.reward if bought else 0, bought) == (step["reward"], step["done"])
            assert facts(shop, page) == recorded_facts(step)


def with_score(score: float, wanted: Sequence[str]) -> list[str]:
    """Return nouns of a title with this score, for a title whose nouns are not recorded."""
    return sorted(set(wanted))[: round(score * len(wanted))]


def facts(shop: FaithfulShop, page: Page) -> dict[str, Any]:
    parts = shop.layout(page)
    return {"text": plain_text(parts), "text_rich": rich_text(parts), "url": page.url,
            "has_search_bar": page.kind is PageKind.START, "clickables": list(clickables(parts))}  # fmt: skip


def recorded_facts(step: dict[str, Any]) -> dict[str, Any]:
    return {name: step[name] for name in ("text", "text_rich", "url")} | step["avail"]


@given(st.text(alphabet="a[]\n x", max_size=24))
def test_actions_are_read_as_by_the_expression_of_the_original(action: str) -> None:
    matched = re.match(r"(.+)\[(.+)\]", action)
    assert name_and_argument(action) == (("", "") if matched is None else matched.groups())


@pytest.mark.parametrize("action", ["[" * 1_000_000, "click[" * 200_000, "a[" + "]" * 1_000_000, "x[\n" * 300_000])
def test_the_longest_action_is_read_at_once(action: str) -> None:
    started = time.thread_time()
    name_and_argument(action)
    assert time.thread_time() - started < 0.1
