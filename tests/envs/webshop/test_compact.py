"""Compact pages: few words, each of which can be copied, and enough to shop by."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.envs.webshop.conftest import ShopMaker

from turngym.envs.webshop.compact import spaced
from turngym.envs.webshop.shopper import Shopper
from turngym.envs.webshop.sight import Result, Sight, whole_dollars
from turngym.webshop_server.pages import Choice, PageKind

WISH = ("wish : i want women's dresses for office days with color : pink , and size : large , and price lower than 100 "
        "dollars")  # fmt: skip


@pytest.mark.parametrize(("text", "apart"), [
    ("Lilac, (pack of 2)", "lilac , ( pack of 2 )"),
    ('28" x 28"', '28 " x 28 "'),
    ("women's 10.5 3x-large -5", "women's 10.5 3x-large - 5"),
    ("  A\n--  b_", "a - - b _"),
    ("", ""),
])  # fmt: skip
def test_words_and_marks_stand_apart(text: str, apart: str) -> None:
    assert spaced(text) == apart


@given(st.text(), st.text())
def test_a_value_has_the_same_words_wherever_it_stands(value: str, around: str) -> None:
    assert spaced(spaced(value)) == spaced(value)
    assert spaced(f"{around} {value} ,") == f"{spaced(around)} {spaced(value)} ,".strip().replace("  ", " ")


def test_prices_are_rounded_up() -> None:
    assert [whole_dollars(tag) for tag in ("$9.99", "$10.0", "$9.99 to $19.01")] == ["$ 10", "$ 10", "$ 10 to $ 20"]


def test_an_episode_in_few_words(shop: ShopMaker) -> None:
    env = shop(2)
    said = [env.reset(options={"split": "test", "index": 2})[0]]
    assert said == [WISH]
    said += [env.step(action)[0] for action in (
        f"search[ {WISH[7:]} ]", "click[ 1 ]", "click[ < prev ]", "click[1]", "CLICK[Details]", "click[ < prev ]",
        "click[  pink ]", "click[pink]", "click[ large ]", "click[ nothing ]", "click[ buy now ]",
    )]  # fmt: skip
    assert re.fullmatch(r"\d+ results( ; \d+( [^ ;]+){1,4} \$ \d+( to \$ \d+)?){10} ; next >", said[1])
    assert re.fullmatch(r"price \$ \d+( to \$ \d+)? ; .*color : .*pink.*", said[2])
    assert said[5].startswith("details ; ") and len(said[5]) > 100
    refused = "Invalid action: nothing on this page is clicked by that text.\nproduct again"
    rest = ["product again", "chosen : pink", "chosen : pink", "chosen : large", refused, "bought"]
    assert said[3:5] == ["results again", "product again"] and said[6:] == rest


def test_a_reply_in_a_wrong_form_chooses_nothing(shop: ShopMaker) -> None:
    env = shop(2)
    for action in (f"search[ {WISH[7:]} ]", "click[ 1 ]", "click[ pink ]"):
        env.step(action)
    assert env.step("")[0] == "Invalid action: the reply is empty.\nproduct again"


def test_titles_can_be_left_out(shop: ShopMaker) -> None:
    observation = shop(title_words=0).step("search[ shirt ]")[0]
    assert re.fullmatch(r"\d+ results( ; \d+ \$ \d+( to \$ \d+)?)+( ; next >)?", observation)


@pytest.mark.parametrize("mode", ["fixed", "faithful"])
def test_both_shops_are_spoken_to_alike(shop: ShopMaker, mode: str) -> None:
    env = shop(2, mode=mode)
    for action in ("search[ women's dresses , pink ]", "click[ 2 ]", "click[ < prev ]", "click[ next > ]",
                   "click[ 12 ]", "click[ details ]", "click[ back to search ]"):  # fmt: skip
        assert env.step(action)[4]["valid"], action
    assert not env.step("click[ 1 ]")[4]["valid"]


def test_the_details_are_those_of_both_pages(shop: ShopMaker) -> None:
    whole, text = shop(2), shop(2, observation_mode="text")
    *_, details = (whole.step(action)[0] for action in ("search[women's dresses]", "click[1]", "click[details]"))
    text.step("search[women's dresses]")
    (first,) = text.backend.search("women's dresses", 1)
    text.step(f"click[{first}]")
    for page in ("description", "features"):
        for piece in text.step(f"click[{page}]")[0].split(" [SEP] ")[4:]:
            assert spaced(piece) in details
        text.step("click[< prev]")


class Reader:
    """Shops by the compact text alone."""

    def __init__(self, *, details: bool) -> None:
        self.shopper = Shopper(details=details, prices=True, one_page=True)
        self.pages: dict[str, Sight] = {}
        self.sight = Sight(kind=PageKind.START)
        self.product = ""

    def action(self, text: str, turns_left: int) -> str:
        text = text.replace(" ,", ",").replace(" :", ":")
        pieces = text.split(" ; ")
        if text.startswith("wish: "):
            self._show(Sight(kind=PageKind.START, wish=text.removeprefix("wish: ")), "search")
        elif pieces[0].endswith(" results"):
            found = [re.fullmatch(r"(\d+)(.*?) (\$ \d+(?: to \$ \d+)?)", piece) for piece in pieces]
            results = tuple(Result(match[1], match[2], match[3]) for match in found if match)
            self._show(Sight(kind=PageKind.RESULTS, results=results), "results")
        elif text.startswith("price "):
            options = [piece.partition(": ") for piece in pieces[1:]]
            choices = tuple(Choice(value, option=name, value=value, chosen=False)
                            for name, _, values in options for value in values.split(" / "))  # fmt: skip
            self._show(Sight(kind=PageKind.ITEM, asin=self.product, price=pieces[0], choices=choices), "product")
        elif text.startswith("chosen: "):
            value = text.removeprefix("chosen: ")
            chosen = {(choice.option, value) for choice in self.sight.choices if choice.value == value}
            self.sight = replace(self.sight, chosen=self.sight.chosen | chosen)
        elif text.startswith("details ; "):
            for detail in ("Description", "Features"):
                self._show(Sight(kind=PageKind.DETAIL, asin=self.product, detail=detail, texts=(text,)), "")
        else:
            kind = text.removesuffix(" again")
            self.sight = self.pages[kind + self.product * (kind == "product")]
        said = spaced(self.shopper.action(self.sight, turns_left).replace("[", "[ ").replace("]", " ]"))
        self.product = said.split()[-2] if self.sight.kind is PageKind.RESULTS else self.product
        return said.replace("search [", "search[").replace("click [", "click[")

    def _show(self, sight: Sight, name: str) -> None:
        self.sight = self.pages[name + self.product * (name == "product")] = sight
        self.shopper.see(sight)


@pytest.mark.parametrize("details", [False, True])
def test_the_shopper_decides_by_compact_pages_as_by_full_ones(shop: ShopMaker, details: bool) -> None:
    env = shop()
    for index in range(60):
        reader, over = Reader(details=details), False
        observation = env.reset(options={"split": "test", "index": index})[0]
        env.turns_taken = 0
        while not over:
            left = env.turns_left
            assert left is not None
            action = reader.action(observation, left)
            assert action == env.shopper_action(details=details, prices=True), (index, observation)
            observation, _, over, _, _ = env.step(action)
            over = over or left == 1
