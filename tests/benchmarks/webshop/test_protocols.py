"""Catalogues and protocols: how many goals there are, and what decides how a stand plays."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmarks.webshop.conftest import stand

from turngym._errors import InputError
from turngym.benchmarks.webshop import PROTOCOLS, Catalogue, stands
from turngym.envs import env_ids
from turngym.webshop_server.catalogue import generate_records, write_catalogue


def test_every_registered_shop_is_a_protocol() -> None:
    shops = {env_id for env_id in env_ids() if "WebShop" in env_id}
    assert {protocol.env_id for protocol in PROTOCOLS.values()} == shops
    assert all(name == protocol.name and protocol.about.endswith(".") for name, protocol in PROTOCOLS.items())


def test_the_generated_catalogue_has_385_distinct_test_goals() -> None:
    assert stand(catalogue=Catalogue.generated(1000)).num_goals("test") == 385
    assert stand("original", Catalogue.generated(1000)).num_goals("test") == 48


def test_a_stand_opens_the_shop_of_its_protocol() -> None:
    fixed, gigpo, original = (stand(name).shop() for name in ("fixed", "gigpo", "original"))
    assert (fixed.mode, gigpo.mode, original.mode) == ("fixed", "faithful", "faithful")
    assert len(fixed.goals) == len(gigpo.goals) != len(original.goals)


def test_what_is_shown_is_no_part_of_the_shop_but_of_the_key() -> None:
    plain, compact, long = stand(), stand(observation_mode="compact"), stand(max_episode_steps=30)
    assert plain.describe()["shop"] == compact.describe()["shop"] == long.describe()["shop"]
    assert compact.describe()["arguments"] == {"observation_mode": "compact"}
    assert (plain.describe()["turns"], long.describe()["turns"]) == (15, 30)
    assert stand("gigpo").describe()["arguments"]["reward_scheme"] == "binary_x10"


def test_the_same_products_are_the_same_shop_wherever_they_are(tmp_path: Path) -> None:
    for name, count in {"one": 60, "two": 60, "three": 70}.items():
        write_catalogue(tmp_path / f"{name}.sqlite", generate_records(count, 0))
    shops = {name: stand(catalogue=Catalogue.read(tmp_path / f"{name}.sqlite")) for name in ("one", "two", "three")}
    assert shops["one"].describe() == shops["two"].describe() != shops["three"].describe()
    assert shops["one"].num_goals("test") == stand().num_goals("test")
    assert shops["one"].title == "one.sqlite, fixed"


def test_every_catalogue_by_every_protocol() -> None:
    read = [Path("a/small"), Path("b.sqlite")]
    found = stands(read, [Path("i"), Path("j")], [60, 100], ["fixed", "gigpo"], {"max_episode_steps": 30})
    assert [one.title for one in found] == [
        f"{catalogue}, {protocol}"
        for catalogue in ("generated, 60 products", "generated, 100 products", "small", "b.sqlite")
        for protocol in ("fixed", "gigpo")
    ]
    assert found[-1].arguments == {"catalogue": "b.sqlite", "num_products": 0, "index": "j", "max_episode_steps": 30}
    assert [one.title for one in stands([], [], [], ["fixed"], {})] == ["generated, 1,000 products, fixed"]
    assert [one.title for one in stands(read[:1], [], [], ["fixed"], {})] == ["small, fixed"]


def test_two_catalogues_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two catalogues are called 'small', and would share their rows"):
        stands([Path("a/small"), Path("b/small")], [], [], ["fixed"], {})


def test_a_shop_on_a_server_is_refused() -> None:
    with pytest.raises(InputError, match="leave out url, and name a --catalogue"):
        stand(url="http://127.0.0.1:3000")


def test_few_test_goals_are_for_products_that_no_training_goal_wants() -> None:
    at = stand()
    shop = at.shop()
    trained = {goal.asin for goal in shop.goals[slice(*shop.goal_range("train"))]}
    tested = [goal.asin for goal in shop.goals[slice(*shop.goal_range("test"))]]
    assert at.unseen_products("test") == {index for index, asin in enumerate(tested) if asin not in trained}
    assert at.unseen_products("train") == frozenset()
    assert len(stand(catalogue=Catalogue.generated(1000)).unseen_products("test")) == 20
