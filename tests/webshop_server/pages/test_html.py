"""Pages as HTML: the texts of the parts and no others, the original's identifiers, and links that lead somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, get_args
from urllib.parse import unquote

import pytest

from turngym.webshop_server.catalogue import Catalogue, goals_of
from turngym.webshop_server.goals import Goal, SeededDraws
from turngym.webshop_server.pages.html import STATIC, page_html, page_picture
from turngym.webshop_server.pages.links import clickables
from turngym.webshop_server.pages.page import Page
from turngym.webshop_server.pages.texts import SEPARATOR, plain_text
from turngym.webshop_server.settings import GoalKind, ShopSettings
from turngym.webshop_server.shop import FaithfulShop, FixedShop, Shop, open_shop

Find = Callable[[str, int], list[str]]
WAY = ("search[shirt]", "click[next >]", "click[< prev]", "click[shirt00001]", "click[red]",
       "click[features]", "click[< prev]", "click[size: description]", "click[description]", "click[< prev]",
       "click[buy now]")  # fmt: skip


class Reader(HTMLParser):
    """Reads a page as the original's clients do: visible texts, elements by identifier, and what can be clicked."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "input", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "head", "title"} & set(self._open) and data != "\n":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return SEPARATOR.join(text.strip() for text in self.texts)

    def having(self, name: str, value: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.elements if value in (attrs.get(name) or "").split()]


def pages(shop: Shop, goal: Goal, *actions: str) -> Iterator[Page]:
    page = shop.open(goal, "7")
    yield page
    for action in actions:
        page = shop.act(page, action).page
        yield page


@pytest.mark.parametrize("kind", [FaithfulShop, FixedShop])
def test_the_texts_of_a_page_are_its_parts(kind: type[Shop], shirts: Catalogue, find: Find, wish: Goal) -> None:
    shop = kind(shirts, find, SeededDraws())
    for page in pages(shop, wish, *WAY):
        assert Reader(page_html(page, shop.layout(page))).text == plain_text(shop.layout(page)), page


def test_the_texts_of_the_originals_products(
    original_catalogue: Catalogue, recorded: Callable[[str], Any], original_search: Find
) -> None:
    shop = FaithfulShop(original_catalogue, original_search, SeededDraws())
    goals = {kind: goals_of(original_catalogue, kind, SeededDraws()) for kind in get_args(GoalKind)}
    compared = 0
    for episode in recorded("golden/traces.jsonl"):
        goal = goals[episode["env"]][episode["goal_idx"]]
        for page in pages(shop, goal, *(step["action"] for step in episode["steps"])):
            assert Reader(page_html(page, shop.layout(page))).text == plain_text(shop.layout(page)), page.url
            compared += 1
    assert compared > 78


def test_identifiers_and_classes_are_the_originals(shirts: Catalogue, find: Find, wish: Goal) -> None:
    shop = FaithfulShop(shirts, find, SeededDraws())
    start, results, item, done = (Reader(page_html(page, shop.layout(page))) for page in pages(
        shop, wish, "search[shirt]", "click[shirt00001]", "click[buy now]"))  # fmt: skip
    (search,) = start.having("id", "search_input")
    assert search["name"] == "search_query"
    assert all(reader.having("id", "instruction-text") for reader in (start, results, item))
    assert results.having("class", "product-link")[0]["href"] == "/item_page/7/SHIRT00001/%5B%22shirt%22%5D/1/%7B%7D"
    radios = item.having("type", "radio")
    assert [(radio["name"], radio["value"]) for radio in radios] == [
        ("color", "navy blue"), ("color", "red"), ("size", "small"), ("size", "description"),
    ]  # fmt: skip
    assert unquote(radios[0]["data-url"] or "") == ('/item_page/7/SHIRT00001/["shirt"]/1/{"color":"navy blue"}')
    labels = [attrs["for"] for tag, attrs in item.elements if tag == "label"]
    assert labels == [radio["id"] for radio in radios]
    assert len(item.having("class", "btn")) == 6 and len(item.having("class", "purchase")) == 1
    assert done.having("id", "reward")
    assert done.texts[done.texts.index("Your score (min 0.0, max 1.0)") + 1].startswith("0.666")


def test_every_clickable_part_is_an_element(shirts: Catalogue, find: Find, wish: Goal) -> None:
    shop = FixedShop(shirts, find, SeededDraws())
    for page in pages(shop, wish, *WAY):
        reader = Reader(page_html(page, shop.layout(page)))
        elements = [*reader.having("class", "btn"), *reader.having("class", "product-link"),
                    *reader.having("type", "radio")]  # fmt: skip
        assert len(elements) == len(clickables(shop.layout(page)))


@pytest.mark.parametrize("kind", [FaithfulShop, FixedShop])
def test_prices_to_the_cent_stand_beside_the_texts_and_on_a_site_alone(
    kind: type[Shop], shirts: Catalogue, find: Find, wish: Goal
) -> None:
    shop = kind(shirts, find, SeededDraws())
    _, results, item = pages(shop, wish, "search[shirt]", "click[shirt00001]")
    for page, name, first, shown in ((results, "product-price", "$25.0", "$25.00"),
                                     (item, "price", "Price: $25.0", "Price: $25.00")):  # fmt: skip
        plain, on_site = (Reader(page_html(page, shop.layout(page), session=name)) for name in (None, "mine"))
        assert plain.texts == on_site.texts and first in on_site.texts
        assert on_site.having("class", name)[0]["aria-label"] == shown
        assert "aria-label" not in plain.having("class", name)[0]
    assert results.found[1] == "SHIRT00002"
    labels = Reader(page_html(results, shop.layout(results), session="mine")).having("class", "product-price")
    assert labels[1]["aria-label"] == "$9.99 to $30.50"


@pytest.mark.parametrize(
    ("cost", "shown"),
    [(None, "$9.99 to $30.50"), (12.5, "$12.50 (range $9.99 to $30.50)"), (29.9999, "$30.00 (range $9.99 to $30.50)"),
     (20.0001, "$20.01 (range $9.99 to $30.50)"), (9.99, "$9.99 (range $9.99 to $30.50)")],
)  # fmt: skip
def test_before_a_range_stands_what_the_product_costs(
    cost: float | None, shown: str, shirts: Catalogue, find: Find, wish: Goal
) -> None:
    shop = FixedShop(shirts, find, SeededDraws())
    *_, item = pages(shop, wish, "search[silk shirt]", "click[shirt00002]")
    reader = Reader(page_html(item, shop.layout(item), session="mine", cost=cost))
    assert reader.having("class", "price")[0]["aria-label"] == f"Price: {shown}"
    assert "Price: $9.99 to $30.5" in reader.texts


def test_texts_are_escaped(shirts: Catalogue, find: Find, wish: Goal) -> None:
    shop = FixedShop(shirts, find, SeededDraws())
    page = shop.open(replace(wish, instruction='<b id="x">&amp;</b>'), "7")
    html = page_html(page, shop.layout(page))
    assert '<b id="x">' not in html and Reader(html).texts[2] == '<b id="x">&amp;</b>'


def test_the_score_is_shown_on_demand(shirts: Catalogue, find: Find, wish: Goal) -> None:
    shop = FixedShop(shirts, find, SeededDraws())
    *_, done = pages(shop, wish, *WAY)
    reward = shop.reward(done)
    assert 'id="reward"' not in page_html(done, shop.layout(done))
    reader = Reader(page_html(done, shop.layout(done), reward=reward))
    assert reader.texts[reader.texts.index("Your score (min 0.0, max 1.0)") + 1] == str(reward.total)


def test_a_picture_is_the_page_without_anything_to_load_or_press() -> None:
    shop = open_shop(ShopSettings(num_products=50)).shop
    for page in pages(shop, open_shop(ShopSettings(num_products=50)).goals[0], "search[<script>alert(1)</script>]"):
        html = page_picture(page, shop.layout(page))
        reader = Reader(html)
        assert reader.text == plain_text(shop.layout(page))
        assert not [tag for tag, _ in reader.elements if tag in {"script", "link"}]
        assert "autofocus" not in html and ("div", {"class": "past", "inert": None}) in reader.elements
        assert (STATIC / "shop.css").read_text(encoding="utf-8") in html
