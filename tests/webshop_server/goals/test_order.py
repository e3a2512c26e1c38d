"""The order of goals: the same from memory and from SQLite, and that of all goals made one after another."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product as combinations
from math import prod
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.webshop_server.catalogue import (
    Catalogue,
    CatalogueFiles,
    CatalogueStoreError,
    StoredCatalogue,
    generate_catalogue,
    generate_records,
    goals_of,
    read_records,
    write_catalogue,
)
from turngym.webshop_server.catalogue.store import seal
from turngym.webshop_server.goals import order
from turngym.webshop_server.goals.goal import Goal, SeededDraws, goal_of
from turngym.webshop_server.goals.order import GoalCensus
from turngym.webshop_server.product import Instruction, Product
from turngym.webshop_server.settings import GoalKind

KINDS = pytest.mark.parametrize("kind", get_args(GoalKind))
NUM_PRODUCTS = 300
DRAWS = SeededDraws(3)


def all_by_hand(products: Iterable[Product], kind: GoalKind) -> list[Goal]:
    """Make all goals in the order of the products, weigh them, and shuffle them."""
    goals = [goal for product in products for goal in (synthetic if kind == "synthetic" else human)(product)]
    count = Counter(attribute for goal in goals for attribute in goal.attributes)
    if kind == "synthetic":
        goals = [
            replace(goal, weight=sum(1 / count[attribute] for attribute in goal.attributes) / len(goal.attributes))
            for goal in goals
        ]
    random.Random(233).shuffle(goals)
    return goals


def synthetic(product: Product) -> Iterator[Goal]:
    if product.synthetic is None or not product.synthetic.attributes:
        return
    for number, values in enumerate(combinations(*(product.options[name] for name in sorted(product.options)))):
        goal = goal_of(product, "synthetic", number, DRAWS)
        assert tuple(option.value for option in goal.options) == values
        yield goal


def human(product: Product) -> Iterator[Goal]:
    for number, wish in enumerate(wish for wish in product.human if wish.attributes):
        goal = goal_of(product, "human", number, DRAWS)
        assert goal.instruction.startswith(wish.text.strip("."))
        yield goal


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "shop.sqlite"
    write_catalogue(path, generate_records(NUM_PRODUCTS))
    return path


@KINDS
def test_the_goals_are_those_made_one_after_another(path: Path, kind: GoalKind) -> None:
    memory = generate_catalogue(NUM_PRODUCTS)
    goals = all_by_hand(memory.values(), kind)
    assert len(goals) > 100
    assert list(goals_of(memory, kind, DRAWS)) == goals
    with StoredCatalogue(path) as stored:
        assert list(goals_of(stored, kind, DRAWS)) == goals


@KINDS
def test_the_products_of_goals_are_known_without_the_goals(kind: GoalKind) -> None:
    catalogue = generate_catalogue(NUM_PRODUCTS)
    goals, asins = goals_of(catalogue, kind, DRAWS), list(catalogue)
    positions = goals.positions(5, len(goals) - 5)
    assert [asins[position] for position in positions] == [goal.asin for goal in goals[5:-5]]


@KINDS
def test_the_goals_of_the_original_catalogue_are_kept(
    recordings: Path, original_catalogue: Catalogue, tmp_path: Path, kind: GoalKind
) -> None:
    goals = all_by_hand(original_catalogue.values(), kind)
    assert list(goals_of(original_catalogue, kind, DRAWS)) == goals
    write_catalogue(tmp_path / "shop.sqlite", read_records(CatalogueFiles.recognize(recordings.glob("*.json.gz"))))
    with StoredCatalogue(tmp_path / "shop.sqlite") as stored:
        assert list(goals_of(stored, kind, DRAWS)) == goals


VALUES = st.lists(st.sampled_from(["red", "blue", "s"]), max_size=3).map(tuple)
PRODUCTS = st.fixed_dictionaries({
    "options": st.dictionaries(st.sampled_from(["size", "color", "fit"]), VALUES, max_size=3),
    "synthetic": st.none() | st.builds(
        Instruction, st.just("find it"), st.lists(st.sampled_from("abc"), max_size=3).map(tuple)
    ),
})  # fmt: skip


@settings(max_examples=50)
@given(changes=st.lists(PRODUCTS, max_size=6))
def test_any_choice_of_options_has_its_goal(make_product: Callable[..., Product], changes: list[Any]) -> None:
    catalogue = Catalogue(make_product(f"P{number}", "It", **change) for number, change in enumerate(changes))
    goals = goals_of(catalogue, "synthetic", DRAWS)
    assert list(goals) == all_by_hand(catalogue.values(), "synthetic")
    assert len(goals) == sum(
        prod(map(len, product.options.values()))
        for product in catalogue.values() if product.synthetic and product.synthetic.attributes
    )  # fmt: skip


def test_goals_are_a_sequence() -> None:
    goals = goals_of(generate_catalogue(50), "synthetic", DRAWS)
    everything = list(goals)
    assert goals[-1] == everything[-1] and goals[3:9:2] == everything[3:9:2] and everything[5] in goals
    for index in (len(goals), -len(goals) - 1):
        with pytest.raises(IndexError):
            goals[index]


def test_too_many_goals_are_refused(
    make_product: Callable[..., Product], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {str(option): tuple(map(str, range(20))) for option in range(7)}
    product = make_product("P1", "It", options=options, synthetic=Instruction("find it", ("a",)))
    with pytest.raises(ValueError, match=r"more than 100,000,000 synthetic goals, 1,280,000,000 of them .* 'P1' alone"):
        goals_of(Catalogue([product]), "synthetic", DRAWS)
    assert len(goals_of(Catalogue([product]), "human", DRAWS)) == 0
    monkeypatch.setattr(order, "MAX_GOALS", 5)
    with pytest.raises(ValueError, match="more than 5 "):
        write_catalogue(tmp_path / "shop.sqlite", generate_records(20))
    assert not list(tmp_path.iterdir())


def test_one_goal_reads_one_product(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GoalCensus, "add", None)
    with StoredCatalogue(path) as stored:
        goals = goals_of(stored, "synthetic", DRAWS)
        wanted = goals[7].asin
        assert stored._build.cache_info().currsize == 1
        assert stored[wanted].asin == wanted and stored._build.cache_info().misses == 1


@pytest.mark.parametrize(
    "statement", ["DELETE FROM goals", "UPDATE goals SET numbers = x'00'", "UPDATE goals SET frequencies = '{'"]
)
def test_a_damaged_order_is_refused(path: Path, tmp_path: Path, statement: str) -> None:
    changed = tmp_path / "changed.sqlite"
    contents = path.read_bytes()
    changed.write_bytes(contents[: len(contents) // 8192 * 8192])  # the pages, without the checksum
    with closing(sqlite3.connect(changed, isolation_level=None)) as database:
        database.execute(statement)
    seal(changed)
    with (
        StoredCatalogue(changed) as stored,
        pytest.raises(CatalogueStoreError, match="is damaged: the order of the synthetic goals is unreadable"),
    ):
        goals_of(stored, "synthetic", DRAWS)


def test_positions_are_those_of_the_order(path: Path) -> None:
    with StoredCatalogue(path) as stored:
        for catalogue in (stored, generate_catalogue(NUM_PRODUCTS)):
            asins = list(catalogue)
            assert [catalogue.product_at(position).asin for position in (0, 7, 299)] == [asins[0], asins[7], asins[299]]
            with pytest.raises(IndexError):
                catalogue.product_at(NUM_PRODUCTS)
