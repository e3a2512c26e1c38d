"""Wishes: read as they are written, fulfilled by a product, numbered by content, in the split of their goals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym._errors import InputError
from turngym.webshop_server.catalogue import Catalogue
from turngym.webshop_server.goals import NO_BOUND, Goal, SeededDraws
from turngym.webshop_server.settings import GoalKind, Mode, ShopSettings
from turngym.webshop_server.shop import FixedShop, LocalBackend, UnfulfilledWishError, WishError, Wishes, open_shop
from turngym.webshop_server.shop.local import HELD_OUT
from turngym.webshop_server.shop.shop import Search

SHOP = ShopSettings(num_products=200)


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return open_shop(SHOP)


@pytest.fixture(scope="module")
def shirt_wishes(shirts: Catalogue, find: Search) -> Wishes:
    return Wishes(FixedShop(shirts, find, SeededDraws()), (), {})


@pytest.mark.parametrize("goals", ["synthetic", "human"])
@pytest.mark.parametrize("mode", ["fixed", "faithful"])
def test_goals_are_read_as_wishes_for_the_same(goals: GoalKind, mode: Mode) -> None:
    backend = open_shop(replace(SHOP, goals=goals, mode=mode))
    numbers = range(0, len(backend.goals), 3)
    read = 0
    for number in numbers:
        goal = backend.goals[number]
        try:
            split, wish = backend.wishes.read(backend.wishes.text(goal))
        except UnfulfilledWishError:
            continue  # its own product has an attribute by a likeness of words alone, or cannot be bought so
        read += 1
        wished = backend.wishes.goal(wish)
        assert sorted(wished.attributes) == sorted(goal.attributes) and wished.price_bound == goal.price_bound
        assert sorted(one.value for one in wished.options) == sorted(one.value for one in goal.options)
        assert backend.wishes.read(backend.wishes.text(wished)) == (split, wish)
        own = next(split for split in ("test", "validation", "train") if number < backend.goal_range(split)[1])
        assert split == own or split in HELD_OUT  # another goal for the same may be held out
    assert read >= 0.9 * len(numbers) > 25


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_whatever_a_product_is_makes_a_wish_that_its_purchase_fulfills(data: st.DataObject) -> None:
    backend = open_shop(SHOP)
    product = list(backend.shop.catalogue.values())[data.draw(st.integers(0, SHOP.num_products - 1))]
    attributes = data.draw(st.lists(st.sampled_from(product.attributes), min_size=1, unique=True))
    options = [(name, data.draw(st.sampled_from(values))) for name, values in product.options.items()
               if data.draw(st.booleans())]  # fmt: skip
    price = data.draw(st.sampled_from(["990", "Any  Price"]))
    pieces = data.draw(st.permutations([*attributes, *(f"{name} :  {value.upper()}" for name, value in options)]))
    _, number = backend.wishes.read(" ; ".join([product.query, *pieces, price]))
    goal = backend.wishes.goal(number)
    assert set(goal.attributes) == set(attributes) and {(one.name, one.value) for one in goal.options} == set(options)
    assert goal.price_bound == (990.0 if price == "990" else NO_BOUND)
    assert all(text in goal.instruction for text in (product.query, *attributes, *(value for _, value in options)))
    session = backend.open_session(len(backend.goals) + number)
    page = replace(session.page, asin=goal.asin, chosen=dict(options))
    assert session.page.goal == goal and backend.shop.reward(page).total == 1.0


@pytest.mark.parametrize(("text", "error", "reason"), [
    ("", WishError, "between semicolons"),
    ("shirts; 40", WishError, "between semicolons"),
    ("shirts;; long sleeve; 40", WishError, "between semicolons"),
    ("shirts; long sleeve; 45", WishError, "a multiple of ten from 10 to 990 dollars"),
    ("shirts; long sleeve; 4²0", WishError, "a multiple of ten"),
    ("shirts; long sleeve; long  sleeve; 40", WishError, "wished for once"),
    ("trousers; long sleeve; 40", UnfulfilledWishError, "no such kind"),
    ("shirts; short sleeve; 40", UnfulfilledWishError, "no product with all that"),
    ("shirts; long sleeve; 20", UnfulfilledWishError, "no product with all that"),
    ("shirts; long sleeve; color: red; color: navy blue; 40", UnfulfilledWishError, "no product with all that"),
    ("shirts; color: red; 40", UnfulfilledWishError, "no product with all that"),
])  # fmt: skip
def test_what_is_no_wish_says_why(shirt_wishes: Wishes, text: str, error: type[WishError], reason: str) -> None:
    with pytest.raises(error, match=reason) as raised:
        shirt_wishes.read(text)
    assert type(raised.value) is error


def test_the_first_product_that_fulfills_it_is_meant(shirt_wishes: Wishes) -> None:
    def asin(text: str) -> str:
        return shirt_wishes.goal(shirt_wishes.read(text)[1]).asin

    assert asin("shirts; long sleeve; 30") == "SHIRT00001"
    assert asin("shirts; long sleeve; trim: gold; 40") == "SHIRT00002"
    assert asin("SHIRTS;longsleeve;gold;40") == "SHIRT00002"
    assert asin("lamps; long sleeve; 30") == "LAMP000001"


def test_a_wish_for_what_a_held_out_goal_wants_is_held_out_whatever_it_may_cost(
    shirts: Catalogue, find: Search, wish: Goal
) -> None:
    wishes = Wishes(FixedShop(shirts, find, SeededDraws()), [wish], {"test": (0, 1)})
    assert wishes.read("shirts; long sleeve; color: navy blue; 30")[0] == "test"
    assert wishes.read("shirts; long sleeve; navy blue; any price")[0] == "test"
    assert wishes.read("shirts; long sleeve; color: red; 30")[0] == "train"
    assert wishes.read("shirts; long sleeve; 30")[0] == "train"


def test_numbers_that_are_no_wish_are_refused(shirt_wishes: Wishes) -> None:
    _, number = shirt_wishes.read("shirts; long sleeve; 30")
    for wrong in (0, number + 16 * 10**6, 2**62 - 1):
        with pytest.raises(InputError, match=f"no wish of the number {wrong}"):
            shirt_wishes.goal(wrong)


def test_products_with_more_wishes_than_can_be_numbered_are_never_wished_for(shirts: Catalogue, find: Search) -> None:
    many = replace(shirts["SHIRT00003"], query="coats", attributes=tuple(f"a{number}" for number in range(60)))
    wishes = Wishes(FixedShop(Catalogue([*shirts.values(), replace(many, asin="COAT000001")]), find, SeededDraws()),
                    (), {})  # fmt: skip
    with pytest.raises(UnfulfilledWishError, match="no such kind"):
        wishes.read("coats; a1; 30")
