"""Catalogues of one's own: a table or a list becomes a shop that is played, and what is wrong is told by its row."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.agents import OracleAgent, collect_episodes, instance_range
from turngym.cli import main
from turngym.webshop_server.catalogue import CatalogueFileError, open_catalogue
from turngym.webshop_server.catalogue.plain import LISTS, TEXTS, plain_records

TABLE = """\
title,price,category,query,attributes,features,option color,option size,description,instruction
Linen shirt,29.9,clothing,men's shirts,breathable|machine wash|slim fit|light,Cut for summer,White|navy,S|M|L,Slim fit.,
"Stool, oak",$79,furniture,,solid wood,,,,Made by hand.,Find me a stool of solid wood
Candle,5 - 9.50,,,,,scent,,,
"""
ROWS: list[dict[str, Any]] = [
    {"title": "Linen shirt", "price": 29.9, "category": "clothing", "query": "men's shirts",
     "description": "Slim fit.", "features": ["Cut for summer"],
     "attributes": ["breathable", "machine wash", "slim fit", "light"],
     "options": {"color": ["White", "navy"], "size": ["S", "M", "L"]}},
    {"title": "Stool, oak", "price": "$79", "category": "furniture", "attributes": ["solid wood"],
     "description": "Made by hand.", "instruction": "Find me a stool of solid wood"},
    {"title": "Candle", "price": "5 - 9.50", "options": {"color": ["scent"]}},
]  # fmt: skip


@pytest.fixture(params=["shop.csv", "shop.csv.gz", "shop.json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    text = json.dumps(ROWS) if path.suffix == ".json" else TABLE
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write(tmp_path: Path, rows: Any) -> str:
    path = tmp_path / "own.json"
    path.write_text(json.dumps(rows))
    return str(path)


def test_a_row_is_a_product(path: Path) -> None:
    shirt, stool, candle = open_catalogue(str(path)).values()
    assert (shirt.asin, stool.asin, candle.asin) == ("P000000001", "P000000002", "P000000003")
    assert shirt.title == "Linen shirt" and shirt.prices == (29.9,) and shirt.query == "men's shirts"
    assert shirt.options == {"color": ("white", "navy"), "size": ("s", "m", "l")}
    assert shirt.attributes == ("breathable", "machine wash", "slim fit", "light")
    assert shirt.bullet_points == ("Cut for summer", "breathable", "machine wash", "light"), (
        "what no text tells is told"
    )
    assert shirt.synthetic is not None
    assert shirt.synthetic.text == "Find me breathable, machine wash, slim fit men's shirts"
    assert shirt.synthetic.attributes == ("breathable", "machine wash", "slim fit")
    assert stool.synthetic is not None and stool.synthetic.text == "Find me a stool of solid wood"
    assert (stool.query, stool.prices, candle.prices) == ("furniture", (79.0,), (5.0, 9.5))
    assert candle.category == candle.query == "products" and candle.synthetic is None


def test_the_shop_is_played(path: Path) -> None:
    """Every wish can be fulfilled by who knows the product, also in a folder and in SQLite."""
    stored = path.parent / "shop.sqlite"
    assert main(["webshop", "convert", str(stored), str(path)]) == 0
    for catalogue in (path, path.parent, stored):
        episodes = collect_episodes(
            OracleAgent(), "turngym/WebShop-v0", instance_range("train", 6), env_kwargs={"catalogue": str(catalogue)}
        )
        assert all(episode.success for episode in episodes)
        wishes = {episode.turns[0].observation for episode in episodes}
        assert any("machine wash" in wish for wish in wishes) and any("solid wood" in wish for wish in wishes)


def test_check_says_what_is_missing_for_play(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webshop", "check", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "products of one's own (3 records, 3 products, 2 with options, 2 with instruction)" in said
    assert "record 3 (P000000003): it has no attributes, so that it gives no goal" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"title": ""}, "it has no title"),
        ({"price": None}, "price must be dollars such as 9.99, or a range such as 9.99 - 19.99, got None"),
        ({"price": "cheap"}, "got 'cheap'"),
        ({"price": -3}, "got -3"),
        ({"price": True}, "got True"),
        ({"price": 1e999}, "price must be dollars"),
        ({"colour": "red"}, "there is no field 'colour'; known are attributes, category"),
        ({"attributes": "soft"}, "attributes must be a list of texts"),
        ({"attributes": ["soft", " "]}, "none of them empty"),
        ({"options": {"size": "S"}}, "size must be a list of texts"),
        ({"options": ["S"]}, "options must be an object of lists, got list"),
        ({"id": "TOOLONGANID"}, "id must be 1 to 10 letters and digits, got 'TOOLONGANID'"),
        ({"id": "a b"}, "got 'A B'"),
        ({"id": 7}, "id must be text, got int"),
        ({"instruction_attributes": ["hard"]}, "the instruction asks for 'hard', which is none of its attributes"),
    ],
)
def test_a_malformed_row_is_told_by_its_number(
    tmp_path: Path, change: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, [ROWS[0], ROWS[1] | change])
    with pytest.raises(CatalogueFileError) as refused:
        open_catalogue(path)
    assert f"{path}, record 2: " in str(refused.value) and said in str(refused.value)
    assert main(["webshop", "check", path]) == 1
    assert "record 2" in capsys.readouterr().out


def test_ids_are_kept_and_those_that_lack_one_get_one(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"id": "p000000001"}, ROWS[1], ROWS[2] | {"id": "SHOE1"}]
    assert list(open_catalogue(write(tmp_path, rows))) == ["P000000001", "P000000002", "SHOE1"]
    with pytest.raises(CatalogueFileError, match="an earlier product has the id 'SHOE1'"):
        open_catalogue(write(tmp_path, [ROWS[0] | {"id": "shoe1"}, ROWS[1] | {"id": "Shoe1"}]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "its first line must name the columns, and title and price are not among them: nothing"),
        ("title;price\nShirt;3\n", "title and price are not among them: title;price"),
        ("title,price,title\n", "two columns are named 'title'"),
        ("title,price\nShirt,3,4\n", "line 2 has 3 cells for 2 columns; a cell with a comma in it"),
        ('title,price\n"Shirt,3\n', "it is no table in UTF-8 with commas"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(CatalogueFileError, match=said):
        open_catalogue(str(path))


def test_other_files_beside_it_are_refused(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    (tmp_path / "second.json").write_text(json.dumps({"P000000001": {"attributes": []}}))
    with pytest.raises(CatalogueFileError, match=r"own.json is a catalogue by itself: leave out .*second.json"):
        open_catalogue(str(tmp_path))


words = st.text(st.characters(codec="utf-8", exclude_characters="|", exclude_categories=["C", "Z"]), min_size=1,
                max_size=8)  # fmt: skip
several = st.lists(words, max_size=3)


@settings(max_examples=50)
@given(rows=st.lists(st.fixed_dictionaries(
    {"title": words, "price": st.integers(1, 999).map(str), "options": st.dictionaries(st.just("color"), several)},
    optional={name: words for name in TEXTS if name not in {"id", "title", "price"}}
    | {name: several for name in LISTS if name != "instruction_attributes"},
), max_size=4))  # fmt: skip
def test_a_table_holds_what_a_list_holds(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("own") / "own.csv"
    columns = [name for name in (*TEXTS, *LISTS) if name != "id"]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns, "option color"])
        for row in rows:
            cells = [row.get(name, "") for name in columns] + [row["options"].get("color", [])]
            table.writerow(["|".join(cell) if isinstance(cell, list) else cell for cell in cells])
    listed = [records.build() for _, records in plain_records(iter(rows)) if not isinstance(records, ValueError)]
    assert len(listed) == len(rows) and list(open_catalogue(str(path)).values()) == listed
